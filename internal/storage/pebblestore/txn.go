package pebblestore

import (
	"context"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// maxPins is how many values a transaction hands out straight from Pebble's
	// memory before it copies.
	maxPins = 4

	// maxTracked is how many point reads a transaction remembers in order to move
	// its view forward; see slide. An update by _id makes two.
	maxTracked = 4

	// untracked as the number of tracked reads means that there were others.
	untracked = -1

	// slideTries bounds how often a claim moves the view before it gives up.
	slideTries = 3
)

// txn is a transaction. Everything it needs for writing is in a pooled writeSet,
// fetched at the first write; a point read allocates the txn and nothing else.
type txn struct {
	s    *Store
	id   uint64
	opts storage.TxnOptions
	done bool // written by the owner, or by Close behind all gates

	view  *view
	w     *writeSet
	iters int // open iterators

	reads   [maxTracked]uint64 // hashes of the keys found by point reads
	nreads  int                // or untracked
	lastGet uint64             // hash of the record that Get last found in the view; 0 for none

	pins  [maxPins]io.Closer // of values handed out
	npins int

	// The record that a claim has read to see that it exists, for the Get that
	// mostly follows; held is nil if there is none.
	held    []byte
	heldKey [recordKeyLen]byte

	keyBuf []byte
	keyArr [64]byte

	prev, next *txn // in Store.txns; guarded by Store.txnMu
}

var _ storage.Txn = (*txn)(nil)

// writeSet is what a writing transaction holds.
type writeSet struct {
	overlay
	claims  []uint64   // hashes in the lock table
	touched []*idRange // ranges it counts as a user of
	dropped []*idRange // ranges it has dropped
}

func newWriteSet() *writeSet { return &writeSet{overlay: *newOverlay()} }

// Begin starts a transaction.
func (s *Store) Begin(opts storage.TxnOptions) storage.Txn {
	tx := &txn{s: s, opts: opts, id: s.nextTxn.Add(1)}
	tx.keyBuf = tx.keyArr[:0]
	if opts.At != nil {
		tx.nreads = untracked // it must not move its view
	}
	s.openTxns.Add(1)
	return tx
}

// enter begins an operation; the caller unlocks the gate when it is over.
func (tx *txn) enter(ctx context.Context) (*gate, error) {
	g, ok := tx.s.enter(tx.id)
	if !ok {
		return nil, storage.ErrClosed
	}
	err := ctx.Err()
	if tx.done {
		err = storage.ErrClosed
	}
	if err != nil {
		g.RUnlock()
		return nil, err
	}
	return g, nil
}

// enterWrite is enter for an operation that writes.
func (tx *txn) enterWrite(ctx context.Context) (*gate, error) {
	g, err := tx.enter(ctx)
	if err != nil {
		return nil, err
	}
	if tx.opts.ReadOnly {
		g.RUnlock()
		return nil, storage.ErrReadOnly
	}
	if tx.opts.At != nil { // its claims are made against the state it reads
		if err := tx.takeView(); err != nil {
			g.RUnlock()
			return nil, err
		}
	}
	if tx.w == nil {
		tx.w = tx.s.overlays.Get().(*writeSet)
	}
	return g, nil
}

// seen is the position up to which the transaction sees commits.
func (tx *txn) seen() uint64 {
	if tx.view == nil {
		return noView
	}
	return tx.view.pos
}

// takeView takes the snapshot if there is none yet.
func (tx *txn) takeView() error {
	if tx.view != nil {
		return nil
	}
	var v *view
	var err error
	if tx.opts.At != nil {
		v, err = tx.s.viewAt(tx.opts.At)
	} else {
		v, err = tx.s.views.acquire()
	}
	if err != nil {
		return err
	}
	tx.view = v
	tx.s.link(tx)
	return nil
}

// read returns the value of a stored key as the transaction sees it, or
// ErrNotFound. The closer is nil for a value of the transaction's own.
func (tx *txn) read(key []byte) ([]byte, io.Closer, error) {
	if v, known, err := tx.own(key); known {
		return v, nil, err
	}
	if err := tx.takeView(); err != nil {
		return nil, nil, err
	}
	return found(tx.view.snap.Get(key))
}

// readClaimed is read for a key that the transaction has claimed. Nobody else can
// change it, so the newest state is as good as the view's and no view is needed.
func (tx *txn) readClaimed(key []byte) ([]byte, io.Closer, error) {
	if v, known, err := tx.own(key); known {
		return v, nil, err
	}
	if tx.view != nil {
		return found(tx.view.snap.Get(key))
	}
	return found(tx.s.db.Get(key))
}

