package running

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

var errOther = mongoerr.New(mongoerr.InterruptedAtShutdown, "the server is shutting down")

func ended(c *Context) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

func TestKill(t *testing.T) {
	_, cancel := context.WithCancelCause(t.Context())
	for _, onKilled := range []context.CancelCauseFunc{nil, cancel} {
		c := &Context{Context: t.Context(), OnKilled: onKilled}
		if ended(c) || c.Killed() || c.Err() != nil {
			t.Fatal("ended at once")
		}
		c.Kill(errOther)
		c.Kill(ErrInterrupted)
		if !ended(c) || !c.Killed() || !errors.Is(c.Err(), errOther) {
			t.Errorf("killed: %v", c.Err())
		}
		c.Release()
	}
	unseen := &Context{Context: t.Context()}
	unseen.Kill(errOther)
	if !ended(unseen) {
		t.Error("killed before anybody waited, and not ended")
	}
}

func TestOnKilled(t *testing.T) {
	outside, cancel := context.WithCancelCause(t.Context())
	c := &Context{Context: outside, OnKilled: cancel}
	c.Kill(errOther)
	if <-outside.Done(); !errors.Is(context.Cause(outside), errOther) {
		t.Errorf("%v", context.Cause(outside))
	}
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Context{Context: t.Context(), Limit: time.Now().Add(time.Second)}
		if at, ok := c.Deadline(); !ok || !at.Equal(c.Limit) {
			t.Errorf("deadline %s, %v", at, ok)
		}
		asked := &Context{Context: t.Context(), Limit: c.Limit} // nobody waits on it
		<-c.Done()
		if !errors.Is(c.Err(), ErrTimedOut) || !errors.Is(asked.Err(), ErrTimedOut) {
			t.Errorf("past the limit: %v, %v", c.Err(), asked.Err())
		}
		c.Release()

		sooner, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		until, _ := sooner.Deadline()
		c = &Context{Context: sooner, Limit: until.Add(time.Second)}
		if at, ok := c.Deadline(); !ok || !at.Equal(until) {
			t.Errorf("deadline %s, %v", at, ok)
		}
		<-c.Done()
		if !errors.Is(c.Err(), ErrInterrupted) {
			t.Errorf("past the connection's deadline: %v", c.Err())
		}
		c.Release()
	})
}

func TestParent(t *testing.T) {
	for _, err := range []*mongoerr.Error{nil, errOther} {
		parent, cancel := context.WithCancelCause(t.Context())
		c := &Context{Context: parent}
		done := c.Done()
		if err == nil {
			cancel(nil)
			err = ErrInterrupted
		} else {
			cancel(err)
		}
		if <-done; !errors.Is(c.Err(), err) {
			t.Errorf("%v, want %v", c.Err(), err)
		}
		c.Release()
	}
}

func TestRelease(t *testing.T) {
	awaited, held := &Context{Context: t.Context(), Limit: time.Now().Add(time.Hour)}, &Context{Context: t.Context()}
	done := awaited.Done()
	awaited.Release()
	<-done
	held.Release()
	if !errors.Is(awaited.Err(), ErrInterrupted) || held.Err() != nil {
		t.Errorf("%v, %v", awaited.Err(), held.Err())
	}
}

func TestAllocations(t *testing.T) {
	type operation struct {
		Entry[*operation]
		ctx Context
	}
	var list List[*operation]
	op := &operation{ctx: Context{Context: t.Context()}}
	if n := testing.AllocsPerRun(100, func() {
		list.Add(&op.Entry, op, 1)
		_ = op.ctx.Err()
		op.ctx.Release()
		list.Remove(&op.Entry)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
