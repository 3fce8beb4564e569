package database

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/storage"
)

// In a shared store the number and size of a collection's documents are kept with the
// documents: the sum of rows, of which each is written by one transaction at a time,
// so that writers do not meet there.
//
//	"S" uuid(16)                   → count (8 bytes big endian), bytes (8)
//	"S" uuid(16) process(8) slot(4) → count, bytes to be added
//	"s"                            → 2: these rows are kept (counts.go has 1)
//
// A transaction takes a slot before its snapshot, and adds to the slot's row in the
// commit of what it has changed. Changes of size alone wait in memory for the next
// row of the process; a crash loses them. Rows of processes that are gone are added to
// the first one.

// talliesKept is the value of "s" in a shared store.
const talliesKept = 2

// tally is a number of documents and their size.
type tally struct{ count, bytes int64 }

func (t tally) add(o tally) tally { return tally{t.count + o.count, t.bytes + o.bytes} }

func (t tally) encode() []byte {
	v := binary.BigEndian.AppendUint64(nil, uint64(t.count))
	return binary.BigEndian.AppendUint64(v, uint64(t.bytes))
}

func decodeTally(v []byte) tally {
	if len(v) != 16 {
		return tally{}
	}
	return tally{int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:]))}
}

// tallies are the rows that this process writes.
type tallies struct {
	mu      sync.Mutex // guards the rest
	process [8]byte
	losses  uint64 // of the engine, until which rows are what is stored
	free    []uint32
	next    uint32
	rows    map[tallyRow]tally
	late    map[catalog.UUID]int64 // changes of size that are in no row yet
	log     logTally
}

// logTally is what has been counted of the oplog behind its pieces, so that the next to
// ask counts only what has come since.
type logTally struct {
	from, through storage.RecordID // counted are those from one to the other; 0 if there were none
	sum           tally
}

// tallyRow names a row.
type tallyRow struct {
	coll    catalog.UUID
	process [8]byte
	slot    uint32
}

func (r *tallyRow) key() []byte {
	key := append(append([]byte("S"), r.coll[:]...), r.process[:]...)
	return binary.BigEndian.AppendUint32(key, r.slot)
}

func (t *tallies) init(process [8]byte) { t.late = map[catalog.UUID]int64{}; t.begin(process) }

// begin goes on with rows of another name: those so far are not this process's any more.
func (t *tallies) begin(process [8]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.process, t.rows = process, map[tallyRow]tally{}
}

// slot is what a transaction writes rows with; the zero slot has not been taken.
type slot struct {
	taken, lost bool
	losses      uint64 // tallies.losses when it was taken
	number      uint32
	written     []writtenTally
}

type writtenTally struct {
	row  tallyRow
	now  tally
	late int64 // that is in it
}

// take takes a slot that no other transaction has, for one that goes by a number of losses. If there has been one since, rows may
// be stored as they were before: none of them is written any more.
func (t *tallies) take(s *slot, losses uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if losses > t.losses {
		t.losses, t.free, t.rows = losses, nil, map[tallyRow]tally{}
	}
	if n := len(t.free); n > 0 {
		s.number, t.free = t.free[n-1], t.free[:n-1]
	} else {
		s.number = t.next
		t.next++
	}
	s.taken, s.losses = true, t.losses
}

