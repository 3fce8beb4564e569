package session

import (
	"context"
	"encoding/hex"
	"math"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// Work is what a transaction does in the database.
type Work interface {
	// Commit makes it last, or fails and undoes it. before stores what belongs to
	// the same commit; it is not called if there is nothing to commit.
	Commit(ctx context.Context, before func(context.Context, storage.Txn) error) error
	// Abort undoes it. After Commit or Abort it does nothing.
	Abort()
	// Ended says that it was committed or aborted.
	Ended() bool
}

// phase says what a session's number stands for and how far that has come.
type phase uint8

const (
	retryable  phase = iota // a retryable write, or nothing yet
	inProgress              // a transaction
	committed
	aborted
)

// Start is what begins a transaction.
type Start struct {
	// Begin makes the transaction.
	Begin func() Work
	// ReadConcern is what was asked for, for display; nil for none.
	ReadConcern bsonval.Doc
}

// OpenTransaction describes a transaction in progress.
type OpenTransaction struct {
	Number      int64
	ReadConcern bsonval.Doc
	// Started is when it began and Expires when it will be aborted.
	Started, Expires time.Time
	// Work is what it does. Only what is safe for concurrent use may be asked of it.
	Work Work

	active atomic.Int64 // nanoseconds in statements that are over
	since  atomic.Int64 // when the present statement began, in nanoseconds since 1970; 0 for none
}

// Active is how long statements of the transaction have run until now.
func (o *OpenTransaction) Active(now time.Time) time.Duration {
	d := time.Duration(o.active.Load())
	if since := o.since.Load(); since != 0 {
		d += time.Duration(now.UnixNano() - since)
	}
	return d
}

// Running says whether a statement runs now.
func (o *OpenTransaction) Running() bool { return o.since.Load() != 0 }

// Statement is a statement of a transaction being run: the session's only one
// until End.
type Statement struct {
	s    *Session
	open *OpenTransaction
}

// Statement waits for the session's turn and goes on with the transaction with a
// number, or begins it if start is not nil. A transaction in progress with a
// smaller number is aborted by that.
func (s *Session) Statement(ctx context.Context, number int64, start *Start) (*Statement, error) {
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	var err error
	if start != nil {
		err = s.startTransaction(number, start)
	} else {
		err = s.continueTransaction(number, false)
	}
	if err != nil {
		s.give()
		return nil, err
	}
	st := &Statement{s: s, open: s.open.Load()}
	st.open.since.Store(s.reg.cfg.Now().UnixNano())
	s.reg.transactions.active.Add(1)
	return st, nil
}

// Work is the transaction.
func (st *Statement) Work() Work { return st.s.work }

// End ends the statement. One that has failed aborts the transaction.
func (st *Statement) End(failed bool) {
	st.s.reg.transactions.active.Add(-1)
	st.open.active.Add(st.s.reg.cfg.Now().UnixNano() - st.open.since.Swap(0))
	if failed || st.s.work.Ended() {
		st.s.endTransaction(aborted)
	}
	st.s.give()
}

// startTransaction begins a transaction; the session's turn is held.
func (s *Session) startTransaction(number int64, start *Start) error {
	if number < s.number {
		return s.tooOld(number)
	}
	if number == s.number {
		return mongoerr.New(mongoerr.ConflictingOperationInProgress,
			"Only servers in a sharded cluster can start a new transaction at the active transaction number")
	}
	s.endTransaction(aborted)
	now := s.reg.cfg.Now()
	s.number, s.phase, s.chunks, s.work = number, inProgress, nil, start.Begin()
	s.inDoubt = false
	s.open.Store(&OpenTransaction{
		Number: number, ReadConcern: start.ReadConcern.Clone(), Started: now, Expires: now.Add(s.reg.TransactionLifetime()),
		Work: s.work,
	})
	s.reg.transactions.begun(s)
	return nil
}

// continueTransaction checks that a transaction is in progress, or committed if
// that will do.
func (s *Session) continueTransaction(number int64, orCommitted bool) error {
	switch {
	case number < s.number:
		return s.tooOld(number)
	case number != s.number || s.phase == retryable:
		return mongoerr.New(mongoerr.NoSuchTransaction, "Given transaction number %d does not match any in-progress transactions. "+
			"The active transaction number is %d", number, s.number)
	case s.phase == aborted:
		return mongoerr.New(mongoerr.NoSuchTransaction, "Transaction with { txnNumber: %d } has been aborted.", number)
	case s.phase == committed && !orCommitted:
		return mongoerr.New(mongoerr.TransactionCommitted, "Transaction with { txnNumber: %d } has been committed.", number)
	}
	return nil
}

func (s *Session) tooOld(number int64) error {
	kind := "retryable write"
	if s.phase != retryable {
		kind = "transaction"
	}
	return mongoerr.New(mongoerr.TransactionTooOld, "Cannot start transaction with { txnNumber: %d } on session %s because a "+
		"newer %s with { txnNumber: %d } has already started on this session.", number, hex.EncodeToString(s.id.UUID[:]), kind, s.number)
}

// Commit commits the transaction with a number. One that has been committed
// already, perhaps by a process before this one, stays so. If the generation is
// still the storage's once that is durable, the transaction has survived.
func (s *Session) Commit(ctx context.Context, number int64) (generation uint64, err error) {
	if err := s.take(ctx); err != nil {
		return 0, err
	}
	defer s.give()
	return s.generation, s.commit(ctx, number)
}

func (s *Session) commit(ctx context.Context, number int64) error {
	if err := s.continueTransaction(number, true); err != nil || s.phase == committed {
		if err != nil && s.isElsewhere(number) {
			return s.recoverCommit(ctx, number)
		}
		return err
	}
	var raw []byte
	err := s.work.Commit(ctx, func(ctx context.Context, txn storage.Txn) error {
		s.stored = max(s.stored, 1)
		s.reg.transactions.stored.Add(1)
		raw = encodeCommitted(s.reg.cfg.Now().UnixMilli(), number)
		return txn.PutMeta(ctx, chunkKey(s.id, 0), raw)
	})
	if err != nil {
		s.doubtful = true
		s.inDoubt = s.reg.shared
		s.endTransaction(aborted)
		return err
	}
	if raw != nil && s.reg.shared {
		s.setRaw(0, raw)
	}
	s.endTransaction(committed)
	return nil
}

// Abort aborts the transaction with a number.
func (s *Session) Abort(ctx context.Context, number int64) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	err := s.continueTransaction(number, false)
	if err == nil {
		s.endTransaction(aborted)
	}
	return err
}

