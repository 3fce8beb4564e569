package database

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/loadgen"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// aggDocs is how many documents the aggregation benchmarks read:
// ARCHELON_BENCH_DOCS, or else 100 000, or few with -short.
func aggDocs(b *testing.B) int {
	if n, err := strconv.Atoi(os.Getenv("ARCHELON_BENCH_DOCS")); err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return 2000
	}
	return 100_000
}

// aggregations are what BenchmarkAggregate measures over the documents of
// loadgen.Generate. The collection regions has a document for each region.
var aggregations = []struct {
	name, stages string
	docs         int // that the first stages let through; 0 is all
}{
	{name: "group", stages: `[{"$group": {"_id": "$region", "n": {"$sum": 1}, "avg": {"$avg": "$score"}}}]`},
	{name: "multi-group", stages: `[{"$group": {"_id": {"region": "$region", "kind": "$kind", "status": "$status"}, "n": {"$sum": 1},
		"total": {"$sum": "$total"}, "max": {"$max": "$score"}}}, {"$group": {"_id": "$_id.region", "kinds": {"$push": "$$ROOT"}}}]`},
	{name: "unwind-group", stages: `[{"$unwind": "$items"}, {"$group": {"_id": "$items.sku", "sold": {"$sum": "$items.quantity"}}},
		{"$sort": {"sold": -1, "_id": 1}}, {"$limit": 10}]`},
	{docs: 2000, name: "lookup-by-index", stages: `[{"$match": {"kind": "user"}}, {"$limit": 2000},
		{"$lookup": {"from": "c", "localField": "customer", "foreignField": "customer", "as": "others"}},
		{"$project": {"n": {"$size": "$others"}}}, {"$group": {"_id": "$n", "count": {"$sum": 1}}}]`},
	{name: "lookup-unindexed", stages: `[{"$lookup": {"from": "regions", "localField": "region", "foreignField": "region", "as": "r"}},
		{"$group": {"_id": {"$first": "$r.code"}, "n": {"$sum": 1}}}]`},
	{name: "facet", stages: `[{"$facet": {"kinds": [{"$sortByCount": "$kind"}], "top": [{"$sort": {"score": -1}}, {"$limit": 5}],
		"buckets": [{"$bucket": {"groupBy": "$score", "boundaries": [0, 25, 50, 75, 101]}}]}}]`},
	{name: "window", stages: `[{"$match": {"kind": "order"}}, {"$setWindowFields": {"partitionBy": "$region", "sortBy": {"at": 1},
		"output": {"running": {"$sum": "$total", "window": {"documents": ["unbounded", "current"]}}}}},
		{"$group": {"_id": "$region", "last": {"$max": "$running"}}}]`},
	{name: "date-bucket", stages: `[{"$group": {"_id": {"$dateTrunc": {"date": "$at", "unit": "hour"}}, "n": {"$sum": 1},
		"ms": {"$avg": "$ms"}}}, {"$sort": {"_id": 1}}]`},
	{name: "regex-filter", stages: `[{"$match": {"message": {"$regex": "timed out.*session", "$options": "i"}}},
		{"$group": {"_id": "$host", "n": {"$sum": 1}}}]`},
	{name: "top-n", stages: `[{"$group": {"_id": "$region", "best": {"$topN": {"n": 3, "sortBy": {"score": -1}, "output": ["$_id", "$score"]}}}}]`},
	{name: "percentiles", stages: `[{"$group": {"_id": "$kind", "p": {"$percentile": {"input": "$score", "p": [0.5, 0.95, 0.99],
		"method": "approximate"}}}}]`},
	{docs: 200, name: "graph-lookup", stages: `[{"$match": {"_id": {"$lt": 200}}}, {"$graphLookup": {"from": "c", "startWith": "$customer",
		"connectFromField": "customer", "connectToField": "customer", "as": "net", "maxDepth": 1}},
		{"$group": {"_id": null, "n": {"$sum": {"$size": "$net"}}}}]`},
}

// BenchmarkAggregate reports documents that go through the stages for each
// second, and allocations for each.
func BenchmarkAggregate(b *testing.B) {
	n := aggDocs(b)
	d := openAgg(b, n)
	for _, a := range aggregations {
		b.Run(a.name, func(b *testing.B) {
			q := &AggregateQuery{Pipeline: doc(b, `{"p": `+a.stages+`}`).Lookup("p").Doc(), AllowDiskUse: true}
			var before, after runtime.MemStats
			var buf []byte
			runtime.ReadMemStats(&before)
			b.ResetTimer()
			for range b.N {
				cur, err := d.Aggregate(context.Background(), d.NewOp(context.Background()), ns, q)
				var found int
				if found, buf = drainCursor(b, cur, err, buf); found == 0 {
					b.Fatal("no documents")
				}
			}
			b.StopTimer()
			runtime.ReadMemStats(&after)
			docs := float64(b.N) * float64(n)
			if a.docs > 0 {
				docs = float64(b.N) * float64(a.docs)
			}
			b.ReportMetric(docs/b.Elapsed().Seconds(), "docs/s")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/docs, "allocs/doc")
		})
	}
}

func openAgg(b *testing.B, n int) *DB {
	b.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	d, err := Open(b.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Errorf("close: %v", err)
		}
	})
	op := d.NewOp(b.Context())
	op.NoSync = true
	var batch []bsonval.Doc
	put := func(ns Namespace, docs []bsonval.Doc) {
		if res, err := d.Insert(b.Context(), op, ns, docs, true); err != nil || len(res.Errors) > 0 {
			b.Fatal(err, res.Errors)
		}
	}
	for raw := range loadgen.Generate(1, n) {
		if batch = append(batch, bsonval.Doc(raw).Clone()); len(batch) == 1000 {
			put(ns, batch)
			batch = batch[:0]
		}
	}
	if len(batch) > 0 {
		put(ns, batch)
	}
	var regions []bsonval.Doc
	for i, name := range loadgen.Regions() {
		regions = append(regions, doc(b, fmt.Sprintf(`{"_id": %d, "region": %q, "code": %d}`, i, name, 100+i)))
	}
	put(Namespace{DB: ns.DB, Coll: "regions"}, regions)
	addIndex(b, d, `{"customer": 1}`, `{}`)
	return d
}
