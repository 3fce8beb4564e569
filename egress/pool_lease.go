package egress

import (
	"sync/atomic"
	"time"
)

// Lease is a connection on loan.
type Lease struct {
	hp   *hostPool
	c    *pooled
	idle time.Duration // how long the connection had not been used
	done atomic.Bool

	prev, next *Lease // in the pool's list, guarded by its lock
}

// listLocked adds a lease to the list.
func (p *Pool) listLocked(l *Lease) {
	l.next = p.leases
	if l.next != nil {
		l.next.prev = l
	}
	p.leases = l
}

// unlistLocked takes a lease out of the list.
func (p *Pool) unlistLocked(l *Lease) {
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		p.leases = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
}

// Conn is the connection.
func (l *Lease) Conn() Connection { return l.c.conn }

// Host is the server.
func (l *Lease) Host() Host { return l.hp.host }

// Generation is that of the host's pool when the connection was made.
func (l *Lease) Generation() uint64 { return l.c.generation }

// Done gives the connection back. With an error, or if it is broken or stale, it is closed. Calls after the first do
// nothing.
func (l *Lease) Done(err error) {
	if !l.done.CompareAndSwap(false, true) {
		return
	}
	hp, c := l.hp, l.c
	p := hp.pool
	p.mu.Lock()
	defer p.unlock()
	now := time.Now()
	hp.leased--
	p.unlistLocked(l)
	hp.lastUse, c.idleSince = now, now
	p.emitLocked(PoolEvent{Type: EventCheckedIn, Host: hp.host, ConnectionID: c.id, Generation: c.generation, Err: err})
	if err != nil || c.conn.Broken() {
		hp.closeLocked(c, ReasonError, err)
	} else {
		hp.admitLocked(c)
	}
	p.updateAtLocked(hp, now)
}

// waiter is a check-out that waits. It stands in the queues of several hosts if any of them will do.
type waiter struct {
	queued []*hostPool
	got    chan grant // holds one; whoever fills it has taken the waiter out of all queues
	start  time.Time
}

// grant is what a waiter gets.
type grant struct {
	lease *Lease
	err   error
}

// pooled is a connection of a pool.
type pooled struct {
	id         int64
	conn       Connection
	generation uint64
	idleSince  time.Time // when it was made, last used or refreshed
}
