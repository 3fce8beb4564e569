package catalog

import (
	"context"
	"sync"
	"sync/atomic"
)

// Guard keeps definition changes and writes of one collection apart. Three
// parties meet at it:
//
//   - a one-statement write holds the embedded lock shared (RLock), for the time
//     of a commit;
//   - a multi-document transaction holds a share (Share) from the first time it
//     touches the collection until it ends, which may take a client a minute;
//   - whoever changes the definition keeps both out (Exclude).
//
// Shares are apart from the lock so that a change which waits for a transaction
// does not stop the writes of everybody else meanwhile. It stops new shares,
// so that it gets its turn.
type Guard struct {
	sync.RWMutex

	// Count and Bytes are the number of documents and their size, kept up to
	// date by committed writes and counted again at start.
	Count, Bytes atomic.Int64
	// CountedIn is the number of losses of the engine ([storage.Revivable]) after which they were counted last, 0 at start.
	CountedIn atomic.Uint64
	// Miscounted says that nobody knows whether a commit has happened that has changed them, in a store that is not shared.
	Miscounted atomic.Bool

	// Scans counts the scans of the whole collection since the start.
	Scans atomic.Int64

	// Order and Arrivals are for capped collections.
	Order    Order
	Arrivals Arrivals

	shareMu sync.Mutex    // guards the fields below
	shares  int           // transactions that hold the collection
	waiting int           // changes that hold it or wait for it: no new shares
	drained chan struct{} // closed when shares becomes 0; nil if nobody waits
}

// Share takes a share; false if a change of the definition is under way or
// waits.
func (g *Guard) Share() bool {
	g.shareMu.Lock()
	defer g.shareMu.Unlock()
	if g.waiting > 0 {
		return false
	}
	g.shares++
	return true
}

// Unshare gives a share back.
func (g *Guard) Unshare() {
	g.shareMu.Lock()
	defer g.shareMu.Unlock()
	g.shares--
	if g.shares == 0 && g.drained != nil {
		close(g.drained)
		g.drained = nil
	}
}

// Exclude waits for all shares and writes, and keeps others out until Readmit.
// It fails if ctx ends while shares are held.
func (g *Guard) Exclude(ctx context.Context) error {
	g.announce()
	if err := g.drain(ctx); err != nil {
		g.withdraw()
		return err
	}
	g.Lock()
	return nil
}

// TryExclude is Exclude for who does not wait for shares: false if there are some.
func (g *Guard) TryExclude() bool {
	g.announce()
	if !g.free() {
		g.withdraw()
		return false
	}
	g.Lock()
	return true
}

// Readmit ends an Exclude.
func (g *Guard) Readmit() {
	g.Unlock()
	g.withdraw()
	g.Arrivals.Announce() // that nothing may arrive any more
}

// announce keeps new shares out until withdraw.
func (g *Guard) announce() {
	g.shareMu.Lock()
	g.waiting++
	g.shareMu.Unlock()
}

func (g *Guard) withdraw() {
	g.shareMu.Lock()
	g.waiting--
	g.shareMu.Unlock()
}

// free says whether there are no shares. It stays so for whoever has announced
// itself.
func (g *Guard) free() bool {
	g.shareMu.Lock()
	defer g.shareMu.Unlock()
	return g.shares == 0
}

// drain waits until there are no shares, for somebody who has announced itself.
func (g *Guard) drain(ctx context.Context) error {
	for {
		g.shareMu.Lock()
		if g.shares == 0 {
			g.shareMu.Unlock()
			return nil
		}
		if g.drained == nil {
			g.drained = make(chan struct{})
		}
		drained := g.drained
		g.shareMu.Unlock()
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
