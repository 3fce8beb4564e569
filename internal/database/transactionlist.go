package database

import "sync"

// transactions are the open transactions of a database.
type transactions struct {
	mu   sync.Mutex // guards open
	open map[*Transaction]struct{}
}

func (ts *transactions) add(t *Transaction) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.open == nil {
		ts.open = map[*Transaction]struct{}{}
	}
	ts.open[t] = struct{}{}
}

func (ts *transactions) remove(t *Transaction) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, t)
}

// abortAll ends the transactions that are left when the database closes and nobody
// uses them any more.
func (ts *transactions) abortAll() {
	ts.mu.Lock()
	var list []*Transaction
	for t := range ts.open {
		list = append(list, t)
	}
	ts.mu.Unlock()
	for _, t := range list {
		t.Abort()
	}
}
