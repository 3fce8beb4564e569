package database

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// findByID is the short way to a document, as text; empty if there is none.
func findByID(t *testing.T, d *DB, ns Namespace, filter string) string {
	t.Helper()
	out, found, ok, err := d.FindByID(t.Context(), ns, doc(t, filter), nil)
	if err != nil || !ok {
		t.Fatalf("%s: ok %v, error %v", filter, ok, err)
	}
	if !found {
		return ""
	}
	return bsonval.FormatDoc(out)
}

func TestHintsFollowTheDocument(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "v": "first"}`))
	expect := func(filter, want string) {
		t.Helper()
		for range 2 { // without a hint perhaps, then with one
			if got := findByID(t, d, ns, filter); got != want {
				t.Fatalf("%s: got %q, want %q", filter, got, want)
			}
		}
	}
	expect(`{"_id": 1}`, `{ _id: 1, v: "first" }`)
	expect(`{"_id": 1.0}`, `{ _id: 1, v: "first" }`)
	expect(`{"_id": {"$numberLong": "1"}}`, `{ _id: 1, v: "first" }`)
	expect(`{"_id": "1"}`, "")

	remove := func() {
		t.Helper()
		n, err := d.Delete(t.Context(), d.NewOp(t.Context()), ns, &DeleteStatement{Filter: doc(t, `{"_id": 1}`)})
		if err != nil || n != 1 {
			t.Fatal(n, err)
		}
	}
	remove()
	expect(`{"_id": 1}`, "")
	// The record's number is another one now.
	insert(t, d, doc(t, `{"_id": 1.0, "v": "second"}`))
	expect(`{"_id": 1}`, `{ _id: 1.0, v: "second" }`)

	remove()
	// An update must not be led astray either.
	res, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &UpdateStatement{
		Filter: doc(t, `{"_id": 1}`), Update: bsonval.Document(doc(t, `{"$set": {"v": "third"}}`)), Upsert: true,
	})
	if err != nil || res.Matched != 0 || res.Upserted.IsMissing() {
		t.Fatalf("%+v %v", res, err)
	}
	expect(`{"_id": 1}`, `{ _id: 1, v: "third" }`)
}

func TestHintsOfAbortedInserts(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 0}`))
	op := d.NewOp(t.Context())
	stop := mongoerr.New(mongoerr.BadValue, "stop")
	op.BeforeCommit = func(_ context.Context, _ storage.Txn) error { return stop }
	if _, err := d.Insert(t.Context(), op, ns, []bsonval.Doc{doc(t, `{"_id": 7}`)}, true); !errors.Is(err, stop) {
		t.Fatalf("got %v", err)
	}
	if got := findByID(t, d, ns, `{"_id": 7}`); got != "" {
		t.Errorf("found %s", got)
	}
}

func TestHintsKeepCollectionsApart(t *testing.T) {
	d := open(t)
	for i := range 4 {
		ns := Namespace{DB: "test", Coll: fmt.Sprint("c", i)}
		if _, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, []bsonval.Doc{
			doc(t, `{"_id": "padding"}`), doc(t, fmt.Sprintf(`{"_id": "x", "in": %d}`, i)),
		}, true); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for i := range 4 {
			ns := Namespace{DB: "test", Coll: fmt.Sprint("c", i)}
			want := fmt.Sprintf(`{ _id: "x", in: %d }`, i)
			if got := findByID(t, d, ns, `{"_id": "x"}`); got != want {
				t.Errorf("%s: got %s, want %s", ns, got, want)
			}
		}
	}
}
