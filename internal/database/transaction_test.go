package database

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// opIn is an operation in a transaction, nil for one of its own.
func opIn(t testing.TB, d *DB, tx *Transaction) *Op {
	t.Helper()
	op := d.NewOp(t.Context())
	op.Txn = tx
	return op
}

func findIn(t testing.TB, d *DB, tx *Transaction) []string {
	t.Helper()
	cur, err := d.Find(t.Context(), opIn(t, d, tx), ns, &FindQuery{Sort: doc(t, `{"_id": 1}`)})
	return results(t, cur, err)
}

func insertIn(t testing.TB, d *DB, tx *Transaction, ns Namespace, docs ...string) error {
	t.Helper()
	var list []bsonval.Doc
	for _, s := range docs {
		list = append(list, doc(t, s))
	}
	res, err := d.Insert(t.Context(), opIn(t, d, tx), ns, list, true)
	if err == nil && len(res.Errors) > 0 {
		err = res.Errors[0].Err
	}
	return err
}

func setIn(t testing.TB, d *DB, tx *Transaction, id, value string) error {
	t.Helper()
	_, err := d.Update(t.Context(), opIn(t, d, tx), ns, &UpdateStatement{
		Filter: doc(t, `{"_id": `+id+`}`), Update: bsonval.Document(doc(t, `{"$set": {"v": `+value+`}}`)),
	})
	return err
}

func commit(t testing.TB, tx *Transaction) {
	t.Helper()
	if err := tx.Commit(t.Context(), nil); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func begin(t testing.TB, d *DB) *Transaction {
	tx := d.BeginTransaction()
	t.Cleanup(tx.Abort)
	return tx
}

func want(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

const (
	one   = `{ _id: 1, v: 1 }`
	two   = `{ _id: 2, v: 2 }`
	three = `{ _id: 3, v: 3 }`
)

func TestTransactionReadsItsSnapshotAndItself(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`), doc(t, `{"_id": 2, "v": 2}`))
	tx := begin(t, d)
	want(t, findIn(t, d, tx), one, two)
	insert(t, d, doc(t, `{"_id": 4, "v": 4}`))
	if err := setIn(t, d, nil, "2", "20"); err != nil {
		t.Fatal(err)
	}
	want(t, findIn(t, d, tx), one, two)
	if err := insertIn(t, d, tx, ns, `{"_id": 3, "v": 3}`); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Delete(t.Context(), opIn(t, d, tx), ns, &DeleteStatement{Filter: doc(t, `{"_id": 1}`)}); err != nil {
		t.Fatal(err)
	}
	want(t, findIn(t, d, tx), two, three)
	n, err := d.Count(t.Context(), opIn(t, d, tx), ns, &FindQuery{})
	if err != nil || n != 2 {
		t.Errorf("count in the transaction: %d, %v", n, err)
	}
	want(t, findIn(t, d, nil), one, `{ _id: 2, v: 20 }`, `{ _id: 4, v: 4 }`)
	commit(t, tx)
	want(t, findIn(t, d, nil), `{ _id: 2, v: 20 }`, three, `{ _id: 4, v: 4 }`)
	if n, _ := d.Count(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{}); n != 3 {
		t.Errorf("kept count: %d", n)
	}
	sound(t, d, ns)
}

func TestTransactionConflicts(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`), doc(t, `{"_id": 2, "v": 2}`))
	a, b, late := begin(t, d), begin(t, d), begin(t, d)
	findIn(t, d, late)
	if err := errors.Join(setIn(t, d, a, "1", "10"), setIn(t, d, a, "2", "10")); err != nil {
		t.Fatal(err)
	}
	fails(t, setIn(t, d, b, "1", "11"), mongoerr.WriteConflict)
	if !b.Ended() {
		t.Error("a conflict does not abort the transaction")
	}
	fails(t, setIn(t, d, b, "2", "11"), mongoerr.NoSuchTransaction)
	_, err := d.Find(t.Context(), opIn(t, d, b), ns, &FindQuery{})
	fails(t, err, mongoerr.NoSuchTransaction)
	fails(t, b.Commit(t.Context(), nil), mongoerr.NoSuchTransaction)
	commit(t, a)
	fails(t, setIn(t, d, late, "1", "12"), mongoerr.WriteConflict)
	want(t, findIn(t, d, nil), `{ _id: 1, v: 10 }`, `{ _id: 2, v: 10 }`)
}

