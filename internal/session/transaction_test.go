package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// work is a transaction that writes a meta key.
type work struct {
	txn   storage.Txn
	key   string
	ended bool
	fail  error
}

func newWork(engine storage.Engine, key string) *work {
	return &work{txn: engine.Begin(storage.TxnOptions{}), key: key}
}

func (w *work) Commit(ctx context.Context, before func(context.Context, storage.Txn) error) error {
	defer w.Abort()
	if w.fail != nil {
		return w.fail
	}
	if err := errors.Join(w.txn.PutMeta(ctx, []byte(w.key), nil), before(ctx, w.txn)); err != nil {
		return err
	}
	_, err := w.txn.Commit(ctx)
	return err
}

func (w *work) Abort() {
	w.ended = true
	w.txn.Rollback()
}

func (w *work) Ended() bool { return w.ended }

func touch(t testing.TB, r *Registry, id ID) *Session {
	t.Helper()
	s, err := r.Touch(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs the first statement of a transaction.
func start(t testing.TB, s *Session, number int64, w *work) {
	t.Helper()
	st, err := s.Statement(t.Context(), number, &Start{Begin: func() Work { return w }})
	if err != nil {
		t.Fatal(err)
	}
	st.End(false)
}

func commit(t testing.TB, s *Session, number int64) error {
	t.Helper()
	_, err := s.Commit(t.Context(), number)
	return err
}

func wantCode(t testing.TB, err error, code mongoerr.Code) {
	t.Helper()
	if !mongoerr.Is(err, code) {
		t.Errorf("got %v, want code %d", err, code)
	}
}

func TestTransactionStates(t *testing.T) {
	engine, c := newEngine(t), &clock{now: time.Unix(1e9, 0)}
	r := newRegistry(t, engine, c)
	s := touch(t, r, testID(1))
	_, err := s.Statement(t.Context(), 1, nil)
	wantCode(t, err, mongoerr.NoSuchTransaction)

	first := newWork(engine, "a")
	start(t, s, 1, first)
	if o := s.Open(); o == nil || o.Number != 1 || o.Running() || o.Expires.Sub(o.Started) != DefaultTransactionLifetime {
		t.Errorf("open: %+v", o)
	}
	start(t, s, 2, newWork(engine, "b"))
	if !first.ended {
		t.Error("a newer transaction does not abort the one before")
	}
	st, err := s.Statement(t.Context(), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	st.End(true)
	wantCode(t, commit(t, s, 2), mongoerr.NoSuchTransaction)
	wantCode(t, s.Abort(t.Context(), 2), mongoerr.NoSuchTransaction)

	broken := newWork(engine, "c")
	broken.fail = errors.New("no space")
	start(t, s, 3, broken)
	if err := commit(t, s, 3); !errors.Is(err, broken.fail) {
		t.Errorf("commit: %v", err)
	}
	wantCode(t, commit(t, s, 3), mongoerr.NoSuchTransaction)
	for n := int64(4); n < 6; n++ {
		start(t, s, n, newWork(engine, "d"))
	}
	for range 2 {
		if err := commit(t, s, 5); err != nil {
			t.Error(err)
		}
	}
	_, err = s.Begin(t.Context(), 5)
	wantCode(t, err, mongoerr.InvalidOptions)
	_, err = s.Begin(t.Context(), 4)
	wantCode(t, err, mongoerr.TransactionTooOld)
	if got, want := r.TransactionCounts(), (TransactionCounts{Started: 5, Committed: 1, Aborted: 4, Stored: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func TestCommittedTransactionSurvivesRestart(t *testing.T) {
	engine, c := newEngine(t), &clock{now: time.Unix(1e9, 0)}
	old := begin(t, newRegistry(t, engine, c), testID(1), 1)
	execute(t, engine, old, map[int32]string{0: "a"}, true)
	old.End()
	s := touch(t, newRegistry(t, engine, c), testID(1))
	start(t, s, 2, newWork(engine, "k"))
	if err := commit(t, s, 2); err != nil {
		t.Fatal(err)
	}
	s = touch(t, newRegistry(t, engine, c), testID(1))
	if err := commit(t, s, 2); err != nil {
		t.Errorf("commit again after a restart: %v", err)
	}
	_, err := s.Statement(t.Context(), 2, nil)
	wantCode(t, err, mongoerr.TransactionCommitted)

	r := begin(t, newRegistry(t, engine, c), testID(1), 3)
	if _, ok := r.Executed(0); ok {
		t.Error("the outcome of an earlier number counts")
	}
	execute(t, engine, r, map[int32]string{7: "x"}, true)
	r.End()
	r = begin(t, newRegistry(t, engine, c), testID(1), 3)
	defer r.End()
	if _, ok := r.Executed(7); !ok {
		t.Error("a retryable write after a transaction is forgotten")
	}
}

func TestTransactionsExpire(t *testing.T) {
	engine, c := newEngine(t), &clock{now: time.Unix(1e9, 0)}
	r := newRegistry(t, engine, c)
	var interrupted []*Session
	r.OnExpire = func(s *Session) { interrupted = append(interrupted, s) }
	idle, busy := touch(t, r, testID(1)), touch(t, r, testID(2))
	start(t, idle, 1, newWork(engine, "a"))
	st, err := busy.Statement(t.Context(), 1, &Start{Begin: func() Work { return newWork(engine, "b") }})
	if err != nil {
		t.Fatal(err)
	}
	c.advance(DefaultTransactionLifetime - 1)
	r.ExpireTransactions()
	if n := r.TransactionCounts(); n.Open != 2 || n.Active != 1 {
		t.Errorf("counts %+v", n)
	}
	c.advance(1)
	r.ExpireTransactions()
	if idle.Open() != nil || busy.Open() == nil || len(interrupted) != 1 || interrupted[0] != busy {
		t.Errorf("interrupted %v", interrupted)
	}
	st.End(true)
	wantCode(t, commit(t, idle, 1), mongoerr.NoSuchTransaction)

	start(t, idle, 2, newWork(engine, "c"))
	if err := r.End(t.Context(), []ID{testID(1)}); err != nil {
		t.Fatal(err)
	}
	if n := r.TransactionCounts(); n.Open != 0 || n.Aborted != 3 {
		t.Errorf("after the end of the session: %+v", n)
	}
}

func FuzzDecodeCommitted(f *testing.F) {
	f.Add(encodeCommitted(1, 2))
	f.Add([]byte{committedVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		number, _, err := decodeEnded(b)
		if err == nil && string(encodeCommitted(lastUseOf(b), number)) != string(b) {
			t.Errorf("%x is not what it decodes to", b)
		}
	})
}
