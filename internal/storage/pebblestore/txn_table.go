package pebblestore

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/storage"
)

func (tx *txn) recordKey(t storage.TableID, id storage.RecordID) []byte {
	tx.keyBuf = appendRecordKey(tx.keyBuf[:0], t, id)
	return tx.keyBuf
}

// Get returns a record.
func (tx *txn) Get(ctx context.Context, t storage.TableID, id storage.RecordID) ([]byte, error) {
	g, err := tx.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer g.RUnlock()
	if tx.hasDropped(prefixTable, uint32(t)) {
		return nil, storage.ErrNotFound
	}
	key := tx.recordKey(t, id)
	if v := tx.heldRecord(key); v != nil {
		tx.lastGet = tx.s.locks.hash(key)
		tx.track(tx.lastGet)
		return v, nil
	}
	h, v, err := tx.readCached(t, key)
	if err != nil {
		return nil, err
	}
	var closer io.Closer
	if v == nil {
		if v, closer, err = tx.read(key); err != nil {
			tx.nreads = untracked
			return nil, err
		}
		if closer == nil {
			return v, nil // its own write
		}
		if h != 0 {
			tx.s.locks.keep(h, key, v, tx.view.pos)
		}
	}
	if !tx.opts.ReadOnly {
		tx.lastGet = tx.s.locks.hash(key)
		tx.track(tx.lastGet)
	}
	return tx.pin(v, closer), nil
}

// readCached returns a record from the record cache, nil if it is not there. The
// hash is 0 if the record must not be put there, either.
func (tx *txn) readCached(t storage.TableID, key []byte) (hash uint64, v []byte, err error) {
	if tx.w != nil && tx.w.lookup(key) >= 0 {
		return 0, nil, nil
	}
	if r := tx.s.ranges.get(prefixTable, uint32(t)); r == nil || r.dropped.Load() != 0 || r.isLog.Load() {
		return 0, nil, nil
	}
	if err := tx.takeView(); err != nil {
		return 0, nil, err
	}
	hash = tx.s.locks.hash(key)
	return hash, tx.s.locks.cached(hash, key, tx.id, tx.view.pos), nil
}

// Insert appends a record.
func (tx *txn) Insert(ctx context.Context, t storage.TableID, doc []byte) (storage.RecordID, error) {
	g, err := tx.enterWrite(ctx)
	if err != nil {
		return 0, err
	}
	defer g.RUnlock()
	r, err := tx.use(prefixTable, uint32(t))
	if err != nil {
		return 0, err
	}
	id, err := r.nextID(tx.s.db)
	if err != nil {
		return 0, err
	}
	tx.w.write(opSet, tx.recordKey(t, id), doc, true)
	tx.unpin()
	return id, nil
}

// Update replaces a record.
func (tx *txn) Update(ctx context.Context, t storage.TableID, id storage.RecordID, doc []byte) error {
	g, err := tx.claimRecord(ctx, t, id)
	if err != nil {
		return err
	}
	defer g.RUnlock()
	tx.w.write(opSet, tx.keyBuf, doc, false)
	tx.unpin()
	return nil
}

// Delete removes a record.
func (tx *txn) Delete(ctx context.Context, t storage.TableID, id storage.RecordID) error {
	g, err := tx.claimRecord(ctx, t, id)
	if err != nil {
		return err
	}
	defer g.RUnlock()
	tx.w.write(opDelete, tx.keyBuf, nil, false)
	tx.unpin()
	return nil
}

// Lock claims a record for writing.
func (tx *txn) Lock(ctx context.Context, t storage.TableID, id storage.RecordID) error {
	g, err := tx.claimRecord(ctx, t, id)
	if err != nil {
		return err
	}
	g.RUnlock()
	return nil
}

// claimRecord claims a record that exists. It leaves the record's key in keyBuf
// and, if it succeeds, the gate for the caller to unlock.
func (tx *txn) claimRecord(ctx context.Context, t storage.TableID, id storage.RecordID) (*gate, error) {
	g, err := tx.enterWrite(ctx)
	if err != nil {
		return nil, err
	}
	var r *idRange
	if r, err = tx.use(prefixTable, uint32(t)); err == nil {
		var h uint64
		key := tx.recordKey(t, id)
		if op := tx.w.lookup(key); op < 0 || !tx.w.ops[op].fresh {
			h, err = tx.claim(ctx, key)
		}
		if err == nil {
			err = tx.exists(r, key, h)
		}
	}
	if err != nil {
		g.RUnlock()
		return nil, err
	}
	return g, nil
}
