package database

import (
	"context"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/storage"
)

// The number and size of a collection's documents are kept in memory, written at a
// clean stop and removed at start, so that after a crash nothing stale is
// believed:
//
//	"S" uuid(16) → count (8 bytes big endian), bytes (8)
//	"s"          → present only between a clean stop and the next start

var cleanKey = []byte("s")

func countKey(c *catalog.Collection) []byte { return append([]byte("S"), c.UUID[:]...) }

// loadCounts reads the counts of a clean stop, or starts counting.
func (d *DB) loadCounts(ctx context.Context) error {
	if d.shared {
		return d.joinCounts(ctx)
	}
	txn := d.engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	_, err := txn.GetMeta(ctx, cleanKey)
	if errors.Is(err, storage.ErrNotFound) {
		if len(d.catalog.Snapshot().Databases()) == 0 {
			close(d.counted)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read collection counts: %w", err)
	}
	snap := d.catalog.Snapshot()
	for _, db := range snap.Databases() {
		for _, c := range snap.Collections(db) {
			if c.Guard == nil {
				continue
			}
			if err := d.loadCount(ctx, txn, c); err != nil {
				return err
			}
		}
	}
	if err := txn.DeleteMeta(ctx, cleanKey); err != nil {
		return fmt.Errorf("read collection counts: %w", err)
	}
	close(d.counted)
	_, err = txn.Commit(ctx)
	return err
}

// loadCount reads a collection's counts, and makes one row of those of a shared store.
func (d *DB) loadCount(ctx context.Context, txn storage.Txn, c *catalog.Collection) error {
	sum, rows := tally{}, 0
	err := txn.ScanMeta(ctx, countKey(c), func(_, v []byte) bool {
		sum = sum.add(decodeTally(v))
		rows++
		return true
	})
	if err == nil && rows > 1 {
		if err = d.dropCounts(ctx, txn, c); err == nil {
			err = txn.PutMeta(ctx, countKey(c), sum.encode())
		}
	}
	c.Guard.Count.Store(sum.count)
	c.Guard.Bytes.Store(sum.bytes)
	return err
}

func (d *DB) saveCounts(ctx context.Context) error {
	if d.shared {
		return d.depart(ctx)
	}
	select {
	case <-d.counted:
	default:
		return nil // never counted since a crash: the next start does
	}
	txn := d.engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	snap := d.catalog.Snapshot()
	for _, db := range snap.Databases() {
		for _, c := range snap.Collections(db) {
			if c.Guard == nil {
				continue
			}
			if !d.isCounted(c) {
				return nil // nor then
			}
			now := tally{c.Guard.Count.Load(), c.Guard.Bytes.Load()}
			if err := txn.PutMeta(ctx, countKey(c), now.encode()); err != nil {
				return err
			}
		}
	}
	if err := txn.PutMeta(ctx, cleanKey, []byte{1}); err != nil {
		return err
	}
	_, err := txn.Commit(ctx)
	return err
}

// counts returns the number and size of a collection's documents, counting all
// collections first if that has not been done since a crash.
func (d *DB) counts(ctx context.Context, op *Op, c *catalog.Collection) (count, bytes int64, err error) {
	select {
	case <-d.counted:
	default:
		if err := d.recount(ctx); err != nil {
			return 0, 0, err
		}
	}
	if c.Guard == nil {
		return 0, 0, nil
	}
	if d.shared && c.Table != 0 {
		txn := d.engine.Begin(d.expect(op, storage.TxnOptions{ReadOnly: true}))
		defer txn.Rollback()
		t, err := d.storedCounts(ctx, txn, c)
		return t.count, t.bytes, err
	}
	if !d.isCounted(c) {
		if !c.Guard.TryExclude() { // a transaction may hold it for long
			return d.countRecords(ctx, c)
		}
		defer c.Guard.Readmit()
		if !d.isCounted(c) {
			if err := d.recountHeld(ctx, c); err != nil {
				return 0, 0, err
			}
		}
	}
	return max(c.Guard.Count.Load(), 0), max(c.Guard.Bytes.Load(), 0), nil
}

// isCounted says whether a collection has been counted since the engine has last lost what was committed, be it at start. The oplog
// counts for itself.
func (d *DB) isCounted(c *catalog.Collection) bool {
	return d.shared || c.Log || c.Guard.CountedIn.Load() >= d.lossless() && !c.Guard.Miscounted.Load()
}

// miscount is told of a commit that has failed. With an engine that is another server it may have happened.
func (d *DB) miscount(c *catalog.Collection, err error) {
	if !d.shared && storage.Losses(d.engine) != 0 && !errors.Is(err, storage.ErrWriteConflict) {
		c.Guard.Miscounted.Store(true)
	}
}

// lossless is what the engine's losses were when the database was opened, or what they are if there have been more.
func (d *DB) lossless() uint64 {
	if now := storage.Losses(d.engine); now != d.losses {
		return now
	}
	return 0
}

// recount counts every collection that existed at start. Writers of a
// collection wait while it is counted.
func (d *DB) recount(ctx context.Context) error {
	d.catalogCount.Lock()
	defer d.catalogCount.Unlock()
	select {
	case <-d.counted:
		return nil
	default:
	}
	snap := d.catalog.Snapshot()
	for _, db := range snap.Databases() {
		for _, c := range snap.Collections(db) {
			if c.Guard == nil || c.Log && d.oplog != nil { // the oplog counts for itself
				continue
			}
			if err := d.recountOne(ctx, c); err != nil {
				return err
			}
		}
	}
	close(d.counted)
	return nil
}

// recountOne counts a collection when nobody writes it.
func (d *DB) recountOne(ctx context.Context, c *catalog.Collection) error {
	if err := c.Guard.Exclude(ctx); err != nil {
		return err
	}
	defer c.Guard.Readmit()
	return d.recountHeld(ctx, c)
}

// recountHeld is recountOne for who keeps all writers out.
func (d *DB) recountHeld(ctx context.Context, c *catalog.Collection) error {
	losses := storage.Losses(d.engine)
	count, bytes, err := d.countRecords(ctx, c)
	if err == nil {
		c.Guard.Count.Store(count)
		c.Guard.Bytes.Store(bytes)
		c.Guard.CountedIn.Store(losses)
		c.Guard.Miscounted.Store(false)
	}
	return err
}

// countRecords reads the collection.
func (d *DB) countRecords(ctx context.Context, c *catalog.Collection) (count, bytes int64, err error) {
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	it, err := txn.Scan(ctx, c.Table, storage.RecordRange{})
	if err != nil {
		return 0, 0, err
	}
	defer it.Close()
	for it.Next() {
		count++
		bytes += int64(len(it.Doc()))
	}
	return count, bytes, it.Err()
}

// settleCounts makes sure that a collection is counted, waiting for transactions that hold it.
func (d *DB) settleCounts(ctx context.Context, c *catalog.Collection) error {
	select {
	case <-d.counted:
		if d.isCounted(c) {
			return nil
		}
		return d.recountOne(ctx, c)
	default:
		return d.recount(ctx)
	}
}
