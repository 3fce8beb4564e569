package session

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultTransactionLifetime is how long a transaction may take, as in MongoDB.
	DefaultTransactionLifetime = time.Minute
	// expireInterval is how often expired transactions are looked for.
	expireInterval = time.Second
)

// transactions are the open transactions of all sessions and their numbers.
type transactions struct {
	started, committed, aborted atomic.Int64
	active, stored              atomic.Int64
	lifetime                    atomic.Int64 // nanoseconds

	mu   sync.Mutex // guards open
	open map[*Session]struct{}
}

func (t *transactions) begun(s *Session) {
	t.started.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[s] = struct{}{}
}

func (t *transactions) ended(s *Session, how phase) {
	if how == committed {
		t.committed.Add(1)
	} else {
		t.aborted.Add(1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, s)
}

func (t *transactions) list() []*Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*Session, 0, len(t.open))
	for s := range t.open {
		list = append(list, s)
	}
	return list
}

// TransactionCounts are the numbers of transactions since the start, and of those
// open now: Active ones run a statement. Stored counts the outcomes written.
type TransactionCounts struct {
	Started, Committed, Aborted int64
	Open, Active                int64
	Stored                      int64
}

// TransactionCounts returns the numbers as they are now.
func (r *Registry) TransactionCounts() TransactionCounts {
	t := &r.transactions
	t.mu.Lock()
	open := int64(len(t.open))
	t.mu.Unlock()
	return TransactionCounts{
		Started: t.started.Load(), Committed: t.committed.Load(), Aborted: t.aborted.Load(),
		Open: open, Active: min(t.active.Load(), open), Stored: t.stored.Load(),
	}
}

// EachOpen calls f for every session with a transaction in progress.
func (r *Registry) EachOpen(f func(*Session)) {
	for _, s := range r.transactions.list() {
		f(s)
	}
}

// TransactionLifetime is how long transactions that begin now may take.
func (r *Registry) TransactionLifetime() time.Duration {
	return time.Duration(r.transactions.lifetime.Load())
}

// SetTransactionLifetime changes it.
func (r *Registry) SetTransactionLifetime(d time.Duration) { r.transactions.lifetime.Store(int64(d)) }

// ExpireTransactions aborts the transactions that have taken too long. One that
// runs a statement is told by OnExpire to interrupt it, which aborts it too.
func (r *Registry) ExpireTransactions() {
	now := r.cfg.Now()
	for _, s := range r.transactions.list() {
		if open := s.open.Load(); open == nil || now.Before(open.Expires) {
			continue
		}
		select {
		case s.turn <- struct{}{}:
			if open := s.open.Load(); open != nil && !now.Before(open.Expires) {
				s.endTransaction(aborted)
			}
			s.give()
		default:
			r.OnExpire(s)
		}
	}
}
