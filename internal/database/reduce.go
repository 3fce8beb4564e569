package database

import (
	"fmt"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// reduce lets the engine leave out records of collection scans and of index scans that
// fetch, if it is one that does. A capped collection's scan must see every record that
// it passes: its position is the last one.
func (d *DB) reduce(coll *catalog.Collection, plans []*plan.Plan) {
	engine, ok := d.engine.(storage.Reducer)
	if !ok || coll.Capped != nil {
		return
	}
	push := func(clauses [][][]byte) [][][]byte { return engine.Reduces(clauses) }
	for _, p := range plans {
		switch {
		case p.Union != nil:
			d.reduce(coll, p.Union)
		case p.Index == nil && !p.Nothing && p.Filter != nil, p.Fetches():
			p.Push = push
		}
	}
}

// appendContains tells what the engine leaves out records by.
func appendContains(b *bsonval.Builder, p *plan.Plan) {
	clauses := p.Contains()
	if clauses == nil {
		return
	}
	b.StartDoc("pushdown").StartArray("contains")
	for _, clause := range clauses {
		any := bsonval.NewArrayBuilder()
		for _, s := range clause {
			quoted := fmt.Sprintf("%+q", s)
			any.Add(bsonval.String(quoted[1 : len(quoted)-1]))
		}
		b.Add(bsonval.Array(any.Build()))
	}
	b.End().End()
}
