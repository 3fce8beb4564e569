package egress

import "time"

// PoolEventType is what happened, in the vocabulary of the drivers' connection monitoring.
type PoolEventType string

// The events of a pool.
const (
	EventPoolCreated         PoolEventType = "ConnectionPoolCreated"
	EventPoolReady           PoolEventType = "ConnectionPoolReady"
	EventPoolCleared         PoolEventType = "ConnectionPoolCleared"
	EventPoolClosed          PoolEventType = "ConnectionPoolClosed"
	EventConnectionCreated   PoolEventType = "ConnectionCreated"
	EventConnectionReady     PoolEventType = "ConnectionReady"
	EventConnectionClosed    PoolEventType = "ConnectionClosed"
	EventCheckOutStarted     PoolEventType = "ConnectionCheckOutStarted"
	EventCheckOutFailed      PoolEventType = "ConnectionCheckOutFailed"
	EventCheckedOut          PoolEventType = "ConnectionCheckedOut"
	EventCheckedIn           PoolEventType = "ConnectionCheckedIn"
	EventRefreshStarted      PoolEventType = "ConnectionRefreshStarted"
	EventConnectionRefreshed PoolEventType = "ConnectionRefreshed"
)

// Why connections are closed and check-outs fail.
const (
	ReasonStale           = "stale"           // the pool was cleared since the connection was made
	ReasonIdle            = "idle"            // more connections than wanted
	ReasonError           = "error"           // the connection failed
	ReasonPoolClosed      = "poolClosed"      // the host's pool or the whole pool was closed
	ReasonTimeout         = "timeout"         // the caller's time was up
	ReasonConnectionError = "connectionError" // no connection could be made, or the pool is paused
)

// PoolEvent is something that happened in a Pool.
type PoolEvent struct {
	Type PoolEventType
	Pool string
	// Host is the server. A check-out on any of several hosts is of the first until it has got a connection.
	Host Host
	// ConnectionID is unique in the pool; 0 if the event is of no connection.
	ConnectionID int64
	Generation   uint64
	// Reason is one of the Reason constants, for events of closing and failure.
	Reason string
	// Err is the cause, if there is one.
	Err error
	// Duration is how long it took: to make the connection, or to get one.
	Duration time.Duration
}

// HostMetrics are the numbers of the pool of one host.
type HostMetrics struct {
	Host       Host
	Generation uint64
	Paused     bool
	Tags       Tag
	// InUse, Available, Refreshing and Connecting count open connections and those being made.
	InUse, Available, Refreshing, Connecting int
	// Waiting counts check-outs that wait.
	Waiting int
	// Created, Refreshed, CheckedOut, Closed and Failed count what has happened since the host was added.
	Created, Refreshed, CheckedOut, Closed, Failed int64
}

// Open is the number of connections, including those being made.
func (m *HostMetrics) Open() int { return m.InUse + m.Available + m.Refreshing + m.Connecting }

// emitLocked queues an event; it is delivered once the lock is released.
func (p *Pool) emitLocked(e PoolEvent) {
	if p.cfg.Listener == nil || p.cfg.clearsOnly && e.Type != EventPoolCleared {
		return
	}
	e.Pool = p.cfg.Name
	p.events = append(p.events, e)
}

// unlock releases the lock and delivers queued events. One goroutine delivers at a time, so that the listener sees them
// in order; another that finds it busy leaves its events to it.
func (p *Pool) unlock() {
	if len(p.events) == 0 || p.delivering {
		p.mu.Unlock()
		return
	}
	p.delivering = true
	for len(p.events) > 0 {
		batch := p.events
		p.events = p.delivered[:0]
		p.mu.Unlock()
		for _, e := range batch {
			p.cfg.Listener(e)
		}
		clear(batch)
		p.mu.Lock()
		p.delivered = batch
	}
	p.delivering = false
	p.mu.Unlock()
}
