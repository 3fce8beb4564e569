package pgstore

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

	"github.com/jackc/pgx/v5"

	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/test/pgharness"
)

const benchDoc = 500 // bytes of a document

func benchKey(n int) []byte { return append(binary.BigEndian.AppendUint64(nil, uint64(n)), 4) }

func must(b testing.TB, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// durableServer waits for the disk, as servers do.
var (
	durable       sync.Once
	durableServer *pgharness.Server
)

// benchStore is a store with n documents and an `_id` index.
func benchStore(b *testing.B, n int) (*Store, string) {
	if server == nil {
		b.Skip(pgharness.ErrNotInstalled)
	}
	durable.Do(func() {
		var err error
		durableServer, err = pgharness.Start(map[string]string{"max_connections": "300"})
		must(b, err)
	})
	url := fmt.Sprintf("%s&schema=b%d", durableServer.SocketURL(), schemas.Add(1))
	s := open(b, url)
	ctx := context.Background()
	tx := s.Begin(storage.TxnOptions{})
	must(b, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true)))
	rng := rand.New(rand.NewPCG(1, 2))
	doc := make([]byte, benchDoc)
	for i := range n {
		for j := range doc {
			doc[j] = "abcdefgh"[rng.IntN(8)]
		}
		id, err := tx.Insert(ctx, 1, doc)
		must(b, err)
		must(b, tx.PutEntry(ctx, 1, benchKey(i), id, nil))
	}
	_, err := tx.Commit(ctx)
	must(b, err)
	return s, url
}

// spread runs b.N operations in a number of goroutines.
func spread(b *testing.B, goroutines int, op func(worker, i int) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range goroutines {
		wg.Go(func() {
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
		})
	}
	wg.Wait()
	b.StopTimer()
}

var benchGoroutines = []int{1, 16}

// byHand are connections that do the same statements without the engine.
func byHand(b *testing.B, url string, n int) []*pgx.Conn {
	b.Helper()
	st, err := Config{URL: url}.parse()
	must(b, err)
	var out []*pgx.Conn
	for range n {
		c, err := pgx.Connect(context.Background(), fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable search_path=%s",
			st.work.Host, st.work.Port, st.work.User, st.work.Database, st.schema))
		must(b, err)
		b.Cleanup(func() { c.Close(context.Background()) })
		out = append(out, c)
	}
	return out
}

func BenchmarkGetByID(b *testing.B) {
	const docs = 5000
	s, url := benchStore(b, docs)
	ctx := context.Background()
	for _, g := range benchGoroutines {
		b.Run(fmt.Sprintf("store/%d", g), func(b *testing.B) {
			spread(b, g, func(_, i int) error {
				tx := s.Begin(storage.TxnOptions{ReadOnly: true, Single: true})
				defer tx.Rollback()
				id, err := tx.LookupUnique(ctx, 1, benchKey((i*7919)%docs))
				if err != nil {
					return err
				}
				_, err = tx.Get(ctx, 1, id)
				return err
			})
		})
		b.Run(fmt.Sprintf("pgx/%d", g), func(b *testing.B) {
			conns := byHand(b, url, g)
			spread(b, g, func(w, i int) error {
				var id int64
				var doc []byte
				return conns[w].QueryRow(ctx, "SELECT x.rid, t.doc FROM x1 x JOIN t1 t ON t.rid = x.rid WHERE x.key = $1",
					benchKey((i*7919)%docs)).Scan(&id, &doc)
			})
		})
	}
}

func BenchmarkRange20(b *testing.B) {
	const docs = 5000
	s, url := benchStore(b, docs)
	ctx := context.Background()
	for _, g := range benchGoroutines {
		b.Run(fmt.Sprintf("store/%d", g), func(b *testing.B) {
			spread(b, g, func(_, i int) error {
				tx := s.Begin(storage.TxnOptions{ReadOnly: true})
				defer tx.Rollback()
				it, err := tx.ScanIndex(ctx, 1, storage.IndexRange{Lower: benchKey((i * 7919) % (docs - 20)), Fetch: 1})
				if err != nil {
					return err
				}
				n := 0
				for n < 20 && it.Next() {
					n += len(it.Doc()) / benchDoc
				}
				return errors.Join(it.Err(), it.Close())
			})
		})
		b.Run(fmt.Sprintf("pgx/%d", g), func(b *testing.B) {
			conns := byHand(b, url, g)
			spread(b, g, func(w, i int) error {
				rows, err := conns[w].Query(ctx, "SELECT x.rid, x.key, t.doc FROM x1 x JOIN t1 t ON t.rid = x.rid WHERE x.key >= $1 ORDER BY x.key LIMIT 20",
					benchKey((i*7919)%(docs-20)))
				if err != nil {
					return err
				}
				var id int64
				var key, doc []byte
				for rows.Next() {
					if err := rows.Scan(&id, &key, &doc); err != nil {
						return err
					}
				}
				return rows.Err()
			})
		})
	}
}