// give gives a slot back when its transaction is over. What it has written counts as
// undone unless keep was called. A slot whose row may or may not have been committed is
// not used again.
func (t *tallies) give(s *slot) {
	if !s.taken {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range s.written {
		t.late[w.row.coll] += w.late
	}
	if !s.lost && s.losses == t.losses {
		t.free = append(t.free, s.number)
	}
	*s = slot{}
}

// lose notes that a commit has failed.
func (s *slot) lose(err error) {
	s.lost = !errors.Is(err, storage.ErrWriteConflict) && len(s.written) > 0
}

// write adds to the slot's row of a collection.
func (t *tallies) write(ctx context.Context, txn storage.Txn, s *slot, coll *catalog.Collection, change tally) error {
	t.mu.Lock()
	row := tallyRow{coll.UUID, t.process, s.number}
	w := writtenTally{row: row, late: t.late[coll.UUID]}
	delete(t.late, coll.UUID)
	w.now = t.rows[row].add(change).add(tally{0, w.late})
	t.mu.Unlock()
	s.written = append(s.written, w)
	return txn.PutMeta(ctx, row.key(), w.now.encode())
}

// keep notes that the rows written have been committed.
func (t *tallies) keep(s *slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range s.written {
		if s.losses == t.losses {
			t.rows[w.row] = w.now
		}
	}
	s.written = s.written[:0]
}

// forget forgets the rows of a collection that is gone.
func (t *tallies) forget(coll catalog.UUID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.late, coll)
	for row := range t.rows {
		if row.coll == coll {
			delete(t.rows, row)
		}
	}
}

// begin is when the write began, in a shared store.
func (w *writer) begin() (now time.Time) {
	if w.db.shared {
		now = time.Now()
	}
	return now
}

// takeSlot takes the slot of a write in a shared store, until the function returned is
// called.
func (w *writer) takeSlot() (release func()) {
	if !w.db.shared {
		return func() {}
	}
	w.db.takeSlot(&w.slot, w.losses)
	return func() { w.db.tallies.give(&w.slot) }
}

// takeSlot takes a slot for a transaction that is about to begin.
func (d *DB) takeSlot(s *slot, losses uint64) {
	if d.members.silent() {
		d.rejoin()
	}
	d.tallies.take(s, losses)
}

// tally stores how the write changes the collection's counts, in a shared store.
func (w *writer) tally(ctx context.Context) error {
	return w.db.tally(ctx, w.txn, &w.slot, w.coll, tally{w.count, w.bytes})
}

// tallied notes that the write has been committed.
func (w *writer) tallied() { w.db.tallied(&w.slot, w.coll, w.count, w.bytes) }

// tally stores how a transaction that is about to commit changes a collection's counts.
func (d *DB) tally(ctx context.Context, txn storage.Txn, s *slot, coll *catalog.Collection, change tally) error {
	if !d.shared || change.count == 0 && (change.bytes == 0 || coll.Capped == nil) {
		return nil
	}
	return d.tallies.write(ctx, txn, s, coll, change)
}

// tallied notes that it has committed.
func (d *DB) tallied(s *slot, coll *catalog.Collection, count, bytes int64) {
	coll.Guard.Count.Add(count)
	coll.Guard.Bytes.Add(bytes)
	if !d.shared {
		return
	}
	if count == 0 && bytes != 0 && coll.Capped == nil {
		d.tallies.mu.Lock()
		d.tallies.late[coll.UUID] += bytes
		d.tallies.mu.Unlock()
	}
	if len(s.written) > 0 {
		d.tallies.keep(s)
	}
}

// tally stores how the transaction changes the counts of its collections.
func (t *Transaction) tally(ctx context.Context) error {
	if !t.db.shared {
		return nil
	}
	for _, p := range t.parts {
		if err := t.db.tally(ctx, t.txn, &t.slot, p.coll, tally{p.count, p.bytes}); err != nil {
			return err
		}
	}
	return nil
}

// storedCounts are a collection's counts as a transaction sees them, in a shared store.
func (d *DB) storedCounts(ctx context.Context, txn storage.Txn, coll *catalog.Collection) (tally, error) {
	if coll.Log && d.oplog != nil {
		return d.logCounts(ctx, txn, coll)
	}
	var sum tally
	err := txn.ScanMeta(ctx, countKey(coll), func(_, v []byte) bool {
		sum = sum.add(decodeTally(v))
		return true
	})
	if err != nil {
		return tally{}, fmt.Errorf("read collection counts: %w", err)
	}
	d.tallies.mu.Lock()
	defer d.tallies.mu.Unlock()
	return tally{max(sum.count, 0), max(sum.bytes+d.tallies.late[coll.UUID], 0)}, nil
}

