package session

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// Retry is a retryable write being run: the session's only one until End. The order of calls per transaction is
// Discard, Add for each statement the transaction executes, Store inside the transaction, and Commit after it.
type Retry struct {
	s *Session
	// pending are the statements of the transaction that runs, first and outcome.
	pending []entry
	// staged is the record as stored by the transaction that runs, from chunk stagedAt on.
	staged   []chunk
	stagedAt int
	// raw is how staged was encoded, and expected what the transaction that runs expects; of a shared store only.
	raw      [][]byte
	expected []*storage.Expectation
	// open says that something was stored whose commit has not been heard of.
	open bool
}

// Begin waits for the session's turn and starts the write with a number, or goes on with it.
func (s *Session) Begin(ctx context.Context, number int64) (*Retry, error) {
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	if err := s.begin(number); err != nil {
		s.give()
		return nil, err
	}
	return &Retry{s: s}, nil
}

func (s *Session) begin(number int64) error {
	if number < s.number {
		return mongoerr.New(mongoerr.TransactionTooOld, "Retryable write with txnNumber %d is prohibited on session %s because "+
			"a newer retryable write with txnNumber %d has already started on this session.", number, hex.EncodeToString(s.id.UUID[:]), s.number)
	}
	if number == s.number && s.phase != retryable {
		return mongoerr.New(mongoerr.InvalidOptions, "Must specify autocommit=false on all operations of a multi-statement transaction.")
	}
	if number > s.number {
		s.endTransaction(aborted)
		s.number, s.phase, s.chunks = number, retryable, nil
	}
	return nil
}

// load reads the session's record, which a process before this one may have written.
func (s *Session) load(ctx context.Context) error {
	txn := s.reg.cfg.Engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	prefix := chunkKey(s.id, 0)
	prefix = prefix[:len(prefix)-4]
	s.raw = nil
	var bad error
	err := txn.ScanMeta(ctx, prefix, func(_, value []byte) bool {
		var c chunk
		var number int64
		var how phase
		if s.reg.shared {
			s.raw = append(s.raw, append([]byte(nil), value...))
		}
		if number, how, bad = decodeEnded(value); bad == nil {
			s.number, s.phase, s.stored = number, how, s.stored+1
			return true
		}
		if c, number, bad = decodeChunk(value); bad != nil {
			return false
		}
		s.stored++
		if s.stored == 1 {
			s.number = number
		}
		if number == s.number {
			s.chunks = append(s.chunks, c)
		}
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		s.number, s.chunks, s.stored = -1, nil, 0
		return fmt.Errorf("read record of a retryable write: %w", err)
	}
	s.loaded = true
	return nil
}

// settle finds out whether a doubtful commit has happened, or whether what was committed is still there after the storage
// has been down. What it finds of a doubtful commit is on disk: a client is told of it.
func (s *Session) settle(ctx context.Context) error {
	number, how := s.number, s.phase
	s.phase, s.chunks, s.stored = retryable, nil, 0
	err := s.load(ctx)
	if err == nil && s.doubtful {
		err = s.reg.cfg.Engine.Sync(ctx)
	}
	switch {
	case err != nil: // not known
		s.number, s.phase, s.chunks, s.doubtful = number, how, nil, true
		return err
	case s.number < number: // it has not happened
		if how == committed {
			how, s.inDoubt = aborted, s.reg.shared
		}
		s.number, s.phase, s.chunks = number, how, nil
	}
	s.doubtful = false
	return nil
}

// Generation is that of the storage which the outcomes that Executed returns are of: if it is still the storage's once they
// are durable, they are.
func (r *Retry) Generation() uint64 { return r.s.generation }

// Executed returns the outcome of a statement, if it has been executed, be it by the transaction that runs.
func (r *Retry) Executed(stmt int32) (outcome []byte, ok bool) {
	for i := range r.pending {
		if e := &r.pending[i]; e.covers(stmt) {
			return e.outcome, true
		}
	}
	for i := range r.s.chunks {
		for j := range r.s.chunks[i].entries {
			if e := &r.s.chunks[i].entries[j]; e.covers(stmt) {
				return e.outcome, true
			}
		}
	}
	return nil, false
}

// Discard forgets the statements added since the last Commit: their transaction is run again, or has failed.
func (r *Retry) Discard() { r.pending, r.staged = r.pending[:0], nil }

// Add says that the transaction that runs executes a statement.
func (r *Retry) Add(stmt int32, outcome []byte) {
	r.pending = append(r.pending, entry{stmt, 1, outcome})
}

// Store writes the session's record as it is once the transaction has committed.
func (r *Retry) Store(ctx context.Context, txn storage.Txn) error {
	if len(r.pending) == 0 {
		r.staged = nil
		return nil
	}
	s := r.s
	r.stagedAt = max(len(s.chunks)-1, 0)
	var last chunk
	if len(s.chunks) > 0 {
		last = s.chunks[r.stagedAt].clone()
	}
	r.staged = []chunk{last}
	for _, e := range r.pending {
		at := &r.staged[len(r.staged)-1]
		if at.size >= chunkBytes {
			r.staged = append(r.staged, chunk{})
			at = &r.staged[len(r.staged)-1]
		}
		at.add(e.first, e.outcome)
	}
	r.open = true
	now := s.reg.cfg.Now().UnixMilli()
	r.raw = r.raw[:0]
	for i := range r.staged {
		raw := r.staged[i].encode(now, s.number)
		if err := txn.PutMeta(ctx, chunkKey(s.id, r.stagedAt+i), raw); err != nil {
			return err
		}
		if s.reg.shared {
			r.raw = append(r.raw, raw)
		}
	}
	return nil
}

// Commit says that the transaction has committed.
func (r *Retry) Commit() {
	r.open = false
	if r.staged != nil {
		r.s.chunks = append(r.s.chunks[:r.stagedAt], r.staged...)
		r.s.stored = max(r.s.stored, len(r.s.chunks))
		for i, raw := range r.raw {
			r.s.setRaw(r.stagedAt+i, raw)
		}
		r.staged = nil
	}
	r.Discard()
}

// End lets the session's next write begin.
func (r *Retry) End() {
	if r.open || r.missed() {
		r.s.doubtful = true
	}
	r.s.give()
}