// TestTransactionBlocksSingleWrites: a write on its own waits for the transaction that has claimed its document.
func TestTransactionBlocksSingleWrites(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`))
	tx := begin(t, d)
	if err := setIn(t, d, tx, "1", "2"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- setIn(t, d, nil, "1", "3") }()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	commit(t, tx)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want(t, findIn(t, d, nil), `{ _id: 1, v: 3 }`)
}

func TestTransactionStatementFails(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`))
	for name, statement := range map[string]func(tx *Transaction) error{
		"duplicate insert": func(tx *Transaction) error { return insertIn(t, d, tx, ns, `{"_id": 7}`, `{"_id": 1}`) },
		"update":           func(tx *Transaction) error { return setIn(t, d, tx, "1", `{"$bad": 1}`) },
		"multi": func(tx *Transaction) error {
			_, err := d.Update(t.Context(), opIn(t, d, tx), ns, &UpdateStatement{
				Filter: doc(t, `{}`), Update: bsonval.Document(doc(t, `{"$inc": {"s": 1}}`)), Multi: true,
			})
			return err
		},
	} {
		tx := begin(t, d)
		if err := insertIn(t, d, tx, ns, `{"_id": 5, "s": "text"}`); err != nil {
			t.Fatal(err)
		}
		if name == "update" {
			if err := setIn(t, d, tx, "1", "9"); err != nil {
				t.Fatal(err)
			}
			_, err := d.Update(t.Context(), opIn(t, d, tx), ns, &UpdateStatement{
				Filter: doc(t, `{"_id": 5}`), Update: bsonval.Document(doc(t, `{"$inc": {"s": 1}}`)),
			})
			fails(t, err, mongoerr.TypeMismatch)
		} else if err := statement(tx); err == nil {
			t.Errorf("%s: no error", name)
		}
		if !tx.Ended() {
			t.Errorf("%s: the transaction goes on", name)
		}
		want(t, findIn(t, d, nil), one)
	}
	sound(t, d, ns)
}

func TestTransactionEndReleasesEverything(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`), doc(t, `{"_id": 2, "v": 2}`), doc(t, `{"_id": 3, "v": 3}`))
	for _, end := range []func(*Transaction){(*Transaction).Abort, func(tx *Transaction) { commit(t, tx) }} {
		tx := begin(t, d)
		if err := setIn(t, d, tx, "1", "1"); err != nil {
			t.Fatal(err)
		}
		cur, err := d.Find(t.Context(), opIn(t, d, tx), ns, &FindQuery{})
		if err != nil {
			t.Fatal(err)
		}
		buf, at := bsonval.BeginDoc(nil)
		buf, _, _, err = cur.AppendBatch(t.Context(), buf, 1)
		if bsonval.EndDoc(buf, at); err != nil {
			t.Fatal(err)
		}
		id := cur.Park()
		_, err = d.CheckOut(id, ns, "", nil)
		fails(t, err, 50740)
		end(tx)
		_, err = d.CheckOut(id, ns, "", tx)
		fails(t, err, mongoerr.CursorNotFound)
		if open := d.Engine().Stats().OpenTxns; open != 0 {
			t.Errorf("%d storage transactions left", open)
		}
		if len(d.transactions.open) != 0 {
			t.Error("the transaction is still listed")
		}
		if err := setIn(t, d, nil, "1", "1"); err != nil {
			t.Error(err)
		}
		addIndex(t, d, `{"v": 1}`, `{}`) // nobody holds the definition
		if _, err := d.DropIndexes(t.Context(), ns, bsonval.String(`{"v": 1}`)); err != nil {
			t.Error(err)
		}
	}
}

// TestTransactionKeepsDefinitions: a change of a collection waits for the transaction that has touched it, other changes and
// other writers do not wait for the change, and a transaction does not see half of one.
func TestTransactionKeepsDefinitions(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`))
	tx, early := begin(t, d), begin(t, d)
	want(t, findIn(t, d, tx), one)
	other := Namespace{DB: "test", Coll: "other"}
	if err := insertIn(t, d, early, other, `{"_id": 1}`); err != nil { // takes its snapshot
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	dropped := make(chan error, 1)
	wait.Go(func() {
		_, _, err := d.Drop(context.Background(), ns)
		dropped <- err
	})
	// The change announces itself, so that new transactions stay out.
	for deadline := time.Now().Add(10 * time.Second); ; {
		probe := begin(t, d)
		err := insertIn(t, d, probe, ns, `{"_id": 9}`)
		probe.Abort()
		if mongoerr.Is(err, mongoerr.LockTimeout) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a waiting drop does not keep new transactions out")
		}
	}
	if err := d.Create(t.Context(), Namespace{DB: "test", Coll: "third"}, bsonval.EmptyDoc); err != nil {
		t.Error(err)
	}
	insert(t, d, doc(t, `{"_id": 2, "v": 2}`))
	if err := setIn(t, d, tx, "1", "5"); err != nil { // what it has touched it may touch again
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := d.DropDatabase(ctx, ns.DB)
	fails(t, err, mongoerr.MaxTimeMSExpired)
	select {
	case err := <-dropped:
		t.Fatalf("the drop did not wait: %v", err)
	default:
	}
	commit(t, tx)
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	_, err = d.Find(t.Context(), opIn(t, d, early), ns, &FindQuery{})
	fails(t, err, mongoerr.SnapshotUnavailable)
}

