package database

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

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
func (m *mortal) SyncNoted(ctx context.Context) error        { return m.Sync(ctx) }
func (m *mortal) AwaitsStandbys() bool                       { return false }

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
