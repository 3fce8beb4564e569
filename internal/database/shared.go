package database

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// Of a store that several processes share, the definitions kept in memory may be
// outdated. Each operation goes by one version of them, and each of its transactions
// expects that version: an operation that has planned with an older one fails with
// its first statement, before it has done anything, and starts again. An operation
// that has not begun a transaction, because it found no collection, say, is checked
// when it is over (Outdated).

// definitions are what an operation goes by.
func (d *DB) definitions(op *Op) *catalog.Snapshot {
	switch {
	case !d.shared || op == nil:
		return d.catalog.Snapshot()
	case op.defs == nil:
		op.defs = d.catalog.Snapshot()
	}
	return op.defs
}

// usedDefinition is a collection that an operation has looked up, nil if there was none.
type usedDefinition struct {
	ns   Namespace
	coll *catalog.Collection
}

// goesBy returns the definition of a collection for an operation, which remembers it.
func (d *DB) goesBy(op *Op, ns Namespace) *catalog.Collection {
	coll := d.definitions(op).Collection(ns.DB, ns.Coll)
	if d.shared && op != nil && !slices.ContainsFunc(op.used, func(u usedDefinition) bool { return u.ns == ns }) {
		op.used = append(op.used, usedDefinition{ns, coll})
	}
	return coll
}

// forgetDefinitions makes an operation go by the newest definitions from here on.
func (op *Op) forgetDefinitions() { op.defs, op.used = nil, op.used[:0] }

// expect completes the options of a transaction that reads for an operation.
func (d *DB) expect(op *Op, o storage.TxnOptions) storage.TxnOptions {
	if op != nil && op.defs != nil && o.At == nil {
		o.Expecting = func() []*storage.Expectation { return d.newestVersion(op) }
	}
	return o
}

// newestVersion is what a transaction that begins to read for an operation expects: the
// newest definitions known, if nothing that the operation has looked up has changed
// since. Compiling and planning may have taken longer than others take to change
// something else.
func (d *DB) newestVersion(op *Op) []*storage.Expectation {
	newest := d.catalog.Snapshot()
	if newest != op.defs && !slices.ContainsFunc(op.used, func(u usedDefinition) bool { return newest.Collection(u.ns.DB, u.ns.Coll) != u.coll }) {
		op.defs = newest
	}
	return op.defs.Version()
}

// latest is the time of the newest commit that is visible: in a shared store other
// processes may have committed since this one has looked.
func (d *DB) latest() uint64 {
	if d.shared {
		txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
		defer txn.Rollback()
		return max(uint64(txn.Snapshot()), d.engine.Clock().Applied())
	}
	return d.engine.Clock().Applied()
}

