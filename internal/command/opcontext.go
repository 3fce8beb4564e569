package command

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

var (
	errInterrupted = mongoerr.New(mongoerr.Interrupted, "operation was interrupted")
	errTimedOut    = mongoerr.New(mongoerr.MaxTimeMSExpired, "operation exceeded time limit")
)

// opContext is the context of one operation: that of its connection, which killOp and maxTimeMS can end as well. It is
// made for every command, so it allocates nothing but itself until somebody waits on Done. Its error is the one the
// client gets.
type opContext struct {
	context.Context
	deadline time.Time               // zero for none; set before the context is shared
	cancel   context.CancelCauseFunc // is told of the kill; nil for nobody
	killed   atomic.Pointer[mongoerr.Error]

	mu   sync.Mutex // guards the fields below
	done chan struct{}
	stop []func() bool // release what waits for the parent and the clock
}

// Deadline implements context.Context.
func (c *opContext) Deadline() (time.Time, bool) {
	if !c.deadline.IsZero() {
		return c.deadline, true
	}
	return c.Context.Deadline()
}

// Err implements context.Context.
func (c *opContext) Err() error {
	if e := c.killed.Load(); e != nil {
		return e
	}
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return errTimedOut
	}
	return c.Context.Err()
}

// Done implements context.Context.
func (c *opContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		return c.done
	}
	c.done = make(chan struct{})
	if c.killed.Load() != nil {
		close(c.done)
		return c.done
	}
	c.stop = append(c.stop, context.AfterFunc(c.Context, func() {
		e := mongoerr.As(context.Cause(c.Context))
		if e == nil {
			e = errInterrupted
		}
		c.kill(e)
	}))
	if !c.deadline.IsZero() {
		c.stop = append(c.stop, time.AfterFunc(time.Until(c.deadline), func() { c.kill(errTimedOut) }).Stop)
	}
	return c.done
}

// kill ends the context with an error; only the first one counts.
func (c *opContext) kill(e *mongoerr.Error) {
	if !c.killed.CompareAndSwap(nil, e) {
		return
	}
	if c.cancel != nil {
		c.cancel(e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		close(c.done)
	}
}

// release ends what waits on behalf of the context, and the context for those that wait on it. Whoever else still holds it
// sees it ended only by its deadline or its parent's Err.
func (c *opContext) release() {
	c.mu.Lock()
	for _, stop := range c.stop {
		stop()
	}
	c.stop = nil
	awaited := c.done != nil
	c.mu.Unlock()
	if awaited {
		c.kill(errInterrupted)
	}
}
