package pebblestore

import (
	"context"
	"fmt"
	"math"

	"github.com/archelon-db/archelon/internal/storage"
)

// recordIter walks a table.
type recordIter struct {
	m      mergeIter
	key    []byte // of the current record; nil if there is none
	bounds [2*recordKeyLen + 8]byte
}

var _ storage.RecordIterator = (*recordIter)(nil)

// Scan iterates a table in natural order, or backwards.
func (tx *txn) Scan(ctx context.Context, t storage.TableID, r storage.RecordRange) (storage.RecordIterator, error) {
	it := &recordIter{}
	lower := appendIDPrefix(it.bounds[:0:recordKeyLen], prefixTable, uint32(t))
	upper := it.bounds[recordKeyLen:recordKeyLen]
	if r.Min > 0 {
		lower = appendRID(lower, r.Min)
	}
	switch {
	case tx.hasDropped(prefixTable, uint32(t)) || r.Max < 0 || (r.Max > 0 && r.Max < r.Min):
		upper = append(upper, lower...)
	case r.Max > 0 && r.Max < math.MaxInt64:
		upper = appendRecordKey(upper, t, r.Max+1)
	default:
		upper = appendIDEnd(upper, prefixTable, uint32(t))
	}
	if err := it.m.open(ctx, tx, lower, upper, r.Reverse); err != nil {
		return nil, err
	}
	return it, nil
}

// Next moves to the first or next record.
func (it *recordIter) Next() bool {
	m := &it.m
	if m.simple && m.budget > 1 {
		m.budget--
		if !m.base.Next() {
			it.key = nil
			return m.ended()
		}
		it.key = m.base.Key()
	} else {
		if !m.next() {
			it.key = nil
			return false
		}
		it.key = m.key()
	}
	if len(it.key) != recordKeyLen {
		m.err = fmt.Errorf("record key %x: %w", it.key, ErrDamaged)
		it.key = nil
		return false
	}
	return true
}

// ID is the current record's id.
func (it *recordIter) ID() storage.RecordID {
	if it.key == nil {
		return 0
	}
	return ridOf(it.key[idPrefixLen:])
}

// Doc is the current record.
func (it *recordIter) Doc() []byte {
	if it.key == nil {
		return nil
	}
	v, _ := it.m.value()
	return v
}

// Err tells why Next returned false.
func (it *recordIter) Err() error { return it.m.err }

// Close releases the iterator.
func (it *recordIter) Close() error { return it.m.close() }
