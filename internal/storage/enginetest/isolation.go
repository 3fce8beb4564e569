package enginetest

import (
	"github.com/archelon-db/archelon/internal/storage"
)

// The cases are named after the anomalies of the isolation literature.
var isolationCases = []testCase{
	{"DirtyRead", func(f *fixture) {
		ids := f.insert("a")
		w := f.begin()
		f.ok(w.Update(f.ctx, table, ids[0], []byte("x")))
		f.equal(f.now(ids[0]), "a")
		w.Rollback()
		f.equal(f.now(ids[0]), "a")
	}},
	{"DirtyWrite", func(f *fixture) {
		ids := f.insert("a")
		w := f.begin()
		f.ok(w.Update(f.ctx, table, ids[0], []byte("w")))
		for _, write := range []func(tx storage.Txn) error{
			func(tx storage.Txn) error { return tx.Update(f.ctx, table, ids[0], []byte("x")) },
			func(tx storage.Txn) error { return tx.Delete(f.ctx, table, ids[0]) },
			func(tx storage.Txn) error { return tx.Lock(f.ctx, table, ids[0]) },
		} {
			tx := f.begin()
			f.want(write(tx), storage.ErrWriteConflict)
			f.equal(f.get(tx, ids[0]), "a") // stays readable
			tx.Rollback()
		}
		f.commit(w)
		f.equal(f.now(ids[0]), "w")
	}},
	{"LostUpdate", func(f *fixture) {
		ids := f.insert("a")
		a, b := f.begin(), f.begin()
		f.equal(f.get(a, ids[0]), "a")
		f.equal(f.get(b, ids[0]), "a")
		f.ok(a.Update(f.ctx, table, ids[0], []byte("x")))
		f.commit(a)
		f.want(b.Update(f.ctx, table, ids[0], []byte("y")), storage.ErrWriteConflict)
		b.Rollback()
		c := f.begin()
		f.equal(f.get(c, ids[0]), "x")
		f.ok(c.Update(f.ctx, table, ids[0], []byte("y")))
		f.commit(c)
		f.equal(f.now(ids[0]), "y")
	}},
	{"LostUpdateAfterAbort", func(f *fixture) {
		// A claim that was given back must not hide an older commit.
		ids := f.insert("a")
		old := f.begin()
		f.equal(f.get(old, ids[0]), "a")
		f.write(func(tx storage.Txn) { f.ok(tx.Update(f.ctx, table, ids[0], []byte("x"))) })
		aborted := f.begin()
		f.ok(aborted.Update(f.ctx, table, ids[0], []byte("z")))
		aborted.Rollback()
		f.want(old.Update(f.ctx, table, ids[0], []byte("y")), storage.ErrWriteConflict)
	}},
	{"NonRepeatableRead", func(f *fixture) {
		ids := f.insert("a", "b")
		r := f.begin()
		f.equal(f.get(r, ids[0]), "a")
		f.write(func(tx storage.Txn) {
			f.ok(tx.Update(f.ctx, table, ids[0], []byte("x")))
			f.ok(tx.Delete(f.ctx, table, ids[1]))
		})
		f.equal(f.get(r, ids[0]), "a")
		f.equal(f.get(r, ids[1]), "b")
		f.equal(f.docs(r, storage.RecordRange{}), "[a b]")
	}},
	{"ReadSkew", func(f *fixture) {
		ids := f.insert("1", "1")
		r := f.begin()
		f.equal(f.get(r, ids[0]), "1")
		f.write(func(tx storage.Txn) {
			f.ok(tx.Update(f.ctx, table, ids[0], []byte("0")))
			f.ok(tx.Update(f.ctx, table, ids[1], []byte("2")))
		})
		// Even a claim must not move the view past what was read.
		f.want(r.Lock(f.ctx, table, ids[1]), storage.ErrWriteConflict)
		f.equal(f.get(r, ids[0]), "1")
		f.equal(f.get(r, ids[1]), "1")
	}},
	{"ReadSkewAfterMiss", func(f *fixture) {
		ids := f.insert("a")
		r := f.begin()
		f.equal(f.lookup(r, "k"), 0)
		f.write(func(tx storage.Txn) {
			f.ok(tx.Update(f.ctx, table, ids[0], []byte("b")))
			f.ok(f.put(tx, unique, "k", ids[0]))
		})
		f.want(r.Lock(f.ctx, table, ids[0]), storage.ErrWriteConflict)
		f.equal(f.lookup(r, "k"), 0)
		f.equal(f.get(r, ids[0]), "a")
	}},
	{"ReadSkewAfterScan", func(f *fixture) {
		ids := f.insert("a", "b")
		r := f.begin()
		f.equal(f.docs(r, storage.RecordRange{Max: ids[0]}), "[a]")
		f.write(func(tx storage.Txn) { f.ok(tx.Update(f.ctx, table, ids[1], []byte("B"))) })
		f.want(r.Lock(f.ctx, table, ids[1]), storage.ErrWriteConflict)
		f.equal(f.get(r, ids[1]), "b")
	}},
	{"Phantom", func(f *fixture) {
		f.fill()
		r := f.begin()
		f.equal(len(f.entries(r, multi, storage.IndexRange{})), 6)
		f.write(func(tx storage.Txn) {
			id := f.insertIn(tx, "new")
			f.ok(f.put(tx, multi, "b", id))
			f.del(tx, multi, "a", 1)
		})
		f.equal(f.entries(r, multi, storage.IndexRange{}), "[a/1 b/2 b/3 b/4 c/5 d/6]")
		f.equal(len(f.docs(r, storage.RecordRange{})), 6)
	}},
	{"WriteSkewIsAllowed", func(f *fixture) {
		ids := f.insert("on", "on")
		a, b := f.begin(), f.begin()
		f.equal(f.get(a, ids[0])+f.get(a, ids[1]), "onon")
		f.equal(f.get(b, ids[0])+f.get(b, ids[1]), "onon")
		f.ok(a.Update(f.ctx, table, ids[0], []byte("off")))
		f.ok(b.Update(f.ctx, table, ids[1], []byte("off")))
		f.commit(a)
		f.commit(b)
		f.equal(f.now(ids[0])+f.now(ids[1]), "offoff")
	}},
	{"UniqueConflicts", func(f *fixture) {
		a, b := f.begin(), f.begin()
		f.equal(f.lookup(b, "k"), 0) // b's view is from before
		f.ok(f.put(a, unique, "k", 1))
		f.want(f.put(b, unique, "k", 2), storage.ErrWriteConflict)
		f.commit(a)
		f.want(f.put(b, unique, "k", 2), storage.ErrWriteConflict)
		b.Rollback()
		c := f.begin()
		f.equal(f.lookup(c, "k"), 1)
		f.del(c, unique, "k", 1)
		f.want(f.put(f.begin(), unique, "k", 3), storage.ErrWriteConflict)
		c.Rollback()
		// An aborted claimant leaves the key free.
		f.write(func(tx storage.Txn) { f.ok(f.put(tx, unique, "k2", 3)) })
	}},
	{"DeletedUnderneath", func(f *fixture) {
		ids := f.insert("a")
		old := f.begin()
		f.equal(f.get(old, ids[0]), "a")
		f.write(func(tx storage.Txn) { f.ok(tx.Delete(f.ctx, table, ids[0])) })
		f.want(old.Update(f.ctx, table, ids[0], []byte("x")), storage.ErrWriteConflict)
		f.equal(f.get(old, ids[0]), "a")
	}},
	{"LockThenReadNewest", func(f *fixture) {
		ids := f.insert("a")
		f.write(func(tx storage.Txn) { f.ok(f.put(tx, unique, "k", ids[0])) })
		tx := f.begin()
		id := f.lookup(tx, "k") // the view is taken here
		f.write(func(tx storage.Txn) { f.ok(tx.Update(f.ctx, table, ids[0], []byte("b"))) })
		err := tx.Lock(f.ctx, table, id)
		if err == nil { // engines that move their snapshot
			f.equal(f.get(tx, id), "b")
			f.equal(f.lookup(tx, "k"), id)
			f.ok(tx.Update(f.ctx, table, id, []byte("c")))
			f.commit(tx)
			f.equal(f.now(id), "c")
		} else {
			f.want(err, storage.ErrWriteConflict)
		}
	}},
	{"LockFirst", func(f *fixture) {
		ids := f.insert("a")
		tx := f.begin()
		f.ok(tx.Lock(f.ctx, table, ids[0]))
		f.want(f.begin().Update(f.ctx, table, ids[0], []byte("x")), storage.ErrWriteConflict)
		f.equal(f.get(tx, ids[0]), "a")
		f.commit(tx)
		f.write(func(tx storage.Txn) { f.ok(tx.Update(f.ctx, table, ids[0], []byte("b"))) })
	}},
}
