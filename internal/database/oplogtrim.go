package database

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// The oplog is cut off in pieces of 1/64 of its size. What is in a piece is kept in
// memory and under a meta key, so that opening the database has to count the piece
// under way only:
//
//	"L" time of the piece's last entry (8 bytes big endian)
//	  → number of entries (8), bytes (8)
//
// A piece may be a few entries off those that were committed while it was closed; the
// next one has them.

const (
	piecePrefix = "L"
	oplogPieces = 64
)

// trimInterval is how often expired images and pieces held back by the minimal
// retention are looked for.
const trimInterval = 10 * time.Second

// piece is a range of the oplog.
type piece struct {
	last         storage.RecordID
	count, bytes int64
}

// trimmer cuts the oplog off.
type trimmer struct {
	log  *changeLog
	wake chan struct{} // a piece is full

	count, bytes atomic.Int64 // of the piece under way
	full         atomic.Int64 // the bytes that make it full

	cutTo atomic.Uint64 // the last entry cut off; it may be there still, or for ever if that failed

	mu           sync.Mutex // guards the fields below
	size         int64
	minRetention time.Duration
	pieces       []piece // oldest first
	idle         bool    // another process that shares the store trims
	losses       uint64  // of the engine, before the pieces were read
	cuts         int64
	cutting      time.Duration // in all cuts
}

// newTrimmer reads the pieces of an oplog and counts what is behind them.
func newTrimmer(ctx context.Context, log *changeLog, size int64, minRetention time.Duration) (*trimmer, error) {
	t := &trimmer{log: log, wake: make(chan struct{}, 1), minRetention: minRetention}
	t.resize(size)
	txn := log.db.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	return t, t.measure(ctx, txn)
}

// measure reads the pieces and counts what is behind them.
func (t *trimmer) measure(ctx context.Context, txn storage.Txn) (err error) {
	t.losses = storage.Losses(t.log.db.engine)
	if t.pieces, err = readPieces(ctx, txn); err != nil {
		return err
	}
	var total piece
	for _, p := range t.pieces {
		total.last, total.count, total.bytes = p.last, total.count+p.count, total.bytes+p.bytes
	}
	rest, err := countRecords(ctx, txn, t.log.table, total.last+1)
	if err != nil {
		return fmt.Errorf("count the oplog: %w", err)
	}
	t.count.Store(rest.count)
	t.bytes.Store(rest.bytes)
	t.log.guard.Count.Store(total.count + rest.count)
	t.log.guard.Bytes.Store(total.bytes + rest.bytes)
	return nil
}