// TestTransactionsThatCreateDoNotDeadlock: a drop waits for a transaction that needs a change of its own.
func TestTransactionsThatCreateDoNotDeadlock(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`))
	tx := begin(t, d)
	findIn(t, d, tx)
	dropped := make(chan error, 1)
	go func() {
		_, err := d.DropDatabase(context.Background(), ns.DB)
		dropped <- err
	}()
	for i := range 20 {
		if err := insertIn(t, d, tx, Namespace{DB: "test", Coll: string(rune('d' + i))}, `{"_id": 1}`); err != nil {
			t.Fatal(err)
		}
	}
	tx.Abort()
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
}

// TestTransactionCreates: what a transaction creates is there for itself at once and
// for others with the commit.
func TestTransactionCreates(t *testing.T) {
	d := open(t)
	unique := []bsonval.Doc{doc(t, `{"v": 2, "key": {"v": 1}, "name": "v_1", "unique": true}`)}
	for _, end := range []string{"abort", "commit"} {
		tx := begin(t, d)
		if err := d.CreateIn(t.Context(), opIn(t, d, tx), ns, doc(t, `{"collation": {"locale": "en", "strength": 2}}`)); err != nil {
			t.Fatal(err)
		}
		want(t, findIn(t, d, tx))
		res, err := d.CreateIndexesIn(t.Context(), opIn(t, d, tx), ns, unique)
		if err != nil || res.Before != 1 || res.After != 2 || res.CreatedCollection {
			t.Fatalf("%+v, %v", res, err)
		}
		if err := insertIn(t, d, tx, ns, `{"_id": "a", "v": [1, 2]}`); err != nil {
			t.Fatal(err)
		}
		want(t, findIn(t, d, tx), `{ _id: "a", v: [ 1, 2 ] }`)
		up, err := d.Update(t.Context(), opIn(t, d, tx), ns, &UpdateStatement{
			Filter: doc(t, `{"_id": "A"}`), Update: bsonval.Document(doc(t, `{"$push": {"v": 3}}`)),
		})
		if err != nil || up.Modified != 1 {
			t.Errorf("update under the collection's collation: %+v, %v", up, err)
		}
		if _, err := d.CreateIndexesIn(t.Context(), opIn(t, d, tx), ns, unique); err != nil {
			t.Errorf("an index that is there: %v", err)
		}
		_, err = d.CreateIndexesIn(t.Context(), opIn(t, d, tx), ns, []bsonval.Doc{doc(t, `{"v": 2, "key": {"w": 1}, "name": "w_1"}`)})
		fails(t, err, mongoerr.OperationNotSupportedInTransaction)
		other := Namespace{DB: ns.DB, Coll: "implicit"}
		if err := insertIn(t, d, tx, other, `{"_id": 1}`); err != nil {
			t.Fatal(err)
		}
		if names := d.ListCollections(ns.DB, true); len(names) != 0 {
			t.Errorf("others see %v", names)
		}
		want(t, findIn(t, d, nil))
		if end == "abort" {
			tx.Abort()
			if names := d.ListCollections(ns.DB, true); len(names) != 0 {
				t.Errorf("after the abort there is %v", names)
			}
			continue
		}
		commit(t, tx)
		want(t, findIn(t, d, nil), `{ _id: "a", v: [ 1, 2, 3 ] }`)
		coll := d.Catalog().Collection(ns.DB, ns.Coll)
		if coll == nil || len(coll.Indexes) != 2 || coll.Guard.Count.Load() != 1 || !coll.Indexes[1].IsMultikey() {
			t.Errorf("collection after the commit: %+v", coll)
		}
		sound(t, d, ns)
		sound(t, d, other)
	}
	if n, existed, err := d.Drop(t.Context(), ns); n != 2 || !existed || err != nil {
		t.Errorf("drop: %d, %v, %v", n, existed, err)
	}
}

// TestTransactionsCreateTheSame: the first commit wins, be it of a transaction or not.
func TestTransactionsCreateTheSame(t *testing.T) {
	d := open(t)
	for _, plain := range []bool{false, true} {
		first, second := begin(t, d), begin(t, d)
		for _, tx := range []*Transaction{first, second} {
			if err := insertIn(t, d, tx, ns, `{"_id": 1}`); err != nil {
				t.Fatal(err)
			}
		}
		if plain {
			first.Abort()
			insert(t, d, doc(t, `{"_id": 1}`))
		} else {
			commit(t, first)
		}
		fails(t, second.Commit(t.Context(), nil), mongoerr.WriteConflict)
		want(t, findIn(t, d, nil), `{ _id: 1 }`)
		sound(t, d, ns)
		if _, _, err := d.Drop(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
	}
	tx := begin(t, d)
	if err := insertIn(t, d, tx, ns, `{"_id": 1}`); err != nil {
		t.Fatal(err)
	}
	fails(t, d.CreateIn(t.Context(), opIn(t, d, tx), ns, doc(t, `{"capped": true, "size": 4096}`)), mongoerr.NamespaceExists)
	tx.Abort()
	insert(t, d, doc(t, `{"_id": 1}`))
	tx = begin(t, d)
	_, err := d.CreateIndexesIn(t.Context(), opIn(t, d, tx), ns, []bsonval.Doc{doc(t, `{"v": 2, "key": {"w": 1}, "name": "w_1"}`)})
	fails(t, err, mongoerr.OperationNotSupportedInTransaction)
	fails(t, d.CreateIn(t.Context(), opIn(t, d, tx), Namespace{DB: ns.DB, Coll: "v"}, doc(t, `{"viewOn": "c", "pipeline": []}`)),
		mongoerr.OperationNotSupportedInTransaction)
	tx.Abort()
}

func TestTransactionRefusesCapped(t *testing.T) {
	d := open(t)
	if err := d.Create(t.Context(), ns, doc(t, `{"capped": true, "size": 4096}`)); err != nil {
		t.Fatal(err)
	}
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`))
	tx := begin(t, d)
	want(t, findIn(t, d, tx), one)
	fails(t, insertIn(t, d, tx, ns, `{"_id": 2}`), mongoerr.OperationNotSupportedInTransaction)
}