func BenchmarkInsert(b *testing.B) {
	ctx := context.Background()
	doc := make([]byte, benchDoc)
	for _, g := range benchGoroutines {
		b.Run(fmt.Sprintf("store/%d", g), func(b *testing.B) {
			s, _ := benchStore(b, 0)
			spread(b, g, func(_, i int) error {
				tx := s.Begin(storage.TxnOptions{Brief: true})
				defer tx.Rollback()
				id, err := tx.Insert(ctx, 1, doc)
				if err != nil {
					return err
				}
				if err := tx.PutEntry(ctx, 1, benchKey(i), id, nil); err != nil {
					return err
				}
				_, err = tx.Commit(ctx)
				return err
			})
		})
		b.Run(fmt.Sprintf("pgx/%d", g), func(b *testing.B) {
			_, url := benchStore(b, 0)
			conns := byHand(b, url, g)
			spread(b, g, func(w, i int) error {
				batch := &pgx.Batch{}
				batch.Queue("INSERT INTO t1 VALUES ($1, $2)", i+1, doc)
				batch.Queue("INSERT INTO x1 VALUES ($1, $2, $3)", benchKey(i), i+1, []byte{})
				return conns[w].SendBatch(ctx, batch).Close() // one implicit transaction
			})
		})
	}
}

// BenchmarkLoggedInsert inserts as a replica set does: with an entry in a log.
func BenchmarkLoggedInsert(b *testing.B) {
	ctx := context.Background()
	doc := make([]byte, benchDoc)
	for _, g := range benchGoroutines {
		b.Run(fmt.Sprintf("store/%d", g), func(b *testing.B) {
			s, _ := benchStore(b, 0)
			tx := s.Begin(storage.TxnOptions{})
			must(b, tx.CreateTable(2))
			commit(b, tx)
			spread(b, g, func(_, i int) error {
				tx := s.Begin(storage.TxnOptions{Brief: true})
				defer tx.Rollback()
				id, err := tx.Insert(ctx, 1, doc)
				if err != nil {
					return err
				}
				if err := tx.PutEntry(ctx, 1, benchKey(i), id, nil); err != nil {
					return err
				}
				if err := tx.Append(ctx, 2, doc, storage.LogStamp{Time: 100, Wall: 120}); err != nil {
					return err
				}
				_, err = tx.Commit(ctx)
				return err
			})
		})
	}
}

func BenchmarkUpdateByID(b *testing.B) {
	const docs = 5000
	s, url := benchStore(b, docs)
	ctx := context.Background()
	doc := make([]byte, benchDoc)
	for _, g := range benchGoroutines {
		b.Run(fmt.Sprintf("store/%d", g), func(b *testing.B) {
			spread(b, g, func(_, i int) error {
				for {
					tx := s.Begin(storage.TxnOptions{ConflictWait: 100 * time.Millisecond, Brief: true})
					err := func() error {
						id := storage.RecordID(1 + (i*7919)%docs)
						if err := tx.Lock(ctx, 1, id); err != nil {
							return err
						}
						if _, err := tx.Get(ctx, 1, id); err != nil {
							return err
						}
						if err := tx.Update(ctx, 1, id, doc); err != nil {
							return err
						}
						_, err := tx.Commit(ctx)
						return err
					}()
					tx.Rollback()
					if !errors.Is(err, storage.ErrWriteConflict) {
						return err
					}
				}
			})
		})
		b.Run(fmt.Sprintf("pgx/%d", g), func(b *testing.B) {
			conns := byHand(b, url, g)
			spread(b, g, func(w, i int) error {
				_, err := conns[w].Exec(ctx, "UPDATE t1 SET doc = $2 WHERE rid = $1", 1+(i*7919)%docs, doc)
				return err
			})
		})
	}
}

func BenchmarkBulkInsert(b *testing.B) {
	s, _ := benchStore(b, 0)
	ctx := context.Background()
	doc := make([]byte, benchDoc)
	b.ResetTimer()
	for i := 0; i < b.N; {
		tx := s.Begin(storage.TxnOptions{})
		for range 1000 {
			id, err := tx.Insert(ctx, 1, doc)
			must(b, err)
			must(b, tx.PutEntry(ctx, 1, benchKey(i), id, nil))
			i++
		}
		_, err := tx.Commit(ctx)
		must(b, err)
	}
}

func BenchmarkCreateAndDrop(b *testing.B) {
	s := open(b, freshURL(b))
	ctx := context.Background()
	for i := range b.N {
		t := storage.TableID(i + 1)
		tx := s.Begin(storage.TxnOptions{})
		must(b, errors.Join(tx.CreateTable(t), tx.CreateIndex(t, storage.IndexID(t), true)))
		_, err := tx.Commit(ctx)
		must(b, err)
		tx = s.Begin(storage.TxnOptions{})
		must(b, errors.Join(tx.DropTable(t), tx.DropIndex(storage.IndexID(t))))
		_, err = tx.Commit(ctx)
		must(b, err)
	}
}
