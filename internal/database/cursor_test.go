package database

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// openWith opens a database in memory with a configuration of its own.
func openWith(t *testing.T, change func(*Config)) *DB {
	t.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Engine: engine, Logger: slog.New(slog.DiscardHandler)}
	change(&cfg)
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// parked opens a cursor over some documents, reads one and parks it.
func parked(t *testing.T, d *DB, op *Op, q *FindQuery) int64 {
	t.Helper()
	cur, err := d.Find(t.Context(), op, ns, q)
	if err != nil {
		t.Fatal(err)
	}
	buf, _ := bsonval.BeginDoc(nil)
	if _, n, more, err := cur.AppendBatch(t.Context(), buf, 1); n != 1 || !more || err != nil {
		t.Fatal(n, more, err)
	}
	return cur.Park()
}

func fill(t *testing.T, d *DB, n int) {
	t.Helper()
	for i := range n {
		insert(t, d, doc(t, fmt.Sprintf(`{"_id": %d, "a": %d}`, i, i%10)))
	}
}

func TestCursorTimeout(t *testing.T) {
	d := openWith(t, func(c *Config) { c.CursorTimeout = 20 * time.Millisecond })
	fill(t, d, 5)
	op := d.NewOp(t.Context())
	idle, patient := parked(t, d, op, &FindQuery{}), parked(t, d, op, &FindQuery{NoCursorTimeout: true})
	used := parked(t, d, op, &FindQuery{})
	held, err := d.CheckOut(used, ns, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, _, timedOut := d.CursorCounts(); timedOut == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the idle cursor lives on")
		}
		<-time.After(time.Millisecond)
	}
	if _, err := d.CheckOut(idle, ns, "", nil); !mongoerr.Is(err, mongoerr.CursorNotFound) {
		t.Errorf("idle: %v", err)
	}
	if c, err := d.CheckOut(patient, ns, "", nil); err != nil {
		t.Errorf("without timeout: %v", err)
	} else {
		c.Close()
	}
	held.Close()
	if open, _, _ := d.CursorCounts(); open != 0 {
		t.Errorf("%d cursors are open", open)
	}
}

func TestCursorOwners(t *testing.T) {
	d := open(t)
	fill(t, d, 5)
	op := d.NewOp(t.Context())
	plain := parked(t, d, op, &FindQuery{})
	op.Owner = "one"
	owned := parked(t, d, op, &FindQuery{})
	for _, c := range []struct {
		id    int64
		ns    Namespace
		owner string
		code  mongoerr.Code
	}{
		{owned, ns, "two", 50738}, {owned, ns, "", 50737}, {plain, ns, "one", 50736},
		{plain, Namespace{DB: "test", Coll: "d"}, "", mongoerr.Unauthorized}, {12345, ns, "", mongoerr.CursorNotFound},
	} {
		if _, err := d.CheckOut(c.id, c.ns, c.owner, nil); !mongoerr.Is(err, c.code) {
			t.Errorf("cursor %d on %s by %q: %v, want %d", c.id, c.ns, c.owner, err, c.code)
		}
	}
	cur, err := d.CheckOut(plain, ns, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.CheckOut(plain, ns, "", nil); !mongoerr.Is(err, mongoerr.CursorInUse) {
		t.Errorf("in use: %v", err)
	}
	// A cursor that is killed while it is used ends when it is parked.
	if !d.KillCursor(plain, ns) || d.KillCursor(plain, ns) {
		t.Error("kill")
	}
	cur.Park()
	if len(d.IdleCursors()) != 1 || d.IdleCursors()[0].Owner != "one" {
		t.Errorf("idle: %+v", d.IdleCursors())
	}
	d.KillCursorsOf("one")
	if open, _, _ := d.CursorCounts(); open != 0 {
		t.Errorf("%d cursors are open", open)
	}
}

// TestLargeBatches reads documents of which two do not fit into one batch.
func TestLargeBatches(t *testing.T) {
	d := open(t)
	big := make([]byte, 9<<20)
	for i := range 3 {
		insert(t, d, bsonval.NewBuilder().Int32("_id", int32(i)).Value("b", bsonval.Binary(0, big)).Build())
	}
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{})
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	for i := range 3 {
		buf, at := bsonval.BeginDoc(nil)
		buf, n, more, err := cur.AppendBatch(t.Context(), buf, -1)
		if err != nil || n != 1 || more != (i < 2) {
			t.Fatal(i, n, more, err)
		}
		if id := bsonval.Doc(bsonval.EndDoc(buf, at)).Index(0).Doc().Lookup("_id").TruncInt64(); id != int64(i) {
			t.Errorf("batch %d has document %d", i, id)
		}
	}
}
