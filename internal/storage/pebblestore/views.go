package pebblestore

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/archelon-db/archelon/internal/storage"
)

// view is a Pebble snapshot and the position it shows. All transactions that
// begin while no commit happens share one.
type view struct {
	snap       *pebble.Snapshot
	pos        uint64
	refs       int // guarded by viewSet.mu
	prev, next *view
}

// viewSet keeps the views that transactions use, in order of position, and the
// newest one also when nobody uses it, for the next transaction.
//
// The lock table drops what no view is older than, and reads oldest without a
// lock. Therefore oldest is lowered before a view at that position is looked for:
// a commit that starts later sees it when it gives its claims back, and one that
// started before is in the view or makes acquire look again.
type viewSet struct {
	db         *pebble.DB
	committing atomic.Uint64 // position that is being applied, or the last one
	committed  atomic.Uint64 // last position that is visible
	oldest     atomic.Uint64 // position of the first view in use, or noView

	mu   sync.Mutex // guards the list; Pebble's snapshot calls happen under it
	root view       // ring of views; the last one may have refs 0
}

func (vs *viewSet) init(db *pebble.DB, last uint64) {
	vs.db = db
	vs.root.prev, vs.root.next = &vs.root, &vs.root
	vs.committing.Store(last)
	vs.committed.Store(last)
	vs.oldest.Store(noView)
}

// acquire returns a view of the newest committed state.
func (vs *viewSet) acquire() (*view, error) {
	vs.mu.Lock()
	defer vs.mu.Unlock()

	at := vs.committed.Load()
	idle := vs.oldest.Load() == noView
	if idle {
		vs.oldest.Store(at)
	}
	last := vs.root.prev
	if last != &vs.root && last.pos == at && vs.committed.Load() == at {
		last.refs++
		return last, nil
	}

	v := &view{snap: vs.db.NewSnapshot(), pos: at, refs: 1}
	if vs.committing.Load() != at {
		pos, err := positionOf(v.snap)
		if err != nil {
			v.snap.Close()
			vs.refreshOldest()
			return nil, err
		}
		v.pos = pos
	}
	if last != &vs.root && last.refs == 0 {
		vs.unlink(last)
	}
	v.prev, v.next = vs.root.prev, &vs.root
	v.prev.next, v.next.prev = v, v
	if idle {
		vs.refreshOldest()
	}
	return v, nil
}

// release gives a view back.
func (vs *viewSet) release(v *view) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v.refs--
	if v.refs > 0 {
		return
	}
	if v.next != &vs.root || v.pos != vs.committed.Load() {
		vs.unlink(v)
	}
	vs.refreshOldest()
}

// closeAll closes what is left. No transaction may use a view any more.
func (vs *viewSet) closeAll() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for vs.root.next != &vs.root {
		vs.unlink(vs.root.next)
	}
	vs.oldest.Store(noView)
}

func (vs *viewSet) unlink(v *view) {
	v.prev.next, v.next.prev = v.next, v.prev
	v.snap.Close()
}

func (vs *viewSet) refreshOldest() {
	first := vs.root.next
	if first == &vs.root || first.refs == 0 {
		vs.oldest.Store(noView)
		return
	}
	vs.oldest.Store(first.pos)
}

// positionOf reads the position of the last commit that a snapshot shows.
func positionOf(r pebble.Reader) (uint64, error) {
	b, closer, err := r.Get(positionKey)
	if err == pebble.ErrNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(b) != 8 {
		return 0, pebble.ErrCorruption
	}
	return binary.BigEndian.Uint64(b), nil
}

func (vs *viewSet) lastCommitted() storage.Position {
	return storage.Position(vs.committed.Load())
}
