package command

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
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
func (e *failover) Losses() uint64                             { return e.generation.Load() + 1 }
func (e *failover) AwaitsStandbys() bool                       { return e.standbys }

func (e *failover) Durable() (uint64, <-chan struct{}) {
	durable, grows := e.Engine.Durable()
	if e.armed.Load() {
		durable = 0
	}
	return durable, grows
}

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

// openFailover opens a database with a collection on such an engine.
func openFailover(t *testing.T, standbys bool) (*failover, *fixture) {
	t.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	e := &failover{Engine: engine, t: t, standbys: standbys}
	f := openOn(t, e, server.ReplicaSet)
	t.Cleanup(f.close)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1)}, bson.D{field("_id", 2)}})})
	return e, f
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
			e, f := openFailover(t, c.standbys)
			cmd := retryable(bson.D{field("update", "c"), field("updates", c.updates)}, 1)
			e.armed.Store(true)
			if code := f.code("d", cmd); code != mongoerr.HostUnreachable {
				t.Fatalf("a write that was lost got %d", code)
			}
			if again := f.must("d", cmd); !again.Lookup("retriedStmtIds").IsMissing() {
				t.Errorf("the lost write is said to have been executed: %s", bsonval.FormatDoc(again))
			}
			if again := f.must("d", cmd); again.Lookup("retriedStmtIds").IsMissing() {
				t.Errorf("executed a second time: %s", bsonval.FormatDoc(again))
			}
			e.armed.Store(true)
			if code := f.code("d", cmd); code != mongoerr.HostUnreachable {
				t.Errorf("a write that was lost while it was answered a second time got %d", code)
			}
		})
	}
}

// TestRetryAfterGivingUp sends writes again that were lost after their clients had stopped waiting for the disk.
func TestRetryAfterGivingUp(t *testing.T) {
	remove := bson.D{field("q", bson.D{}), field("limit", 1)}
	for name, cmd := range map[string]bson.D{
		"insert":        {field("insert", "c"), field("documents", bson.A{bson.D{field("n", 1)}, bson.D{field("n", 2)}})},
		"update":        {field("update", "c"), field("updates", bson.A{inc(1)})},
		"delete":        {field("delete", "c"), field("deletes", bson.A{remove})},
		"findAndModify": {field("findAndModify", "c"), field("query", bson.D{}), field("update", bson.D{field("$inc", bson.D{field("n", 1)})})},
		"bulkWrite": {
			field("bulkWrite", 1), field("ops", bson.A{bson.D{field("insert", 0), field("document", bson.D{field("n", 1)})}}),
			field("nsInfo", bson.A{bson.D{field("ns", "d.c")}}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, f := openFailover(t, false)
			db := "d"
			if name == "bulkWrite" {
				db = "admin"
			}
			retried := func(reply bsonval.Doc) bool {
				return !reply.Lookup("retriedStmtIds").IsMissing() || !reply.Lookup("retriedStmtId").IsMissing()
			}
			cmd := retryable(cmd, 1)
			f.must(db, append(slices.Clone(cmd), field("writeConcern", bson.D{field("w", 1), field("j", false)})))
			if again := f.must(db, cmd); !retried(again) {
				t.Errorf("executed a second time: %s", bsonval.FormatDoc(again))
			}
			e.armed.Store(true)
			if code := f.code(db, cmd); code != mongoerr.HostUnreachable {
				t.Errorf("a write that was lost while it was answered a second time got %d", code)
			}
			if again := f.must(db, cmd); retried(again) {
				t.Errorf("the lost write is said to have been executed: %s", bsonval.FormatDoc(again))
			}
		})
	}
}

// TestCommitAfterFailover asks again for the commit of a transaction that was lost.
func TestCommitAfterFailover(t *testing.T) {
	e, f := openFailover(t, false)
	in := func(number int64, cmd bson.D, more ...bson.E) bson.D {
		return retryable(cmd, number, append(more, field("autocommit", false))...)
	}
	insert := bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("n", 1)}})}
	end := bson.D{field("commitTransaction", 1)}
	f.must("d", in(1, insert, field("startTransaction", true)))
	f.must("admin", in(1, end))
	f.must("admin", in(1, end))
	e.armed.Store(true)
	if code := f.code("admin", in(1, end)); code != mongoerr.HostUnreachable {
		t.Errorf("the commit of a transaction that is lost meanwhile got %d", code)
	}
	if code := f.code("admin", in(1, end)); code != mongoerr.NoSuchTransaction {
		t.Errorf("the commit of a lost transaction got %d", code)
	}
	// One that is in progress goes on.
	f.must("d", in(2, insert, field("startTransaction", true)))
	e.generation.Add(1)
	f.must("d", in(2, insert))
	f.must("admin", in(2, end))
}
