package perf

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/internal/bsonval"
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

// BenchmarkEvents inserts, at the pace of measureDelay, while one stream follows.
func BenchmarkEvents(b *testing.B) {
	addr, stop := serve(b, b.TempDir())
	b.Cleanup(stop)
	load(b, addr, "docs", 1)
	reader := dial(b, addr)
	cursor, err := reader.watch("docs")
	if err != nil {
		b.Fatal(err)
	}
	const writers = 16
	var (
		wg   sync.WaitGroup
		sent atomic.Int64
		errs [writers]error
	)
	begin := time.Now()
	for w := range writers {
		c := dial(b, addr)
		wg.Go(func() { errs[w] = insertPaced(c, w, writers, begin, time.Duration(b.N)*time.Second/eventRate, &sent) })
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	batches := 0
	for n := 0; ; batches++ {
		select {
		case <-done:
			if n >= int(sent.Load()) {
				b.ReportMetric(float64(n)/float64(batches), "events/batch")
				if err := errors.Join(errs[:]...); err != nil {
					b.Error(err)
				}
				return
			}
		default:
		}
		batch, err := reader.more(cursor, "docs")
		if err != nil {
			b.Fatal(err)
		}
		n += batch.Len()
	}
}

// BenchmarkIdleAwait asks streams of a quiet collection for more, and they wait for a millisecond.
func BenchmarkIdleAwait(b *testing.B) {
	addr, stop := serve(b, b.TempDir())
	b.Cleanup(stop)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := dial(b, addr)
		cursor, err := c.watch("quiet")
		for err == nil && pb.Next() {
			c.begin()
			c.field("getMore", bsonval.Int64(cursor))
			c.field("collection", bsonval.String("quiet"))
			c.field("maxTimeMS", bsonval.Int32(1))
			c.end("")
			_, err = c.call()
		}
		if err != nil {
			b.Error(err)
		}
	})
}
