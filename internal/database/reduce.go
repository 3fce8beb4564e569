package database

import (
	"fmt"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// reduce lets the engine leave out records of collection scans, if it is one that
// does. A capped collection's scan must see every record that it passes: its position
// is the last one.
func (d *DB) reduce(coll *catalog.Collection, plans []*plan.Plan) {
	engine, ok := d.engine.(storage.Reducer)
	if !ok || coll.Capped != nil {
		return
	}
	for _, p := range plans {
		if p.Index == nil && p.Union == nil && !p.Nothing && p.Filter != nil {
			p.Contains = engine.Reduces(p.Filter.Necessary())
		}
	}
}

// appendContains tells what the engine leaves out records by.
func appendContains(b *bsonval.Builder, p *plan.Plan) {
	if p.Contains == nil {
		return
	}
	b.StartDoc("pushdown").StartArray("contains")
	for _, clause := range p.Contains {
		any := bsonval.NewArrayBuilder()
		for _, s := range clause {
			quoted := fmt.Sprintf("%+q", s)
			any.Add(bsonval.String(quoted[1 : len(quoted)-1]))
		}
		b.Add(bsonval.Array(any.Build()))
	}
	b.End().End()
}
