package egress

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Network runs remote commands. There is a real one (NewNetwork) and a simulated one (package simnet). It is safe for
// concurrent use.
type Network interface {
	// Run runs a command on the first of the request's targets that can be reached, and waits for the reply. It ends when
	// ctx does.
	Run(ctx context.Context, req *RequestOnAny) ResponseOnAny
	// Stream runs a command whose replies may come in a stream (exhaust): all responses but the last have MoreToCome set. A
	// loop that ends early costs the connection.
	Stream(ctx context.Context, req *RequestOnAny) iter.Seq[ResponseOnAny]
	// Close cancels everything that runs and waits for its end.
	Close()
}

// Run runs a command on a single target.
func Run(ctx context.Context, n Network, req *Request) Response {
	return n.Run(ctx, req.OnAny()).Response
}

// NetworkMetrics count the commands of a network.
type NetworkMetrics struct {
	// Sent counts commands that were given a connection, Succeeded those with a reply, TimedOut, Canceled and Failed the
	// others, including those that got no connection.
	Sent, Succeeded, TimedOut, Canceled, Failed atomic.Int64
	// InProgress counts commands that run or wait for a connection.
	InProgress atomic.Int64
}

// NetworkConfig says how a PooledNetwork connects and pools.
type NetworkConfig struct {
	// Conn says how connections are made.
	Conn ConnConfig
	// Pool says how they are pooled; its Connect is filled.
	Pool PoolConfig
}

// PooledNetwork is a Network over a Pool of connections.
type PooledNetwork struct {
	pool    *Pool
	metrics NetworkMetrics

	mu sync.RWMutex // guards closed; who holds it for reading may add to running
	// closed is set by Close: nothing is added to running afterwards.
	closed  bool
	running sync.WaitGroup
}

var _ Network = (*PooledNetwork)(nil)

// NewNetwork makes a network. Nothing is connected before it is needed.
func NewNetwork(cfg NetworkConfig) *PooledNetwork {
	conn := cfg.Conn
	cfg.Pool.Connect = func(ctx context.Context, host Host) (Connection, error) {
		c, err := Connect(ctx, host, &conn)
		if err != nil {
			return nil, err // not c: a nil *Conn is no nil Connection
		}
		return c, nil
	}
	return &PooledNetwork{pool: NewPool(cfg.Pool)}
}

// Pool is the network's pool.
func (n *PooledNetwork) Pool() *Pool { return n.pool }

// Metrics are the network's counters.
func (n *PooledNetwork) Metrics() *NetworkMetrics { return &n.metrics }

// Clear drops the connections to a host, see Pool.Clear and Pool.Interrupt.
func (n *PooledNetwork) Clear(host Host, cause error, interrupt bool) {
	n.pool.Clear(host, cause)
	if interrupt {
		n.pool.Interrupt(host)
	}
}

// Ready ends the pause of a host, see PoolConfig.PauseOnClear.
func (n *PooledNetwork) Ready(host Host) { n.pool.Ready(host) }

// Forget drops a host that is no longer of interest.
func (n *PooledNetwork) Forget(host Host) { n.pool.Forget(host) }

// Close implements Network.
func (n *PooledNetwork) Close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.pool.Close()
	n.pool.interrupt(func(*Lease) bool { return true })
	n.running.Wait()
}

// enter counts a command in; it tells whether the network is open.
func (n *PooledNetwork) enter() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return false
	}
	n.running.Add(1)
	n.metrics.InProgress.Add(1)
	return true
}

func (n *PooledNetwork) leave() {
	n.metrics.InProgress.Add(-1)
	n.running.Done()
}

func (n *PooledNetwork) isClosed() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.closed
}

// Run implements Network.
func (n *PooledNetwork) Run(ctx context.Context, req *RequestOnAny) ResponseOnAny {
	start := time.Now()
	out := n.run(ctx, req, start, nil)
	out.Elapsed = time.Since(start)
	return out
}

// run is Run with the memory of a caller, if k is not nil. It does not take the time.
func (n *PooledNetwork) run(ctx context.Context, req *RequestOnAny, start time.Time, k *Caller) ResponseOnAny {
	l, timeout, err := n.begin(ctx, req, start)
	if err != nil {
		return ResponseOnAny{Response: Response{Status: err}}
	}
	cmd := &req.Command
	if timeout != cmd.Timeout {
		with := *cmd
		with.Timeout = timeout
		cmd = &with
	}
	out := ResponseOnAny{Target: l.Host()}
	out.Body, out.Status = l.Conn().(*Conn).exchange(ctx, cmd, k)
	out.Status = n.judge(l, out.Status)
	n.end(l, out.Status)
	return out
}

// Stream implements Network.
func (n *PooledNetwork) Stream(ctx context.Context, req *RequestOnAny) iter.Seq[ResponseOnAny] {
	return func(yield func(ResponseOnAny) bool) {
		start := time.Now()
		l, timeout, err := n.begin(ctx, req, start)
		if err != nil {
			yield(ResponseOnAny{Response: Response{Status: err, Elapsed: time.Since(start)}})
			return
		}
		cmd := req.Command
		cmd.Timeout = timeout
		var last error
		defer func() { n.end(l, last) }()
		for r := range l.Conn().(*Conn).Stream(ctx, &cmd) {
			last = n.judge(l, r.Status)
			r.Status, r.Elapsed = last, time.Since(start)
			if !yield(ResponseOnAny{Response: r, Target: l.Host()}) {
				return
			}
		}
	}
}

// begin checks a connection out for a request and returns what is left of its timeout.
func (n *PooledNetwork) begin(ctx context.Context, req *RequestOnAny, start time.Time) (*Lease, time.Duration, error) {
	if len(req.Targets) == 0 {
		return nil, 0, localError(mongoerr.BadValue, "", "request names no target")
	}
	if !n.enter() {
		return nil, 0, localError(mongoerr.ShutdownInProgress, req.Targets[0], "network is closed")
	}
	var deadline time.Time
	if req.Timeout > 0 {
		deadline = start.Add(req.Timeout)
	}
	l, err := n.pool.checkOutUntil(ctx, req.Targets, deadline)
	if err != nil {
		n.count(err)
		n.leave()
		return nil, 0, err
	}
	n.metrics.Sent.Add(1)
	if req.Timeout > 0 {
		return l, max(time.Until(deadline), 1), nil
	}
	return l, 0, nil
}

// end gives the connection back. It survives what fails locally, such as a command that cannot be encoded; broken ones
// are closed.
func (n *PooledNetwork) end(l *Lease, err error) {
	n.count(err)
	l.Done(nil)
	n.leave()
}

// judge clears the host's pool when a connection failed other than by the clock or the caller's wish: a host that cuts
// one connection has likely cut all.
func (n *PooledNetwork) judge(l *Lease, err error) error {
	e := statusOf(err)
	if e == nil || !e.Network() {
		return err
	}
	if n.isClosed() {
		e.Code, e.Message = mongoerr.ShutdownInProgress, "network was closed"
		return e
	}
	e.Stale = l.hp.generationNow() != l.Generation()
	if !e.Timeout() && !e.Stale {
		n.pool.clearGeneration(l.Host(), l.Generation(), err)
	}
	return e
}

func (n *PooledNetwork) count(err error) {
	e := statusOf(err)
	switch {
	case e == nil:
		n.metrics.Succeeded.Add(1)
	case e.Timeout():
		n.metrics.TimedOut.Add(1)
	case e.Code == mongoerr.CallbackCanceled:
		n.metrics.Canceled.Add(1)
	default:
		n.metrics.Failed.Add(1)
	}
}
