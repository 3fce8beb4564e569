package database

import (
	"sync"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
)

// indexFilters hold, by collection and query shape, which indexes the planner may
// use. They live as long as the process, as in MongoDB.
type indexFilters struct {
	any    atomic.Bool // whether there are any
	mu     sync.RWMutex
	byColl map[catalog.UUID][]*IndexFilter // guarded by mu
}

// IndexFilter is the filter of one query shape, with the query it was set by.
type IndexFilter struct {
	shape                   string
	Query, Sort, Projection bsonval.Doc
	Collation               bsonval.Doc // nil for none
	Indexes                 *plan.IndexSet
}

// of returns the filter for a query, nil if there is none.
func (f *indexFilters) of(coll *catalog.Collection, q *plan.Query) *IndexFilter {
	if !f.any.Load() {
		return nil
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	list := f.byColl[coll.UUID]
	if len(list) == 0 {
		return nil
	}
	shape := filterKey(q)
	for _, x := range list {
		if x.shape == shape {
			return x
		}
	}
	return nil
}

// filterKey is a query's shape as index filters see it: without what a count or
// a distinct wants of the documents.
func filterKey(q *plan.Query) string {
	plain := *q
	if plain.Distinct != "" || len(plain.Need) == 0 {
		plain.Need, plain.Distinct = nil, ""
	}
	return shapeOf(&plain)
}

// candidates are the plans for a query within what filters allow.
func (d *DB) candidates(coll *catalog.Collection, q *plan.Query) ([]*plan.Plan, error) {
	if q.Allowed == nil {
		if f := d.filters.of(coll, q); f != nil {
			limited := *q
			limited.Allowed = f.Indexes
			q = &limited
		}
	}
	plans, err := plan.Candidates(coll, q)
	if err == nil {
		d.reduce(coll, plans)
	}
	return plans, err
}

// planCacheTarget finds the collection of a plan cache command, nil if there is
// none, and says what is asked about it.
func (d *DB) planCacheTarget(op *Op, ns Namespace, q *FindQuery) (*catalog.Collection, *plan.Query, error) {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	if coll == nil || q == nil {
		return coll, nil, nil
	}
	f, err := op.compileFind(coll, q)
	if err != nil {
		return nil, nil, err
	}
	return coll, f.query(), nil
}

// SetIndexFilter limits the queries of a shape to some indexes. It replaces the
// shape's present filter.
func (d *DB) SetIndexFilter(op *Op, ns Namespace, q *FindQuery, indexes *plan.IndexSet) error {
	coll, asked, err := d.planCacheTarget(op, ns, q)
	if err != nil {
		return err
	}
	if coll == nil {
		return mongoerr.New(mongoerr.BadValue, "no such collection")
	}
	x := &IndexFilter{shape: filterKey(asked), Query: filterOf(q.Filter), Sort: filterOf(q.Sort),
		Projection: filterOf(q.Projection), Indexes: indexes}
	if q.Collation != nil {
		x.Collation = q.Collation.Doc()
	}
	f := &d.filters
	f.mu.Lock()
	if f.byColl == nil {
		f.byColl = map[catalog.UUID][]*IndexFilter{}
	}
	f.forgetDropped(d.catalog.Snapshot())
	f.byColl[coll.UUID] = append(f.without(coll.UUID, x.shape), x)
	f.any.Store(true)
	f.mu.Unlock()
	d.plans.forget(coll)
	return nil
}

// without lists a collection's filters but for one shape's. The caller holds mu.
func (f *indexFilters) without(coll catalog.UUID, shape string) []*IndexFilter {
	var rest []*IndexFilter
	for _, x := range f.byColl[coll] {
		if x.shape != shape {
			rest = append(rest, x)
		}
	}
	return rest
}

// forgetDropped removes the filters of collections that are gone. The caller
// holds mu.
func (f *indexFilters) forgetDropped(snap *catalog.Snapshot) {
	alive := map[catalog.UUID]bool{}
	for _, db := range snap.Databases() {
		for _, coll := range snap.Collections(db) {
			alive[coll.UUID] = true
		}
	}
	for id := range f.byColl {
		if !alive[id] {
			delete(f.byColl, id)
		}
	}
}

// ClearIndexFilters removes the filter of a query's shape, or all of a
// collection if q is nil.
func (d *DB) ClearIndexFilters(op *Op, ns Namespace, q *FindQuery) error {
	coll, asked, err := d.planCacheTarget(op, ns, q)
	if coll == nil || err != nil {
		return err
	}
	f := &d.filters
	f.mu.Lock()
	var rest []*IndexFilter
	if asked != nil {
		rest = f.without(coll.UUID, filterKey(asked))
	}
	if len(rest) > 0 {
		f.byColl[coll.UUID] = rest
	} else {
		delete(f.byColl, coll.UUID)
	}
	f.any.Store(len(f.byColl) > 0)
	f.mu.Unlock()
	d.plans.forget(coll)
	return nil
}

// IndexFilters lists the filters of a collection.
func (d *DB) IndexFilters(ns Namespace) []*IndexFilter {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	if coll == nil {
		return nil
	}
	d.filters.mu.RLock()
	defer d.filters.mu.RUnlock()
	return d.filters.byColl[coll.UUID]
}

// PlanCacheClear forgets the plans remembered for a query's shape, or all of a
// collection if q is nil.
func (d *DB) PlanCacheClear(op *Op, ns Namespace, q *FindQuery) error {
	coll, asked, err := d.planCacheTarget(op, ns, q)
	switch {
	case coll == nil || err != nil:
	case asked == nil:
		d.plans.forget(coll)
	default:
		d.plans.remove(planKey{coll, shapeOf(asked)})
	}
	return err
}
