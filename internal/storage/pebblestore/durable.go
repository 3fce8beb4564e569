package pebblestore

import (
	"sync"
	"sync/atomic"
)

// durable knows up to which position commits are durable, and tells those who
// wait for more.
type durable struct {
	upTo  atomic.Uint64
	asked atomic.Bool // grown is not nil; set before upTo is read, read after upTo is set

	mu    sync.Mutex // guards grown
	grown chan struct{}
}

// Durable returns the time up to which everything is durable.
func (s *Store) Durable() (upTo uint64, grown <-chan struct{}) { return s.durable.get() }

func (d *durable) get() (upTo uint64, grown <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.grown == nil {
		d.grown = make(chan struct{})
		d.asked.Store(true)
	}
	return d.upTo.Load(), d.grown
}

// grow is told that the commit at pos and all before it are durable.
func (d *durable) grow(pos uint64) {
	for {
		old := d.upTo.Load()
		if pos <= old {
			return
		}
		if d.upTo.CompareAndSwap(old, pos) {
			break
		}
	}
	if !d.asked.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.grown != nil {
		close(d.grown)
		d.grown = nil
		d.asked.Store(false)
	}
}
