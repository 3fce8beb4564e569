package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/archelon-db/archelon/internal/storage"
)

const (
	benchDoc   = 500 // bytes of a document
	benchEntry = 120 // bytes that a log entry has in addition
)

func benchKey(n int) []byte { return append(binary.BigEndian.AppendUint64(nil, uint64(n)), 4) }

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// benchStore is a store with n documents and an `_id` index.
func benchStore(b *testing.B, c Config, n int) *Store {
	s := open(b, c)
	ctx := context.Background()
	tx := s.Begin(storage.TxnOptions{})
	must(b, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true), tx.CreateTable(2)))
	rng := rand.New(rand.NewPCG(1, 2))
	doc := make([]byte, benchDoc)
	for i := range n {
		for j := range doc {
			doc[j] = "abcdefgh"[rng.IntN(8)]
		}
		id, err := tx.Insert(ctx, 1, doc)
		must(b, err)
		must(b, tx.PutEntry(ctx, 1, benchKey(i), id, nil))
		if i%1000 == 999 {
			_, err := tx.Commit(ctx)
			must(b, err)
			tx = s.Begin(storage.TxnOptions{})
		}
	}
	_, err := tx.Commit(ctx)
	must(b, err)
	return s
}

// spread runs b.N operations in a number of goroutines.
func spread(b *testing.B, goroutines int, op func(worker, i int) error) {
	b.ReportAllocs()
	before := cpuTime()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range goroutines {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := op(w, i); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

var benchGoroutines = []int{1, 16, 64}

func BenchmarkInsert(b *testing.B) {
	ctx := context.Background()
	doc := make([]byte, benchDoc)
	for _, g := range benchGoroutines {
		b.Run(fmt.Sprintf("store/%d", g), func(b *testing.B) {
			s := benchStore(b, Config{Dir: b.TempDir()}, 0)
			spread(b, g, func(_, i int) error { return insertOne(ctx, s, i, doc, nil) })
		})
		b.Run(fmt.Sprintf("log/%d", g), func(b *testing.B) {
			s := benchStore(b, Config{Dir: b.TempDir()}, 0)
			entry := make([]byte, benchDoc+benchEntry)
			spread(b, g, func(_, i int) error { return insertOne(ctx, s, i, doc, entry) })
		})
		b.Run(fmt.Sprintf("bare/%d", g), func(b *testing.B) {
			s := benchStore(b, Config{Dir: b.TempDir()}, 0)
			r := &idRange{kind: prefixIndex, id: 1, unique: true}
			spread(b, g, func(_, i int) error {
				batch := s.db.NewBatch()
				batch.Set(appendRecordKey(nil, 1, storage.RecordID(i+1)), doc, nil)
				batch.Set(appendIndexKey(nil, r, benchKey(i), 0), appendRID(nil, storage.RecordID(i+1)), nil)
				return batch.Commit(pebble.Sync)
			})
		})
	}
}

// insertOne inserts a document with its `_id` entry and, if there is one, an entry
// in the log.
func insertOne(ctx context.Context, s *Store, n int, doc, entry []byte) error {
	tx := s.Begin(storage.TxnOptions{})
	defer tx.Rollback()
	id, err := tx.Insert(ctx, 1, doc)
	if err != nil {
		return err
	}
	if err := tx.PutEntry(ctx, 1, benchKey(n), id, nil); err != nil {
		return err
	}
	if entry != nil {
		if err := tx.Append(ctx, 2, entry, storage.LogStamp{Time: 4, Wall: 12}); err != nil {
			return err
		}
	}
	_, err = tx.Commit(ctx)
	return err
}

func BenchmarkUpdateByID(b *testing.B) {
	const docs = 20000
	for _, mode := range []string{"durable", "memory"} {
		for _, g := range benchGoroutines {
			b.Run(fmt.Sprintf("%s/%d", mode, g), func(b *testing.B) {
				c := Config{Memory: true}
				if mode == "durable" {
					c = Config{Dir: b.TempDir()}
				}
				s := benchStore(b, c, docs)
				spread(b, g, func(_, i int) error { return updateByID(s, (i*7919)%docs, false) })
			})
		}
	}
}

// BenchmarkHotDocument updates one document from all goroutines.
func BenchmarkHotDocument(b *testing.B) {
	for _, g := range benchGoroutines {
		for _, lock := range []bool{false, true} {
			b.Run(fmt.Sprintf("lock=%v/%d", lock, g), func(b *testing.B) {
				s := benchStore(b, Config{Dir: b.TempDir()}, 1)
				spread(b, g, func(int, int) error { return updateByID(s, 0, lock) })
				b.ReportMetric(float64(s.Stats().Conflicts)/float64(b.N), "conflicts/op")
			})
		}
	}
}

func updateByID(s *Store, n int, lock bool) error {
	ctx := context.Background()
	for {
		tx := s.Begin(storage.TxnOptions{ConflictWait: 100 * time.Millisecond})
		err := func() error {
			id, err := tx.LookupUnique(ctx, 1, benchKey(n))
			if err != nil {
				return err
			}
			if lock {
				if err := tx.Lock(ctx, 1, id); err != nil {
					return err
				}
			}
			doc, err := tx.Get(ctx, 1, id)
			if err != nil {
				return err
			}
			if err := tx.Update(ctx, 1, id, doc); err != nil {
				return err
			}
			_, err = tx.Commit(ctx)
			return err
		}()
		tx.Rollback()
		if err != storage.ErrWriteConflict {
			return err
		}
	}
}

func BenchmarkGetByID(b *testing.B) {
	const docs = 50000
	s := benchStore(b, Config{Memory: true}, docs)
	must(b, s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false))
	ctx := context.Background()
	for _, g := range benchGoroutines {
		b.Run(fmt.Sprintf("store/%d", g), func(b *testing.B) {
			spread(b, g, func(_, i int) error {
				tx := s.Begin(storage.TxnOptions{ReadOnly: true})
				defer tx.Rollback()
				id, err := tx.LookupUnique(ctx, 1, benchKey((i*7919)%docs))
				if err != nil {
					return err
				}
				_, err = tx.Get(ctx, 1, id)
				return err
			})
		})
		b.Run(fmt.Sprintf("bare/%d", g), func(b *testing.B) {
			r := &idRange{kind: prefixIndex, id: 1, unique: true}
			spread(b, g, func(_, i int) error {
				v, c, err := s.db.Get(appendIndexKey(nil, r, benchKey((i*7919)%docs), 0))
				if err != nil {
					return err
				}
				id := ridOf(v)
				c.Close()
				if _, c, err = s.db.Get(appendRecordKey(nil, 1, id)); err == nil {
					c.Close()
				}
				return err
			})
		})
	}
}

// BenchmarkScan reports the time per document.
func BenchmarkScan(b *testing.B) {
	const docs = 50000
	s := benchStore(b, Config{Memory: true}, docs)
	must(b, s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false))
	ctx := context.Background()
	run := func(name string, dirty bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; n < b.N; {
				tx := s.Begin(storage.TxnOptions{})
				if dirty {
					_, err := tx.Insert(ctx, 1, []byte("own"))
					must(b, err)
				}
				it, err := tx.Scan(ctx, 1, storage.RecordRange{})
				must(b, err)
				sum := 0
				for it.Next() && n < b.N {
					sum += len(it.Doc()) + int(it.ID())
					n++
				}
				must(b, it.Close())
				tx.Rollback()
			}
		})
	}
	run("store", false)
	run("own", true)
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; n < b.N; {
			snap := s.db.NewSnapshot()
			it, err := snap.NewIter(&pebble.IterOptions{LowerBound: appendIDPrefix(nil, prefixTable, 1), UpperBound: appendIDEnd(nil, prefixTable, 1)})
			must(b, err)
			sum := 0
			for ok := it.First(); ok && n < b.N; ok = it.Next() {
				v, err := it.ValueAndErr()
				if err != nil {
					b.Fatal(err)
				}
				sum += len(v) + int(ridOf(it.Key()[idPrefixLen:]))
				n++
			}
			must(b, errors.Join(it.Close(), snap.Close()))
		}
	})
	b.Run("index+fetch", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; n < b.N; {
			tx := s.Begin(storage.TxnOptions{ReadOnly: true})
			it, err := tx.ScanIndex(ctx, 1, storage.IndexRange{Fetch: 1})
			must(b, err)
			sum := 0
			for it.Next() && n < b.N {
				sum += len(it.Doc())
				n++
			}
			must(b, it.Close())
			tx.Rollback()
		}
	})
}
