package egress

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Pool lends connections. It has one pool for each host it is asked for, made when a host is first asked for and dropped
// when it has not been used for a while; one lock guards all of them. The rules of a host's pool are in hostPool, which
// does no I/O; the Pool does what they ask for in goroutines that Close waits for.
type Pool struct {
	cfg    PoolConfig
	ctx    context.Context // of setups and refreshes; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // setups and refreshes; nothing is added once closed is set

	mu sync.Mutex // guards the fields below and everything in hosts
	// hosts are the pools of the hosts. Invariant: none of them is closed.
	hosts map[Host]*hostPool
	// ready are the hosts that Ready was called for since they were last cleared. It outlives their pools.
	ready map[Host]bool
	// leases is the list of the loans, of hosts that are dropped, too.
	leases  *Lease
	waiting int // waiters over all hosts
	lastID  int64
	closed  bool
	// events wait for delivery; delivered is the memory of those before them.
	events, delivered []PoolEvent
	delivering        bool
}

// NewPool makes a pool without hosts.
func NewPool(cfg PoolConfig) *Pool {
	cfg.EnsureDefaults()
	if cfg.Connect == nil {
		panic("egress: pool without a way to connect")
	}
	p := &Pool{cfg: cfg, hosts: map[Host]*hostPool{}, ready: map[Host]bool{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// CheckOut lends a connection to a host: an idle one or, within what the controller allows, a new one. It waits until
// one is there, ctx ends, or the making of a connection fails. The caller gives it back with Lease.Done.
func (p *Pool) CheckOut(ctx context.Context, host Host) (*Lease, error) {
	return p.CheckOutAny(ctx, []Host{host})
}

// CheckOutAny lends a connection to any one of several hosts: an idle one to the first that has one, or else the first
// connection that becomes free or is made. It fails when it has failed for all of them.
func (p *Pool) CheckOutAny(ctx context.Context, hosts []Host) (*Lease, error) {
	return p.checkOutUntil(ctx, hosts, time.Time{})
}

// checkOutUntil is CheckOutAny with a deadline besides that of the context; zero means none.
func (p *Pool) checkOutUntil(ctx context.Context, hosts []Host, deadline time.Time) (*Lease, error) {
	for {
		l, err := p.checkOut(ctx, hosts, deadline)
		if err != nil {
			return nil, err
		}
		if l.idle < aliveCheckAfter || l.c.conn.Alive() {
			return l, nil
		}
		l.Done(errClosedByPeer)
	}
}

func (p *Pool) checkOut(ctx context.Context, hosts []Host, deadline time.Time) (*Lease, error) {
	start := time.Now()
	p.mu.Lock()
	w, l, err := p.requestLocked(ctx, hosts, start)
	p.unlock()
	if w == nil {
		return l, err
	}
	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(deadline.Sub(start))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case g := <-w.got:
		return g.lease, g.err
	case <-ctx.Done():
	case <-late:
	}
	p.mu.Lock()
	defer p.unlock()
	select {
	case g := <-w.got: // granted meanwhile
		return g.lease, g.err
	default:
	}
	err = acquireError(ctx, hosts[0])
	p.withdrawLocked(w)
	p.failedLocked(hosts[0], ReasonTimeout, err, start)
	return nil, err
}

// acquireError says that the caller stopped waiting for a connection.
func acquireError(ctx context.Context, host Host) error {
	e := errorOf(ctx, host, PhaseLocal, "wait for a connection", ctx.Err())
	if e.Code != mongoerr.CallbackCanceled {
		e.Code = mongoerr.PooledConnectionAcquisitionExceededTimeLimit
	}
	return e
}

// requestLocked returns a lease, an error, or a waiter that will get one of them.
func (p *Pool) requestLocked(ctx context.Context, hosts []Host, start time.Time) (*waiter, *Lease, error) {
	p.emitLocked(PoolEvent{Type: EventCheckOutStarted, Host: hosts[0]})
	refuse := func(reason string, err error) (*waiter, *Lease, error) {
		p.failedLocked(hosts[0], reason, err, start)
		return nil, nil, err
	}
	switch {
	case p.closed:
		return refuse(ReasonPoolClosed, localError(mongoerr.ShutdownInProgress, hosts[0], "connection pool is closed"))
	case ctx.Err() != nil:
		return refuse(ReasonTimeout, acquireError(ctx, hosts[0]))
	}
	for _, host := range hosts {
		hp := p.hosts[host]
		if hp == nil || hp.paused {
			continue
		}
		if c := hp.popLocked(); c != nil {
			l := hp.lendLocked(c, start, start)
			p.updateAtLocked(hp, start)
			return nil, l, nil
		}
	}
	var fault error
	w := &waiter{start: start}
	for _, host := range hosts {
		hp := p.hostLocked(host, start)
		hp.lastUse, hp.failed = start, false
		if hp.paused {
			fault = hp.clearedError()
			hp.scheduleLocked(start)
		} else if !slices.Contains(w.queued, hp) {
			w.queued = append(w.queued, hp)
		}
	}
	if len(w.queued) == 0 {
		return refuse(ReasonConnectionError, fault)
	}
	if p.waiting >= p.cfg.MaxWaiting {
		for _, hp := range w.queued {
			hp.scheduleLocked(start)
		}
		return refuse(ReasonTimeout, localError(mongoerr.PooledConnectionAcquisitionExceededTimeLimit, hosts[0],
			"%d requests wait for a connection already", p.waiting))
	}
	w.got = make(chan grant, 1)
	p.waiting++
	for _, hp := range w.queued {
		hp.waiters = append(hp.waiters, w)
	}
	for _, hp := range slices.Clone(w.queued) {
		p.updateLocked(hp)
	}
	return w, nil, nil
}

// hostLocked returns the pool of a host, which it makes if needed.
func (p *Pool) hostLocked(host Host, now time.Time) *hostPool {
	hp := p.hosts[host]
	if hp == nil {
		hp = &hostPool{pool: p, host: host, lastUse: now, paused: p.cfg.PauseOnClear && !p.ready[host]}
		p.hosts[host] = hp
		p.cfg.Controller.AddHost(host)
		p.emitLocked(PoolEvent{Type: EventPoolCreated, Host: host})
	}
	return hp
}

// updateLocked lets the controller know of a change and does what follows from it.
func (p *Pool) updateLocked(hp *hostPool) { p.updateAtLocked(hp, time.Now()) }

func (p *Pool) updateAtLocked(hp *hostPool, now time.Time) {
	if hp.closed {
		return
	}
	hp.serveLocked(now)
	group := p.cfg.Controller.UpdateHost(hp.host, hp.stateLocked(now))
	if group.Hosts == nil {
		hp.followLocked(group.CanShutdown, now)
	}
	for _, h := range group.Hosts {
		if member := p.hosts[h]; member != nil {
			member.followLocked(group.CanShutdown, now)
		}
	}
}

// withdrawLocked takes a waiter out of all queues.
func (p *Pool) withdrawLocked(w *waiter) {
	for _, hp := range w.queued {
		if i := slices.Index(hp.waiters, w); i >= 0 {
			hp.waiters = slices.Delete(hp.waiters, i, i+1)
		}
	}
	p.waiting--
	for _, hp := range w.queued {
		if !hp.closed {
			hp.scheduleLocked(time.Now())
		}
	}
}

// failedLocked tells of a check-out that failed.
func (p *Pool) failedLocked(host Host, reason string, err error, start time.Time) {
	if hp := p.hosts[host]; hp != nil {
		hp.failures++
	}
	p.emitLocked(PoolEvent{Type: EventCheckOutFailed, Host: host, Reason: reason, Err: err, Duration: time.Since(start)})
}

// Clear makes all connections to a host that exist now stale: idle ones are closed, lent ones when they come back. With
// PauseOnClear the host is paused, too. cause is what check-outs that fail because of it tell.
func (p *Pool) Clear(host Host, cause error) {
	p.mu.Lock()
	defer p.unlock()
	delete(p.ready, host)
	if hp := p.hosts[host]; hp != nil {
		hp.clearLocked(cause)
	}
}

// clearGeneration is Clear unless it has happened since connections of the generation were made, which it tells.
func (p *Pool) clearGeneration(host Host, generation uint64, cause error) (stale bool) {
	p.mu.Lock()
	defer p.unlock()
	hp := p.hosts[host]
	if hp == nil || hp.generation != generation {
		return true
	}
	delete(p.ready, host)
	hp.clearLocked(cause)
	return false
}

// Ready ends the pause of a host, see PoolConfig.PauseOnClear.
func (p *Pool) Ready(host Host) {
	p.mu.Lock()
	defer p.unlock()
	if p.closed || !p.cfg.PauseOnClear {
		return
	}
	p.ready[host] = true
	if hp := p.hosts[host]; hp != nil && hp.paused {
		hp.paused, hp.failed, hp.fault = false, false, nil
		p.emitLocked(PoolEvent{Type: EventPoolReady, Host: host, Generation: hp.generation})
		p.updateLocked(hp)
	}
}

// Forget closes the pool of a host that is no longer of interest; lent connections are closed when they come back.
func (p *Pool) Forget(host Host) {
	p.mu.Lock()
	defer p.unlock()
	delete(p.ready, host)
	if hp := p.hosts[host]; hp != nil {
		hp.shutdownLocked(localError(mongoerr.PooledConnectionsDropped, host, "host was removed"))
	}
}

// Interrupt closes the connections to a host that are lent and stale: what runs on them fails. It follows a Clear where
// the host does not answer, so that nobody waits for replies that never come.
func (p *Pool) Interrupt(host Host) {
	p.interrupt(func(l *Lease) bool {
		return l.hp.host == host && (l.hp.closed || l.c.generation != l.hp.generation)
	})
}

// interrupt closes lent connections.
func (p *Pool) interrupt(which func(*Lease) bool) {
	p.mu.Lock()
	defer p.unlock()
	for l := p.leases; l != nil; l = l.next {
		if which(l) {
			l.c.conn.Close()
		}
	}
}

// Close closes all idle connections, fails all who wait, and returns when nothing of the pool runs any more. Lent
// connections are closed when they come back.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	for _, hp := range p.hosts {
		hp.shutdownLocked(localError(mongoerr.ShutdownInProgress, hp.host, "connection pool is closed"))
	}
	p.cancel()
	p.unlock()
	p.work.Wait()
}

// Metrics returns the numbers of all hosts, sorted by host.
func (p *Pool) Metrics() []HostMetrics {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]HostMetrics, 0, len(p.hosts))
	for _, hp := range p.hosts {
		out = append(out, HostMetrics{
			Host: hp.host, Generation: hp.generation, Paused: hp.paused, Tags: hp.tags,
			InUse: hp.leased, Available: len(hp.idle), Refreshing: hp.refreshing, Connecting: hp.connecting,
			Waiting: len(hp.waiters), Created: hp.created, Refreshed: hp.refreshed, CheckedOut: hp.checkedOut,
			Closed: hp.closedConns, Failed: hp.failures,
		})
	}
	slices.SortFunc(out, func(a, b HostMetrics) int { return cmp.Compare(a.Host, b.Host) })
	return out
}