// own looks a key up among the transaction's writes.
func (tx *txn) own(key []byte) (value []byte, known bool, err error) {
	if tx.w == nil {
		return nil, false, nil
	}
	op := tx.w.lookup(key)
	switch {
	case op < 0:
		return nil, false, nil
	case tx.w.ops[op].kind == opDelete:
		return nil, true, storage.ErrNotFound
	}
	return tx.w.valueOf(op), true, nil
}

func found(v []byte, c io.Closer, err error) ([]byte, io.Closer, error) {
	if err == pebble.ErrNotFound {
		err = storage.ErrNotFound
	}
	return v, c, err
}

// exists says whether a claimed record of r has a value; h is its key's hash.
func (tx *txn) exists(r *idRange, key []byte, h uint64) error {
	if tx.lastGet == h && tx.w.lookup(key) < 0 {
		return nil
	}
	if tx.w.lookup(key) < 0 && !r.isLog.Load() {
		if v := tx.s.locks.cached(h, key, tx.id, 0); v != nil {
			tx.held = v
			copy(tx.heldKey[:], key)
			return nil
		}
	}
	v, closer, err := tx.readClaimed(key)
	if closer != nil {
		tx.held = tx.pin(v, closer)
		copy(tx.heldKey[:], key)
	}
	return err
}

// heldRecord is the record under a key, if a claim has just read it. Reading it
// needs no view: as long as it is claimed, all views show the same.
func (tx *txn) heldRecord(key []byte) []byte {
	if tx.held == nil || string(tx.heldKey[:]) != string(key) || tx.w.lookup(key) >= 0 {
		return nil
	}
	return tx.held
}

// track remembers a point read that found something.
func (tx *txn) track(h uint64) {
	switch {
	case tx.nreads == untracked:
	case tx.nreads == maxTracked:
		tx.nreads = untracked
	default:
		tx.reads[tx.nreads] = h
		tx.nreads++
	}
}

// pin keeps a value valid until the next write, or copies it.
func (tx *txn) pin(v []byte, c io.Closer) []byte {
	if c == nil {
		return v
	}
	if tx.npins < maxPins {
		tx.pins[tx.npins] = c
		tx.npins++
		return v
	}
	v = append([]byte(nil), v...)
	c.Close()
	return v
}

func (tx *txn) unpin() {
	for i := range tx.npins {
		tx.pins[i].Close()
		tx.pins[i] = nil
	}
	tx.npins, tx.held = 0, nil
}

// claim takes a stored key for writing and returns its hash.
func (tx *txn) claim(ctx context.Context, key []byte) (uint64, error) {
	lt := tx.s.locks
	h := lt.hash(key)
	for try := 0; ; try++ {
		var r claimResult
		if tx.opts.ConflictWait > 0 && len(tx.w.claims) == 0 {
			r = lt.claimWait(ctx, h, tx.id, tx.seen(), tx.opts.ConflictWait)
		} else {
			r = lt.claim(h, tx.id, tx.seen())
		}
		switch {
		case r == claimNew:
			tx.w.claims = append(tx.w.claims, h)
			return h, nil
		case r == claimMine:
			return h, nil
		case r == claimStale && try < slideTries && tx.slide():
			continue
		}
		return h, lt.conflict()
	}
}

// slide moves the view to the newest state, if everything the transaction has
// read is the same there: then it might as well have begun now. It needs to know
// all reads, so scans and lookups that found nothing rule it out.
func (tx *txn) slide() bool {
	if tx.nreads == untracked {
		return false
	}
	old := tx.view
	v, err := tx.s.views.acquire()
	if err != nil {
		return false
	}
	ok := tx.s.ranges.lastDrop.Load() <= old.pos
	for _, h := range tx.reads[:tx.nreads] {
		ok = ok && tx.s.locks.unchanged(h, tx.id, old.pos)
	}
	if !ok {
		tx.s.views.release(v)
		return false
	}
	tx.view = v
	tx.s.views.release(old)
	return true
}

// use returns a table or index that the transaction is about to write, and counts
// it as a user.
func (tx *txn) use(kind byte, id uint32) (*idRange, error) {
	w := tx.w
	for i := len(w.touched) - 1; i >= 0; i-- {
		if r := w.touched[i]; r.id == id && r.kind == kind {
			if tx.hasDropped(kind, id) {
				return nil, storage.ErrNotFound
			}
			return r, nil
		}
	}
	r := tx.s.ranges.get(kind, id)
	if r == nil || tx.hasDropped(kind, id) {
		return nil, storage.ErrNotFound
	}
	if err := r.use(tx.seen()); err != nil {
		if err == storage.ErrWriteConflict {
			err = tx.s.locks.conflict()
		}
		return nil, err
	}
	w.touched = append(w.touched, r)
	return r, nil
}

