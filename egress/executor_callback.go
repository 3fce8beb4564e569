package egress

import (
	"container/list"
	"context"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Callback is a handle on scheduled work.
type Callback struct {
	executor *Executor
	ctx      context.Context // what the work gets
	cancel   context.CancelFunc
	finished chan struct{}

	// The executor's lock guards the following.

	work     Work
	status   error
	queued   bool // ready, running or finished
	began    bool // running or finished
	canceled bool
	response ResponseOnAny

	timer *time.Timer
	event *Event        // that it waits for
	place *list.Element // in the event's list
}

// Cancel cancels the work. If it has not begun to run it is run soon, with the status CallbackCanceled; if it runs, its
// context ends; if it has run, nothing happens.
func (c *Callback) Cancel() {
	c.executor.mu.Lock()
	defer c.executor.mu.Unlock()
	c.cancelLocked()
}

func (c *Callback) cancelLocked() {
	c.cancel()
	if c.began {
		return
	}
	c.canceled = true
	status := localError(mongoerr.CallbackCanceled, "", "callback was canceled")
	if c.queued {
		c.status = status
		return
	}
	c.executor.makeReadyLocked(c, status)
}

// respondLocked keeps the response for the work.
func (c *Callback) respondLocked(r ResponseOnAny) {
	if !c.queued {
		c.response = r
	}
}

// abandonLocked gives up what the callback waits for.
func (c *Callback) abandonLocked() {
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.event != nil {
		c.event.waiting.Remove(c.place)
		c.event, c.place = nil, nil
	}
}

// Canceled tells whether the work was canceled, or the executor shut down, before it had begun.
func (c *Callback) Canceled() bool {
	c.executor.mu.Lock()
	defer c.executor.mu.Unlock()
	return c.canceled
}

// Wait waits until the work has run. It returns the error of ctx if that ends first. Work that waits for work of the same
// executor can keep all workers waiting.
func (c *Callback) Wait(ctx context.Context) error {
	select {
	case <-c.finished:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Event is something that callbacks can wait for. It happens once.
type Event struct {
	executor *Executor
	happened chan struct{}

	// The executor's lock guards the following.

	signalled bool
	waiting   list.List // of *Callback, in the order of scheduling
}

// NewEvent makes an event.
func (x *Executor) NewEvent() (*Event, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closing {
		return nil, localError(mongoerr.ShutdownInProgress, "", "executor is shutting down")
	}
	return &Event{executor: x, happened: make(chan struct{})}, nil
}

// Signal makes the event happen: all that waits for it is run. Further calls do nothing.
func (e *Event) Signal() {
	x := e.executor
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.signalled {
		return
	}
	e.signalled = true
	close(e.happened)
	for e.waiting.Len() > 0 {
		x.makeReadyLocked(e.waiting.Front().Value.(*Callback), nil) // which removes it from the list
	}
}

// Wait waits for the event. It returns the error of ctx if that ends first.
func (e *Event) Wait(ctx context.Context) error {
	select {
	case <-e.happened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
