package database

import (
	"cmp"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

// planCacheStats lists the remembered plans of a collection, the oldest first
// (https://www.mongodb.com/docs/manual/reference/operator/aggregation/planCacheStats/).
func (d *DB) planCacheStats(ns Namespace) ([]bsonval.Doc, error) {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	if coll == nil {
		return nil, mongoerr.New(50933, "collection '%s' does not exist", ns)
	}
	type entry struct {
		shape string
		plan  cachedPlan
	}
	var entries []entry
	d.plans.mu.Lock()
	for k, p := range d.plans.entries {
		if k.coll.UUID == coll.UUID {
			entries = append(entries, entry{k.shape, p})
		}
	}
	d.plans.mu.Unlock()
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(a.plan.created.Compare(b.plan.created), cmp.Compare(a.shape, b.shape))
	})
	docs := make([]bsonval.Doc, len(entries))
	for i, e := range entries {
		docs[i] = e.plan.describe(e.shape, ns)
	}
	return docs, nil
}

func (p *cachedPlan) describe(shape string, ns Namespace) bsonval.Doc {
	b := bsonval.NewBuilder().Str("version", "1").Str("queryHash", hashOf(shape)).
		Str("planCacheShapeHash", hashOf(shape)).Str("planCacheKey", hashOf(shape+ns.String())).
		Bool("isActive", true).Int64("works", p.works).Str("worksType", "works").Date("timeOfCreation", p.created.UnixMilli())
	b.StartDoc("createdFromQuery").Doc("query", p.query).Doc("sort", p.sort).Doc("projection", bsonval.EmptyDoc).End()
	b.StartDoc("cachedPlan")
	tree := accessTree(p.trials[0].Plan, p.trials[0].Stats, nil)
	tree.appendTo(b, false)
	b.End().StartArray("creationExecStats")
	for _, t := range p.trials {
		b.StartDoc("").Int32("nReturned", int32(t.Stats.Returned)).Int32("executionTimeMillisEstimate", 0)
		b.Int32("totalKeysExamined", int32(t.Stats.KeysExamined)).Int32("totalDocsExamined", int32(t.Stats.DocsExamined))
		b.StartDoc("executionStages")
		tree := accessTree(t.Plan, t.Stats, nil)
		tree.appendTo(b, true)
		b.End().End()
	}
	b.End().StartArray("candidatePlanScores")
	for _, t := range p.trials {
		b.Add(bsonval.Double(t.Score))
	}
	b.End().Bool("indexFilterSet", p.filtered)
	size := int64(len(shape) + len(p.query) + len(p.sort) + 512*len(p.trials))
	return b.Int64("estimatedSizeBytes", size).Str("host", hostname()).Build()
}

// sortDoc is a sort pattern as a document; empty for none.
func sortDoc(p *sortkey.Pattern) bsonval.Doc {
	b := bsonval.NewBuilder()
	if p == nil {
		return b.Build()
	}
	for _, part := range p.Parts() {
		switch {
		case part.Meta != "":
			b.StartDoc(part.Path).Str("$meta", part.Meta).End()
		case part.Desc:
			b.Int32(part.Path, -1)
		default:
			b.Int32(part.Path, 1)
		}
	}
	return b.Build()
}