// TestTransactionDoesNotSeeLaterDocuments: what came after the snapshot is no conflict for an update that looks for it.
func TestTransactionDoesNotSeeLaterDocuments(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`))
	tx := begin(t, d)
	findIn(t, d, tx)
	insert(t, d, doc(t, `{"_id": 2, "v": 2}`))
	find(t, d, &FindQuery{Filter: doc(t, `{"_id": 2}`)})
	if err := setIn(t, d, tx, "2", "3"); err != nil {
		t.Error(err)
	}
	fails(t, insertIn(t, d, tx, ns, `{"_id": 2}`), mongoerr.WriteConflict)
	want(t, findIn(t, d, nil), one, two)
}

// TestTransactionMarksMultikey: the first array of an indexed field comes from a transaction.
func TestTransactionMarksMultikey(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": 1}`))
	addIndex(t, d, `{"v": 1}`, `{}`)
	tx := begin(t, d)
	if err := insertIn(t, d, tx, ns, `{"_id": 2, "v": [1, 2]}`); err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	want(t, find(t, d, &FindQuery{Filter: doc(t, `{"v": 1}`), Sort: doc(t, `{"_id": 1}`)}), one, `{ _id: 2, v: [ 1, 2 ] }`)
	sound(t, d, ns)
}

// TestTransactionCreatesForGood: what a transaction has created is there after a
// restart, and its ids are not given out again.
func TestTransactionCreatesForGood(t *testing.T) {
	dir := t.TempDir()
	reopen := func() *DB {
		engine, err := pebblestore.Open(pebblestore.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := reopen()
	lost := begin(t, d)
	if err := insertIn(t, d, lost, Namespace{DB: "test", Coll: "lost"}, `{"_id": 1}`); err != nil {
		t.Fatal(err)
	}
	tx := begin(t, d)
	if err := insertIn(t, d, tx, ns, `{"_id": 1}`); err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	table := d.Catalog().Collection(ns.DB, ns.Coll).Table
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = reopen()
	want(t, findIn(t, d, nil), `{ _id: 1 }`)
	if d.Catalog().Collection("test", "lost") != nil {
		t.Error("what was aborted is there")
	}
	if err := insertIn(t, d, nil, Namespace{DB: "test", Coll: "other"}, `{"_id": 1}`); err != nil {
		t.Fatal(err)
	}
	if other := d.Catalog().Collection("test", "other").Table; other <= table {
		t.Errorf("table %d after %d", other, table)
	}
	sound(t, d, ns)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