// logCounts counts a log: by its pieces, and what is behind them.
func (d *DB) logCounts(ctx context.Context, txn storage.Txn, coll *catalog.Collection) (tally, error) {
	var sum tally
	from := storage.RecordID(0)
	if coll.Table == d.oplog.table {
		pieces, err := readPieces(ctx, txn)
		if err != nil {
			return tally{}, err
		}
		for _, p := range pieces {
			sum, from = sum.add(tally{p.count, p.bytes}), p.last
		}
	}
	if coll.Table != d.oplog.table {
		rest, err := countRecords(ctx, txn, coll.Table, from+1)
		return sum.add(rest), err
	}
	rest, err := d.countOn(ctx, txn, from+1)
	return sum.add(rest), err
}

// countOn counts the oplog from an id on, beginning with what was counted last time if
// the transaction sees all of that.
func (d *DB) countOn(ctx context.Context, txn storage.Txn, from storage.RecordID) (tally, error) {
	d.tallies.mu.Lock()
	known := d.tallies.log
	d.tallies.mu.Unlock()
	if known.from != from {
		known = logTally{from: from}
	}
	more, last, err := countBehind(ctx, txn, d.oplog.table, from, known.through)
	if errors.Is(err, storage.ErrNotFound) { // the last one is gone, or the transaction is older
		known = logTally{from: from}
		more, last, err = countBehind(ctx, txn, d.oplog.table, from, 0)
	}
	if err != nil {
		return tally{}, err
	}
	known.sum, known.through = known.sum.add(more), max(last, known.through)
	d.tallies.mu.Lock()
	d.tallies.log = known
	d.tallies.mu.Unlock()
	return known.sum, nil
}

// countRecords counts the records of a table from an id on.
func countRecords(ctx context.Context, txn storage.Txn, table storage.TableID, from storage.RecordID) (tally, error) {
	sum, _, err := countBehind(ctx, txn, table, from, 0)
	return sum, err
}

// countBehind counts the records of a table from an id on or, if there is another one,
// behind that, which is ErrNotFound if the transaction does not see it. It returns the last
// record's id too, 0 if there is none.
func countBehind(ctx context.Context, txn storage.Txn, table storage.TableID, from, behind storage.RecordID) (sum tally, last storage.RecordID, err error) {
	it, err := txn.Scan(ctx, table, storage.RecordRange{Min: max(from, behind)})
	if err != nil {
		return sum, 0, err
	}
	defer it.Close()
	if behind != 0 && (!it.Next() || it.ID() != behind) {
		return sum, 0, cmp.Or(it.Err(), storage.ErrNotFound)
	}
	for it.Next() {
		sum, last = sum.add(tally{1, int64(len(it.Doc()))}), it.ID()
	}
	return sum, last, it.Err()
}

// joinCounts makes the counts those of a shared store. What a process that had the store
// alone has left after a crash is counted anew.
func (d *DB) joinCounts(ctx context.Context) error {
	close(d.counted)
	for {
		err := d.joinCountsOnce(ctx)
		if !errors.Is(err, storage.ErrWriteConflict) && !catalog.IsStale(err) {
			return err
		}
		if err := d.catalog.Refresh(ctx, d.catalog.Snapshot()); err != nil {
			return err
		}
		if err := pause(ctx, 100); err != nil {
			return err
		}
	}
}

func (d *DB) joinCountsOnce(ctx context.Context) error {
	txn := d.engine.Begin(storage.TxnOptions{Expect: d.catalog.Snapshot().Version()})
	defer txn.Rollback()
	was, err := txn.GetMeta(ctx, cleanKey)
	if errors.Is(err, storage.ErrNotFound) {
		if err := d.countAnew(ctx); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("read collection counts: %w", err)
	}
	if len(was) == 1 && was[0] == talliesKept {
		return nil
	}
	if err := txn.PutMeta(ctx, cleanKey, []byte{talliesKept}); err != nil {
		return err
	}
	_, err = txn.Commit(ctx)
	return err
}

