package pebblestore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

func (tx *txn) indexKey(r *idRange, key []byte, id storage.RecordID) []byte {
	tx.keyBuf = appendIndexKey(tx.keyBuf[:0], r, key, id)
	return tx.keyBuf
}

// PutEntry adds an index entry.
func (tx *txn) PutEntry(ctx context.Context, x storage.IndexID, key []byte, id storage.RecordID, typeBits []byte) error {
	g, err := tx.enterWrite(ctx)
	if err != nil {
		return err
	}
	defer g.RUnlock()
	r, err := tx.use(prefixIndex, uint32(x))
	if err != nil {
		return err
	}
	k := tx.indexKey(r, key, id)
	if !r.unique {
		tx.w.write(opSet, k, typeBits, false)
		tx.unpin()
		return nil
	}

	h, err := tx.claim(ctx, k)
	if err != nil {
		return err
	}
	isNew, err := r.newKeys.add(tx.s.db, r, k, h)
	if err != nil {
		return err
	}
	var holder storage.RecordID
	var held []byte
	if isNew {
		err = storage.ErrNotFound
	} else {
		holder, held, err = tx.holder(k)
	}
	fresh := isNew || err == storage.ErrNotFound && tx.w.lookup(k) < 0
	switch {
	case err == storage.ErrNotFound:
	case err != nil:
		return err
	case holder != id:
		return &storage.DuplicateKeyError{Index: x, Record: holder}
	case bytes.Equal(held, typeBits):
		return nil
	}
	var small [64]byte
	tx.w.write(opSet, k, append(appendRID(small[:0], id), typeBits...), fresh)
	tx.unpin()
	return nil
}

// DeleteEntry removes an entry.
func (tx *txn) DeleteEntry(ctx context.Context, x storage.IndexID, key []byte, id storage.RecordID) error {
	g, err := tx.enterWrite(ctx)
	if err != nil {
		return err
	}
	defer g.RUnlock()
	r, err := tx.use(prefixIndex, uint32(x))
	if err != nil {
		return err
	}
	k := tx.indexKey(r, key, id)
	if r.unique {
		if _, err := tx.claim(ctx, k); err != nil {
			return err
		}
		holder, _, err := tx.holder(k)
		if err == storage.ErrNotFound || (err == nil && holder != id) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	tx.w.write(opDelete, k, nil, false)
	tx.unpin()
	return nil
}

// holder returns the record that holds a claimed key of a unique index and its type
// bits, which are valid until the next write, or ErrNotFound.
func (tx *txn) holder(k []byte) (storage.RecordID, []byte, error) {
	v, closer, err := tx.readClaimed(k)
	if err != nil {
		return 0, nil, err
	}
	v = tx.pin(v, closer)
	if len(v) < ridLen {
		return 0, nil, errEntry(k, v)
	}
	return ridOf(v), v[ridLen:], nil
}

// LookupUnique returns the record that holds a key of a unique index.
func (tx *txn) LookupUnique(ctx context.Context, x storage.IndexID, key []byte) (storage.RecordID, error) {
	g, err := tx.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer g.RUnlock()
	r, err := tx.index(x)
	if err != nil {
		return 0, err
	}
	if !r.unique {
		return 0, fmt.Errorf("storage: lookup in index %d, which is not unique", x)
	}
	k := tx.indexKey(r, key, 0)
	v, closer, err := tx.read(k)
	if err != nil {
		tx.nreads = untracked
		return 0, err
	}
	if closer != nil && !tx.opts.ReadOnly {
		tx.track(tx.s.locks.hash(k))
	}
	if closer != nil {
		defer closer.Close()
	}
	if len(v) < ridLen {
		return 0, errEntry(k, v)
	}
	return ridOf(v), nil
}

// index returns an index to read, or ErrNotFound.
func (tx *txn) index(x storage.IndexID) (*idRange, error) {
	r := tx.s.ranges.get(prefixIndex, uint32(x))
	if r == nil || tx.hasDropped(prefixIndex, uint32(x)) {
		return nil, storage.ErrNotFound
	}
	return r, nil
}

func errEntry(k, v []byte) error {
	return fmt.Errorf("index entry %x with value %x: %w", k, v, ErrDamaged)
}
