package pgstore

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/archelon-db/archelon/internal/storage"
)

// dialPause is how long a process waits between two attempts to reach a server
// that does not answer.
const dialPause = 100 * time.Millisecond

// pool keeps the connections of transactions. At the limit, whoever comes waits
// its turn, and not for ever.
type pool struct {
	config  *pgconn.Config
	max     int
	timeout time.Duration
	prepare func(context.Context, *conn) error // makes a new connection ready
	closing <-chan struct{}
	cut     func()       // called when a connection was cut, and for a new one: the server may have been down
	cuts    atomic.Int64 // how often one was found to be

	mu      sync.Mutex // guards the rest
	idle    []*conn    // the last is used first
	open    int        // connections there are, or that are being made
	waiting []chan *conn
	closed  bool
}

// acquire takes a connection. Its caller gives it back with release.
func (p *pool) acquire(ctx context.Context) (*conn, error) {
	deadline := time.NewTimer(p.timeout)
	defer deadline.Stop()
	for {
		c, ticket, err := p.take()
		if err != nil {
			return nil, err
		}
		if c == nil && ticket == nil {
			return p.dial(ctx, deadline.C)
		}
		if ticket != nil {
			select {
			case c = <-ticket:
			case <-deadline.C:
				err = errOverloaded("all connections to PostgreSQL are busy")
			case <-ctx.Done():
				err = ctx.Err()
			case <-p.closing:
				err = storage.ErrClosed
			}
			if err != nil {
				p.leave(ticket)
				return nil, err
			}
			if c == nil {
				continue // a place has become free
			}
		}
		if time.Since(c.idle) > time.Second && !c.alive() {
			p.discard(c)
			continue
		}
		return c, nil
	}
}

// take returns an idle connection; or a ticket to wait with; or neither if the
// caller may make one.
func (p *pool) take() (*conn, chan *conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, storage.ErrClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return c, nil, nil
	}
	if p.open < p.max {
		p.open++
		return nil, nil, nil
	}
	ticket := make(chan *conn, 1)
	p.waiting = append(p.waiting, ticket)
	return nil, ticket, nil
}

// leave gives a ticket back, and what may have come with it.
func (p *pool) leave(ticket chan *conn) {
	p.mu.Lock()
	for i, w := range p.waiting {
		if w == ticket {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			p.mu.Unlock()
			return
		}
	}
	p.mu.Unlock()
	if c := <-ticket; c != nil {
		p.release(c)
	} else {
		p.wake(nil)
	}
}

// dial makes a connection in a place that was counted already.
func (p *pool) dial(ctx context.Context, deadline <-chan time.Time) (*conn, error) {
	for {
		c, err := p.connect(ctx)
		if err == nil {
			return c, nil
		}
		retry := time.NewTimer(dialPause)
		select {
		case <-retry.C:
			if unreachable(err) {
				continue
			}
		case <-deadline:
			retry.Stop()
		case <-ctx.Done():
			retry.Stop()
			err = ctx.Err()
		case <-p.closing:
			retry.Stop()
			err = storage.ErrClosed
		}
		p.mu.Lock()
		p.open--
		p.mu.Unlock()
		p.wake(nil)
		return nil, err
	}
}

func (p *pool) connect(ctx context.Context) (*conn, error) {
	cuts := p.cuts.Load()
	pg, err := connect(ctx, p.config)
	if err != nil {
		return nil, err
	}
	p.cut()
	c := newConn(pg)
	c.cuts = cuts
	if err := p.prepare(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// unreachable says whether an error of dialling may pass by waiting.
func unreachable(err error) bool {
	var ne net.Error
	var cut *cutError
	switch state := stateOf(err); {
	case state == "57P03" || state == "57P01" || state == "57P02" || state == stateReadOnly || state == stateTooManyConns:
		return true
	case state != "":
		return false
	}
	return errors.As(err, &ne) || errors.As(err, &cut)
}

// release gives a connection back.
func (p *pool) release(c *conn) {
	if !p.isThere(c) {
		p.discard(c)
		return
	}
	c.idle = time.Now()
	p.wake(c)
}

// isThere says whether a connection can be used again: if another one was found to be cut since it was last known to be
// there, this one may be, too.
func (p *pool) isThere(c *conn) bool {
	if cuts := p.cuts.Load(); cuts != c.cuts && !c.broken {
		c.broken = len(c.batch) > 0 || !c.alive() // half of a batch would go with the question
		c.cuts = cuts
	}
	return !c.broken
}

// wake hands a connection, or the place of one that is gone, to who waits first.
func (p *pool) wake(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c != nil && p.closed:
		p.open--
		c.close()
	case len(p.waiting) > 0:
		p.waiting[0] <- c
		p.waiting = p.waiting[1:]
	case c != nil:
		p.idle = append(p.idle, c)
	}
}

// discard closes a connection. If it was cut, the others are suspect, too.
func (p *pool) discard(c *conn) {
	c.close()
	p.mu.Lock()
	p.open--
	p.mu.Unlock()
	p.wake(nil)
	if c.lost {
		p.suspect()
		p.cut()
	}
}

// suspect closes the idle connections: another one was cut.
func (p *pool) suspect() {
	p.cuts.Add(1)
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.open -= len(idle)
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
		p.wake(nil)
	}
}

// tidy ends what idle connections have left open, and closes those that were not
// needed for long.
func (p *pool) tidy(ctx context.Context) {
	for {
		var c *conn
		p.mu.Lock()
		for i, x := range p.idle {
			if since := time.Since(x.idle); since > idleClose || x.ending && since > pollInterval {
				c = x
				p.idle = append(p.idle[:i], p.idle[i+1:]...)
				break
			}
		}
		p.mu.Unlock()
		if c == nil {
			return
		}
		if time.Since(c.idle) > idleClose {
			p.discard(c)
			continue
		}
		idle := c.idle
		if c.end(); c.run(ctx) != nil {
			p.discard(c)
			continue
		}
		p.release(c)
		c.idle = idle
	}
}

// end queues the ROLLBACK that is outstanding.
func (c *conn) end() {
	if c.ending {
		c.add("ROLLBACK", nil)
		c.ending = false
	}
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.open -= len(idle)
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}
