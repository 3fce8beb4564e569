package database

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// fleeting is an engine that is away, if it is armed, once it has committed: it does not tell that it has.
type fleeting struct {
	mortal
	armed, away atomic.Bool
	missed      atomic.Int64 // reads while it was away
}

var errAway = errors.New("the storage is away")

func (e *fleeting) Generation(context.Context) (uint64, error) { return 1, nil } // nothing is lost

func (e *fleeting) Begin(o storage.TxnOptions) storage.Txn { return &fleetingTxn{e.Engine.Begin(o), e} }

type fleetingTxn struct {
	storage.Txn
	engine *fleeting
}

func (tx *fleetingTxn) GetMeta(ctx context.Context, key []byte) ([]byte, error) {
	if tx.engine.away.Load() {
		tx.engine.missed.Add(1)
		return nil, errAway
	}
	return tx.Txn.GetMeta(ctx, key)
}

func (tx *fleetingTxn) Commit(ctx context.Context) (storage.Position, error) {
	if tx.engine.away.Load() {
		return 0, errAway
	}
	pos, err := tx.Txn.Commit(ctx)
	if tx.engine.armed.Swap(false) {
		tx.engine.away.Store(true)
		err = errAway
	}
	return pos, err
}

// TestBuildBeforeOutage begins to build an index with a commit of which nobody knows whether it has happened until the storage is
// back: the index is dropped then, and can be built.
func TestBuildBeforeOutage(t *testing.T) {
	inner, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	engine := &fleeting{mortal: mortal{Engine: inner}}
	d := openOn(t, engine, nil)
	ns := Namespace{DB: "shop", Coll: "orders"}
	insertJSON(t, d, ns, `{"n": 1}`)
	specs := []bsonval.Doc{doc(t, `{"key": {"n": 1}, "name": "n_1"}`)}
	engine.armed.Store(true)
	if _, err := d.CreateIndexes(t.Context(), ns, specs); !errors.Is(err, errAway) {
		t.Fatalf("without the storage: %v", err)
	}
	for engine.missed.Load() < 3 { // whoever asks what has happened gets no answer
		<-time.After(settlePause / 10)
	}
	engine.away.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := d.CreateIndexes(ctx, ns, specs); err != nil {
		t.Errorf("with it: %v", err)
	}
	if coll := d.Catalog().Collection(ns.DB, ns.Coll); len(coll.Indexes) != 2 || !coll.Index("n_1").Ready {
		t.Errorf("the indexes are %v", coll.Indexes)
	}
}
