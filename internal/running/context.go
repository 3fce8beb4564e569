package running

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// The errors of operations that ended before they were done.
var (
	ErrInterrupted = mongoerr.New(mongoerr.Interrupted, "operation was interrupted")
	ErrTimedOut    = mongoerr.New(mongoerr.MaxTimeMSExpired, "operation exceeded time limit")
)

// Context is the context of one operation: that of its connection, which Kill and a time limit can end as well. Its error
// is the one the client gets.
type Context struct {
	context.Context
	Limit    time.Time               // when the operation has to be over, zero for never; set before the context is shared
	OnKilled context.CancelCauseFunc // is told of the kill; nil for nobody
	killed   atomic.Pointer[mongoerr.Error]

	mu   sync.Mutex // guards the fields below
	done chan struct{}
	stop []func() bool // release what waits for the parent and the clock
}

var _ context.Context = (*Context)(nil)

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) {
	t, ok := c.Context.Deadline()
	if !c.Limit.IsZero() && (!ok || c.Limit.Before(t)) {
		return c.Limit, true
	}
	return t, ok
}

// Err implements context.Context.
func (c *Context) Err() error {
	if e := c.killed.Load(); e != nil {
		return e
	}
	if !c.Limit.IsZero() && !time.Now().Before(c.Limit) {
		return ErrTimedOut
	}
	return c.Context.Err()
}

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} {
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
	c.stop = append(c.stop, context.AfterFunc(c.Context, func() { c.Kill(Cause(c.Context)) }))
	if !c.Limit.IsZero() {
		c.stop = append(c.stop, time.AfterFunc(time.Until(c.Limit), func() { c.Kill(ErrTimedOut) }).Stop)
	}
	return c.done
}

// Cause is why a context has ended, as a client should see it.
func Cause(ctx context.Context) *mongoerr.Error {
	if e := mongoerr.As(ctx.Err()); e != nil {
		return e
	}
	if e := mongoerr.As(context.Cause(ctx)); e != nil {
		return e
	}
	return ErrInterrupted
}

// Kill ends the context with an error; only the first one counts.
func (c *Context) Kill(e *mongoerr.Error) {
	if !c.killed.CompareAndSwap(nil, e) {
		return
	}
	if c.OnKilled != nil {
		c.OnKilled(e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		close(c.done)
	}
}

// Killed says whether the context has been ended by Kill, or by what it waits for since Done.
func (c *Context) Killed() bool { return c.killed.Load() != nil }

// Release ends what waits on behalf of the context, and the context for those that wait on it. Whoever else still holds it
// sees it ended only by its limit or its parent's Err.
func (c *Context) Release() {
	c.mu.Lock()
	for _, stop := range c.stop {
		stop()
	}
	c.stop = nil
	awaited := c.done != nil
	c.mu.Unlock()
	if awaited {
		c.Kill(ErrInterrupted)
	}
}
