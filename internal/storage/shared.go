package storage

import (
	"context"
	"sync/atomic"
	"time"
)

// Shared is an [Engine] whose store other processes may have open too, and change.
// All that callers keep in memory of such a store may be outdated: they say what they
// go by in [TxnOptions].Expect, and are told in the first answer from the store.
type Shared interface {
	Engine

	// IsShared says whether other processes can have the store open.
	IsShared() bool
}

// IsShared says whether other processes may change an engine's store.
func IsShared(e Engine) bool {
	s, ok := e.(Shared)
	return ok && s.IsShared()
}

// SharedTxn is a [Txn] of a shared store.
type SharedTxn interface {
	Txn

	// InShared says whether other processes can have the store open.
	InShared() bool

	// Hold is [TxnOptions].Hold for a transaction that may have its snapshot already.
	// It fails with ErrWriteConflict if the meta key was written by another
	// transaction since.
	Hold(ctx context.Context, t TableID, key []byte) error
}

// IsSharedTxn says whether other processes may change the store that a transaction is
// of.
func IsSharedTxn(txn Txn) bool {
	s, ok := txn.(SharedTxn)
	return ok && s.InShared()
}

// StaleError is returned by a transaction whose snapshot shows another value of a key
// than the one expected. What the caller knew is outdated.
type StaleError struct{ Expected *Expectation }

func (e *StaleError) Error() string { return "storage: another process has changed what was expected" }

// Expectation is a meta key with the value that somebody goes by. It may be shared by
// many transactions.
type Expectation struct {
	Key   []byte
	Value []byte // nil: there is no such key

	met    atomic.Int64 // when it was last known to hold, in nanoseconds since 1970
	missed atomic.Bool
}

// Meet notes that a transaction that has begun at a moment has found the value.
func (e *Expectation) Meet(begun time.Time) {
	now := begun.UnixNano()
	for {
		met := e.met.Load()
		if met >= now || e.met.CompareAndSwap(met, now) {
			return
		}
	}
}

// Miss notes that the value is another one by now.
func (e *Expectation) Miss() { e.missed.Store(true) }

// MetSince says whether the value was found by a transaction that began after a moment.
func (e *Expectation) MetSince(t time.Time) bool { return e.met.Load() >= t.UnixNano() }

// Missed says whether a transaction has found another value.
func (e *Expectation) Missed() bool { return e.missed.Load() }
