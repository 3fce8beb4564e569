package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// Of a store that several processes share, what a session knows of its record may be
// outdated: clients take their sessions along when they turn to another process. Each
// transaction of a retryable write therefore expects the record as it was last seen
// here. If it is another one, the write fails before it has done anything, and is run
// again with the record that is there: it may have been executed elsewhere.

// Expect is what the next transaction of the write has to expect; nothing unless other
// processes may execute writes of the session, too.
func (r *Retry) Expect() []*storage.Expectation {
	s := r.s
	if !s.reg.shared {
		return nil
	}
	last := max(len(s.chunks)-1, 0)
	r.expected = append(r.expected[:0], s.expectChunk(last))
	if len(s.chunks) > 0 && s.chunks[last].size >= chunkBytes {
		r.expected = append(r.expected, s.expectChunk(last+1)) // where others would go on
	}
	return r.expected
}

func (s *Session) expectChunk(i int) *storage.Expectation {
	e := &storage.Expectation{Key: chunkKey(s.id, i)}
	if i < len(s.raw) {
		e.Value = s.raw[i]
	}
	return e
}

// missed says whether a transaction has found another record.
func (r *Retry) missed() bool {
	for _, e := range r.expected {
		if e.Missed() {
			return true
		}
	}
	return false
}

// setRaw notes how a chunk is stored now.
func (s *Session) setRaw(i int, value []byte) {
	for len(s.raw) <= i {
		s.raw = append(s.raw, nil)
	}
	s.raw[i] = value
}

// isElsewhere says whether the outcome of a transaction is not this process's to tell.
func (s *Session) isElsewhere(number int64) bool {
	return s.reg.shared && (number > s.number || number == s.number && (s.phase == retryable || s.phase == aborted && s.inDoubt))
}

// recoverCommit answers a commit of a transaction that this process knows nothing of:
// it was another one's, which may have committed it, may be about to, or may be gone.
// A record that the transaction was aborted makes sure that it does not happen after
// the client has been told so: its own commit conflicts with that.
func (s *Session) recoverCommit(ctx context.Context, number int64) error {
	for {
		err := s.tryRecover(ctx, number)
		if !errors.Is(err, storage.ErrWriteConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (s *Session) tryRecover(ctx context.Context, number int64) error {
	txn := s.reg.cfg.Engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	key := chunkKey(s.id, 0)
	value, err := txn.GetMeta(ctx, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("read record of a transaction: %w", err)
	}
	stored := int64(-1)
	if len(value) >= headerLen {
		stored = int64(binary.BigEndian.Uint64(value[9:]))
	}
	switch {
	case stored > number:
		s.number = stored
		return s.tooOld(number)
	case stored == number && value[0] == committedVersion:
		s.number, s.phase, s.stored = number, committed, max(s.stored, 1)
		s.setRaw(0, append([]byte(nil), value...))
		return nil
	case stored == number && value[0] == recordVersion:
		return mongoerr.New(mongoerr.NoSuchTransaction, "Given transaction number %d is that of a retryable write.", number)
	case stored < number:
		raw := encodeAborted(s.reg.cfg.Now().UnixMilli(), number)
		if err := txn.PutMeta(ctx, key, raw); err != nil {
			return err
		}
		if _, err := txn.Commit(ctx); err != nil {
			return err
		}
		s.setRaw(0, raw)
	}
	s.number, s.phase, s.stored = number, aborted, max(s.stored, 1)
	return mongoerr.New(mongoerr.NoSuchTransaction, "Transaction with { txnNumber: %d } has been aborted.", number)
}