func (tx *txn) hasDropped(kind byte, id uint32) bool {
	if tx.w == nil {
		return false
	}
	for _, r := range tx.w.dropped {
		if r.id == id && r.kind == kind {
			return true
		}
	}
	return false
}

// hasTouched is 1 if the transaction counts as a user of a range.
func (w *writeSet) hasTouched(r *idRange) int64 {
	for _, x := range w.touched {
		if x == r {
			return 1
		}
	}
	return 0
}

// Snapshot is the position this transaction reads at. It is fixed from then on.
func (tx *txn) Snapshot() storage.Position {
	g, err := tx.enter(context.Background())
	if err != nil {
		return 0
	}
	defer g.RUnlock()
	tx.nreads = untracked
	if err := tx.takeView(); err != nil {
		return 0
	}
	return storage.Position(tx.view.pos)
}

// Savepoint marks the present state.
func (tx *txn) Savepoint() storage.Savepoint {
	if tx.w == nil {
		return 0
	}
	return storage.Savepoint(len(tx.w.ops))
}

// RollbackTo undoes every write since a savepoint.
func (tx *txn) RollbackTo(sp storage.Savepoint) error {
	g, err := tx.enter(context.Background())
	if err != nil {
		return err
	}
	defer g.RUnlock()
	if tx.w == nil || int(sp) >= len(tx.w.ops) {
		return nil
	}
	tx.unpin()
	tx.w.cut(max(0, int(sp)), tx.undoRange)
	return nil
}

// Rollback forgets the writes.
func (tx *txn) Rollback() {
	g := &tx.s.gates[tx.id%gateCount]
	g.RLock()
	defer g.RUnlock()
	tx.end(0)
}

// end gives back everything the transaction holds. pos is the position of its
// commit, or 0.
func (tx *txn) end(pos uint64) {
	if tx.done {
		return
	}
	tx.done = true
	tx.unpin()
	if tx.view != nil {
		tx.s.unlink(tx)
		tx.s.views.release(tx.view)
		tx.view = nil
	}
	// After the view, which would make the lock table remember the claims.
	if tx.w != nil {
		tx.endWrites(pos)
	}
	tx.s.openTxns.Add(-1)
}

func (tx *txn) endWrites(pos uint64) {
	w := tx.w
	tx.w = nil
	if pos == 0 {
		w.cut(0, func(kind opKind, r *idRange) { tx.undoRangeIn(w, kind, r) })
	}
	for _, r := range w.dropped {
		r.users.Store(w.hasTouched(r))
	}
	for _, r := range w.touched {
		r.users.Add(-1)
	}
	for _, h := range w.claims {
		if key, value := w.written(tx.s.locks, h, pos); key != nil {
			tx.s.locks.releaseWritten(h, pos, key, value)
		} else {
			tx.s.locks.release(h, pos)
		}
	}
	if tx.iters > 0 {
		return // an iterator still reads it: leave it to the collector
	}
	clear(w.touched)
	clear(w.dropped)
	w.touched, w.dropped = w.touched[:0], w.dropped[:0]
	if cap(w.claims) > overlayKeepNodes {
		w.claims = nil
	}
	w.claims = w.claims[:0]
	w.reset()
	tx.s.overlays.Put(w)
}

// maxCachedWrites is the number of keys of a transaction whose records go into
// the record cache when it commits: those of point writes, not of bulk loads.
const maxCachedWrites = 8

// written returns the record and its value under a claimed hash, if the commit at
// pos has set it.
func (w *writeSet) written(lt *lockTable, hash, pos uint64) (key, value []byte) {
	if pos == 0 || len(w.nodes) > 1+maxCachedWrites {
		return nil, nil
	}
	for n := 1; n < len(w.nodes); n++ {
		key := w.keyOf(int32(n))
		if len(key) != recordKeyLen || key[0] != prefixTable || lt.hash(key) != hash {
			continue
		}
		if op := w.lookup(key); op >= 0 && w.ops[op].kind == opSet {
			return key, w.valueOf(op)
		}
	}
	return nil, nil
}

// link and unlink keep the ring of transactions that hold a view, for Close.
func (s *Store) link(tx *txn) {
	s.txnMu.Lock()
	defer s.txnMu.Unlock()
	tx.prev, tx.next = s.txns.prev, &s.txns
	tx.prev.next, tx.next.prev = tx, tx
}

func (s *Store) unlink(tx *txn) {
	s.txnMu.Lock()
	defer s.txnMu.Unlock()
	tx.prev.next, tx.next.prev = tx.next, tx.prev
	tx.prev, tx.next = nil, nil
}
