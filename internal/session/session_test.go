package session

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// clock is a clock the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newEngine(t testing.TB) storage.Engine {
	t.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}

func newRegistry(t testing.TB, engine storage.Engine, c *clock) *Registry {
	t.Helper()
	r, err := NewRegistry(Config{Engine: engine, Logger: slog.New(slog.DiscardHandler), Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func testID(n byte) ID { return ID{UUID: [16]byte{15: n}, UID: NoUser} }

// execute runs statements of a retryable write in one transaction.
func execute(t testing.TB, engine storage.Engine, r *Retry, outcomes map[int32]string, commit bool) {
	t.Helper()
	txn := engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	r.Discard()
	for stmt := int32(0); stmt < 10_000 && len(outcomes) > 0; stmt++ {
		if o, ok := outcomes[stmt]; ok {
			r.Add(stmt, []byte(o))
		}
	}
	if err := r.Store(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	if !commit {
		r.Discard()
		return
	}
	if _, err := txn.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Commit()
}

func begin(t testing.TB, reg *Registry, id ID, number int64) *Retry {
	t.Helper()
	s, err := reg.Touch(id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Begin(t.Context(), number)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRetrySurvivesRestart(t *testing.T) {
	engine, c := newEngine(t), &clock{now: time.Unix(1e9, 0)}
	reg := newRegistry(t, engine, c)
	r := begin(t, reg, testID(1), 7)
	execute(t, engine, r, map[int32]string{0: "a", 1: "a", 2: "b"}, true)
	execute(t, engine, r, map[int32]string{3: "lost"}, false)
	r.End()

	for name, reg := range map[string]*Registry{"same process": reg, "next process": newRegistry(t, engine, c)} {
		r := begin(t, reg, testID(1), 7)
		for stmt, want := range map[int32]string{0: "a", 1: "a", 2: "b"} {
			if got, ok := r.Executed(stmt); !ok || string(got) != want {
				t.Errorf("%s: statement %d: %q, %v", name, stmt, got, ok)
			}
		}
		if _, ok := r.Executed(3); ok {
			t.Errorf("%s: a statement of a transaction that did not commit counts as executed", name)
		}
		r.End()
		s, err := reg.Touch(testID(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Begin(t.Context(), 6); !mongoerr.Is(err, mongoerr.TransactionTooOld) {
			t.Errorf("%s: older number: %v", name, err)
		}
	}
}

func TestNewerNumberForgetsOlder(t *testing.T) {
	engine, c := newEngine(t), &clock{now: time.Unix(1e9, 0)}
	reg := newRegistry(t, engine, c)
	r := begin(t, reg, testID(1), 1)
	many := map[int32]string{}
	for i := range int32(3000) { // several chunks
		many[i] = strconv.Itoa(int(i))
	}
	execute(t, engine, r, many, true)
	r.End()
	r = begin(t, reg, testID(1), 2)
	if _, ok := r.Executed(0); ok {
		t.Error("statement of the write before counts as executed")
	}
	execute(t, engine, r, map[int32]string{5: "x"}, true)
	r.End()

	r = begin(t, newRegistry(t, engine, c), testID(1), 2)
	defer r.End()
	for _, stmt := range []int32{0, 2999} {
		if _, ok := r.Executed(stmt); ok {
			t.Errorf("statement %d of the write before counts as executed after a restart", stmt)
		}
	}
	if o, ok := r.Executed(5); !ok || string(o) != "x" {
		t.Errorf("%q, %v", o, ok)
	}
}

func TestBeginWaitsForItsTurn(t *testing.T) {
	engine := newEngine(t)
	reg := newRegistry(t, engine, &clock{now: time.Unix(1e9, 0)})
	r := begin(t, reg, testID(1), 1)
	s, err := reg.Touch(testID(1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Begin(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r.End()
	begin(t, reg, testID(1), 1).End()
}

func TestExpiry(t *testing.T) {
	engine, c := newEngine(t), &clock{now: time.Unix(1e9, 0)}
	reg := newRegistry(t, engine, c)
	var ended []string
	reg.OnEnd = func(owner string) { ended = append(ended, owner) }
	r := begin(t, reg, testID(1), 1)
	execute(t, engine, r, map[int32]string{0: ""}, true)
	r.End()
	c.advance(Timeout - time.Second)
	if _, err := reg.Touch(testID(2)); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Second)
	if err := reg.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reg.Has(testID(1)) || !reg.Has(testID(2)) || reg.Len() != 1 || len(ended) != 1 {
		t.Errorf("has 1: %v, has 2: %v, %d left, %d ended", reg.Has(testID(1)), reg.Has(testID(2)), reg.Len(), len(ended))
	}
	if n := records(t, engine); n != 0 {
		t.Errorf("%d records left", n)
	}
	if n := reg.JobCounts(); n.Passes != 1 || n.LastEnded != 1 || !n.LastStart.Equal(c.Now()) {
		t.Errorf("%+v", n)
	}
}

func TestReapRecordsOfEarlierProcess(t *testing.T) {
	engine, c := newEngine(t), &clock{now: time.Unix(1e9, 0)}
	r := begin(t, newRegistry(t, engine, c), testID(1), 1)
	execute(t, engine, r, map[int32]string{0: ""}, true)
	r.End()
	reg := newRegistry(t, engine, c)
	if err := reg.reapRecords(t.Context()); err != nil || records(t, engine) != 1 {
		t.Fatalf("young record: %v, %d left", err, records(t, engine))
	}
	c.advance(Timeout + time.Second)
	if err := reg.reapRecords(t.Context()); err != nil || records(t, engine) != 0 {
		t.Errorf("%v, %d records left", err, records(t, engine))
	}
}

func records(t testing.TB, engine storage.Engine) (n int) {
	t.Helper()
	txn := engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	err := txn.ScanMeta(t.Context(), []byte(recordPrefix), func([]byte, []byte) bool { n++; return true })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRetryModel compares a session with a map, over restarts and transactions that fail.
func TestRetryModel(t *testing.T) {
	engine, c := newEngine(t), &clock{now: time.Unix(1e9, 0)}
	next := byte(0)
	rapid.Check(t, func(rt *rapid.T) {
		next++
		id := testID(next)
		reg := newRegistry(t, engine, c)
		number, model := int64(0), map[int32]string{}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				reg = newRegistry(t, engine, c)
			case 1:
				number, model = number+1, map[int32]string{}
			}
			r := begin(t, reg, id, number)
			batch := map[int32]string{}
			for range rapid.IntRange(0, 5).Draw(rt, "statements") {
				stmt := int32(rapid.IntRange(0, 20).Draw(rt, "statement"))
				if _, done := r.Executed(stmt); !done {
					batch[stmt] = rapid.SampledFrom([]string{"", "x", string(make([]byte, 5000))}).Draw(rt, "outcome")
				}
			}
			commit := rapid.Bool().Draw(rt, "commit")
			execute(t, engine, r, batch, commit)
			if commit {
				for k, v := range batch {
					model[k] = v
				}
			}
			for stmt := range int32(21) {
				got, ok := r.Executed(stmt)
				want, exists := model[stmt]
				if ok != exists || string(got) != want {
					rt.Fatalf("statement %d: %q %v, want %q %v", stmt, got, ok, want, exists)
				}
			}
			r.End()
		}
	})
}

func FuzzDecodeChunk(f *testing.F) {
	var c chunk
	c.add(0, nil)
	c.add(1, nil)
	c.add(5, []byte("outcome"))
	f.Add(c.encode(1, 2))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, number, err := decodeChunk(b)
		if err != nil {
			if !errors.Is(err, errBadRecord) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, n, err := decodeChunk(c.encode(lastUseOf(b), number))
		if err != nil || n != number || len(again.entries) != len(c.entries) {
			t.Fatalf("%v: %d entries, want %d", err, len(again.entries), len(c.entries))
		}
		for i := range c.entries {
			x, y := c.entries[i], again.entries[i]
			if x.first != y.first || x.count != y.count || !bytes.Equal(x.outcome, y.outcome) {
				t.Fatalf("entry %d: %v, want %v", i, y, x)
			}
		}
	})
}
