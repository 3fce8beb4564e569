package gateway

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// checkForeign refuses pipelines that name a collection of another upstream, which would silently be taken for an empty
// one.
func (t *table) checkForeign(c *call, to *upstream) error {
	if c.pipeline == nil {
		return nil
	}
	return t.checkStages(c, c.pipeline, to)
}

func (t *table) checkStages(c *call, pipeline bsonval.Doc, to *upstream) error {
	for it := pipeline.Iter(); it.Next(); {
		if it.Value().Type() != bsonval.TypeDocument {
			continue
		}
		name, v, ok := it.Value().Doc().First()
		if !ok {
			continue
		}
		if err := t.checkStage(c, name, v, to); err != nil {
			return err
		}
	}
	return nil
}

// foreignFields are the fields of stages that name another collection.
var foreignFields = map[string]string{
	"$lookup": "from", "$graphLookup": "from", "$unionWith": "coll", "$merge": "into", "$out": "coll",
}

func (t *table) checkStage(c *call, name string, v bsonval.Value, to *upstream) error {
	field := foreignFields[name]
	if field != "" && v.Type() == bsonval.TypeString {
		return t.checkNamespace(c, name, c.database, v.Str(), to)
	}
	if v.Type() != bsonval.TypeDocument {
		return nil
	}
	spec := v.Doc()
	if name == "$facet" {
		for it := spec.Iter(); it.Next(); {
			if it.Value().Type() == bsonval.TypeArray {
				if err := t.checkStages(c, it.Value().Doc(), to); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if field == "" {
		return nil
	}
	other := spec.Lookup(field)
	db := c.database
	if other.Type() == bsonval.TypeDocument { // $merge: {into: {db, coll}}, $lookup: {from: {db, coll}}
		spec, other = other.Doc(), other.Doc().Lookup("coll")
	}
	if d := spec.Lookup("db"); d.Type() == bsonval.TypeString {
		db = d.Str()
	}
	if other.Type() == bsonval.TypeString {
		if err := t.checkNamespace(c, name, db, other.Str(), to); err != nil {
			return err
		}
	}
	if inner := v.Doc().Lookup("pipeline"); inner.Type() == bsonval.TypeArray {
		return t.checkStages(c, inner.Doc(), to)
	}
	return nil
}

func (t *table) checkNamespace(c *call, stage, db, collection string, to *upstream) error {
	if r := t.find(db, collection, c.name); r == nil || r.to == to {
		return nil
	}
	return mongoerr.New(mongoerr.NotImplemented, "%s on %s.%s cannot be combined with %s.%s: the gateway has them on different upstreams",
		stage, db, collection, c.database, c.collection)
}

// bulkWrite goes to the upstream of its namespaces, which has to be the same for all.
func (g *Gateway) bulkWrite(ctx context.Context, c *call, reply *server.Reply) error {
	t := g.table.Load()
	var first *upstream
	place := func(ns bsonval.Value) error {
		if ns.Type() != bsonval.TypeString {
			return nil // for the upstream to refuse
		}
		db, collection, _ := strings.Cut(ns.Str(), ".")
		r := t.find(db, collection, c.name)
		switch {
		case r == nil:
			return noRoute(c)
		case first == nil:
			first, c.database, c.collection = r.to, db, collection
		case r.to != first:
			return mongoerr.New(mongoerr.NotImplemented, "bulkWrite on %s and %s.%s: the gateway has them on different upstreams",
				ns.Str(), c.database, c.collection)
		}
		return nil
	}
	if v := c.req.Body.Lookup("nsInfo"); v.Type() == bsonval.TypeArray {
		for it := v.Doc().Iter(); it.Next(); {
			if it.Value().Type() == bsonval.TypeDocument {
				if err := place(it.Value().Doc().Lookup("ns")); err != nil {
					return err
				}
			}
		}
	}
	if s, ok := c.req.Sequence("nsInfo"); ok {
		for d := range s.Documents() {
			if err := place(bsonval.Doc(d).Lookup("ns")); err != nil {
				return err
			}
		}
	}
	return g.forward(ctx, c, reply)
}

// renameCollection stays within an upstream.
func (g *Gateway) renameCollection(ctx context.Context, c *call, reply *server.Reply) error {
	t := g.table.Load()
	if to := c.req.Body.Lookup("to"); to.Type() == bsonval.TypeString {
		db, collection, _ := strings.Cut(to.Str(), ".")
		from, there := t.find(c.database, c.collection, c.name), t.find(db, collection, c.name)
		if from != nil && there != nil && from.to != there.to {
			return mongoerr.New(mongoerr.NotImplemented, "%s.%s cannot be renamed to %s: the gateway has them on different upstreams",
				c.database, c.collection, to.Str())
		}
	}
	return g.forward(ctx, c, reply)
}
