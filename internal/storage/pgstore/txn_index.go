package pgstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// PutEntry adds an index entry.
func (tx *txn) PutEntry(ctx context.Context, x storage.IndexID, key []byte, id storage.RecordID, typeBits []byte) error {
	if err := tx.enterWrite(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	o, err := tx.use(ctx, kindIndex, uint32(x))
	if err != nil {
		return err
	}
	w := &op{kind: opPut, o: o, id: id, key: bytes.Clone(key), value: bytes.Clone(orEmpty(typeBits))}
	if o.unique {
		return tx.putUnique(ctx, x, w)
	}
	if p := tx.records[recordKey{storage.TableID(o.table), id}]; p.doc != nil {
		w.fresh = p.doc.fresh // and still in the queue: it has no entries elsewhere
	}
	tx.write(w)
	return tx.curb(ctx)
}

func (tx *txn) putUnique(ctx context.Context, x storage.IndexID, w *op) error {
	h, err := tx.claimKey(ctx, x, w.key)
	if err != nil {
		return err
	}
	if !h.known && tx.free(x, w.key) {
		return tx.putFree(ctx, h, w)
	}
	if !h.known && tx.hopes(w.o) {
		tx.unchecked = true
		return tx.putFree(ctx, h, w)
	}
	if !h.known && (tx.isAbsent(x, w.key) || tx.presumes(x, w.o)) {
		return tx.putFree(ctx, h, w)
	}
	if !h.known {
		w.kind = opPutUnique
		inserted, err := tx.insertKey(ctx, w)
		if err != nil {
			return err
		}
		if inserted {
			h.known, h.holder = true, w.id
			return nil
		}
		if h.holder, err = tx.lockKey(ctx, w); err != nil {
			return err
		}
		w.o.disappoint()
		h.known = true
	}
	switch h.holder {
	case 0:
		return tx.putFree(ctx, h, w)
	case w.id:
		w.kind = opPut
	default:
		return &storage.DuplicateKeyError{Index: x, Record: h.holder}
	}
	tx.write(w)
	h.known, h.holder = true, w.id
	return tx.relieve(ctx)
}

// claimKey claims a key of a unique index and returns what is known of it.
func (tx *txn) claimKey(ctx context.Context, x storage.IndexID, key []byte) (*holding, error) {
	k := entryKey{x, string(key)}
	if h := tx.keys[k]; h != nil {
		return h, nil
	}
	if err := tx.claim(ctx, tx.s.claims.hash(kindIndex, uint32(x), key)); err != nil {
		return nil, err
	}
	if tx.keys == nil {
		tx.keys = map[entryKey]*holding{}
	}
	h := &holding{}
	tx.keys[k] = h
	return h, nil
}

// insertKey sends what is queued and the insertion of a unique key; false if there
// is an entry.
func (tx *txn) insertKey(ctx context.Context, w *op) (bool, error) {
	if err := tx.start(ctx); err != nil {
		return false, err
	}
	finish, _ := tx.send()
	key, tail := splitKey(w.key)
	n := tx.c.add(w.o.sql.putUnique, nil, key, tx.c.i8(int64(w.id)), w.value, tail)
	tx.askBound(storage.IndexID(w.o.id), w.o)
	if err := tx.run(ctx); err != nil {
		return false, err
	}
	finish()
	if n.rows == 0 {
		return false, nil
	}
	w.sent = true
	tx.note(w)
	return true, nil
}

// lockKey locks the entry of a unique key and returns its record.
func (tx *txn) lockKey(ctx context.Context, w *op) (storage.RecordID, error) {
	key, _ := splitKey(w.key)
	var holder int64
	tx.c.add(w.o.sql.holder, func(v [][]byte) { holder = int64Of(v[0]) }, key)
	if err := tx.run(ctx); err != nil {
		return 0, err
	}
	if holder == 0 { // another process has locked it
		return 0, tx.s.claims.conflict()
	}
	return storage.RecordID(holder), nil
}

// DeleteEntry removes an entry.
func (tx *txn) DeleteEntry(ctx context.Context, x storage.IndexID, key []byte, id storage.RecordID) error {
	if err := tx.enterWrite(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	o, err := tx.use(ctx, kindIndex, uint32(x))
	if err != nil {
		return err
	}
	if o.unique {
		h, err := tx.claimKey(ctx, x, key)
		if err != nil {
			return err
		}
		if h.known && h.holder != id {
			return nil
		}
		if h.known {
			h.holder = 0
		}
	}
	tx.write(&op{kind: opRemove, o: o, id: id, key: bytes.Clone(key)})
	return tx.relieve(ctx)
}

// LookupUnique returns the record that holds a key of a unique index. It reads the
// record too: mostly it is asked for next.
func (tx *txn) LookupUnique(ctx context.Context, x storage.IndexID, key []byte) (storage.RecordID, error) {
	if err := tx.enter(ctx); err != nil {
		return 0, err
	}
	defer tx.s.gate.RUnlock()
	o, ok, err := tx.object(ctx, kindIndex, uint32(x))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, storage.ErrNotFound
	}
	if !o.unique {
		return 0, fmt.Errorf("storage: lookup in index %d, which is not unique", x)
	}
	own := tx.keys[entryKey{x, string(key)}]
	ahead, looked := tx.ahead.found[entryKey{x, string(key)}]
	switch {
	case own == nil && looked && ahead == 0:
		return 0, storage.ErrNotFound
	case own == nil && looked:
		return ahead, nil
	case own != nil && own.known && own.holder == 0:
		return 0, storage.ErrNotFound
	case own != nil && own.known:
		return own.holder, nil
	case own != nil:
		if err := tx.flush(ctx); err != nil {
			return 0, err
		}
	}
	id, err := tx.lookup(ctx, o, x, key)
	if err != nil {
		return 0, err
	}
	if own != nil {
		own.known, own.holder = true, id
	}
	if id == 0 {
		return 0, storage.ErrNotFound
	}
	return id, nil
}

func (tx *txn) lookup(ctx context.Context, o *object, x storage.IndexID, key []byte) (storage.RecordID, error) {
	if tx.brief && !tx.isFirst() {
		if err := tx.start(ctx); err != nil {
			return 0, err
		}
	}
	stored, _ := splitKey(key)
	row, err := tx.point(ctx, o, stored)
	if err != nil {
		return 0, err
	}
	id := tx.found(o, row)
	if !tx.opts.ReadOnly && tx.nreads != untracked && tx.writes == 0 {
		r := pointRead{hash: tx.s.claims.hash(kindIndex, uint32(x), key), o: o, arg: bytes.Clone(stored)}
		if id != 0 {
			r.digest = tx.digest(row[0])
		}
		tx.track(r)
	}
	return id, nil
}

// found is the record that a look-up has found, 0 if it has found none. It is kept: mostly
// it is asked for next.
func (tx *txn) found(o *object, row [][]byte) storage.RecordID {
	if row == nil {
		return 0
	}
	id := storage.RecordID(int64Of(row[0]))
	k := recordKey{storage.TableID(o.table), id}
	if _, own := tx.records[k]; row[1] != nil && !own {
		tx.keep(k, row[1])
	}
	return id
}
