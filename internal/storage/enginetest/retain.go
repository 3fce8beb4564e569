package enginetest

import (
	"github.com/archelon-db/archelon/internal/storage"
)

// at begins a transaction in a retained state.
func (f *fixture) at(r storage.Retained) storage.Txn {
	f.Helper()
	tx := f.e.Begin(storage.TxnOptions{At: r})
	f.Cleanup(tx.Rollback)
	return tx
}

func (f *fixture) retain() storage.Retained {
	f.Helper()
	r, err := f.e.Retain()
	f.ok(err)
	f.Cleanup(r.Release)
	return r
}

var retainCases = []testCase{
	{"Reads", withLogs(func(f *fixture) {
		ids := f.insert("a", "b")
		f.write(func(tx storage.Txn) {
			f.append(tx, "one", "two")
			f.ok(f.put(tx, unique, "k", ids[0]))
		})
		r := f.retain()
		f.write(func(tx storage.Txn) {
			f.ok(tx.Update(f.ctx, table, ids[0], []byte("A")))
			f.ok(tx.Delete(f.ctx, table, ids[1]))
			f.del(tx, unique, "k", ids[0])
			f.insertIn(tx, "c")
			f.append(tx, "three")
		})
		f.equal(f.texts(), "one two three")
		for range 2 {
			tx := f.at(r)
			f.equal(f.get(tx, ids[0]), "a")
			f.equal(f.docs(tx, storage.RecordRange{}), "[a b]")
			f.equal(f.lookup(tx, "k"), ids[0])
			log := f.log(tx, logTable, storage.RecordRange{})
			f.equal(textsOf(log), "one two")
			newest := f.log(f.begin(), logTable, storage.RecordRange{})
			if a := r.Applied(); a < uint64(log[1].id) || a >= uint64(newest[2].id) {
				f.Fatalf("applied %d in the state that ends with %d, the next is %d", a, log[1].id, newest[2].id)
			}
			tx.Rollback()
		}
		f.equal(f.now(ids[0]), "A")
	})},
	{"Writes", func(f *fixture) {
		ids := f.insert("a", "b")
		r := f.retain()
		f.write(func(tx storage.Txn) { f.ok(tx.Update(f.ctx, table, ids[0], []byte("A"))) })
		for _, read := range []bool{false, true} {
			tx := f.at(r)
			if read {
				f.equal(f.get(tx, ids[0]), "a")
			}
			f.want(tx.Update(f.ctx, table, ids[0], []byte("x")), storage.ErrWriteConflict)
			tx.Rollback()
			tx = f.at(r)
			if read {
				f.equal(f.get(tx, ids[0]), "a")
			}
			f.want(tx.Lock(f.ctx, table, ids[0]), storage.ErrWriteConflict)
		}
		tx := f.at(r)
		f.ok(tx.Update(f.ctx, table, ids[1], []byte("B")))
		f.equal(f.docs(tx, storage.RecordRange{}), "[a B]")
		f.commit(tx)
		f.equal(f.docs(f.begin(), storage.RecordRange{}), "[A B]")
		// Its own commit is not in the state it came from.
		f.equal(f.docs(f.at(r), storage.RecordRange{}), "[a b]")
		f.want(f.at(r).Delete(f.ctx, table, ids[1]), storage.ErrWriteConflict)
	}},
	{"Release", func(f *fixture) {
		ids := f.insert("a")
		r := f.retain()
		reading, late := f.at(r), f.at(r)
		f.equal(f.get(reading, ids[0]), "a")
		f.write(func(tx storage.Txn) { f.ok(tx.Update(f.ctx, table, ids[0], []byte("b"))) })
		r.Release()
		r.Release()
		f.equal(f.docs(reading, storage.RecordRange{}), "[a]")
		_, err := late.Get(f.ctx, table, ids[0])
		f.want(err, storage.ErrClosed)
		_, err = f.at(r).Insert(f.ctx, table, nil)
		f.want(err, storage.ErrClosed)
		reading.Rollback()
		f.equal(f.e.Stats().OldestSnapshot, f.e.Stats().LastCommitted)
	}},
	{"Drop", func(f *fixture) {
		ids := f.insert("a")
		r := f.retain()
		f.write(func(tx storage.Txn) { f.ok(tx.DropTable(table)) })
		f.equal(f.get(f.at(r), ids[0]), "a")
		f.want(f.at(r).Update(f.ctx, table, ids[0], nil), storage.ErrWriteConflict)
	}},
	{"Close", func(f *fixture) {
		f.insert("a")
		r := f.retain()
		f.ok(f.e.Close())
		r.Release()
		_, err := f.e.Retain()
		f.want(err, storage.ErrClosed)
		_, err = f.at(r).Insert(f.ctx, table, nil)
		f.want(err, storage.ErrClosed)
	}},
}
