package egress

import (
	"context"
	"slices"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// hostPool is the pool of one host. The pool's lock guards all of it.
//
// A connection is in one of these places:
//
//	connecting ──▶ idle ◀──▶ leased
//	                │ ▲
//	                ▼ │
//	             refreshing          from each of them to closed
type hostPool struct {
	pool *Pool
	host Host
	tags Tag

	// generation counts the clears. Connections of an older one are closed where they are met.
	generation uint64
	closed     bool // dropped from the pool: nothing starts any more
	paused     bool // no check-outs, no setups, until Ready
	fault      error
	failed     bool // the last setup failed: none starts unless somebody waits for one or setupRetry has passed
	failedAt   time.Time

	idle       []*pooled // by idleSince, the longest idle first; the last is lent first
	leased     int
	connecting int
	refreshing int
	waiters    []*waiter

	// lastUse is when a connection was last asked for, lent or given back.
	lastUse time.Time
	timer   *time.Timer
	due     time.Time // when timer fires, zero if it is not set

	created, refreshed, checkedOut, closedConns, failures int64
}

func (hp *hostPool) open() int    { return len(hp.idle) + hp.leased + hp.connecting + hp.refreshing }
func (hp *hostPool) pending() int { return hp.connecting + hp.refreshing }

func (hp *hostPool) inUse() bool { return hp.leased > 0 || len(hp.waiters) > 0 }

func (hp *hostPool) stateLocked(now time.Time) HostState {
	return HostState{
		Requests: len(hp.waiters), Pending: hp.pending(), Available: len(hp.idle), Active: hp.leased,
		Expired: !hp.inUse() && now.Sub(hp.lastUse) >= hp.pool.cfg.HostTimeout,
	}
}

// popLocked takes the idle connection that was used last, nil if there is none that works.
func (hp *hostPool) popLocked() *pooled {
	for len(hp.idle) > 0 {
		c := hp.idle[len(hp.idle)-1]
		hp.idle = hp.idle[:len(hp.idle)-1]
		if !c.conn.Broken() {
			return c
		}
		hp.closeLocked(c, ReasonError, nil)
	}
	return nil
}

// lendLocked makes a lease of a connection that is nowhere.
func (hp *hostPool) lendLocked(c *pooled, start, now time.Time) *Lease {
	hp.leased++
	hp.checkedOut++
	hp.lastUse = now
	hp.pool.emitLocked(PoolEvent{
		Type: EventCheckedOut, Host: hp.host, ConnectionID: c.id, Generation: c.generation, Duration: now.Sub(start),
	})
	l := &Lease{hp: hp, c: c, idle: now.Sub(c.idleSince)}
	hp.pool.listLocked(l)
	return l
}

// serveLocked gives idle connections to those who wait, the longest waiting first.
func (hp *hostPool) serveLocked(now time.Time) {
	for len(hp.waiters) > 0 && !hp.paused {
		c := hp.popLocked()
		if c == nil {
			return
		}
		w := hp.waiters[0]
		hp.pool.withdrawLocked(w)
		w.got <- grant{lease: hp.lendLocked(c, w.start, now)}
	}
}

// failWaitersLocked tells those who wait that this host has failed. Who waits for other hosts, too, goes on waiting.
func (hp *hostPool) failWaitersLocked(reason string, err error) {
	for _, w := range slices.Clone(hp.waiters) {
		if len(w.queued) > 1 {
			w.queued = slices.DeleteFunc(w.queued, func(q *hostPool) bool { return q == hp })
			continue
		}
		hp.pool.withdrawLocked(w)
		hp.pool.failedLocked(hp.host, reason, err, w.start)
		w.got <- grant{err: err}
	}
	hp.waiters = nil
}

// admitLocked puts a connection that is nowhere among the idle ones, or closes it if it is out of date.
func (hp *hostPool) admitLocked(c *pooled) {
	switch {
	case hp.closed:
		hp.closeLocked(c, ReasonPoolClosed, nil)
	case c.generation != hp.generation:
		hp.closeLocked(c, ReasonStale, nil)
	default:
		hp.idle = append(hp.idle, c)
	}
}

// closeLocked closes a connection that is nowhere.
func (hp *hostPool) closeLocked(c *pooled, reason string, err error) {
	c.conn.Close()
	hp.closedConns++
	hp.pool.emitLocked(PoolEvent{
		Type: EventConnectionClosed, Host: hp.host, ConnectionID: c.id, Generation: c.generation, Reason: reason, Err: err,
	})
}

// followLocked does what the controller has decided.
func (hp *hostPool) followLocked(shutdown bool, now time.Time) {
	if shutdown {
		hp.shutdownLocked(localError(mongoerr.ConnectionPoolExpired, hp.host, "host was not used for long"))
		return
	}
	hp.spawnLocked()
	hp.scheduleLocked(now)
}

// spawnLocked starts as many setups as the controller wants.
func (hp *hostPool) spawnLocked() {
	if hp.closed || hp.paused || hp.failed && len(hp.waiters) == 0 {
		return
	}
	controls := hp.pool.cfg.Controller.Controls(hp.host)
	for hp.open() < controls.Target && hp.pending() < controls.MaxConnecting {
		hp.setupLocked()
	}
}

// setupLocked starts the making of a connection.
func (hp *hostPool) setupLocked() {
	p := hp.pool
	p.lastID++
	hp.connecting++
	c := &pooled{id: p.lastID, generation: hp.generation}
	p.emitLocked(PoolEvent{Type: EventConnectionCreated, Host: hp.host, ConnectionID: c.id, Generation: c.generation})
	p.work.Go(func() {
		start := time.Now()
		var err error
		c.conn, err = p.cfg.Connect(p.ctx, hp.host)
		p.mu.Lock()
		defer p.unlock()
		now := time.Now()
		hp.connecting--
		c.idleSince = now
		if err != nil {
			hp.closedConns++
			p.emitLocked(PoolEvent{
				Type: EventConnectionClosed, Host: hp.host, ConnectionID: c.id, Generation: c.generation, Reason: ReasonError, Err: err,
			})
			hp.setupFailedLocked(c, err)
		} else {
			hp.created++
			hp.failed = false
			p.emitLocked(PoolEvent{
				Type: EventConnectionReady, Host: hp.host, ConnectionID: c.id, Generation: c.generation, Duration: now.Sub(start),
			})
			hp.admitLocked(c)
		}
		p.updateLocked(hp)
	})
}

// setupFailedLocked judges the host by a setup that failed: those who wait are told rather than left to try one after
// the other, and if the host is unreachable its connections are taken for dead.
func (hp *hostPool) setupFailedLocked(c *pooled, err error) {
	if hp.closed || c.generation != hp.generation {
		return
	}
	hp.failed, hp.failedAt = true, time.Now()
	e := statusOf(err)
	unreachable := e == nil || e.Network()
	if unreachable && (hp.pool.cfg.PauseOnClear || e == nil || !e.Timeout()) {
		hp.invalidateLocked(err)
	}
	hp.failWaitersLocked(ReasonConnectionError, err)
}

// invalidateLocked starts a new generation and, where clears pause, a pause.
func (hp *hostPool) invalidateLocked(cause error) {
	p := hp.pool
	hp.generation++
	for _, c := range hp.idle {
		hp.closeLocked(c, ReasonStale, cause)
	}
	hp.idle = nil
	if p.cfg.PauseOnClear {
		delete(p.ready, hp.host)
		hp.paused, hp.fault = true, cause
	}
	p.emitLocked(PoolEvent{Type: EventPoolCleared, Host: hp.host, Generation: hp.generation, Err: cause})
}

// clearLocked is what Clear does to a host. Those who wait get a connection of the new generation, unless it pauses.
func (hp *hostPool) clearLocked(cause error) {
	hp.invalidateLocked(cause)
	if hp.paused {
		hp.failWaitersLocked(ReasonConnectionError, hp.clearedError())
	}
	hp.pool.updateLocked(hp)
}

// dropLocked is clearLocked for hosts that are not wanted: those who wait are turned away.
func (hp *hostPool) dropLocked() {
	hp.invalidateLocked(nil)
	hp.failWaitersLocked(ReasonConnectionError,
		localError(mongoerr.PooledConnectionsDropped, hp.host, "connections were dropped"))
	hp.pool.updateLocked(hp)
}

// clearedError tells that the pool is paused. Nothing was sent, so it is always safe to try again.
func (hp *hostPool) clearedError() error {
	e := localError(mongoerr.PooledConnectionsDropped, hp.host, "connection pool is paused until the host answers")
	e.Err = hp.fault
	return e
}

// shutdownLocked drops the host.
func (hp *hostPool) shutdownLocked(err error) {
	p := hp.pool
	hp.closed = true
	if hp.timer != nil {
		hp.timer.Stop()
	}
	for _, c := range hp.idle {
		hp.closeLocked(c, ReasonPoolClosed, nil)
	}
	hp.idle = nil
	hp.failWaitersLocked(ReasonPoolClosed, err)
	delete(p.hosts, hp.host)
	p.cfg.Controller.RemoveHost(hp.host)
	p.emitLocked(PoolEvent{Type: EventPoolClosed, Host: hp.host, Generation: hp.generation})
}

// scheduleLocked sets the timer to the next time that something is to be done. A timer that fires too early does no harm,
// so it is only ever moved forward in a busy pool.
func (hp *hostPool) scheduleLocked(now time.Time) {
	cfg := &hp.pool.cfg
	var due time.Time
	earliest := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	// An expired host that still exists is kept for the sake of its group: whoever expires last drops them all.
	if expiry := hp.lastUse.Add(cfg.HostTimeout); !hp.inUse() && expiry.After(now) {
		earliest(expiry)
	}
	if n := hp.pending(); len(hp.idle) > 0 && (n == 0 || n < cfg.Controller.Controls(hp.host).MaxConnecting) {
		earliest(hp.idle[0].idleSince.Add(cfg.RefreshRequirement))
	}
	if hp.failed {
		earliest(hp.failedAt.Add(setupRetry))
	}
	if due.IsZero() || !hp.due.IsZero() && !hp.due.After(due) {
		return
	}
	hp.due = due
	if hp.timer == nil {
		hp.timer = time.AfterFunc(due.Sub(now), hp.tick)
	} else {
		hp.timer.Reset(due.Sub(now))
	}
}

// tick does what has become due.
func (hp *hostPool) tick() {
	p := hp.pool
	p.mu.Lock()
	defer p.unlock()
	if hp.closed {
		return
	}
	now := time.Now()
	hp.due = time.Time{}
	if hp.failed && now.Sub(hp.failedAt) >= setupRetry {
		hp.failed = false
	}
	controls := p.cfg.Controller.Controls(hp.host)
	for len(hp.idle) > 0 && now.Sub(hp.idle[0].idleSince) >= p.cfg.RefreshRequirement {
		c := hp.idle[0]
		if hp.open() > controls.Target {
			hp.idle = hp.idle[1:]
			hp.closeLocked(c, ReasonIdle, nil)
			continue
		}
		if hp.pending() >= controls.MaxConnecting {
			break
		}
		hp.idle = hp.idle[1:]
		hp.refreshLocked(c)
	}
	p.updateLocked(hp)
	if !hp.closed {
		hp.scheduleLocked(now)
	}
}

// refreshLocked starts the refresh of a connection that is nowhere.
func (hp *hostPool) refreshLocked(c *pooled) {
	p := hp.pool
	hp.refreshing++
	p.emitLocked(PoolEvent{Type: EventRefreshStarted, Host: hp.host, ConnectionID: c.id, Generation: c.generation})
	p.work.Go(func() {
		start := time.Now()
		ctx, cancel := context.WithTimeout(p.ctx, p.cfg.RefreshTimeout)
		err := c.conn.Refresh(ctx)
		cancel()
		p.mu.Lock()
		defer p.unlock()
		hp.refreshing--
		if err != nil {
			hp.closeLocked(c, ReasonError, err)
			if e := statusOf(err); e == nil || !e.Timeout() {
				hp.setupFailedLocked(c, err)
			}
		} else {
			now := time.Now()
			c.idleSince = now
			hp.refreshed++
			p.emitLocked(PoolEvent{
				Type: EventConnectionRefreshed, Host: hp.host, ConnectionID: c.id, Generation: c.generation,
				Duration: now.Sub(start),
			})
			hp.admitLocked(c)
		}
		p.updateLocked(hp)
	})
}

// generationNow is the host's generation, which a lease's is compared with.
func (hp *hostPool) generationNow() uint64 {
	hp.pool.mu.Lock()
	defer hp.pool.mu.Unlock()
	return hp.generation
}
