package database

import (
	"context"
	"log/slog"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/loadgen"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// benchDocs is the size of the collection that the benchmarks read.
const benchDocs = 20_000

// openBench opens a database on disk with the load generator's documents and an
// index on customer.
func openBench(b *testing.B) *DB { return openBenchWith(b, nil) }

func openBenchWith(b *testing.B, oplog *OplogConfig) *DB {
	b.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	d, err := Open(b.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler), Oplog: oplog})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Errorf("close: %v", err)
		}
	})
	var batch []bsonval.Doc
	for raw := range loadgen.Generate(1, benchDocs) {
		if batch = append(batch, bsonval.Doc(raw).Clone()); len(batch) == 1000 {
			insert(b, d, batch...)
			batch = batch[:0]
		}
	}
	addIndex(b, d, `{"customer": 1}`, `{}`)
	return d
}

// drainCursor reads a whole cursor batch by batch into the same buffer and
// returns the number of documents.
func drainCursor(b *testing.B, cur *Cursor, err error, buf []byte) (int, []byte) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	defer cur.Close()
	total := 0
	for {
		out, n, more, err := cur.AppendBatch(context.Background(), buf[:0], -1)
		if err != nil {
			b.Fatal(err)
		}
		buf, total = out, total+n
		if !more {
			return total, buf
		}
	}
}

// perDoc reports the time and the allocations for each document of the
// collection beside those for each operation.
func perDoc(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchDocs, "ns/doc")
}

func byID(id int64) bsonval.Doc { return bsonval.NewBuilder().Int64("_id", id).Build() }

func BenchmarkFindByID(b *testing.B) {
	d := openBench(b)
	b.ReportAllocs()
	b.ResetTimer()
	filter := byID(0)
	var buf []byte
	for i := range b.N {
		bsonval.AppendValue(filter[9:9], bsonval.Int64(int64(i)*7919%benchDocs))
		out, found, ok, err := d.FindByID(context.Background(), ns, filter, buf[:0])
		if err != nil || !found || !ok {
			b.Fatal(found, ok, err)
		}
		buf = out
	}
}

// benchWrites runs a benchmark of writes without an oplog and with one.
func benchWrites(b *testing.B, run func(*testing.B, *DB)) {
	b.Run("standalone", func(b *testing.B) { run(b, openBench(b)) })
	b.Run("oplog", func(b *testing.B) { run(b, openBenchWith(b, &OplogConfig{})) })
}

func BenchmarkInsert(b *testing.B) { benchWrites(b, benchmarkInsert) }

func benchmarkInsert(b *testing.B, d *DB) {
	g := loadgen.NewGenerator(2, 1<<40)
	b.ReportAllocs()
	b.ResetTimer()
	docs := make([]bsonval.Doc, 1)
	for i := range b.N {
		docs[0] = bsonval.Doc(g.Document(benchDocs + i))
		op := d.NewOp(context.Background())
		op.NoSync = true
		if res, err := d.Insert(context.Background(), op, ns, docs, true); err != nil || res.N != 1 {
			b.Fatal(res, err)
		}
	}
}

func BenchmarkUpdateByID(b *testing.B) { benchWrites(b, benchmarkUpdateByID) }

func benchmarkUpdateByID(b *testing.B, d *DB) {
	update := bsonval.Document(doc(b, `{"$inc": {"updates": 1}, "$set": {"note": "touched"}}`))
	b.ReportAllocs()
	b.ResetTimer()
	filter := byID(0)
	for i := range b.N {
		bsonval.AppendValue(filter[9:9], bsonval.Int64(int64(i)*7919%benchDocs))
		op := d.NewOp(context.Background())
		op.NoSync = true
		res, err := d.Update(context.Background(), op, ns, &UpdateStatement{Filter: filter, Update: update})
		if err != nil || res.Modified != 1 {
			b.Fatal(res, err)
		}
	}
}

func benchmarkFind(b *testing.B, q *FindQuery, want int) {
	d := openBench(b)
	b.ReportAllocs()
	b.ResetTimer()
	var buf []byte
	var n int
	for range b.N {
		cur, err := d.Find(context.Background(), d.NewOp(context.Background()), ns, q)
		if n, buf = drainCursor(b, cur, err, buf); n != want && want >= 0 {
			b.Fatalf("%d documents instead of %d", n, want)
		}
	}
}

func BenchmarkFindByIndex20(b *testing.B) {
	benchmarkFind(b, &FindQuery{Filter: doc(b, `{"customer": {"$numberLong": "7"}}`)}, 20)
}

func BenchmarkScanFilter(b *testing.B) {
	benchmarkFind(b, &FindQuery{Filter: doc(b, `{"score": {"$gte": 50.0, "$lt": 50.1}}`)}, -1)
	perDoc(b)
}

func BenchmarkScanFilterOne(b *testing.B) {
	benchmarkFind(b, &FindQuery{Filter: doc(b, `{"score": {"$gte": 99.99}}`)}, -1)
	perDoc(b)
}

func BenchmarkSortTop20(b *testing.B) {
	benchmarkFind(b, &FindQuery{Sort: doc(b, `{"score": -1}`), Limit: 20}, 20)
	perDoc(b)
}

func benchmarkAggregate(b *testing.B, stages string, want int) {
	d := openBench(b)
	q := &AggregateQuery{Pipeline: doc(b, `{"p": `+stages+`}`).Lookup("p").Doc()}
	b.ReportAllocs()
	b.ResetTimer()
	var buf []byte
	var n int
	for range b.N {
		cur, err := d.Aggregate(context.Background(), d.NewOp(context.Background()), ns, q)
		if n, buf = drainCursor(b, cur, err, buf); n != want {
			b.Fatalf("%d documents instead of %d", n, want)
		}
	}
	perDoc(b)
}

func BenchmarkGroup(b *testing.B) {
	benchmarkAggregate(b, `[{"$group": {"_id": "$region", "n": {"$sum": 1}}}]`, len(loadgen.Regions()))
}

func BenchmarkGroupSumField(b *testing.B) {
	benchmarkAggregate(b, `[{"$group": {"_id": "$region", "score": {"$sum": "$score"}}}]`, len(loadgen.Regions()))
}

// BenchmarkBareScan is what the engine's iterator alone costs, with the look at
// one field of each record that a program written for the purpose would take.
func BenchmarkBareScan(b *testing.B) {
	d := openBench(b)
	table := d.Catalog().Collection(ns.DB, ns.Coll).Table
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
		it, err := txn.Scan(context.Background(), table, storage.RecordRange{})
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for it.Next() {
			if s := bsonval.Doc(it.Doc()).Lookup("score").Double(); s >= 50 && s < 50.1 {
				n++
			}
		}
		if err := it.Close(); err != nil || n == 0 {
			b.Fatal(n, err)
		}
		txn.Rollback()
	}
	perDoc(b)
}
