package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/archelon-db/archelon/internal/storage"
)

// logWrite is an Append or a Truncate that waits for its commit.
type logWrite struct {
	table storage.TableID

	// Of an Append: the record in the overlay's buffer, and its stamp.
	doc    uint64
	docLen uint32
	stamp  storage.LogStamp

	// Of a Truncate: the first id to keep.
	before storage.RecordID
}

// Append queues a record for a log table.
func (tx *txn) Append(ctx context.Context, t storage.TableID, doc []byte, stamp storage.LogStamp) error {
	if err := checkStamp(stamp, len(doc)); err != nil {
		return err
	}
	g, err := tx.enterLog(ctx, t)
	if err != nil {
		return err
	}
	defer g.RUnlock()
	w := tx.w
	if stamp.Same && !w.hasAppend() {
		return fmt.Errorf("storage: append with the id of the one before, and there is none")
	}
	w.log(opAppend, logWrite{table: t, doc: uint64(len(w.buf)), docLen: uint32(len(doc)), stamp: stamp})
	w.buf = append(w.buf, doc...)
	w.bytes += recordKeyLen + len(doc)
	return nil
}

// checkStamp refuses a stamp that does not fit into a record of n bytes.
func checkStamp(stamp storage.LogStamp, n int) error {
	for _, field := range [...]struct{ at, none int }{{stamp.Time, -1}, {stamp.Wall, -1}, {stamp.Prev, 0}} {
		if field.at != field.none && (field.at < 0 || field.at > n-8) {
			return fmt.Errorf("storage: stamp at %d in a record of %d bytes", field.at, n)
		}
	}
	return nil
}

// Truncate removes a log table's records below an id.
func (tx *txn) Truncate(ctx context.Context, t storage.TableID, before storage.RecordID) error {
	g, err := tx.enterLog(ctx, t)
	if err != nil {
		return err
	}
	defer g.RUnlock()
	if before > 0 {
		tx.w.log(opTruncate, logWrite{table: t, before: before})
		tx.w.bytes += 2 * recordKeyLen
	}
	return nil
}

// enterLog is enterWrite for a write to a log table.
func (tx *txn) enterLog(ctx context.Context, t storage.TableID) (*gate, error) {
	g, err := tx.enterWrite(ctx)
	if err != nil {
		return nil, err
	}
	r, err := tx.use(prefixTable, uint32(t))
	if err != nil {
		g.RUnlock()
		return nil, err
	}
	// Before anything can be truncated: the record cache would not notice.
	if !r.isLog.Load() {
		r.isLog.Store(true)
		tx.s.ranges.addLog(r)
	}
	return g, nil
}

// spanPolicy is asked when a flush or a compaction begins a file that starts with a
// key. Log tables get files of their own, compressed fast rather than well: a log's
// end is read and its start is cut off, so what is saved on disk is soon gone.
func (s *Store) spanPolicy(start []byte) (pebble.SpanPolicy, []byte, error) {
	var end []byte // where the policy ends; nil for the end of the key space
	for _, r := range s.ranges.allLogs() {
		from, to := r.prefix(), r.end()
		switch {
		case bytes.Compare(start, from) < 0:
			if end == nil || bytes.Compare(from, end) < 0 {
				end = from
			}
		case bytes.Compare(start, to) < 0:
			return pebble.SpanPolicy{PreferFastCompression: true}, to, nil
		}
	}
	return pebble.SpanPolicy{}, end, nil
}

// log adds an op that has no key.
func (o *overlay) log(kind opKind, l logWrite) {
	o.logs = append(o.logs, l)
	o.ops = append(o.ops, overlayOp{kind: kind, value: uint64(len(o.logs) - 1), prev: -1})
}

func (o *overlay) hasAppend() bool {
	for i := range o.logs {
		if o.logs[i].before == 0 {
			return true
		}
	}
	return false
}

// fillLogs writes truncations and then appended records into a batch. The ids are
// those of the first time 0 and are put right by stampLogs. It returns the number
// of times the records need, and sets tail.
func (o *overlay) fillLogs(batch *pebble.Batch) (times int, err error) {
	truncated := false
	o.tail = 0
	for i := range o.logs {
		if l := &o.logs[i]; l.before > 0 {
			truncated = true
			var from, to [recordKeyLen]byte
			err := batch.DeleteRange(appendRecordKey(from[:0], l.table, 0), appendRecordKey(to[:0], l.table, l.before), nil)
			if err != nil {
				return 0, err
			}
		}
	}
	for i := range o.logs {
		l := &o.logs[i]
		if l.before > 0 {
			continue
		}
		if !l.stamp.Same {
			times++
			o.tail = l.table
		}
		op := batch.SetDeferred(recordKeyLen, int(l.docLen))
		appendRecordKey(op.Key[:0], l.table, 0)
		copy(op.Value, o.buf[l.doc:l.doc+uint64(l.docLen)])
		if err := op.Finish(); err != nil {
			return 0, err
		}
		// From here on doc is the record's offset in the batch, which may still
		// move as a whole when it grows.
		l.doc = uint64(batch.Len()) - uint64(l.docLen)
	}
	if truncated {
		o.tail = 0
	}
	return times, nil
}

// stampLogs gives the records in a batch their ids, from first on.
func (o *overlay) stampLogs(batch *pebble.Batch, first uint64, wall int64) {
	data := batch.Repr()
	id := first - 1
	for i := range o.logs {
		l := &o.logs[i]
		if l.before > 0 {
			continue
		}
		if !l.stamp.Same {
			id++
		}
		doc := data[l.doc : l.doc+uint64(l.docLen)]
		keyEnd := int(l.doc) - uvarintLen(l.docLen)
		binary.BigEndian.PutUint64(data[keyEnd-ridLen:keyEnd], id)
		if l.stamp.Time >= 0 {
			binary.LittleEndian.PutUint64(doc[l.stamp.Time:], id-uint64(l.stamp.Back))
		}
		if l.stamp.Prev > 0 {
			binary.LittleEndian.PutUint64(doc[l.stamp.Prev:], id-1)
		}
		if l.stamp.Wall >= 0 {
			binary.LittleEndian.PutUint64(doc[l.stamp.Wall:], uint64(wall))
		}
	}
}

// uvarintLen is the number of bytes that a batch spends on a length.
func uvarintLen(n uint32) int {
	size := 1
	for n >= 0x80 {
		n >>= 7
		size++
	}
	return size
}
