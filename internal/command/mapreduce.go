package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func mapReduceCommand() *Command {
	return &Command{
		Name: "mapReduce", Aliases: []string{"mapreduce"}, First: FirstCollection, ReadConcern: true, WriteConcern: true,
		Help: "Groups the values that a JavaScript function emits and reduces each group by another.",
		Fields: []Field{
			{Name: "map", Kind: Any, Required: true}, {Name: "reduce", Kind: Any, Required: true},
			{Name: "out", Kind: Any, Required: true}, {Name: "query", Kind: Object}, {Name: "sort", Kind: Object},
			{Name: "limit", Kind: Int, NonNegative: true}, {Name: "finalize", Kind: Any}, {Name: "scope", Kind: Object},
			{Name: "jsMode", Kind: Bool}, {Name: "verbose", Kind: Bool}, {Name: "collation", Kind: Object},
			{Name: "bypassDocumentValidation", Kind: SafeBool},
		},
		Run: runMapReduce,
	}
}

func runMapReduce(ctx context.Context, c *Call) error {
	m := &database.MapReduce{Scope: c.Doc("scope"), Query: &database.FindQuery{
		Filter: c.Doc("query"), Sort: c.Doc("sort"), Limit: c.Int64("limit", 0), AllowDiskUse: true,
	}}
	var err error
	if m.Query.Collation, err = c.Collation(); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		to   *string
	}{{"map", &m.Map}, {"reduce", &m.Reduce}, {"finalize", &m.Finalize}} {
		if v := c.Arg(f.name); !v.IsMissing() {
			if *f.to, err = expr.FunctionBody(v); err != nil {
				return err
			}
		}
	}
	if err := c.mapReduceOut(m); err != nil {
		return err
	}
	op := c.Op(ctx)
	op.BypassValidation = c.Bool("bypassDocumentValidation")
	docs, err := c.Database().MapReduce(ctx, op, c.Namespace(), m)
	if err != nil {
		return err
	}
	if m.Out != database.OutInline {
		if m.Target.DB != c.DB {
			c.Append("result", bsonval.Document(bsonval.NewBuilder().Str("db", m.Target.DB).
				Str("collection", m.Target.Coll).Build()))
			return nil
		}
		c.Append("result", bsonval.String(m.Target.Coll))
		return nil
	}
	results := bsonval.NewArrayBuilder()
	for _, d := range docs {
		results.Add(bsonval.Document(d))
		if results.Len() > bsonval.MaxDocumentBytes {
			return mongoerr.New(mongoerr.BSONObjectTooLarge, "the results of mapReduce are larger than 16 MB: use `out` with a collection")
		}
	}
	c.Append("results", bsonval.Array(results.Build()))
	return nil
}

// mapReduceOut reads the argument `out`: a collection's name, {inline: 1}, or {replace | merge | reduce: name, db: name}.
func (c *Call) mapReduceOut(m *database.MapReduce) error {
	v := c.Arg("out")
	m.Target.DB = c.DB
	switch v.Type() {
	case bsonval.TypeString:
		m.Out, m.Target.Coll = database.OutReplace, string(v.Bytes())
		return nil
	case bsonval.TypeDocument:
	default:
		return mongoerr.New(mongoerr.TypeMismatch, "'out' must be either a string or an object")
	}
	ways := map[string]database.MapReduceOut{
		"inline": database.OutInline, "replace": database.OutReplace, "merge": database.OutMerge, "reduce": database.OutReduce,
	}
	found := false
	it := v.Doc().Iter()
	for it.Next() {
		name := string(it.Key())
		way, known := ways[name]
		switch {
		case name == "db" && it.Value().Type() == bsonval.TypeString:
			m.Target.DB = string(it.Value().Bytes())
		case name == "sharded" || name == "nonAtomic":
			return mongoerr.New(mongoerr.InvalidOptions, "out.%s is not supported", name)
		case !known || found:
			return mongoerr.New(mongoerr.BadValue, "'out' takes one of inline, replace, merge and reduce, and db")
		case way != database.OutInline && it.Value().Type() != bsonval.TypeString:
			return mongoerr.New(mongoerr.TypeMismatch, "out.%s must be the name of a collection", name)
		default:
			m.Out, found = way, true
			if way != database.OutInline {
				m.Target.Coll = string(it.Value().Bytes())
			}
		}
	}
	if !found {
		return mongoerr.New(mongoerr.BadValue, "'out' takes one of inline, replace, merge and reduce, and db")
	}
	return nil
}
