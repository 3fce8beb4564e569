package database

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// transactionWait is how long a transaction waits for a collection whose
	// definition is being changed, and with its first write for another that has
	// claimed the same record; MongoDB's maxTransactionLockRequestTimeoutMillis.
	transactionWait = 5 * time.Millisecond
	// sharePause is how often it looks meanwhile.
	sharePause = 500 * time.Microsecond
)

// Transaction is a multi-document transaction: operations whose Op names it read
// one snapshot and what they have written themselves, and take effect together
// with Commit.
//
// The snapshot is that of the first operation, of the definitions of collections
// too: a collection whose definition has changed since cannot be used. From the
// first time it touches a collection until its end it keeps that collection's
// definition from changing.
//
// A Transaction belongs to one caller at a time. An operation that fails ends it:
// after an error nothing but Abort makes sense, and a write that fails has aborted
// it already. It must end in Commit or Abort; Abort after either is a no-op.
type Transaction struct {
	db      *DB
	options storage.TxnOptions
	txn     storage.Txn
	snap    *catalog.Snapshot // the definitions as of the snapshot; nil before the first operation
	parts   map[Namespace]*part
	// pending are the collections that the transaction has created itself; they are
	// among parts.
	pending *catalog.Pending
	log     transactionLog
	wrote   bool
	ended   bool
	held    atomic.Int32 // heldNothing, heldToRead or heldToWrite
	reads   atomic.Uint64
	slot    slot   // for the counts in a shared store
	losses  uint64 // of the engine when it began
}

// part is a collection that a transaction has touched.
type part struct {
	coll         *catalog.Collection
	count, bytes int64 // change of its documents so far
	heldShared   bool  // against other processes
	marks        []multikeyMark
}

// What a transaction holds of the collections that it has touched.
const (
	heldNothing = iota
	heldToRead
	heldToWrite
)

// Held is the mode in which the transaction holds collections, so that their
// definitions stay: "r" if it has only read, "w" if it has written, "" if it has touched
// none. Unlike all else it may be asked by anybody at any time.
func (t *Transaction) Held() string { return [...]string{"", "r", "w"}[t.held.Load()] }

// ReadTime is a time up to which the transaction sees all changes, and none but those
// that were committed in the instant that it took its snapshot behind it; 0 before that.
// It may be asked by anybody at any time.
func (t *Transaction) ReadTime() uint64 { return t.reads.Load() }

// errAborted is the failure of an operation in a transaction that has ended.
var errAborted = mongoerr.New(mongoerr.NoSuchTransaction, "The transaction has been aborted.")

// BeginTransaction starts a transaction.
func (d *DB) BeginTransaction() *Transaction {
	return d.beginTransaction(storage.TxnOptions{ConflictWait: transactionWait})
}

// SetSession names the transaction in the oplog: lsid is {id, uid}. It is called before
// the first operation.
func (t *Transaction) SetSession(lsid bsonval.Doc, txnNumber int64) {
	t.log.lsid, t.log.number = lsid, txnNumber
}

func (d *DB) beginTransaction(opts storage.TxnOptions) *Transaction {
	opts.NoSync, opts.Losses = d.AwaitsStandbys(), storage.Losses(d.engine)
	t := &Transaction{db: d, options: opts, losses: opts.Losses, txn: d.engine.Begin(opts), parts: map[Namespace]*part{}}
	t.pending = d.catalog.Pending(t.txn)
	d.transactions.add(t)
	return t
}

// IsRelaxed says that Commit does not wait until what it has done is durable, because standbys may be missing: whoever
// commits waits for that, as long as the client wants to.
func (t *Transaction) IsRelaxed() bool { return t.options.NoSync }

// AwaitsStandbys says that what is written is to be on other servers, too.
func (d *DB) AwaitsStandbys() bool {
	r, ok := d.engine.(storage.Revivable)
	return ok && r.AwaitsStandbys()
}

// begin takes the snapshot at the first operation.
func (t *Transaction) begin() error {
	if t.ended {
		return errAborted
	}
	if t.snap == nil && t.db.shared {
		t.reads.Store(t.db.engine.Clock().Applied())
		return t.beginShared()
	}
	if t.snap == nil {
		// The definitions first: what is published meanwhile shows as a difference.
		t.snap = t.db.catalog.Snapshot()
		t.reads.Store(t.db.engine.Clock().Applied())
		t.txn.Snapshot()
	}
	return nil
}

// collection returns a collection as the transaction sees it, nil if there is
// none, and keeps its definition until the end of the transaction.
func (t *Transaction) collection(ctx context.Context, ns Namespace) (*catalog.Collection, error) {
	if err := t.begin(); err != nil {
		return nil, err
	}
	if p := t.parts[ns]; p != nil {
		return p.coll, nil
	}
	for {
		coll := t.db.catalog.Collection(ns.DB, ns.Coll)
		if err := t.checkSame(ns, coll); err != nil {
			return nil, err
		}
		if coll == nil || coll.IsView() {
			return coll, nil
		}
		if err := t.share(ctx, ns, coll.Guard); err != nil {
			return nil, err
		}
		if t.db.catalog.Collection(ns.DB, ns.Coll) == coll {
			t.parts[ns] = &part{coll: coll}
			t.held.CompareAndSwap(heldNothing, heldToRead)
			return coll, nil
		}
		coll.Guard.Unshare()
	}
}

// checkSame fails if a collection is not what it was at the snapshot. One that
// was created since is fine: nothing in it is visible, so it is empty.
func (t *Transaction) checkSame(ns Namespace, coll *catalog.Collection) error {
	old := t.snap.Collection(ns.DB, ns.Coll)
	if old == coll || old == nil {
		return nil
	}
	return mongoerr.New(mongoerr.SnapshotUnavailable, "Unable to read from a snapshot due to pending collection catalog "+
		"changes to collection '%s'; please retry the operation.", ns)
}

