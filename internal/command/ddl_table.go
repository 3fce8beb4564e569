package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// ddlCommands are the commands that define collections and indexes and report on them.
func ddlCommands() []*Command {
	families := [][]*Command{
		createCommands(), dropCommands(), listingCommands(), indexCommands(), statsCommands(), validateCommands(), cappedCommands(),
	}
	var rows []*Command
	for _, f := range families {
		rows = append(rows, f...)
	}
	return rows
}

// options is a document of the arguments the client gave.
func (c *Call) options() bsonval.Doc {
	b := bsonval.NewBuilder()
	for i := range c.args {
		b.Value(c.args[i].field.Name, c.args[i].v)
	}
	return b.Build()
}

// appendFields appends the fields of a document to the reply.
func (c *Call) appendFields(d bsonval.Doc) {
	c.Reply.Buf = append(c.Reply.Buf, d[4:len(d)-1]...)
}

// selectDocs returns the documents that match a filter given by the client.
func (c *Call) selectDocs(ctx context.Context, filter bsonval.Doc, docs []bsonval.Doc) ([]bsonval.Doc, error) {
	if filter.IsEmpty() {
		return docs, nil
	}
	compiler := expr.NewCompiler(c.Database().NewOp(ctx).Env)
	m, err := match.Compile(filter, match.Options{
		Compiler: compiler, Ban: match.FeatureWhere | match.FeatureText | match.FeatureNear,
	})
	if err != nil {
		return nil, err
	}
	ec := compiler.NewContext()
	var found []bsonval.Doc
	for _, d := range docs {
		ok, err := m.Match(ec, d)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, d)
		}
	}
	return found, nil
}

var cursorOptions = []Field{{Name: "batchSize", Kind: Int, NonNegative: true}}

// listReply answers with a cursor on documents; ns is the name of the collection in the cursor.
func (c *Call) listReply(ctx context.Context, coll string, docs []bsonval.Doc) error {
	size := int64(-1)
	if v := c.Arg("cursor"); !v.IsMissing() {
		var vals [1]bsonval.Value
		if err := ParseFields(c.Cmd.Name+".cursor", v.Doc(), cursorOptions, vals[:]); err != nil {
			return err
		}
		if !vals[0].IsMissing() {
			size = vals[0].TruncInt64()
		}
	}
	ns := database.Namespace{DB: c.DB, Coll: coll}
	cur := c.Database().NewListCursor(c.Op(ctx), ns, docs)
	return c.FirstBatch(ctx, cur, ns.String(), size, false)
}

// fullNamespace reads "db.collection".
func fullNamespace(s string) (database.Namespace, error) {
	for i := range len(s) {
		if s[i] != '.' {
			continue
		}
		ns := database.Namespace{DB: s[:i], Coll: s[i+1:]}
		if err := CheckCollectionName(ns.DB, ns.Coll); err != nil {
			return ns, err
		}
		return ns, nil
	}
	return database.Namespace{}, mongoerr.New(mongoerr.InvalidNamespace, "Invalid namespace specified '%s'", s)
}
