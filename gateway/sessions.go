package gateway

import (
	"sync"
	"time"

	"github.com/archelon-db/archelon/egress"
)

const (
	// pinLife is how long an unused pin is kept: as long as sessions live.
	pinLife = 30 * time.Minute

	// transactionLife is how long a transaction stays open without a statement; servers abort it then.
	transactionLife = time.Minute

	// sweepEvery is how often what is too old is looked for.
	sweepEvery = time.Minute
)

// pin says where the transaction, or the last write with a number, of a session went.
type pin struct {
	txn int64
	to  *upstream
	// target is the router that has the transaction, empty if the upstream is of one primary.
	target egress.Host
	// open is set from the first statement of a transaction to its end.
	open bool
	used time.Time
}

// pins are the pins of all sessions.
type pins struct {
	mu    sync.Mutex // guards the fields below
	of    map[sessionID]pin
	swept time.Time
}

// find returns the pin of a session if it is of that transaction.
func (p *pins) find(id sessionID, txn int64) (pin, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.of[id]
	return found, ok && found.txn == txn
}

// set pins a session.
func (p *pins) set(id sessionID, to pin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	to.used = now
	p.of[id] = to
	if now.Sub(p.swept) > sweepEvery {
		p.swept = now
		for id, old := range p.of {
			if now.Sub(old.used) > pinLife {
				delete(p.of, id)
			}
		}
	}
}

// forget drops the pins of sessions that have ended.
func (p *pins) forget(ids []sessionID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		delete(p.of, id)
	}
}

// open counts the transactions that run on an upstream; nil means on all.
func (p *pins) open(of *upstream) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, now := 0, time.Now()
	for _, found := range p.of {
		if found.open && now.Sub(found.used) < transactionLife && (of == nil || found.to == of) {
			n++
		}
	}
	return n
}
