package pebblestore

import (
	"sync"
	"time"
)

// lateSync syncs commits that did not wait for the disk, an interval after the
// first of them. An idle store has no timer running.
type lateSync struct {
	store    *Store
	interval time.Duration

	mu      sync.Mutex // guards all below
	armed   bool
	stopped bool
	timer   *time.Timer
	running sync.WaitGroup
}

// commit is called after each commit that did not wait.
func (l *lateSync) commit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.armed || l.stopped || l.store.config.Memory {
		return
	}
	l.armed = true
	l.running.Add(1)
	l.timer = time.AfterFunc(l.interval, l.run)
}

func (l *lateSync) run() {
	defer l.running.Done()
	l.mu.Lock()
	l.armed = false
	l.mu.Unlock()
	g := &l.store.gates[0]
	g.RLock()
	defer g.RUnlock()
	if !l.store.closed {
		_ = l.store.syncJournal() // a failure is kept and logged by fail
	}
}

// stop ends the timer and waits for a sync that is running. Closing the store
// syncs what is left.
func (l *lateSync) stop() {
	l.mu.Lock()
	l.stopped = true
	if l.armed && l.timer.Stop() {
		l.running.Done()
	}
	l.mu.Unlock()
	l.running.Wait()
}
