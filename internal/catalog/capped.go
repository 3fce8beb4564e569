package catalog

import (
	"sync"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Cap bounds a capped collection: it keeps the documents inserted last.
type Cap struct {
	Size int64 // bytes of documents
	Max  int64 // documents; 0 for no bound
}

// capOf is the bound that a collection's options ask for; nil for none.
func capOf(options bsonval.Doc) *Cap {
	if !options.Lookup("capped").Truthy() {
		return nil
	}
	return &Cap{Size: options.Lookup("size").TruncInt64(), Max: options.Lookup("max").TruncInt64()}
}

// Order is what the writers of a capped collection share. They go one at a time
// from their first read to their commit, so that documents become visible in the
// order of their record ids, and a reader who has seen one never misses an earlier
// one.
type Order struct {
	sync.Mutex
	// Oldest is a record id that no record of the collection is below; it saves
	// looking for the oldest among the remains of those removed.
	Oldest int64
	// Losses are those of the engine ([storage.Revivable]) until which Oldest is right.
	Losses uint64
}

// Arrivals tells readers who wait at the end of a capped collection that something
// has been committed. Waiting costs nothing but the waiter.
type Arrivals struct {
	// waiting says that next is not nil. It is set before a reader who waits looks
	// for the last time and read after a writer's commit, so that one of the two
	// notices the other.
	waiting atomic.Bool

	mu   sync.Mutex    // guards next
	next chan struct{} // closed at the next commit; nil if nobody waits
}

// Next returns a channel that is closed at the next commit. Who takes it before
// reading misses nothing.
func (a *Arrivals) Next() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == nil {
		a.next = make(chan struct{})
		a.waiting.Store(true)
	}
	return a.next
}

// Awaited says whether anybody waits.
func (a *Arrivals) Awaited() bool { return a.waiting.Load() }

// Announce wakes all who wait.
func (a *Arrivals) Announce() {
	if !a.waiting.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next != nil {
		a.waiting.Store(false)
		close(a.next)
		a.next = nil
	}
}
