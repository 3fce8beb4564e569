package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/archelon-db/archelon/internal/storage"
)

// maxCommitBytes bounds a transaction's batch, which Pebble holds in memory and
// numbers with 32 bits.
const maxCommitBytes = 2 << 30

// Commit makes the writes visible and durable.
func (tx *txn) Commit(ctx context.Context) (storage.Position, error) {
	g, err := tx.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer g.RUnlock()
	if tx.w == nil || len(tx.w.ops) == 0 {
		pos := tx.s.views.lastCommitted()
		if tx.view != nil {
			pos = storage.Position(tx.view.pos)
		}
		tx.end(0)
		return pos, nil
	}

	s := tx.s
	wait := !tx.opts.NoSync && s.config.JournalInterval <= 0 && !s.config.Memory
	batch, pos, err := s.commit(tx.w, wait)
	tx.end(pos)
	if err != nil {
		return 0, err
	}
	if !wait {
		s.nosync.commit()
		return storage.Position(pos), batch.Close()
	}
	s.syncs.Add(1)
	if err := batch.SyncWait(); err != nil {
		return 0, s.fail(err)
	}
	s.durable.grow(pos)
	return storage.Position(pos), batch.Close()
}

// commit writes a write set as one batch. On error nothing is visible and pos is
// 0.
func (s *Store) commit(w *writeSet, sync bool) (*pebble.Batch, uint64, error) {
	if w.bytes > maxCommitBytes {
		return nil, 0, fmt.Errorf("storage: transaction of %d bytes is larger than %d", w.bytes, maxCommitBytes)
	}
	if err := s.space.admit(w.bytes); err != nil {
		return nil, 0, err
	}
	// 16 bytes for the headers of an op, and the position.
	batch := s.db.NewBatchWithSize(w.bytes + 16*len(w.ops) + 64)
	times, err := w.fill(batch)
	if err != nil {
		batch.Close()
		return nil, 0, err
	}
	pos, err := s.apply(batch, w, times, sync)
	if err != nil {
		return nil, 0, err
	}
	if s.config.Memory {
		s.durable.grow(pos)
	}
	s.commits.Add(1)
	return batch, pos, nil
}

// fill writes the last op of each key into a batch, then drops and what goes to
// log tables, which cover what the transaction itself wrote before. It returns the
// number of times that the log records need.
func (w *writeSet) fill(batch *pebble.Batch) (times int, err error) {
	for n := w.next(0); n != 0; n = w.next(n) {
		top := w.nodes[n].top
		if top < 0 {
			continue
		}
		switch op := &w.ops[top]; {
		case op.kind == opSet:
			err = batch.Set(w.keyOf(n), w.valueOf(top), nil)
		case !op.fresh: // what was never there needs no deleting
			err = batch.Delete(w.keyOf(n), nil)
		}
		if err != nil {
			return 0, err
		}
	}
	for i := range w.ops {
		op := &w.ops[i]
		if op.kind != opCreate && op.kind != opDrop {
			continue
		}
		if err := w.ranges[op.value].fill(batch, op.kind); err != nil {
			return 0, err
		}
	}
	return w.fillLogs(batch)
}

func (r *idRange) fill(batch *pebble.Batch, kind opKind) error {
	key := appendCreatedKey(nil, r.kind, r.id)
	if kind == opCreate {
		return batch.Set(key, r.descriptor(), nil)
	}
	if err := batch.Delete(key, nil); err != nil {
		return err
	}
	return batch.DeleteRange(r.prefix(), r.end(), nil)
}

// apply gives a batch its position, and its log records their ids, and makes it
// visible. This is the critical section of the store: positions are in the order
// of the journal, and a view shows all commits up to its position and none after
// it. The position is the time of the commit, which is the id of its last log
// record if it has any.
func (s *Store) apply(batch *pebble.Batch, w *writeSet, times int, sync bool) (pos uint64, err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if f := s.failed.Load(); f != nil {
		return 0, f
	}
	now := s.clock.Now()
	pos = s.clock.NextAt(now, max(1, times)) + uint64(max(1, times)) - 1
	if err := s.writePosition(batch, w, pos); err != nil {
		return 0, err
	}
	if times > 0 {
		w.stampLogs(batch, pos-uint64(times)+1, now.UnixMilli())
	}
	s.views.begin(pos, w.tail)
	for _, r := range w.dropped {
		s.ranges.drop(r, pos)
	}
	if err := s.applyBatch(batch, sync); err != nil {
		return 0, err
	}
	s.views.committed.Store(pos)
	s.clock.SetApplied(pos)
	return pos, nil
}

// writePosition adds to a batch what the position can be read from, if it has no
// log record with that id in the table which the log key names. The caller holds
// commitMu.
func (s *Store) writePosition(batch *pebble.Batch, w *writeSet, pos uint64) error {
	switch {
	case w.tail == 0 || len(w.dropped) > 0:
		w.tail = 0
		op := batch.SetDeferred(len(positionKey), 8)
		copy(op.Key, positionKey)
		binary.BigEndian.PutUint64(op.Value, pos)
		return op.Finish()
	case w.tail != s.tail:
		s.tail = w.tail
		op := batch.SetDeferred(len(logKey), 4)
		copy(op.Key, logKey)
		binary.BigEndian.PutUint32(op.Value, uint32(w.tail))
		return op.Finish()
	}
	return nil
}

// applyBatch hands a batch to Pebble; with sync it is the caller's to wait for it.
// The caller holds commitMu. Pebble panics if it cannot write its journal, and
// its commit pipeline stays locked then.
func (s *Store) applyBatch(batch *pebble.Batch, sync bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.stuck = true
			err = s.fail(fmt.Errorf("write journal: %v", r))
		}
	}()
	if sync {
		err = s.db.ApplyNoSyncWait(batch, pebble.Sync)
	} else {
		err = s.db.Apply(batch, pebble.NoSync)
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// syncJournal syncs what commits have written. The caller has passed a gate.
func (s *Store) syncJournal() error {
	if s.config.Memory {
		return nil
	}
	batch := s.db.NewBatch()
	if err := batch.LogData(nil, nil); err != nil {
		return err
	}
	s.commitMu.Lock()
	pos := s.views.committed.Load()
	var err error
	if f := s.failed.Load(); f != nil {
		err = f
	} else {
		err = s.applyBatch(batch, true)
	}
	s.commitMu.Unlock()
	if err != nil {
		return err
	}
	s.syncs.Add(1)
	if err := batch.SyncWait(); err != nil {
		return s.fail(err)
	}
	s.durable.grow(pos)
	return batch.Close()
}