// countAnew counts all collections, each while nobody writes it.
func (d *DB) countAnew(ctx context.Context) error {
	snap := d.catalog.Snapshot()
	for _, db := range snap.Databases() {
		for _, coll := range snap.Collections(db) {
			if coll.IsView() || coll.Log {
				continue
			}
			if err := d.countAlone(ctx, snap, coll); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *DB) countAlone(ctx context.Context, snap *catalog.Snapshot, coll *catalog.Collection) error {
	txn := d.engine.Begin(storage.TxnOptions{
		Expect: snap.Version(), Alone: []storage.TableID{coll.Table}, ConflictWait: conflictWait,
	})
	defer txn.Rollback()
	sum, err := countRecords(ctx, txn, coll.Table, 0)
	if err != nil {
		return err
	}
	if err := replaceCounts(ctx, txn, coll, sum); err != nil {
		return err
	}
	_, err = txn.Commit(ctx)
	return err
}

// replaceCounts makes the rows of a collection's counts have a sum. Nobody may write the
// collection meanwhile. The rows of processes stay, for they go on with what they have
// written.
func replaceCounts(ctx context.Context, txn storage.Txn, coll *catalog.Collection, sum tally) error {
	base := countKey(coll)
	err := txn.ScanMeta(ctx, base, func(key, v []byte) bool {
		if len(key) != len(base) {
			row := decodeTally(v)
			sum = sum.add(tally{-row.count, -row.bytes})
		}
		return true
	})
	if err != nil {
		return err
	}
	return txn.PutMeta(ctx, base, sum.encode())
}

// countRows are the keys of a collection's rows.
func countRows(ctx context.Context, txn storage.Txn, coll *catalog.Collection) (keys [][]byte, err error) {
	err = txn.ScanMeta(ctx, countKey(coll), func(key, _ []byte) bool {
		keys = append(keys, append([]byte(nil), key...))
		return true
	})
	return keys, err
}

// forgetCounts removes the counts of a collection that is dropped.
func (d *DB) forgetCounts(ctx context.Context, txn storage.Txn, coll *catalog.Collection) error {
	if !d.shared {
		return txn.DeleteMeta(ctx, countKey(coll))
	}
	return d.dropCounts(ctx, txn, coll)
}

// dropCounts removes all rows of a collection's counts.
func (d *DB) dropCounts(ctx context.Context, txn storage.Txn, coll *catalog.Collection) error {
	keys, err := countRows(ctx, txn, coll)
	for _, key := range keys {
		if err == nil {
			err = txn.DeleteMeta(ctx, key)
		}
	}
	return err
}

// foldCounts adds the rows of processes that are gone to the first row of their
// collection.
func (d *DB) foldCounts(ctx context.Context, isGone func(process [8]byte) bool) error {
	txn := d.engine.Begin(storage.TxnOptions{NoSync: true})
	defer txn.Rollback()
	const first = 1 + 16
	sums := map[string]tally{}
	folded := map[string]bool{}
	var gone [][]byte
	err := txn.ScanMeta(ctx, []byte("S"), func(key, v []byte) bool {
		coll := string(key[:min(first, len(key))])
		switch {
		case len(key) == first:
			sums[coll] = sums[coll].add(decodeTally(v))
		case len(key) == first+8+4 && isGone([8]byte(key[first:])):
			sums[coll] = sums[coll].add(decodeTally(v))
			folded[coll] = true
			gone = append(gone, append([]byte(nil), key...))
		}
		return true
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	for _, key := range gone {
		if err := txn.DeleteMeta(ctx, key); err != nil {
			return err
		}
	}
	for coll := range folded {
		if err := txn.PutMeta(ctx, []byte(coll), sums[coll].encode()); err != nil {
			return err
		}
	}
	_, err = txn.Commit(ctx)
	return err
}
