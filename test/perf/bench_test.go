package perf

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/archelon-db/archelon"
)

// benchDocs is the size of the collection that the benchmarks work on.
const benchDocs = 20_000

// benchmark runs an operation over the wire within the process, for profiles:
//
//	go test ./test/perf -run '^$' -bench FindByID -benchmem -cpuprofile cpu.out
func benchmark(b *testing.B, op func(c *client) (int, error)) {
	dir := b.TempDir()
	addr, stop := serve(b, dir)
	load(b, addr, "docs", benchDocs)
	createIndex(b, addr, "docs", "customer")
	stop()
	// Opened anew, so that the documents are read from tables on disk.
	addr, stop = serve(b, dir)
	b.Cleanup(stop)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := dial(b, addr)
		for pb.Next() {
			if _, err := op(c); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// serve opens a database within the process.
func serve(b *testing.B, dir string) (addr string, stop func()) {
	b.Helper()
	db, err := archelon.Open(archelon.Config{Listen: []string{"127.0.0.1:0"}, Data: dir})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- db.Serve(context.Background()) }()
	return strings.Trim(strings.TrimPrefix(db.URI(), "mongodb://"), "/"), func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
		<-done
	}
}

func BenchmarkFindByID(b *testing.B)   { benchmark(b, findID("docs", benchDocs)) }
func BenchmarkFind20(b *testing.B)     { benchmark(b, find20("docs", benchDocs)) }
func BenchmarkUpdateByID(b *testing.B) { benchmark(b, updateOne(benchDocs)) }

func BenchmarkInsert(b *testing.B) {
	var next atomic.Int64
	next.Store(benchDocs)
	benchmark(b, insertOne(&next, false))
}

func BenchmarkRetryableInsert(b *testing.B) {
	var next atomic.Int64
	next.Store(benchDocs)
	benchmark(b, insertOne(&next, true))
}
