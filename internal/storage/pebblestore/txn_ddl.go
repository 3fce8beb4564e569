package pebblestore

import (
	"context"

	"github.com/archelon-db/archelon/internal/storage"
)

// CreateTable makes room for a table.
func (tx *txn) CreateTable(t storage.TableID) error {
	return tx.create(&idRange{kind: prefixTable, id: uint32(t)})
}

// CreateIndex makes room for an index.
func (tx *txn) CreateIndex(t storage.TableID, x storage.IndexID, unique bool) error {
	return tx.create(&idRange{kind: prefixIndex, id: uint32(x), table: uint32(t), unique: unique})
}

// DropTable removes a table and its records.
func (tx *txn) DropTable(t storage.TableID) error { return tx.drop(prefixTable, uint32(t)) }

// DropIndex removes an index and its entries.
func (tx *txn) DropIndex(x storage.IndexID) error { return tx.drop(prefixIndex, uint32(x)) }

func (tx *txn) create(r *idRange) error {
	g, err := tx.enterWrite(context.Background())
	if err != nil {
		return err
	}
	defer g.RUnlock()
	// A new id has no records and no keys: ids are not reused.
	r.idKnown.Store(true)
	r.newKeys.known = true
	r.users.Store(1)
	views := &tx.s.views
	committed := views.committed.Load()
	if err := tx.s.ranges.add(r, min(committed, views.oldest.Load())); err != nil {
		return err
	}
	tx.w.touched = append(tx.w.touched, r)
	tx.w.writeRange(opCreate, r)
	return nil
}

func (tx *txn) drop(kind byte, id uint32) error {
	g, err := tx.enterWrite(context.Background())
	if err != nil {
		return err
	}
	defer g.RUnlock()
	r, err := tx.use(kind, id)
	if err != nil {
		return err
	}
	if !r.claimDrop(tx.w.hasTouched(r)) {
		return tx.s.locks.conflict()
	}
	tx.w.dropped = append(tx.w.dropped, r)
	tx.w.writeRange(opDrop, r)
	tx.unpin()
	return nil
}

// undoRange takes back a creation or a drop.
func (tx *txn) undoRange(kind opKind, r *idRange) { tx.undoRangeIn(tx.w, kind, r) }

func (tx *txn) undoRangeIn(w *writeSet, kind opKind, r *idRange) {
	if kind == opDrop {
		w.dropped = without(w.dropped, r)
		r.users.Store(w.hasTouched(r))
		return
	}
	w.touched = without(w.touched, r)
	tx.s.ranges.remove(r)
}

func without(list []*idRange, r *idRange) []*idRange {
	for i, x := range list {
		if x == r {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}
