package egress

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// DefaultWorkers is how many callbacks of an executor run at a time.
const DefaultWorkers = 64

// ExecutorConfig says how an Executor works.
type ExecutorConfig struct {
	// Network runs remote commands. The executor closes it when it is joined. Nil: there are no remote commands.
	Network Network
	// Workers bounds the callbacks that run at one time. With one, callbacks run strictly one after the other, in the order
	// in which they became ready. 0 means DefaultWorkers.
	Workers int
}

// Executor runs callbacks: at once, at a given time, when an event is signalled, or with the response to a remote
// command. Each scheduled callback runs exactly once, also if it is cancelled or the executor is shut down: it then
// learns so from its status. It is safe for concurrent use, from callbacks, too.
//
// The life of a callback:
//
//	waiting (for a time, an event, a response) ──▶ ready ──▶ running ──▶ finished
//
// Cancellation makes a waiting callback ready; whatever it waited for is abandoned.
type Executor struct {
	network Network
	workers int
	remote  sync.WaitGroup // remote commands
	running sync.WaitGroup // workers

	mu sync.Mutex // guards the fields below and those of callbacks and events
	// ready are the callbacks to run, in order.
	ready list.List
	// pending are the callbacks that are not finished.
	pending map[*Callback]struct{}
	active  int // workers that run
	closing bool
	// idle is closed when the executor is shutting down and nothing is pending.
	idle chan struct{}
}

// Work is a callback. ctx ends when the callback is cancelled or the executor shut down. status is nil, or a *StatusError
// with CallbackCanceled if the callback was cancelled before it ran.
type Work func(ctx context.Context, status error)

// RemoteWork is a callback with a response. If it was cancelled the response's status says so.
type RemoteWork func(ctx context.Context, response ResponseOnAny)

// NewExecutor makes an executor. It runs nothing while it has nothing to do.
func NewExecutor(cfg ExecutorConfig) *Executor {
	cfg.Workers = cmp.Or(cfg.Workers, DefaultWorkers)
	return &Executor{
		network: cfg.Network, workers: cfg.Workers, pending: map[*Callback]struct{}{}, idle: make(chan struct{}),
	}
}

// Schedule runs work as soon as a worker is free.
func (x *Executor) Schedule(work Work) (*Callback, error) {
	return x.add(work, func(c *Callback) { x.makeReadyLocked(c, nil) })
}

// ScheduleAt runs work at a time or soon after, never before.
func (x *Executor) ScheduleAt(when time.Time, work Work) (*Callback, error) {
	return x.add(work, func(c *Callback) {
		wait := time.Until(when)
		if wait <= 0 {
			x.makeReadyLocked(c, nil)
			return
		}
		c.timer = time.AfterFunc(wait, func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.makeReadyLocked(c, nil)
		})
	})
}

// ScheduleAfter runs work when the time given has passed.
func (x *Executor) ScheduleAfter(wait time.Duration, work Work) (*Callback, error) {
	return x.ScheduleAt(time.Now().Add(wait), work)
}

// OnEvent runs work when the event has been signalled, which may be long ago.
func (x *Executor) OnEvent(e *Event, work Work) (*Callback, error) {
	return x.add(work, func(c *Callback) {
		if e.signalled {
			x.makeReadyLocked(c, nil)
			return
		}
		c.event, c.place = e, e.waiting.PushBack(c)
	})
}

// ScheduleRemote runs a command on one of several servers and then work with the response.
func (x *Executor) ScheduleRemote(req *RequestOnAny, work RemoteWork) (*Callback, error) {
	return x.addRemote(work, func(c *Callback) {
		r := x.network.Run(c.ctx, req)
		x.mu.Lock()
		defer x.mu.Unlock()
		c.respondLocked(r)
		x.makeReadyLocked(c, nil)
	})
}

// ScheduleExhaust runs a command whose replies come in a stream. each is called in order with every response but the
// last, outside of the workers, and holds the stream up while it runs; then work runs with the last response.
func (x *Executor) ScheduleExhaust(req *RequestOnAny, each, work RemoteWork) (*Callback, error) {
	return x.addRemote(work, func(c *Callback) {
		var last ResponseOnAny
		for r := range x.network.Stream(c.ctx, req) {
			last = r
			if !r.MoreToCome || r.Status != nil || c.ctx.Err() != nil {
				break
			}
			each(c.ctx, r)
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		c.respondLocked(last)
		x.makeReadyLocked(c, nil)
	})
}

func (x *Executor) addRemote(work RemoteWork, run func(*Callback)) (*Callback, error) {
	if x.network == nil {
		return nil, localError(mongoerr.IllegalOperation, "", "executor has no network")
	}
	return x.add(nil, func(c *Callback) {
		c.work = func(ctx context.Context, status error) {
			if status != nil {
				c.response = ResponseOnAny{Response: Response{Status: status}}
			}
			work(ctx, c.response)
		}
		x.remote.Go(func() { run(c) })
	})
}

// add registers a callback and calls start under the lock.
func (x *Executor) add(work Work, start func(*Callback)) (*Callback, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closing {
		return nil, localError(mongoerr.ShutdownInProgress, "", "executor is shutting down")
	}
	c := &Callback{executor: x, work: work, finished: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	x.pending[c] = struct{}{}
	start(c)
	return c, nil
}

// makeReadyLocked queues a callback to run, unless it is already.
func (x *Executor) makeReadyLocked(c *Callback, status error) {
	if c.queued {
		return
	}
	c.queued = true
	c.status = status
	c.abandonLocked()
	x.ready.PushBack(c)
	if x.active < x.workers {
		x.active++
		x.running.Go(x.work)
	}
}

// work runs callbacks until none is ready.
func (x *Executor) work() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.ready.Len() > 0 {
		c := x.ready.Remove(x.ready.Front()).(*Callback)
		x.run(c)
	}
	x.active--
}

// run runs a callback; the lock is released meanwhile. A callback that panics is finished, too, so that the panic does
// not leave others waiting.
func (x *Executor) run(c *Callback) {
	status := c.status
	c.began = true
	x.mu.Unlock()
	defer func() {
		c.cancel()
		x.mu.Lock()
		close(c.finished)
		delete(x.pending, c)
		x.checkIdleLocked()
	}()
	c.work(c.ctx, status)
}

// Shutdown refuses further callbacks and cancels all that have not run. It does not wait, see Join.
func (x *Executor) Shutdown() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closing {
		return
	}
	x.closing = true
	for c := range x.pending {
		c.cancelLocked()
	}
	x.checkIdleLocked()
}

func (x *Executor) checkIdleLocked() {
	if !x.closing || len(x.pending) > 0 {
		return
	}
	select {
	case <-x.idle:
	default:
		close(x.idle)
	}
}

// Join waits until all callbacks have run after Shutdown, and closes the network. It returns the error of ctx if that
// ends first. It is not to be called by a callback.
func (x *Executor) Join(ctx context.Context) error {
	select {
	case <-x.idle:
	case <-ctx.Done():
		return ctx.Err()
	}
	x.running.Wait()
	if x.network != nil {
		x.network.Close()
	}
	x.remote.Wait()
	return nil
}