// readPieces reads the pieces of the oplog.
func readPieces(ctx context.Context, txn storage.Txn) (pieces []piece, err error) {
	err = txn.ScanMeta(ctx, []byte(piecePrefix), func(key, value []byte) bool {
		if len(key) == 9 && len(value) == 16 {
			p := piece{last: storage.RecordID(binary.BigEndian.Uint64(key[1:]))}
			p.count, p.bytes = int64(binary.BigEndian.Uint64(value)), int64(binary.BigEndian.Uint64(value[8:]))
			pieces = append(pieces, p)
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read the oplog's pieces: %w", err)
	}
	return pieces, nil
}

// resize sets how large the oplog may become; mu is held, or nobody else knows t.
func (t *trimmer) resize(size int64) {
	t.size = size
	t.full.Store(size / oplogPieces)
}

func pieceKey(last storage.RecordID) []byte {
	return binary.BigEndian.AppendUint64([]byte(piecePrefix), uint64(last))
}

// grew notes that entries have been committed.
func (t *trimmer) grew(count, bytes int64) {
	t.count.Add(count)
	if t.bytes.Add(bytes) < t.full.Load() {
		return
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// loop cuts off what is too much until ctx ends.
func (t *trimmer) loop(ctx context.Context) {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-t.wake:
		}
		if !t.log.db.leads() {
			t.idle = true
			continue
		}
		if err := t.trim(ctx, time.Now()); err != nil && ctx.Err() == nil {
			t.log.db.log.Warn("oplog not trimmed", "error", err)
		}
	}
}

// trim closes the piece under way if it is full and cuts off the pieces that are too
// much and old enough.
func (t *trimmer) trim(ctx context.Context, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	began := time.Now()
	txn := t.log.db.engine.Begin(storage.TxnOptions{NoSync: true})
	defer txn.Rollback()
	if t.idle || t.losses != storage.Losses(t.log.db.engine) { // another process has trimmed, or what this one did may be lost
		if err := t.measure(ctx, txn); err != nil {
			return err
		}
		t.idle = false
	}
	pieces := t.pieces
	var p piece
	if t.bytes.Load() >= t.full.Load() {
		p = piece{storage.RecordID(t.log.db.engine.Clock().Applied()), t.count.Load(), t.bytes.Load()}
		v := binary.BigEndian.AppendUint64(nil, uint64(p.count))
		if err := txn.PutMeta(ctx, pieceKey(p.last), binary.BigEndian.AppendUint64(v, uint64(p.bytes))); err != nil {
			return err
		}
		pieces = append(pieces[:len(pieces):len(pieces)], p)
	}
	gone := t.excess(pieces, now)
	var cut piece
	for _, p := range pieces[:gone] {
		cut = piece{p.last, cut.count + p.count, cut.bytes + p.bytes}
		if err := txn.DeleteMeta(ctx, pieceKey(p.last)); err != nil {
			return err
		}
	}
	if err := t.cutImages(ctx, txn, cut.last, now); err != nil {
		return err
	}
	if gone > 0 {
		t.cutTo.Store(uint64(cut.last)) // before it is gone: who sees it gone sees this
		if err := txn.Truncate(ctx, t.log.table, cut.last+1); err != nil {
			return err
		}
	}
	if _, err := txn.Commit(ctx); err != nil {
		return err
	}
	if gone > 0 {
		t.cuts++
		t.cutting += time.Since(began)
	}
	t.log.guard.Count.Add(-cut.count)
	t.log.guard.Bytes.Add(-cut.bytes)
	t.pieces = pieces[gone:]
	t.count.Add(-p.count)
	t.bytes.Add(-p.bytes)
	return nil
}

// excess is the number of oldest pieces that are too much. The newest one stays.
func (t *trimmer) excess(pieces []piece, now time.Time) int {
	total := t.log.guard.Bytes.Load()
	before := storage.RecordID(now.Add(-t.minRetention).Unix()) << 32
	for i := range len(pieces) - 1 {
		p := &pieces[i]
		if total <= t.size || t.minRetention > 0 && p.last >= before {
			return i
		}
		total -= p.bytes
	}
	return max(len(pieces)-1, 0)
}

// cutImages removes the images of entries up to last, and those that have expired.
func (t *trimmer) cutImages(ctx context.Context, txn storage.Txn, last storage.RecordID, now time.Time) error {
	if expire := t.log.db.ImagesExpiry(); expire > 0 {
		last = max(last, storage.RecordID(now.Add(-expire).Unix())<<32)
	}
	if last == 0 {
		return nil
	}
	oldest, err := endOf(ctx, txn, t.log.images, false)
	if oldest == 0 || oldest > last || err != nil {
		return err
	}
	return txn.Truncate(ctx, t.log.images, last+1)
}

// end is the id of the oldest or newest entry, 0 if there is none.
func (o *changeLog) end(ctx context.Context, newest bool) (storage.RecordID, error) {
	txn := o.db.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	return endOf(ctx, txn, o.table, newest)
}

// endOf is the first or last id of a table, 0 if it is empty.
func endOf(ctx context.Context, txn storage.Txn, table storage.TableID, newest bool) (storage.RecordID, error) {
	it, err := txn.Scan(ctx, table, storage.RecordRange{Reverse: newest})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if !it.Next() {
		return 0, it.Err()
	}
	return it.ID(), nil
}
