package database

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// mortal is an engine that goes down, and comes up again, after it was asked for its generation.
type mortal struct {
	storage.Engine
	asked atomic.Uint64
}

func (m *mortal) Generation(context.Context) (uint64, error) { return m.asked.Add(1), nil }
func (m *mortal) Losses() uint64                             { return 1 }
func (m *mortal) SyncNoted(ctx context.Context) error        { return m.Sync(ctx) }
func (m *mortal) AwaitsStandbys() bool                       { return false }

// TestLostBatches fills collections and indexes in several transactions while the storage goes down: what is made of them may lack
// some.
func TestLostBatches(t *testing.T) {
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	d := openOn(t, &mortal{Engine: engine}, &OplogConfig{})
	from, to := Namespace{DB: "shop", Coll: "orders"}, Namespace{DB: "archive", Coll: "orders"}
	insertJSON(t, d, from, `{"n": 1}`)
	aggregate := func(stage string) error {
		q := &AggregateQuery{Pipeline: doc(t, `{"p": [`+stage+`]}`).Lookup("p").Doc()}
		cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), from, q)
		if err == nil {
			_, _, _, err = cur.AppendBatch(t.Context(), nil, -1)
			cur.Close()
		}
		return err
	}
	for name, fill := range map[string]func() error{
		"index": func() error {
			_, err := d.CreateIndexes(t.Context(), from, []bsonval.Doc{doc(t, `{"key": {"n": 1}, "name": "n_1"}`)})
			return err
		},
		"rename": func() error { return d.Rename(t.Context(), from, to, false) },
		"capped": func() error { return d.ConvertToCapped(t.Context(), from, 4096) },
		"$out":   func() error { return aggregate(`{"$out": "others"}`) },
		"$merge": func() error { return aggregate(`{"$merge": "others"}`) },
	} {
		if err := fill(); !mongoerr.Is(err, mongoerr.HostUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if coll := d.Catalog().Collection(from.DB, from.Coll); coll == nil || coll.Capped != nil || len(coll.Indexes) != 1 {
		t.Errorf("%+v is left", coll)
	}
	if coll := d.Catalog().Collection(to.DB, to.Coll); coll != nil {
		t.Error("the collection has moved")
	}
}

// TestLostBatch changes more documents than one transaction does while the storage goes down: the first ones may be lost.
func TestLostBatch(t *testing.T) {
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	d := openOn(t, &mortal{Engine: engine}, &OplogConfig{})
	ns := Namespace{DB: "shop", Coll: "orders"}
	for i := range multiBatch + 1 {
		insertJSON(t, d, ns, fmt.Sprintf(`{"n": %d}`, i))
	}
	for filter, lost := range map[string]bool{`{}`: true, `{"n": {"$lt": 10}}`: false} {
		_, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &UpdateStatement{Filter: doc(t, filter), Update: bsonval.Document(doc(t, `{"$inc": {"m": 1}}`)), Multi: true})
		if mongoerr.Is(err, mongoerr.HostUnreachable) != lost || !lost && err != nil {
			t.Errorf("%s: %v", filter, err)
		}
	}
}

// forgetful is an engine that may have lost what was committed.
type forgetful struct {
	mortal
	losses atomic.Uint64
}

func (f *forgetful) Losses() uint64 { return 1 + f.losses.Load() }

// TestCountWithTransaction asks how many documents there are when they have to be counted again, and a transaction holds the collection,
// which may last: it is not waited for.
func TestCountWithTransaction(t *testing.T) {
	inner, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	engine := &forgetful{mortal: mortal{Engine: inner}}
	d := openOn(t, engine, nil)
	ns := Namespace{DB: "shop", Coll: "orders"}
	insertJSON(t, d, ns, `{"n": 1}`)
	guard := d.Catalog().Collection(ns.DB, ns.Coll).Guard
	count := func() int64 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		n, err := d.Count(ctx, d.NewOp(ctx), ns, &FindQuery{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	op := d.NewOp(t.Context())
	op.Txn = d.BeginTransaction()
	defer op.Txn.Abort()
	if _, err := d.Insert(t.Context(), op, ns, []bsonval.Doc{doc(t, `{"n": 2}`)}, true); err != nil {
		t.Fatal(err)
	}
	guard.Count.Store(7) // which is wrong
	engine.losses.Add(1)
	if n := count(); n != 1 {
		t.Errorf("%d documents during the transaction", n)
	}
	if err := op.Txn.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 2 || guard.Count.Load() != 2 {
		t.Errorf("%d documents after it, %d counted", n, guard.Count.Load())
	}
}
