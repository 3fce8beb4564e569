package enginetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// retry runs fn in transactions until one commits.
func (f *fixture) retry(opts storage.TxnOptions, fn func(tx storage.Txn) error) error {
	for {
		tx := f.e.Begin(opts)
		err := fn(tx)
		if err == nil {
			_, err = tx.Commit(f.ctx)
		}
		tx.Rollback()
		if !errors.Is(err, storage.ErrWriteConflict) {
			return err
		}
	}
}

// parallel runs fn in n goroutines and fails with the first error.
func (f *fixture) parallel(n int, fn func(i int) error) {
	f.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs <- fn(i)
		}()
	}
	wg.Wait()
	for range n {
		f.ok(<-errs)
	}
}

func number(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func bytesOf(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

var raceCases = []testCase{
	{"UniqueRace", func(f *fixture) {
		const workers, keys = 8, 40
		var won atomic.Int64
		f.parallel(workers, func(w int) error {
			for k := range keys {
				err := f.retry(storage.TxnOptions{}, func(tx storage.Txn) error {
					id, err := tx.Insert(f.ctx, table, fmt.Append(nil, w))
					if err != nil {
						return err
					}
					return f.put(tx, unique, fmt.Sprint(k), id)
				})
				var dup *storage.DuplicateKeyError
				switch {
				case err == nil:
					won.Add(1)
				case !errors.As(err, &dup):
					return err
				}
			}
			return nil
		})
		f.equal(won.Load(), keys)
		tx := f.begin()
		f.equal(len(f.docs(tx, storage.RecordRange{})), keys)
		f.equal(len(f.entries(tx, unique, storage.IndexRange{})), keys)
	}},
	{"Counters", func(f *fixture) {
		// Three styles of increment on the same records: no update may be lost.
		const workers, rounds = 8, 60
		ids := f.insert(string(bytesOf(0)), string(bytesOf(0)))
		f.write(func(tx storage.Txn) {
			f.ok(f.put(tx, unique, "k0", ids[0]))
			f.ok(f.put(tx, unique, "k1", ids[1]))
		})
		f.parallel(workers, func(w int) error {
			opts := storage.TxnOptions{NoSync: w%2 == 0}
			if w%4 < 2 {
				opts.ConflictWait = time.Second
			}
			for i := range rounds {
				err := f.retry(opts, func(tx storage.Txn) error {
					id, err := tx.LookupUnique(f.ctx, unique, ukey(fmt.Sprintf("k%d", i%2)))
					if err == nil && w%3 == 0 {
						err = tx.Lock(f.ctx, table, id)
					}
					if err != nil {
						return err
					}
					b, err := tx.Get(f.ctx, table, id)
					if err != nil {
						return err
					}
					n := number(b)
					if w%3 == 1 {
						if err := tx.Lock(f.ctx, table, id); err != nil {
							return err
						}
					}
					return tx.Update(f.ctx, table, id, bytesOf(n+1))
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		for _, id := range ids {
			f.equal(number([]byte(f.now(id))), workers*rounds/2)
		}
	}},
	{"TransfersKeepTheSum", func(f *fixture) {
		const accounts, workers, rounds = 6, 6, 80
		var docs []string
		for range accounts {
			docs = append(docs, string(bytesOf(1000)))
		}
		ids := f.insert(docs...)
		var stop atomic.Bool
		var readers sync.WaitGroup
		var wrong atomic.Int64
		for range 2 {
			readers.Add(1)
			go func() {
				defer readers.Done()
				for !stop.Load() {
					tx := f.e.Begin(storage.TxnOptions{ReadOnly: true})
					it, err := tx.Scan(f.ctx, table, storage.RecordRange{})
					if err != nil {
						wrong.Add(1)
						return
					}
					sum := uint64(0)
					for it.Next() {
						sum += number(it.Doc())
					}
					if it.Close() != nil || sum != 1000*accounts {
						wrong.Add(1)
					}
					tx.Rollback()
				}
			}()
		}
		f.parallel(workers, func(w int) error {
			for i := range rounds {
				from, to := ids[(w+i)%accounts], ids[(w*3+i*5+1)%accounts]
				if from == to {
					continue
				}
				err := f.retry(storage.TxnOptions{NoSync: true}, func(tx storage.Txn) error {
					for _, step := range []struct {
						id  storage.RecordID
						add int
					}{{from, -1}, {to, 1}} {
						b, err := tx.Get(f.ctx, table, step.id)
						if err != nil {
							return err
						}
						if err := tx.Update(f.ctx, table, step.id, bytesOf(number(b)+uint64(step.add))); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		stop.Store(true)
		readers.Wait()
		f.equal(wrong.Load(), 0)
	}},
	{"PositionsAreExact", func(f *fixture) {
		// Each commit writes its number into two records; whoever reads at a
		// position sees the same number in both, and later positions see no
		// smaller one. Half of the commits append to a log as well, to one of two.
		const workers, rounds = 4, 60
		f.write(func(tx storage.Txn) { f.ok(errors.Join(tx.CreateTable(logTable), tx.CreateTable(otherTable))) })
		ids := f.insert(string(bytesOf(0)), string(bytesOf(0)))
		var mu sync.Mutex
		at := map[storage.Position]uint64{}
		f.parallel(workers+2, func(w int) error {
			if w >= workers {
				for range rounds {
					tx := f.e.Begin(storage.TxnOptions{ReadOnly: true})
					pos := tx.Snapshot()
					a, err1 := tx.Get(f.ctx, table, ids[0])
					b, err2 := tx.Get(f.ctx, table, ids[1])
					if err := errors.Join(err1, err2); err != nil {
						return err
					}
					n, m := number(a), number(b)
					tx.Rollback()
					mu.Lock()
					old, known := at[pos]
					at[pos] = n
					mu.Unlock()
					if n != m || known && old != n {
						return fmt.Errorf("at %d: %d and %d, before %d", pos, n, m, old)
					}
				}
				return nil
			}
			for i := range rounds {
				var n uint64
				var pos storage.Position
				for {
					tx := f.e.Begin(storage.TxnOptions{NoSync: true, ConflictWait: time.Second})
					err := tx.Lock(f.ctx, table, ids[0])
					if err == nil {
						var b []byte
						if b, err = tx.Get(f.ctx, table, ids[0]); err == nil {
							n = number(b) + 1
							err = errors.Join(tx.Update(f.ctx, table, ids[0], bytesOf(n)), tx.Update(f.ctx, table, ids[1], bytesOf(n)))
						}
					}
					if err == nil && w%2 == 0 {
						err = tx.Append(f.ctx, []storage.TableID{logTable, otherTable}[i/7%2], logRecord("x"), stamped)
					}
					if err == nil {
						pos, err = tx.Commit(f.ctx)
					}
					tx.Rollback()
					if err == nil {
						break
					}
					if !errors.Is(err, storage.ErrWriteConflict) {
						return err
					}
				}
				mu.Lock()
				old, known := at[pos]
				at[pos] = n
				mu.Unlock()
				if known && old != n {
					return fmt.Errorf("commit of %d at %d, but a reader saw %d there", n, pos, old)
				}
			}
			return nil
		})
		f.equal(number([]byte(f.now(ids[0]))), workers*rounds)
	}},
}
