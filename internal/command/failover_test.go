package command

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
	"github.com/archelon-db/archelon/server"
)

// failover is an engine that loses what retryable writes have stored, once, while somebody waits for that to be durable.
type failover struct {
	storage.Engine
	t          *testing.T
	standbys   bool
	generation atomic.Uint64
	armed      atomic.Bool
}

func (e *failover) Generation(context.Context) (uint64, error) { return e.generation.Load() + 1, nil }
func (e *failover) AwaitsStandbys() bool                       { return e.standbys }

func (e *failover) Sync(ctx context.Context) error {
	if e.armed.Swap(false) {
		e.lose()
	}
	return e.Engine.Sync(ctx)
}

func (e *failover) SyncNoted(ctx context.Context) error { return e.Sync(ctx) }

func (e *failover) lose() {
	e.generation.Add(1)
	txn := e.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	var keys [][]byte
	err := txn.ScanMeta(context.Background(), []byte("R"), func(key, _ []byte) bool {
		keys = append(keys, bytes.Clone(key))
		return true
	})
	for _, key := range keys {
		if err == nil {
			err = txn.DeleteMeta(context.Background(), key)
		}
	}
	if err == nil {
		_, err = txn.Commit(context.Background())
	}
	if err != nil || len(keys) == 0 {
		e.t.Errorf("%d keys, %v", len(keys), err)
	}
}

// TestRetryAfterFailover sends writes again that failed because they were lost before they were durable: nobody remembers them
// as executed.
func TestRetryAfterFailover(t *testing.T) {
	for name, c := range map[string]struct {
		standbys bool
		updates  bson.A
	}{
		"one, with standbys":     {true, bson.A{inc(1)}},
		"several, with standbys": {true, bson.A{inc(1), inc(2)}},
		"several":                {false, bson.A{inc(1), inc(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
			if err != nil {
				t.Fatal(err)
			}
			e := &failover{Engine: engine, t: t, standbys: c.standbys}
			f := openOn(t, e, server.ReplicaSet)
			defer f.close()
			f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1)}, bson.D{field("_id", 2)}})})
			cmd := retryable(bson.D{field("update", "c"), field("updates", c.updates)}, 1)
			e.armed.Store(true)
			if code := f.code("d", cmd); code != mongoerr.HostUnreachable {
				t.Fatalf("a write that was lost got %d", code)
			}
			if again := f.must("d", cmd); !again.Lookup("retriedStmtIds").IsMissing() {
				t.Errorf("the lost write is said to have been executed: %s", again)
			}
			if again := f.must("d", cmd); again.Lookup("retriedStmtIds").IsMissing() {
				t.Errorf("executed a second time: %s", again)
			}
		})
	}
}
