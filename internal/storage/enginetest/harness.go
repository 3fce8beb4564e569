package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// Harness says how to get an engine.
type Harness struct {
	// Open opens an engine over an empty store and closes it at the end of the
	// test.
	Open func(t testing.TB) storage.Engine

	// Reopen closes an engine that Open has opened and opens it again with its
	// data. Nil for engines that keep nothing.
	Reopen func(t testing.TB, e storage.Engine) storage.Engine
}

// Run runs the whole suite as subtests.
func Run(t *testing.T, h Harness) {
	for _, family := range []struct {
		name  string
		cases []testCase
	}{
		{"Table", tableCases},
		{"Index", indexCases},
		{"Meta", metaCases},
		{"Txn", txnCases},
		{"Isolation", isolationCases},
		{"Race", raceCases},
		{"Drop", dropCases},
		{"Log", logCases},
		{"Retain", retainCases},
		{"Lifecycle", lifecycleCases},
	} {
		for _, c := range family.cases {
			t.Run(family.name+"/"+c.name, func(t *testing.T) { c.run(newFixture(t, h)) })
		}
	}
	t.Run("Model", func(t *testing.T) { runModel(t, h) })
}

type testCase struct {
	name string
	run  func(f *fixture)
}

// The ids that a fixture has created.
const (
	table  storage.TableID = 1
	unique storage.IndexID = 1
	multi  storage.IndexID = 2 // not unique
)

// fixture is an engine with a table, a unique index and one that is not.
type fixture struct {
	testing.TB
	h   Harness
	e   storage.Engine
	ctx context.Context
}

func newFixture(t testing.TB, h Harness) *fixture {
	f := &fixture{TB: t, h: h, e: h.Open(t), ctx: context.Background()}
	f.write(func(tx storage.Txn) {
		f.ok(tx.CreateTable(table))
		f.ok(tx.CreateIndex(table, unique, true))
		f.ok(tx.CreateIndex(table, multi, false))
	})
	return f
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("unexpected error: %v", err)
	}
}

func (f *fixture) want(got, want error) {
	f.Helper()
	if !errors.Is(got, want) {
		f.Fatalf("got error %v, want %v", got, want)
	}
}

func (f *fixture) equal(got, want any) {
	f.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		f.Fatalf("got  %s\nwant %s", g, w)
	}
}

func (f *fixture) begin() storage.Txn {
	f.Helper()
	tx := f.e.Begin(storage.TxnOptions{})
	f.Cleanup(tx.Rollback)
	return tx
}

func (f *fixture) commit(tx storage.Txn) storage.Position {
	f.Helper()
	pos, err := tx.Commit(f.ctx)
	f.ok(err)
	return pos
}

// write runs fn in a transaction of its own.
func (f *fixture) write(fn func(tx storage.Txn)) storage.Position {
	f.Helper()
	tx := f.begin()
	fn(tx)
	return f.commit(tx)
}

// insert adds records in a transaction of its own.
func (f *fixture) insert(docs ...string) []storage.RecordID {
	f.Helper()
	var ids []storage.RecordID
	f.write(func(tx storage.Txn) {
		for _, d := range docs {
			ids = append(ids, f.insertIn(tx, d))
		}
	})
	return ids
}

func (f *fixture) insertIn(tx storage.Txn, doc string) storage.RecordID {
	f.Helper()
	id, err := tx.Insert(f.ctx, table, []byte(doc))
	f.ok(err)
	return id
}

// get returns a record, or "-" if there is none.
func (f *fixture) get(tx storage.Txn, id storage.RecordID) string {
	f.Helper()
	b, err := tx.Get(f.ctx, table, id)
	if errors.Is(err, storage.ErrNotFound) {
		return "-"
	}
	f.ok(err)
	return string(b)
}

// now returns the committed value of a record.
func (f *fixture) now(id storage.RecordID) string {
	f.Helper()
	tx := f.begin()
	defer tx.Rollback()
	return f.get(tx, id)
}

// lookup returns the holder of a unique key, or 0.
func (f *fixture) lookup(tx storage.Txn, key string) storage.RecordID {
	f.Helper()
	id, err := tx.LookupUnique(f.ctx, unique, ukey(key))
	if errors.Is(err, storage.ErrNotFound) {
		return 0
	}
	f.ok(err)
	return id
}

func (f *fixture) put(tx storage.Txn, x storage.IndexID, key string, id storage.RecordID) error {
	return tx.PutEntry(f.ctx, x, ukey(key), id, nil)
}

func (f *fixture) del(tx storage.Txn, x storage.IndexID, key string, id storage.RecordID) {
	f.Helper()
	f.ok(tx.DeleteEntry(f.ctx, x, ukey(key), id))
}

// docs returns all records of the table as "doc doc …".
func (f *fixture) docs(tx storage.Txn, r storage.RecordRange) []string {
	f.Helper()
	it, err := tx.Scan(f.ctx, table, r)
	f.ok(err)
	defer it.Close()
	out := []string{}
	for it.Next() {
		if it.ID() <= 0 {
			f.Fatalf("record id %d", it.ID())
		}
		out = append(out, string(it.Doc()))
	}
	f.ok(it.Err())
	return out
}

// entries returns the entries of an index as "key/id …".
func (f *fixture) entries(tx storage.Txn, x storage.IndexID, r storage.IndexRange) []string {
	f.Helper()
	it, err := tx.ScanIndex(f.ctx, x, r)
	f.ok(err)
	defer it.Close()
	out := []string{}
	for it.Next() {
		out = append(out, entry(it))
	}
	f.ok(it.Err())
	return out
}

func entry(it storage.IndexIterator) string {
	return fmt.Sprintf("%s/%d", bytes.TrimSuffix(it.Key(), terminator), it.ID())
}

// terminator ends each key, as in a keystring, so that keys are prefix-free.
var terminator = []byte{4}

func ukey(s string) []byte { return append([]byte(s), terminator...) }
