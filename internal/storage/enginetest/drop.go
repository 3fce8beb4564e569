package enginetest

import (
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/internal/storage"
)

var dropCases = []testCase{
	{"DropTable", func(f *fixture) {
		f.fill()
		old := f.begin()
		f.equal(len(f.docs(old, storage.RecordRange{})), 6)
		it, err := old.Scan(f.ctx, table, storage.RecordRange{})
		f.ok(err)
		f.equal(it.Next(), true)

		tx := f.begin()
		f.ok(tx.DropTable(table))
		f.ok(tx.DropIndex(unique))
		f.ok(tx.DropIndex(multi))
		f.equal(f.docs(tx, storage.RecordRange{}), "[]")
		f.equal(f.get(tx, 1), "-")
		f.equal(f.lookup(tx, "a"), 0)
		_, err = tx.Insert(f.ctx, table, []byte("x"))
		f.want(err, storage.ErrNotFound)
		f.want(f.put(tx, multi, "x", 1), storage.ErrNotFound)
		f.equal(len(f.docs(f.begin(), storage.RecordRange{})), 6) // not yet visible
		f.commit(tx)

		n := 1
		for it.Next() {
			n++
		}
		f.ok(it.Close())
		f.equal(n, 6)
		f.equal(len(f.docs(old, storage.RecordRange{})), 6)
		f.equal(f.entries(old, unique, storage.IndexRange{}), "[a/1 b/2 c/5 d/6]")
		f.equal(f.lookup(old, "a"), 1)
		old.Rollback()

		after := f.begin()
		f.equal(f.docs(after, storage.RecordRange{}), "[]")
		_, err = after.Insert(f.ctx, table, []byte("x"))
		f.want(err, storage.ErrNotFound)
	}},
	{"DropRollback", func(f *fixture) {
		f.fill()
		tx := f.begin()
		sp := tx.Savepoint()
		f.ok(tx.DropIndex(multi))
		f.want(f.put(f.begin(), multi, "x", 1), storage.ErrWriteConflict)
		f.ok(tx.RollbackTo(sp))
		f.equal(len(f.entries(tx, multi, storage.IndexRange{})), 6)
		f.ok(f.put(tx, multi, "x", 1))
		f.ok(tx.DropTable(table))
		tx.Rollback()
		f.write(func(tx storage.Txn) {
			f.ok(f.put(tx, multi, "y", 1))
			f.insertIn(tx, "r7")
		})
		f.equal(len(f.docs(f.begin(), storage.RecordRange{})), 7)
	}},
	{"CreateRollback", func(f *fixture) {
		tx := f.begin()
		sp := tx.Savepoint()
		f.ok(tx.CreateTable(8))
		_, err := tx.Insert(f.ctx, 8, []byte("a"))
		f.ok(err)
		f.ok(tx.RollbackTo(sp))
		_, err = tx.Insert(f.ctx, 8, []byte("a"))
		f.want(err, storage.ErrNotFound)
		f.ok(tx.CreateTable(8))
		tx.Rollback()
		f.write(func(tx storage.Txn) { f.ok(tx.CreateTable(8)) })
	}},
	{"CreateAndDropInOne", func(f *fixture) {
		f.write(func(tx storage.Txn) {
			f.ok(tx.CreateTable(8))
			f.ok(tx.CreateIndex(8, 80, true))
			id, err := tx.Insert(f.ctx, 8, []byte("a"))
			f.ok(err)
			f.ok(f.put(tx, 80, "k", id))
			f.ok(tx.DropIndex(80))
			f.ok(tx.DropTable(8))
		})
		_, err := f.begin().Get(f.ctx, 8, 1)
		f.want(err, storage.ErrNotFound)
	}},
	{"CreateAndLookUp", func(f *fixture) {
		f.write(func(tx storage.Txn) {
			f.ok(tx.CreateTable(8))
			f.ok(tx.CreateIndex(8, 80, true))
			_, err := tx.LookupUnique(f.ctx, 80, []byte("k"))
			f.want(err, storage.ErrNotFound)
			f.ok(tx.CreateTable(9))
			_, err = tx.Get(f.ctx, 9, 1)
			f.want(err, storage.ErrNotFound)
			id, err := tx.Insert(f.ctx, 8, []byte("a"))
			f.ok(err)
			f.ok(tx.PutEntry(f.ctx, 80, []byte("k"), id, nil))
			got, err := tx.LookupUnique(f.ctx, 80, []byte("k"))
			f.ok(err)
			f.equal(got, id)
		})
		_, err := f.begin().LookupUnique(f.ctx, 80, []byte("k"))
		f.ok(err)
	}},
	{"DropConflicts", func(f *fixture) {
		f.fill()
		writer := f.begin()
		f.insertIn(writer, "x")
		dropper := f.begin()
		f.want(dropper.DropTable(table), storage.ErrWriteConflict)
		dropper.Rollback()
		f.commit(writer)

		late := f.begin()
		f.equal(len(f.docs(late, storage.RecordRange{})), 7)
		f.write(func(tx storage.Txn) { f.ok(tx.DropTable(table)) })
		_, err := late.Insert(f.ctx, table, []byte("y"))
		f.want(err, storage.ErrWriteConflict)
	}},
	{"UnknownIds", func(f *fixture) {
		tx := f.begin()
		_, err := tx.Insert(f.ctx, 99, []byte("x"))
		f.want(err, storage.ErrNotFound)
		f.want(f.put(tx, 99, "k", 1), storage.ErrNotFound)
		f.want(tx.DropTable(99), storage.ErrNotFound)
		f.want(tx.DropIndex(99), storage.ErrNotFound)
		_, err = tx.Get(f.ctx, 99, 1)
		f.want(err, storage.ErrNotFound)
		f.equal(f.e.TableSize(99), 0)
		f.equal(f.e.IndexSize(99), 0)
		if tx.CreateTable(table) == nil {
			f.Fatalf("created a table twice")
		}
	}},
	{"CompactAfterDelete", func(f *fixture) {
		f.write(func(tx storage.Txn) {
			for i := range 500 {
				f.insertIn(tx, fmt.Sprintf("%d %0500d", i, i))
			}
		})
		f.ok(f.e.Compact(f.ctx, table))
		f.write(func(tx storage.Txn) {
			for i := range 499 {
				f.ok(tx.Delete(f.ctx, table, storage.RecordID(i+1)))
			}
		})
		f.ok(f.e.Compact(f.ctx, table))
		f.equal(len(f.docs(f.begin(), storage.RecordRange{})), 1)
	}},
}

