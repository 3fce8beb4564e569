package enginetest

import (
	"context"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

var txnCases = []testCase{
	{"ReadYourWrites", func(f *fixture) {
		tx := f.begin()
		id := f.insertIn(tx, "a")
		f.ok(f.put(tx, unique, "k", id))
		f.equal(f.get(tx, id), "a")
		f.equal(f.lookup(tx, "k"), id)
		f.equal(f.get(f.begin(), id), "-")
		f.equal(f.lookup(f.begin(), "k"), 0)
		f.commit(tx)
		f.equal(f.now(id), "a")
	}},
	{"RollbackLeavesNothing", func(f *fixture) {
		ids := f.insert("a", "b")
		tx := f.begin()
		f.ok(tx.Update(f.ctx, table, ids[0], []byte("x")))
		f.ok(tx.Delete(f.ctx, table, ids[1]))
		f.ok(f.put(tx, unique, "k", ids[0]))
		f.ok(tx.PutMeta(f.ctx, []byte("m"), []byte("v")))
		f.insertIn(tx, "c")
		tx.Rollback()
		tx.Rollback()
		after := f.begin()
		f.equal(f.docs(after, storage.RecordRange{}), "[a b]")
		f.equal(f.lookup(after, "k"), 0)
		_, err := after.GetMeta(f.ctx, []byte("m"))
		f.want(err, storage.ErrNotFound)
		// Its claims are gone, too.
		f.write(func(tx storage.Txn) { f.ok(tx.Update(f.ctx, table, ids[0], []byte("y"))) })
	}},
	{"Savepoints", func(f *fixture) {
		ids := f.insert("a", "b")
		tx := f.begin()
		f.ok(tx.Update(f.ctx, table, ids[0], []byte("a1")))
		outer := tx.Savepoint()
		f.ok(tx.Update(f.ctx, table, ids[0], []byte("a2")))
		f.ok(f.put(tx, unique, "k", ids[0]))
		inner := tx.Savepoint()
		f.ok(tx.Delete(f.ctx, table, ids[0]))
		f.del(tx, unique, "k", ids[0])
		c := f.insertIn(tx, "c")
		f.ok(tx.RollbackTo(inner))
		f.equal(f.docs(tx, storage.RecordRange{}), "[a2 b]")
		f.equal(f.lookup(tx, "k"), ids[0])
		f.want(tx.Update(f.ctx, table, c, []byte("x")), storage.ErrNotFound)
		f.ok(tx.RollbackTo(outer))
		f.ok(tx.RollbackTo(outer))
		f.equal(f.docs(tx, storage.RecordRange{}), "[a1 b]")
		f.equal(f.lookup(tx, "k"), 0)
		f.ok(f.put(tx, unique, "k", ids[1]))
		f.commit(tx)
		f.equal(f.docs(f.begin(), storage.RecordRange{}), "[a1 b]")
		f.equal(f.lookup(f.begin(), "k"), ids[1])
	}},
	{"SavepointAfterRead", func(f *fixture) {
		tx := f.begin()
		sp := tx.Savepoint()
		id := f.insertIn(tx, "a")
		f.equal(f.get(tx, id), "a")
		f.ok(tx.RollbackTo(sp))
		f.want(tx.Update(f.ctx, table, id, []byte("x")), storage.ErrNotFound)
		f.equal(f.get(tx, id), "-")
		f.commit(tx)
		f.equal(f.docs(f.begin(), storage.RecordRange{}), "[]")
	}},
	{"SavepointKeepsClaims", func(f *fixture) {
		ids := f.insert("a")
		tx := f.begin()
		sp := tx.Savepoint()
		f.ok(tx.Update(f.ctx, table, ids[0], []byte("x")))
		f.ok(tx.RollbackTo(sp))
		f.want(f.begin().Update(f.ctx, table, ids[0], []byte("y")), storage.ErrWriteConflict)
		f.commit(tx)
		f.equal(f.now(ids[0]), "a")
	}},
	{"ReadOnly", func(f *fixture) {
		ids := f.insert("a")
		tx := f.e.Begin(storage.TxnOptions{ReadOnly: true})
		defer tx.Rollback()
		f.equal(f.get(tx, ids[0]), "a")
		_, err := tx.Insert(f.ctx, table, []byte("b"))
		f.want(err, storage.ErrReadOnly)
		f.want(tx.Update(f.ctx, table, ids[0], nil), storage.ErrReadOnly)
		f.want(tx.Delete(f.ctx, table, ids[0]), storage.ErrReadOnly)
		f.want(tx.Lock(f.ctx, table, ids[0]), storage.ErrReadOnly)
		f.want(f.put(tx, unique, "k", 1), storage.ErrReadOnly)
		f.want(tx.DeleteEntry(f.ctx, unique, ukey("k"), 1), storage.ErrReadOnly)
		f.want(tx.PutMeta(f.ctx, []byte("k"), nil), storage.ErrReadOnly)
		f.want(tx.DeleteMeta(f.ctx, []byte("k")), storage.ErrReadOnly)
		f.want(tx.CreateTable(9), storage.ErrReadOnly)
		f.want(tx.DropTable(table), storage.ErrReadOnly)
		f.commit(tx)
	}},
	{"FinishedIsClosed", func(f *fixture) {
		ids := f.insert("a")
		for _, end := range []func(storage.Txn){func(tx storage.Txn) { f.commit(tx) }, storage.Txn.Rollback} {
			tx := f.begin()
			f.get(tx, ids[0])
			end(tx)
			_, err := tx.Get(f.ctx, table, ids[0])
			f.want(err, storage.ErrClosed)
			_, err = tx.Insert(f.ctx, table, nil)
			f.want(err, storage.ErrClosed)
			_, err = tx.Scan(f.ctx, table, storage.RecordRange{})
			f.want(err, storage.ErrClosed)
			_, err = tx.Commit(f.ctx)
			f.want(err, storage.ErrClosed)
			tx.Rollback()
		}
	}},
	{"Positions", func(f *fixture) {
		p1 := f.write(func(tx storage.Txn) { f.insertIn(tx, "a") })
		old := f.begin()
		f.equal(old.Snapshot(), p1)
		p2 := f.write(func(tx storage.Txn) { f.insertIn(tx, "b") })
		if p2 <= p1 {
			f.Fatalf("position %d after %d", p2, p1)
		}
		f.equal(old.Snapshot(), p1)
		f.equal(f.commit(old), p1)
		f.equal(f.begin().Snapshot(), p2)
		f.equal(f.e.Stats().LastCommitted, p2)
		f.equal(f.commit(f.begin()), p2)
	}},
	{"ContextEnds", func(f *fixture) {
		f.insert("a", "b")
		ctx, cancel := context.WithCancel(f.ctx)
		tx := f.begin()
		it, err := tx.Scan(ctx, table, storage.RecordRange{})
		f.ok(err)
		cancel()
		for it.Next() {
		}
		f.want(it.Err(), context.Canceled)
		f.want(it.Close(), context.Canceled)
		id := f.insertIn(tx, "c")
		_, err = tx.Commit(ctx)
		f.want(err, context.Canceled)
		tx.Rollback()
		f.equal(f.now(id), "-")
	}},
	{"NoSync", func(f *fixture) {
		tx := f.e.Begin(storage.TxnOptions{NoSync: true})
		id := f.insertIn(tx, "a")
		f.commit(tx)
		f.equal(f.now(id), "a")
		f.ok(f.e.Sync(f.ctx))
	}},
	{"ManyWrites", func(f *fixture) {
		// More than one page of anything, in and out of order, over and over.
		const n = 3000
		f.write(func(tx storage.Txn) {
			ids := make([]storage.RecordID, n)
			for i := range ids {
				ids[i] = f.insertIn(tx, "0123456789")
			}
			for i := range ids {
				id := ids[(i*7919)%n]
				f.ok(tx.Update(f.ctx, table, id, []byte("x")))
				f.ok(tx.PutEntry(f.ctx, unique, []byte{byte(i * 31), byte(i >> 8), byte(i), 4}, id, nil))
			}
			f.equal(len(f.docs(tx, storage.RecordRange{})), n)
		})
		f.equal(len(f.docs(f.begin(), storage.RecordRange{Reverse: true})), n)
		f.equal(len(f.entries(f.begin(), unique, storage.IndexRange{})), n)
	}},
	{"WaitForTheWinner", func(f *fixture) {
		ids := f.insert("a")
		for _, commit := range []bool{false, true} {
			winner := f.begin()
			f.ok(winner.Update(f.ctx, table, ids[0], []byte("winner")))
			done := make(chan error)
			go func() {
				tx := f.e.Begin(storage.TxnOptions{ConflictWait: time.Minute})
				err := tx.Lock(f.ctx, table, ids[0])
				tx.Rollback()
				done <- err
			}()
			select {
			case err := <-done:
				f.Fatalf("did not wait: %v", err)
			case <-time.After(10 * time.Millisecond):
			}
			if commit {
				f.commit(winner)
			} else {
				winner.Rollback()
			}
			f.ok(<-done)
		}
		// The wait ends with its time, and with the context.
		winner := f.begin()
		f.ok(winner.Lock(f.ctx, table, ids[0]))
		tx := f.e.Begin(storage.TxnOptions{ConflictWait: time.Millisecond})
		f.want(tx.Lock(f.ctx, table, ids[0]), storage.ErrWriteConflict)
		tx.Rollback()
		ctx, cancel := context.WithTimeout(f.ctx, time.Millisecond)
		defer cancel()
		tx = f.e.Begin(storage.TxnOptions{ConflictWait: time.Minute})
		f.want(tx.Lock(ctx, table, ids[0]), storage.ErrWriteConflict)
		tx.Rollback()
	}},
}