// Visible returns the time up to which commits are visible: no operation that is over has
// seen anything newer, what other processes have committed included.
func (d *DB) Visible() (uint64, error) {
	if !d.shared || !d.members.hasOthers() {
		return d.engine.Visible(), nil
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	pos := txn.Snapshot()
	if pos == 0 {
		return 0, mongoerr.New(mongoerr.HostUnreachable, "PostgreSQL does not tell what other processes have committed")
	}
	return uint64(pos), nil
}

// IsShared says whether other processes have the data, too.
func (d *DB) IsShared() bool { return d.shared }

// Refresh makes sure that the definitions known are those of a moment after the call.
func (d *DB) Refresh(ctx context.Context) error {
	began := time.Now()
	for range 2 { // somebody else who was reading them already may have read older ones; who begins after that does not
		snap := d.catalog.Snapshot()
		if snap.KnownSince(began) {
			break
		}
		if err := d.catalog.Refresh(ctx, snap); err != nil {
			return clientError(ctx, err)
		}
	}
	return nil
}

// Touch tells the other processes, in a transaction, to read settings again.
func (d *DB) Touch(ctx context.Context, txn storage.Txn) error { return d.catalog.Touch(ctx, txn) }

// Outdated says whether an operation has gone by definitions that were outdated when it
// began, and has therefore done nothing. It is to be run again then.
func (d *DB) Outdated(ctx context.Context, op *Op, began time.Time) (bool, error) {
	if op.wrote || op.defs == nil || op.Txn != nil || op.At != nil || op.defs.KnownSince(began) {
		return false, nil
	}
	if err := d.catalog.Refresh(ctx, op.defs); err != nil {
		return false, clientError(ctx, err)
	}
	return !op.defs.KnownSince(began), nil
}

// CatchUp is called after operations of which one has failed. It says whether that was
// because another process has changed what the operation went by, and they are to be run
// again: they have done nothing, or what they have done is in the record of a retryable
// write.
func (d *DB) CatchUp(ctx context.Context, ops []*Op, failure error) (again bool, err error) {
	var stale *storage.StaleError
	if !errors.As(failure, &stale) {
		return false, nil
	}
	if catalog.IsStale(failure) {
		if slices.ContainsFunc(ops, func(op *Op) bool { return op.wrote }) {
			return false, nil
		}
		err = d.catalog.Refresh(ctx, d.catalog.Snapshot())
	}
	return err == nil, clientError(ctx, err)
}

// OnReload has f called when another process has changed settings that are stored outside of the kernel.
func (d *DB) OnReload(f func(context.Context) error) { d.onReload.Store(&f) }

// reloaded takes over what has been changed by another process.
func (d *DB) reloaded(ctx context.Context, before, after *catalog.Snapshot) error {
	if err := d.loadQuerySettings(ctx); err != nil {
		return err
	}
	if f := d.onReload.Load(); f != nil {
		if err := (*f)(ctx); err != nil {
			return err
		}
	}
	left := map[catalog.UUID]bool{}
	for _, db := range after.Databases() {
		for _, coll := range after.Collections(db) {
			left[coll.UUID] = true
		}
	}
	for _, db := range before.Databases() {
		for _, coll := range before.Collections(db) {
			now := after.Collection(db, coll.Name)
			if now == coll || coll.Guard == nil {
				continue
			}
			d.plans.forget(coll)
			if now == nil || now.Guard != coll.Guard {
				coll.Guard.Arrivals.Announce() // that nothing may arrive any more
			}
			if !left[coll.UUID] {
				d.tallies.forget(coll.UUID)
			}
		}
	}
	d.wakeLog(after)
	return nil
}

// wakeLog follows a change of the oplog's size.
func (d *DB) wakeLog(after *catalog.Snapshot) {
	if log := after.Collection(oplogNS.DB, oplogNS.Coll); d.oplog != nil && log != nil && log.Capped != nil {
		d.oplog.trim.mu.Lock()
		defer d.oplog.trim.mu.Unlock()
		d.oplog.trim.resize(log.Capped.Size)
	}
}

// watchOthers learns of what other processes do while nobody asks, until ctx ends.
func (d *DB) watchOthers(ctx context.Context) {
	pause := time.NewTicker(watchPause)
	defer pause.Stop()
	for {
		_, grown := d.engine.Durable()
		select {
		case <-grown:
		case <-ctx.Done():
			return
		}
		snap := d.catalog.Snapshot()
		if err := d.catalog.Refresh(ctx, snap); err != nil && ctx.Err() == nil {
			d.log.Debug("definitions not read", "error", err)
		}
		for _, coll := range d.cappedWatched(snap) {
			coll.Guard.Arrivals.Announce()
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchPause is the least time between two looks at what other processes did.
const watchPause = 20 * time.Millisecond

// cappedWatched are the capped collections: readers may wait at their ends.
func (d *DB) cappedWatched(snap *catalog.Snapshot) []*catalog.Collection {
	var list []*catalog.Collection
	for _, db := range snap.Databases() {
		for _, coll := range snap.Collections(db) {
			if coll.Capped != nil && coll.Guard.Arrivals.Awaited() {
				list = append(list, coll)
			}
		}
	}
	return list
}

// writeOptions are the options of a transaction in which one operation writes a
// collection.
func (d *DB) writeOptions(w *writer, snap *catalog.Snapshot) storage.TxnOptions {
	op, coll := w.op, w.coll
	o := storage.TxnOptions{NoSync: op.NoSync, ConflictWait: conflictWait, Brief: w.hope == oneRecord, Hopeful: w.hope == hopeful, Losses: w.losses}
	if !d.shared {
		return o
	}
	o.Expect = snap.Version()
	if op.Expect != nil {
		o.Expect = append(slices.Clip(o.Expect), op.Expect()...)
	}
	if coll.Capped != nil {
		o.Alone = []storage.TableID{coll.Table}
	} else {
		o.Hold = coll.Table
	}
	return o
}

// beginShared takes a transaction's snapshot in a shared store, with the definitions
// that belong to it.
func (t *Transaction) beginShared() error {
	ctx := context.Background()
	t.txn.Rollback()
	t.losses = storage.Losses(t.db.engine)
	t.db.takeSlot(&t.slot, t.losses)
	for {
		snap := t.db.catalog.Snapshot()
		opts := t.options
		opts.Losses = t.losses
		opts.Expect = snap.Version()
		txn := t.db.engine.Begin(opts)
		_, err := txn.GetMeta(ctx, snap.Version()[0].Key)
		if err == nil {
			t.snap, t.txn, t.pending = snap, txn, t.db.catalog.Pending(txn)
			return nil
		}
		txn.Rollback()
		if !catalog.IsStale(err) {
			return err
		}
		if err := t.db.catalog.Refresh(ctx, snap); err != nil {
			return err
		}
	}
}

// holdShared keeps a collection's definition from being changed by other processes,
// before the transaction's first write to it.
func (t *Transaction) holdShared(ctx context.Context, coll *catalog.Collection) error {
	p := t.parts[Namespace{DB: coll.DB, Coll: coll.Name}]
	if !t.db.shared || p.heldShared || t.pending.Has(coll) {
		return nil
	}
	txn, ok := t.txn.(storage.SharedTxn)
	if !ok {
		return mongoerr.New(mongoerr.InternalError, "the transaction is not one of a shared store")
	}
	if err := txn.Hold(ctx, coll.Table, coll.Key()); err != nil {
		return err
	}
	p.heldShared = true
	return nil
}
