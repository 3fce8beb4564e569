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
	tail       atomic.Uint32 // table with a record whose id is committing; 0 if 'p' is; set before committing
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

	v := &view{refs: 1}
	for {
		v.snap = vs.db.NewSnapshot()
		pos, known, err := vs.positionOf(v.snap, at)
		if known && err == nil {
			v.pos = pos
			break
		}
		v.snap.Close()
		if err != nil {
			vs.refreshOldest()
			return nil, err
		}
		at = vs.committed.Load()
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

// begin notes that the commit at pos is about to be applied; tail is the table with
// its last log record, or 0. The caller holds Store.commitMu.
func (vs *viewSet) begin(pos uint64, tail storage.TableID) {
	vs.tail.Store(uint32(tail))
	vs.committing.Store(pos)
}

// positionOf finds out which position a snapshot shows that was taken when, or
// after, the last commit was at. It is not known if commits have come to their end
// since then.
func (vs *viewSet) positionOf(snap *pebble.Snapshot, at uint64) (pos uint64, known bool, err error) {
	next, tail := vs.committing.Load(), vs.tail.Load()
	if vs.committed.Load() != at {
		return 0, false, nil
	}
	if next == at {
		return at, true, nil
	}
	// Of the commit at next, and of no other, it depends on the moment of the
	// snapshot. tail is next's: it changes only after a commit has ended.
	if tail == 0 {
		p, err := readNumber(snap, positionKey, 8)
		if err != nil {
			return 0, false, err
		}
		if p != next {
			next = at
		}
		return next, true, nil
	}
	var key [recordKeyLen]byte
	_, closer, err := snap.Get(appendRecordKey(key[:0], storage.TableID(tail), storage.RecordID(next)))
	if err == pebble.ErrNotFound {
		return at, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	return next, true, closer.Close()
}

// lastPosition reads the position of the last commit, and the value of the log key,
// when a store is opened.
func lastPosition(db *pebble.DB) (pos uint64, tail storage.TableID, err error) {
	if pos, err = readNumber(db, positionKey, 8); err != nil {
		return 0, 0, err
	}
	n, err := readNumber(db, logKey, 4)
	if err != nil || n == 0 {
		return pos, 0, err
	}
	r := &idRange{kind: prefixTable, id: uint32(n)}
	if err := r.recoverLastID(db); err != nil {
		return 0, 0, err
	}
	return max(pos, uint64(r.lastID.Load())), storage.TableID(n), nil
}

// readNumber reads a number of some bytes; 0 if the key is not there.
func readNumber(r pebble.Reader, key []byte, size int) (uint64, error) {
	b, closer, err := r.Get(key)
	if err == pebble.ErrNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(b) != size {
		return 0, pebble.ErrCorruption
	}
	if size == 4 {
		return uint64(binary.BigEndian.Uint32(b)), nil
	}
	return binary.BigEndian.Uint64(b), nil
}

func (vs *viewSet) lastCommitted() storage.Position {
	return storage.Position(vs.committed.Load())
}