// share takes a share of a guard, waiting a little while.
func (t *Transaction) share(ctx context.Context, ns Namespace, g *catalog.Guard) error {
	if g.Share() {
		return nil
	}
	deadline := time.NewTimer(transactionWait)
	defer deadline.Stop()
	tick := time.NewTicker(sharePause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return errLockTimeout(ns, transactionWait)
		case <-tick.C:
			if g.Share() {
				return nil
			}
		}
	}
}

func errLockTimeout(ns Namespace, wait time.Duration) error {
	return mongoerr.New(mongoerr.LockTimeout, "Unable to acquire lock '%s' within %s.", ns, wait)
}

// write runs fn on a collection inside the transaction, which an error aborts:
// a write that is half done cannot be told from one that is done.
func (t *Transaction) write(ctx context.Context, op *Op, ns Namespace, fn func(*writer) error) error {
	err := t.writeOnce(ctx, op, ns, fn)
	if err == nil || errors.Is(err, errNoCollection) {
		return err
	}
	if errors.Is(err, storage.ErrWriteConflict) {
		t.db.Metrics.WriteConflicts.Add(1)
	}
	t.Abort()
	return clientError(ctx, err)
}

func (t *Transaction) writeOnce(ctx context.Context, op *Op, ns Namespace, fn func(*writer) error) error {
	coll, err := t.collection(ctx, ns)
	switch {
	case err != nil:
		return err
	case coll == nil:
		return errNoCollection
	case coll.IsView():
		return mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", ns)
	case coll.Capped != nil:
		return errCappedInTransaction(ns)
	}
	if err := t.holdShared(ctx, coll); err != nil {
		return err
	}
	w := &writer{db: t.db, op: op, coll: coll, txn: t.txn, losses: t.losses}
	w.log.begin(w)
	defer w.log.end(false)
	if err := fn(w); err != nil {
		return err
	}
	p := t.parts[ns]
	p.count, p.bytes, p.marks = p.count+w.count, p.bytes+w.bytes, append(p.marks, w.marks...)
	t.wrote = true
	t.held.Store(heldToWrite)
	return nil
}

// Commit makes what the transaction has done visible and, unless it IsRelaxed, durable, all of it; after
// an error nothing of it is done. before, if not nil, is called first, to store
// what belongs to the same commit; not if nothing was written.
func (t *Transaction) Commit(ctx context.Context, before func(context.Context, storage.Txn) error) error {
	if t.ended {
		return errAborted
	}
	defer t.Abort()
	if !t.wrote {
		return nil
	}
	if before != nil {
		if err := before(ctx, t.txn); err != nil {
			return clientError(ctx, err)
		}
	}
	count, bytes, err := t.log.append(ctx, t.db.oplog, t.txn)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return clientError(ctx, err)
	}
	// Once begun, a commit is not torn by a client that goes away.
	ctx = context.WithoutCancel(ctx)
	if err := t.tally(ctx); err != nil {
		return clientError(ctx, err)
	}
	err = t.pending.Commit(ctx, t.checkPublished, func() error {
		_, err := t.txn.Commit(ctx)
		return err
	})
	if err != nil {
		t.slot.lose(err)
		for _, p := range t.parts {
			t.db.miscount(p.coll, err)
		}
		return clientError(ctx, err)
	}
	if t.db.oplog != nil {
		t.db.oplog.committed(count, bytes)
	}
	for _, p := range t.parts {
		for _, m := range p.marks {
			catalog.StoredMultikey(m.index, m.mask, t.losses)
		}
		t.db.tallied(&t.slot, p.coll, p.count, p.bytes)
	}
	return nil
}

// Abort undoes what the transaction has done and lets go of everything it holds:
// its cursors are closed and collections may change again.
func (t *Transaction) Abort() {
	if t.ended {
		return
	}
	t.ended = true
	t.db.cursors.kill(func(c *Cursor) bool { return c.tx == t }, false)
	t.txn.Rollback()
	t.db.tallies.give(&t.slot)
	for _, p := range t.parts {
		p.coll.Guard.Unshare()
	}
	t.parts = nil
	t.db.transactions.remove(t)
}

// Ended says that the transaction was committed or aborted.
func (t *Transaction) Ended() bool { return t.ended }

// lookUp returns a collection as an operation sees it, nil if there is none.
func (d *DB) lookUp(ctx context.Context, op *Op, ns Namespace) (*catalog.Collection, error) {
	if op.Txn != nil {
		return op.Txn.collection(ctx, ns)
	}
	if op.At != nil {
		return op.At.collection(ns)
	}
	return d.goesBy(op, ns), nil
}

// defined returns a collection's definition for an operation, which has looked it
// up or is about to write it; nil if there is none.
func (d *DB) defined(op *Op, ns Namespace) *catalog.Collection {
	if op.Txn != nil {
		if p := op.Txn.parts[ns]; p != nil {
			return p.coll
		}
	} else if op.At != nil {
		coll, err := op.At.collection(ns)
		if err != nil {
			return nil // whoever looks it up is told why
		}
		return coll
	}
	return d.goesBy(op, ns)
}

// reading is what an operation reads through; the caller calls end.
func (d *DB) reading(op *Op) (txn storage.Txn, end func(), err error) {
	if op.Txn == nil {
		txn = d.engine.Begin(d.expect(op, op.At.options()))
		return txn, txn.Rollback, nil
	}
	err = op.Txn.begin()
	return op.Txn.txn, func() {}, err
}
