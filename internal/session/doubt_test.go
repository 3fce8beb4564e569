package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// TestDoubtfulRetry is told that a commit has failed which has happened, and that one has happened which has not: the
// next attempt goes by what is stored.
func TestDoubtfulRetry(t *testing.T) {
	engine := newEngine(t)
	reg := newRegistry(t, engine, &clock{now: time.Unix(1_700_000_000, 0)})
	id := testID(1)
	earlier := begin(t, reg, id, 5)
	execute(t, engine, earlier, map[int32]string{0: "five"}, true)
	earlier.End()
	for _, happens := range []bool{true, false} {
		number := int64(6)
		if !happens {
			number = 7
		}
		r := begin(t, reg, id, number)
		txn := engine.Begin(storage.TxnOptions{})
		r.Add(0, []byte("outcome"))
		if err := r.Store(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		if happens {
			if _, err := txn.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		txn.Rollback()
		r.Discard()
		r.End() // as after an error

		r = begin(t, reg, id, number)
		if outcome, ok := r.Executed(0); ok != happens || ok && string(outcome) != "outcome" {
			t.Errorf("happened: %t, found: %t, %q", happens, ok, outcome)
		}
		execute(t, engine, r, map[int32]string{1: "more"}, true)
		r.End()
		again := begin(t, newRegistry(t, engine, &clock{now: time.Unix(1_700_000_000, 0)}), id, number)
		_, first := again.Executed(0)
		if _, second := again.Executed(1); first != happens || !second {
			t.Errorf("after a restart: %t, %t", first, second)
		}
	}
}

// lateWork is a transaction whose commit happens and is reported as failed.
type lateWork struct{ *work }

func (w lateWork) Commit(ctx context.Context, before func(context.Context, storage.Txn) error) error {
	return errors.Join(w.work.Commit(ctx, before), mongoerr.New(mongoerr.HostUnreachable, "the answer was lost"))
}

func TestDoubtfulCommit(t *testing.T) {
	engine := newEngine(t)
	reg := newRegistry(t, engine, &clock{now: time.Unix(1_700_000_000, 0)})
	s := touch(t, reg, testID(1))
	st, err := s.Statement(t.Context(), 1, &Start{Begin: func() Work { return lateWork{newWork(engine, "a")} }})
	if err != nil {
		t.Fatal(err)
	}
	st.End(false)
	wantCode(t, commit(t, s, 1), mongoerr.HostUnreachable)
	if err := commit(t, s, 1); err != nil {
		t.Errorf("a commit that has happened, asked for again: %v", err)
	}

	w := newWork(engine, "b")
	w.fail = mongoerr.New(mongoerr.HostUnreachable, "not even sent")
	start(t, s, 2, w)
	wantCode(t, commit(t, s, 2), mongoerr.HostUnreachable)
	wantCode(t, commit(t, s, 2), mongoerr.NoSuchTransaction)
}