// AbortOpen aborts the session's transaction if one is in progress.
func (s *Session) AbortOpen(ctx context.Context) error {
	if s.open.Load() == nil {
		return nil
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	s.endTransaction(aborted)
	return nil
}

// endTransaction ends the transaction in progress, if there is one; the session's
// turn is held.
func (s *Session) endTransaction(how phase) {
	if s.phase != inProgress {
		return
	}
	if how == aborted {
		s.work.Abort()
	}
	s.phase, s.work = how, nil
	s.open.Store(nil)
	s.reg.transactions.ended(s, how)
}

// Open describes the session's transaction in progress; nil if there is none.
func (s *Session) Open() *OpenTransaction { return s.open.Load() }

// take waits for the session's turn and knows what an earlier process has stored.
func (s *Session) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
	default:
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	generation, err := storage.Generation(ctx, s.reg.cfg.Engine)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		<-s.turn
		return err
	default:
		generation, err = unknownGeneration, nil
	}
	switch {
	case !s.loaded:
		err = s.load(ctx)
	case s.phase == inProgress: // nothing of what is remembered is stored
	case s.doubtful || generation != s.generation || generation == unknownGeneration:
		err = s.settle(ctx)
	}
	s.generation = generation
	if err != nil {
		<-s.turn
	}
	return err
}

// unknownGeneration is one that no storage has.
const unknownGeneration = math.MaxUint64

func (s *Session) give() { <-s.turn }
