package database

import (
	"fmt"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// TestOplogImages: documents from before changes are found by the time of the entry.
func TestOplogImages(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	if err := d.Create(t.Context(), ns, doc(t, `{"changeStreamPreAndPostImages": {"enabled": true}}`)); err != nil {
		t.Fatal(err)
	}
	coll := d.Catalog().Collection(ns.DB, ns.Coll)
	var docs []string
	for i := range 40 {
		docs = append(docs, fmt.Sprintf(`{"_id": %d, "v": 0}`, i))
	}
	if err := insertIn(t, d, nil, ns, docs...); err != nil {
		t.Fatal(err)
	}
	start := d.engine.Clock().Applied()
	if err := setIn(t, d, nil, "1", "1"); err != nil {
		t.Fatal(err)
	}
	tx := begin(t, d)
	if err := insertIn(t, d, tx, ns, `{"_id": 100}`); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := setIn(t, d, tx, fmt.Sprint(i), "2"); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, tx)
	if _, err := d.Delete(t.Context(), d.NewOp(t.Context()), ns, &DeleteStatement{Filter: doc(t, `{"_id": 5}`)}); err != nil {
		t.Fatal(err)
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	image := func(ts uint64, index int) string {
		image, ok, err := d.PreImage(t.Context(), txn, coll.UUID, ts, index)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return "none"
		}
		return bsonval.FormatDoc(image)
	}
	entries := rawEntries(t, d, start)
	if len(entries) != 3 {
		t.Fatalf("%d entries", len(entries))
	}
	at := func(i int) uint64 { return uint64(entries[i].Lookup("ts").Int64()) }
	if got := image(at(0), 0); got != "{ _id: 1, v: 0 }" {
		t.Errorf("image of the update: %s", got)
	}
	if got := image(at(1), 0); got != "none" {
		t.Errorf("image of the transaction's insert: %s", got)
	}
	for i := range 40 {
		v := 0
		if i == 1 {
			v = 1
		}
		if got, want := image(at(1), i+1), fmt.Sprintf("{ _id: %d, v: %d }", i, v); got != want {
			t.Errorf("image %d of the transaction: %s, want %s", i, got, want)
		}
	}
	if got := image(at(1), 41); got != "none" {
		t.Errorf("image behind the transaction's last: %s", got)
	}
	if got := image(at(2), 0); got != "{ _id: 5, v: 2 }" {
		t.Errorf("image of the delete: %s", got)
	}
	if _, ok, err := d.PreImage(t.Context(), txn, catalog.NewUUID(), at(0), 0); ok || err != nil {
		t.Errorf("image of another collection: %v, %v", ok, err)
	}
}

// TestOplogLargeTransaction: a transaction that does not fit into an entry is a chain.
func TestOplogLargeTransaction(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	if err := d.Create(t.Context(), ns, doc(t, `{"changeStreamPreAndPostImages": {"enabled": true}}`)); err != nil {
		t.Fatal(err)
	}
	coll := d.Catalog().Collection(ns.DB, ns.Coll)
	large := strings.Repeat("x", 6<<20)
	for i := range 5 {
		b := bsonval.NewBuilder().Int32("_id", int32(i)).Str("v", large).Build()
		if _, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, []bsonval.Doc{b}, true); err != nil {
			t.Fatal(err)
		}
	}
	start := d.engine.Clock().Applied()
	tx := begin(t, d)
	for i := range 5 {
		if err := setIn(t, d, tx, fmt.Sprint(i), `"`+large+`y"`); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, tx)
	entries := rawEntries(t, d, start)
	if len(entries) != 3 {
		t.Fatalf("%d entries", len(entries))
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	n := int32(0)
	for i, raw := range entries {
		e, err := oplog.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && e.Prev.TS != uint64(entries[i-1].Lookup("ts").Int64()) || i == 0 && !e.Prev.IsNull() {
			t.Errorf("entry %d is behind %+v", i, e.Prev)
		}
		if e.Partial() != (i < 2) {
			t.Errorf("entry %d: partial %v", i, e.Partial())
		}
		ops := e.Ops()
		for index := 0; ops.Next(); index++ {
			image, ok, err := d.PreImage(t.Context(), txn, coll.UUID, e.TS, index)
			if !ok || err != nil || image.Lookup("_id").Int32() != n || len(image.Lookup("v").Str()) != len(large) {
				t.Errorf("image %d of entry %d: %v, %v", index, i, ok, err)
			}
			n++
		}
	}
}
