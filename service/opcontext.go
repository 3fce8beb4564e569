package service

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// opContext is the context of one call: that of its connection, which killOp, maxTimeMS and the end of the service can end
// as well. It is made for every call, so it allocates nothing until somebody waits on Done. Its error is the one the
// client gets.
type opContext struct {
	context.Context
	call     *Call
	deadline time.Time // zero for none; set before the context is shared
	killed   atomic.Pointer[mongoerr.Error]

	mu   sync.Mutex // guards the fields below
	done chan struct{}
	stop []func() bool // release what waits for the parent and the clock
}

var _ context.Context = (*opContext)(nil)

// Value implements context.Context.
func (c *opContext) Value(key any) any {
	if key == (callKey{}) {
		return c.call
	}
	return c.Context.Value(key)
}

// Deadline implements context.Context.
func (c *opContext) Deadline() (time.Time, bool) {
	t, ok := c.Context.Deadline()
	if !c.deadline.IsZero() && (!ok || c.deadline.Before(t)) {
		return c.deadline, true
	}
	return t, ok
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
	c.stop = append(c.stop, context.AfterFunc(c.Context, func() { c.kill(cause(c.Context)) }))
	if !c.deadline.IsZero() {
		c.stop = append(c.stop, time.AfterFunc(time.Until(c.deadline), func() { c.kill(errTimedOut) }).Stop)
	}
	return c.done
}

// cause is why a context has ended, as a client should see it.
func cause(ctx context.Context) *mongoerr.Error {
	if e := mongoerr.As(ctx.Err()); e != nil {
		return e
	}
	if e := mongoerr.As(context.Cause(ctx)); e != nil {
		return e
	}
	return errInterrupted
}

// kill ends the context with an error; only the first one counts.
func (c *opContext) kill(e *mongoerr.Error) {
	if !c.killed.CompareAndSwap(nil, e) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		close(c.done)
	}
}

// release ends what waits on behalf of the context. The context ends with the call, for those who still hold it.
func (c *opContext) release() {
	c.mu.Lock()
	stop := c.stop
	c.stop = nil
	c.mu.Unlock()
	for _, f := range stop {
		f()
	}
	c.kill(errInterrupted)
}