var lifecycleCases = []testCase{
	{"Close", func(f *fixture) {
		ids := f.insert("a")
		tx := f.begin()
		f.equal(f.get(tx, ids[0]), "a")
		w := f.begin()
		f.ok(w.Update(f.ctx, table, ids[0], []byte("x")))
		f.ok(f.e.Close())
		_, err := tx.Get(f.ctx, table, ids[0])
		f.want(err, storage.ErrClosed)
		_, err = w.Commit(f.ctx)
		f.want(err, storage.ErrClosed)
		w.Rollback()
		tx.Rollback()
		late := f.e.Begin(storage.TxnOptions{})
		_, err = late.Insert(f.ctx, table, []byte("b"))
		f.want(err, storage.ErrClosed)
		late.Rollback()
		f.want(f.e.Sync(f.ctx), storage.ErrClosed)
		f.equal(f.e.TableSize(table), 0)
		f.e.Stats()
	}},
	{"CloseWhileBusy", func(f *fixture) {
		f.insert("a", "b", "c")
		started := make(chan bool, 4)
		done := make(chan error, 4)
		for range 4 {
			go func() {
				for i := 0; ; i++ {
					tx := f.e.Begin(storage.TxnOptions{NoSync: true})
					_, err := tx.Insert(f.ctx, table, []byte("x"))
					if err == nil {
						var it storage.RecordIterator
						if it, err = tx.Scan(f.ctx, table, storage.RecordRange{}); err == nil {
							for it.Next() {
								it.Doc()
							}
							err = it.Close()
						}
					}
					if err == nil {
						_, err = tx.Commit(f.ctx)
					}
					tx.Rollback()
					if err != nil {
						done <- err
						return
					}
					if i == 3 {
						started <- true
					}
				}
			}()
		}
		for range 4 {
			<-started
		}
		f.ok(f.e.Close())
		for range 4 {
			f.want(<-done, storage.ErrClosed)
		}
	}},
	{"Reopen", func(f *fixture) {
		if f.h.Reopen == nil {
			f.Skip("the engine keeps nothing")
		}
		f.fill()
		pos := f.write(func(tx storage.Txn) {
			f.ok(tx.PutMeta(f.ctx, []byte("m"), []byte("v")))
			f.ok(tx.CreateTable(5))
			f.ok(tx.DropIndex(multi))
		})
		lost := f.begin()
		f.insertIn(lost, "lost")
		lost.Rollback()
		f.e = f.h.Reopen(f, f.e)

		tx := f.begin()
		f.equal(tx.Snapshot(), pos)
		f.equal(f.docs(tx, storage.RecordRange{}), "[r1 r2 r3 r4 r5 r6]")
		f.equal(f.entries(tx, unique, storage.IndexRange{}), "[a/1 b/2 c/5 d/6]")
		v, err := tx.GetMeta(f.ctx, []byte("m"))
		f.ok(err)
		f.equal(string(v), "v")
		_, err = tx.ScanIndex(f.ctx, multi, storage.IndexRange{})
		f.want(err, storage.ErrNotFound)
		if tx.CreateTable(5) == nil {
			f.Fatalf("created a table twice")
		}
		var dup *storage.DuplicateKeyError
		if err := f.put(tx, unique, "a", 9); !errors.As(err, &dup) {
			f.Fatalf("the index is not unique any more: %v", err)
		}
		if id := f.insertIn(tx, "r7"); id <= 6 {
			f.Fatalf("record id %d given out again", id)
		}
		if p := f.commit(tx); p <= pos {
			f.Fatalf("position %d after %d", p, pos)
		}
	}},
	{"NothingIsLeft", func(f *fixture) {
		before := goleak.IgnoreCurrent()
		e := f.h.Open(f)
		f2 := &fixture{TB: f.TB, h: f.h, e: e, ctx: f.ctx}
		f2.write(func(tx storage.Txn) { f.ok(tx.CreateTable(table)) })
		f2.insert("a")
		s := e.Stats()
		f.equal(s.OpenTxns, 0)
		f.equal(s.OldestSnapshot, s.LastCommitted)
		f.ok(e.Close())
		goleak.VerifyNone(f.TB.(*testing.T), before)
	}},
}
