package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
)

// planCacheCommands are the commands on the plan cache and the index filters of a collection. They take what they do not
// know, as MongoDB's do.
func planCacheCommands() []*Command {
	return []*Command{
		{Name: "planCacheClear", Help: "Forgets the plans of a collection.", First: FirstCollection, SecondaryOK: true, Loose: true,
			Fields: planCacheFields, Run: runPlanCacheClear},
		{Name: "planCacheClearFilters", Help: "Removes index filters.", First: FirstCollection, SecondaryOK: true, Loose: true,
			Fields: planCacheFields, Run: runPlanCacheClearFilters},
		{Name: "planCacheListFilters", Help: "Lists index filters.", First: FirstCollection, SecondaryOK: true, Loose: true,
			Run: runPlanCacheListFilters},
		{Name: "planCacheSetFilter", Help: "Limits a query shape to some indexes.", First: FirstCollection, SecondaryOK: true, Loose: true,
			Fields: append([]Field{{Name: "indexes", Kind: Any}}, planCacheFields...), Run: runPlanCacheSetFilter},
	}
}

var planCacheFields = []Field{
	{Name: "query", Kind: Any}, {Name: "sort", Kind: Any}, {Name: "projection", Kind: Any}, {Name: "collation", Kind: Any},
}

// shapeArguments reads the query that stands for a shape.
func (c *Call) shapeArguments() (*database.FindQuery, error) {
	q := &database.FindQuery{}
	for _, f := range []struct {
		name, need string
		to         *bsonval.Doc
	}{{"query", "required", &q.Filter}, {"sort", "optional", &q.Sort}, {"projection", "optional", &q.Projection}} {
		v := c.Arg(f.name)
		switch {
		case v.IsMissing() && f.need == "optional":
		case v.IsMissing():
			return nil, mongoerr.New(mongoerr.BadValue, "required field query missing")
		case v.Type() != bsonval.TypeDocument && v.Type() != bsonval.TypeArray:
			return nil, mongoerr.New(mongoerr.BadValue, "%s field %s must be an object", f.need, f.name)
		default:
			*f.to = v.Doc()
		}
	}
	v := c.Arg("collation")
	if v.IsMissing() {
		return q, nil
	}
	if v.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.BadValue, "optional field collation must be an object")
	}
	if v.Doc().IsEmpty() {
		return nil, mongoerr.New(mongoerr.BadValue, "optional field collation cannot be empty")
	}
	var err error
	q.Collation, err = collation.Parse(v.Doc())
	return q, err
}

// optionalShape is shapeArguments for commands that may be about a whole collection: nil says that one is.
func (c *Call) optionalShape() (*database.FindQuery, error) {
	if c.Database().Catalog().Collection(c.DB, c.Coll) == nil {
		return nil, nil // and nothing is wrong with the arguments
	}
	if c.Has("query") {
		return c.shapeArguments()
	}
	for _, name := range []string{"sort", "projection", "collation"} {
		if c.Has(name) {
			return nil, mongoerr.New(mongoerr.BadValue, "sort, projection or collation provided without query")
		}
	}
	return nil, nil
}

func runPlanCacheClear(ctx context.Context, c *Call) error {
	if err := c.refuseView(); err != nil {
		return err
	}
	q, err := c.optionalShape()
	if err != nil {
		return err
	}
	return c.Database().PlanCacheClear(c.Op(ctx), c.Namespace(), q)
}

func runPlanCacheClearFilters(ctx context.Context, c *Call) error {
	if err := c.refuseView(); err != nil {
		return err
	}
	q, err := c.optionalShape()
	if err != nil {
		return err
	}
	return c.Database().ClearIndexFilters(c.Op(ctx), c.Namespace(), q)
}

func runPlanCacheSetFilter(ctx context.Context, c *Call) error {
	if err := c.refuseView(); err != nil {
		return err
	}
	set, err := filterIndexes(c.Arg("indexes"))
	if err != nil {
		return err
	}
	q, err := c.shapeArguments()
	if err != nil {
		return err
	}
	return c.Database().SetIndexFilter(c.Op(ctx), c.Namespace(), q, set)
}

// filterIndexes reads the names and key patterns of an index filter.
func filterIndexes(v bsonval.Value) (*plan.IndexSet, error) {
	switch {
	case v.IsMissing():
		return nil, mongoerr.New(mongoerr.BadValue, "required field indexes missing")
	case v.Type() != bsonval.TypeArray:
		return nil, mongoerr.New(mongoerr.BadValue, "required field indexes must be an array")
	case v.Doc().IsEmpty():
		return nil, mongoerr.New(mongoerr.BadValue, "required field indexes must contain at least one index")
	}
	set := &plan.IndexSet{}
	it := v.Doc().Iter()
	for it.Next() {
		switch x := it.Value(); {
		case x.Type() == bsonval.TypeString:
			set.Names = append(set.Names, x.Str())
		case x.Type() != bsonval.TypeDocument:
			return nil, mongoerr.New(mongoerr.BadValue, "each item in indexes must be an object or string")
		case x.Doc().IsEmpty():
			return nil, mongoerr.New(mongoerr.BadValue, "index specification cannot be empty")
		default:
			set.Keys = append(set.Keys, x.Doc())
		}
	}
	return set, nil
}

func runPlanCacheListFilters(_ context.Context, c *Call) error {
	if err := c.refuseView(); err != nil {
		return err
	}
	b := bsonval.NewBuilder().StartArray("filters")
	for _, f := range c.Database().IndexFilters(c.Namespace()) {
		b.StartDoc("").Doc("query", f.Query).Doc("sort", f.Sort).Doc("projection", f.Projection)
		if f.Collation != nil {
			b.Doc("collation", f.Collation)
		}
		b.StartArray("indexes")
		for _, key := range f.Indexes.Keys {
			b.Add(bsonval.Document(key))
		}
		for _, name := range f.Indexes.Names {
			b.Add(bsonval.String(name))
		}
		b.End().End()
	}
	c.Reply.AppendDoc(b.End().Build())
	return nil
}
