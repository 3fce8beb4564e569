package storage

import (
	"context"
	"errors"
	"time"

	"github.com/archelon-db/archelon/internal/clock"
)

// TableID names a table. Ids are allocated by the catalog, are never reused
// within one store, and start at 1.
type TableID uint32

// IndexID names an index, across all tables. Ids are allocated by the catalog,
// are never reused within one store, and start at 1.
type IndexID uint32

// RecordID is the position of a record in its table's natural order. Valid ids
// are positive; 0 means "none". In a log table it is the time at which the record
// was committed, the 64 bits of a BSON timestamp.
type RecordID int64

// Position is a commit's place in the engine's one order of commits. A later
// commit has a larger position.
type Position uint64

var (
	// ErrNotFound is returned by Get, Update, Delete and GetMeta for a record or
	// key that this transaction cannot see.
	ErrNotFound = errors.New("storage: not found")

	// ErrWriteConflict is returned by a write whose record or key was written by
	// a transaction that is still open, or that committed after this
	// transaction's snapshot. The transaction stays readable but must be rolled
	// back; running it again from the start may succeed.
	ErrWriteConflict = errors.New("storage: write conflict")

	// ErrClosed is returned by every operation on a closed engine or a finished
	// transaction.
	ErrClosed = errors.New("storage: closed")

	// ErrReadOnly is returned by a write in a read-only transaction.
	ErrReadOnly = errors.New("storage: read-only transaction")

	// ErrNoSpace is returned by Commit while the disk has too little free space
	// left to accept more data. Nothing of the transaction was written; reads go
	// on, and commits are accepted again as soon as there is space.
	ErrNoSpace = errors.New("storage: not enough free disk space")
)

// DuplicateKeyError is returned by PutEntry on a unique index whose key already
// belongs to another record that this transaction can see.
type DuplicateKeyError struct {
	Index  IndexID
	Record RecordID // the record that holds the key
}

func (e *DuplicateKeyError) Error() string { return "storage: duplicate key" }

// Engine is a store. All methods are safe for concurrent use.
//
// Index keys must be prefix-free within an index: no key is a proper prefix of
// another one. Keystrings are, because each ends with a terminator. Engines rely
// on it to keep (key, RecordID) in order when they store the id behind the key.
type Engine interface {
	// Begin starts a transaction. The snapshot is taken at the first read or
	// write, not at Begin, so a transaction may be created ahead of its work.
	Begin(opts TxnOptions) Txn

	// Sync waits until everything committed so far is durable.
	Sync(ctx context.Context) error

	// Clock is the clock that gives log records their ids. Every id in the store
	// is at most Clock().Time(), also right after the store was opened, and the
	// newest visible one at most Clock().Applied().
	Clock() *clock.Clock

	// Durable returns the time up to which all log records are durable: those with
	// an id of at most upTo survive a crash, and none with such an id can still
	// come. The channel is closed when upTo has grown. In a store in memory a
	// record is durable as soon as it is visible; in one that syncs late, when it
	// has been synced.
	Durable() (upTo uint64, grown <-chan struct{})

	// Visible returns the time up to which commits are visible to transactions that
	// begin now. It is ahead of Clock().Applied() for an instant while a commit
	// becomes visible, never behind.
	Visible() uint64

	// Retain pins the present state, for transactions that begin later with
	// TxnOptions.At. What is retained costs disk space, and every commit meanwhile
	// some memory, until it is released.
	Retain() (Retained, error)

	// Peek returns a record's newest committed version if that is at hand without a
	// transaction, or nil, which says nothing. It is for reads of one record and
	// nothing else; nobody may change the bytes.
	Peek(t TableID, id RecordID) []byte

	// TableSize estimates the bytes a table's records and an index's entries
	// take on disk; 0 for unknown ids.
	TableSize(t TableID) int64
	IndexSize(x IndexID) int64

	// Stats describes the engine for serverStatus: names to numbers.
	Stats() Stats

	// Compact rewrites a table's records so that the space of deleted ones is
	// returned.
	Compact(ctx context.Context, t TableID) error

	// Close waits for running commits, flushes and releases the store.
	// Transactions still open fail with ErrClosed afterwards.
	Close() error
}

// Stats are an engine's own numbers, all in bytes or counts since start.
type Stats struct {
	Engine         string // "pebble", "memory", …
	CacheBytes     int64  // bytes in the block cache
	CacheMaxBytes  int64  // its limit
	DiskBytes      int64  // bytes used in the data folder
	Commits        int64
	Conflicts      int64 // writes refused with ErrWriteConflict
	OpenTxns       int64
	WALSyncs       int64 // waits for the journal; several may share one fsync
	LastCommitted  Position
	OldestSnapshot Position
}

// TxnOptions say what a transaction is for.
type TxnOptions struct {
	// ReadOnly transactions refuse writes; they take no locks and Commit is
	// the same as Rollback.
	ReadOnly bool

	// NoSync lets Commit return before the commit is durable: it may be lost in
	// a crash, but only together with everything committed after it.
	NoSync bool

	// ConflictWait bounds how long a write may wait for another open transaction
	// that has claimed the same record or key, before it returns
	// ErrWriteConflict; 0 means not at all. Only the first claim of a transaction
	// waits, so that transactions never wait for each other in a circle.
	//
	// It makes retry loops of one-statement writes cheap: the loser sleeps until
	// the winner is done instead of spinning.
	ConflictWait time.Duration

	// At makes the transaction read a retained state instead of the newest one.
	// Its writes conflict with everything committed since. At must come from the
	// same engine and must not have been released when the transaction first reads
	// or writes, which fails with ErrClosed otherwise; once it has, it keeps the
	// state itself.
	At Retained

	// Expect are meta keys with the values that the caller goes by. In a shared store
	// (see [Shared]) the transaction looks at them together with its first read or
	// write, which fails with a *StaleError if the snapshot shows another value; so do
	// all calls after it. Other engines have nobody who could have changed them.
	Expect []*Expectation

	// Expecting, if set, is asked for Expect when the transaction is about to look: what the
	// caller goes by may have been confirmed anew while it was planning.
	Expecting func() []*Expectation

	// Single says that a read-only transaction looks for one record, and that each of its
	// calls may see the newest committed state by itself, which costs some engines less
	// than one snapshot for all of them. It must not scan.
	Single bool

	// Brief says that the transaction is going to read one record, by its id or a unique key,
	// and to write that or a new one; and that its caller runs it again without Brief if
	// it fails with ErrWriteConflict. An engine may then look only when it commits, together
	// with other transactions, whether everything is as it was taken to be: a *StaleError
	// or *DuplicateKeyError may come as ErrWriteConflict. A transaction that does more is
	// slower, not wrong.
	Brief bool

	// Hopeful says that the transaction's caller runs it again without Hopeful if it fails with
	// ErrWriteConflict. An engine may then find out late whether unique keys are free, and
	// whether what is expected is so: a *DuplicateKeyError or *StaleError may come as
	// ErrWriteConflict.
	Hopeful bool

	// Hold is a table that the transaction is going to write, 0 for none. In a shared
	// store it is held from before the snapshot to the end of the transaction against
	// those who want it alone. A transaction of a shared store writes only tables that
	// it holds, or has created.
	Hold TableID

	// Losses, if not 0, is what [Revivable.Losses] was before the caller looked at what it remembers of the store and
	// goes by. If it has grown since, Commit fails with ErrWriteConflict.
	Losses uint64

	// Alone are tables that the transaction wants alone: in a shared store it waits,
	// for ConflictWait at most, until nobody else holds them, before it takes its
	// snapshot. The first read or write fails with ErrWriteConflict if that is in vain.
	Alone []TableID
}

// Retained is a state of the store that is kept for transactions to come. Its
// methods are safe for concurrent use.
type Retained interface {
	// Applied is the state's time: it holds the log records with ids of at most
	// this, and no others.
	Applied() uint64

	// Release lets go of the state. Transactions that read it already go on. A
	// second call does nothing.
	Release()
}

// LogStamp says what Commit writes into a record of a log table.
type LogStamp struct {
	// Time and Wall are the offsets in the record of 8 bytes that are overwritten,
	// little-endian, with the record's id (as a BSON timestamp is stored) and with
	// the wall clock's milliseconds since 1970 (as a BSON date is); -1 for none.
	Time, Wall int

	// Prev is the offset of 8 bytes that are overwritten with the id before the
	// record's, which is that of the transaction's Append before it; 0 for none.
	Prev int

	// Back is how far before the record's id the time is that is written at Time:
	// with the number of Appends in between, the id of an earlier Append.
	Back uint32

	// Same gives the record the id of the transaction's Append before it, instead
	// of one of its own. The two must be in different tables.
	Same bool
}

// Txn is one transaction. It is not safe for concurrent use. Every Txn must end
// in Commit or Rollback; Rollback after either is a no-op.
//
// Byte slices passed in are copied or used before the call returns. Byte slices
// returned are valid until the next call on the same Txn that writes or ends
// it, unless a method says otherwise; iterators have their own rule.
type Txn interface {
	// CreateTable and CreateIndex make room for a new id; DropTable and
	// DropIndex remove everything under it, at a cost independent of its size.
	// Dropped contents stay readable to older snapshots. A drop conflicts with
	// open transactions that have written under the id, and they with it; in the
	// dropping transaction itself the id is empty from then on and refuses writes
	// with ErrNotFound, as a write under an id that was never created does.
	CreateTable(t TableID) error
	DropTable(t TableID) error
	CreateIndex(t TableID, x IndexID, unique bool) error
	DropIndex(x IndexID) error

	// Get returns a record, or ErrNotFound.
	Get(ctx context.Context, t TableID, id RecordID) ([]byte, error)

	// Insert appends a record under a new id, larger than all before it in the
	// table (also those of concurrent transactions that began earlier).
	Insert(ctx context.Context, t TableID, doc []byte) (RecordID, error)

	// Update replaces a record. ErrNotFound if this transaction cannot see it.
	Update(ctx context.Context, t TableID, id RecordID, doc []byte) error

	// Delete removes a record. ErrNotFound if this transaction cannot see it.
	Delete(ctx context.Context, t TableID, id RecordID) error

	// Lock claims a record for writing, as Update would, without changing it:
	// after it returns nil no other transaction can write the record until this
	// one ends, and the version this transaction sees is the newest.
	//
	// While a transaction has only looked up single records and keys, an engine
	// may move its snapshot forward to make a claim succeed, provided that
	// everything read so far is unchanged. LookupUnique, Lock, Get, Update in this
	// order therefore hardly ever conflicts, however hot the record.
	Lock(ctx context.Context, t TableID, id RecordID) error

	// Scan iterates a table in natural order (or backwards).
	Scan(ctx context.Context, t TableID, r RecordRange) (RecordIterator, error)

	// Append queues a record for a log table. Commit gives it its id, larger than
	// those of all commits before it: who sees a log record sees all those before
	// it, of any log table. Several Appends of a transaction get consecutive ids in
	// their order. The transaction itself does not see the record; RollbackTo takes
	// it back.
	//
	// A log table is an ordinary table but for its ids: it is created, scanned and
	// dropped like any other, and must not be written with Insert.
	Append(ctx context.Context, t TableID, doc []byte, stamp LogStamp) error

	// Truncate removes a log table's records with ids below before, at a cost
	// independent of their number. It takes no claims, and neither this
	// transaction's reads nor its Appends know of it.
	Truncate(ctx context.Context, t TableID, before RecordID) error

	// PutEntry adds an index entry, or sets the type bits of one that is there
	// already. On a unique index it claims the key and fails with a
	// *DuplicateKeyError if another record holds it. Entries of other indexes
	// are covered by the claim on their record, which a caller must hold (Insert,
	// Update, Delete and Lock take it). typeBits may be empty.
	PutEntry(ctx context.Context, x IndexID, key []byte, id RecordID, typeBits []byte) error

	// DeleteEntry removes an entry, with the claims of PutEntry; removing one that
	// is not there is a no-op.
	DeleteEntry(ctx context.Context, x IndexID, key []byte, id RecordID) error

	// LookupUnique returns the record that holds a key of a unique index, or
	// ErrNotFound. It is the point lookup of `_id`.
	LookupUnique(ctx context.Context, x IndexID, key []byte) (RecordID, error)

	// ScanIndex iterates index entries in key order (ties by RecordID).
	ScanIndex(ctx context.Context, x IndexID, r IndexRange) (IndexIterator, error)

	// GetMeta returns the value of a meta key, or ErrNotFound.
	GetMeta(ctx context.Context, key []byte) ([]byte, error)
	PutMeta(ctx context.Context, key, value []byte) error
	// DeleteMeta of a key that is not there is a no-op.
	DeleteMeta(ctx context.Context, key []byte) error
	// ScanMeta calls fn for each key with the prefix, in order, until fn returns
	// false. The slices are valid during the call only.
	ScanMeta(ctx context.Context, prefix []byte, fn func(key, value []byte) bool) error

	// Savepoint marks the present state; RollbackTo undoes every write since,
	// keeping the claims on what was written. Savepoints nest.
	Savepoint() Savepoint
	RollbackTo(s Savepoint) error

	// Snapshot is the position this transaction reads at; it takes the snapshot
	// if there is none yet.
	Snapshot() Position

	// Commit makes the writes visible and durable, all or none, and returns
	// their position (the snapshot's for a transaction that wrote nothing). A ctx
	// that has ended already refuses the commit. Once the outcome is decided
	// Commit waits for the disk whatever ctx says, so that an error from it always
	// means: not committed, or the store has failed.
	Commit(ctx context.Context) (Position, error)

	// Rollback forgets the writes.
	Rollback()
}

// Counter is a transaction that counts what a scan would find without reading it.
type Counter interface {
	// CountIndex counts entries. It does not if ok is false: a scan has to.
	CountIndex(ctx context.Context, x IndexID, c IndexCount) (n int64, ok bool, err error)

	// CountRecords counts records with ids in [least, last], 0 meaning no bound, up to most if that is not 0.
	CountRecords(ctx context.Context, t TableID, least, last RecordID, most int64) (int64, error)
}

// IndexCount is which entries of an index are counted.
type IndexCount struct {
	// Runs hold the entries, apart from each other and in ascending order; a nil bound is none.
	Runs []KeyRun

	// Once says that each record counts once, however many of the entries are its.
	Once bool

	// Most is where counting may end; 0 for nowhere.
	Most int64
}

// AheadReader is a transaction that takes less time to read many records if it knows them before.
type AheadReader interface {
	// ReadAhead tells which records of a table the transaction is going to Get, in this order,
	// in place of those it was told of before. Nothing but the time it takes depends on it. The
	// ids must not change afterwards.
	ReadAhead(t TableID, ids []RecordID)
}

// AheadLocker is a transaction that takes less time for many records if it knows them
// before.
type AheadLocker interface {
	// LockAhead tells which records of a table the transaction is going to Get and then to
	// Lock, in this order. Getting one may lock the next ones, too. Nothing else changes if
	// something else is done. The ids must not change afterwards.
	LockAhead(t TableID, ids []RecordID)

	// LookupAhead looks several keys of a unique index up that are going to be asked for. It
	// returns their records, 0 for none, as LookupUnique will.
	LookupAhead(ctx context.Context, x IndexID, keys [][]byte) ([]RecordID, error)
}

// Distant is an engine on another server: what it is asked for together takes little more time
// than one thing.
type Distant interface {
	IsDistant() bool
}

// IsDistant says whether an engine is on another server.
func IsDistant(e Engine) bool {
	d, ok := e.(Distant)
	return ok && d.IsDistant()
}

// Revivable is an engine over a server that can fail, and lose what was visible and not durable, while the process goes on.
type Revivable interface {
	// Generation is another number after that. It fails while the server is not reached.
	Generation(ctx context.Context) (uint64, error)

	// Losses counts, from 1 on, how often the server is known to have been down: what was committed before is not to be
	// relied on by what is committed afterwards. Unlike Generation it asks nobody.
	Losses() uint64

	// SyncNoted waits until everything is durable whose Commit has returned.
	SyncNoted(ctx context.Context) error

	// AwaitsStandbys says that what is durable is so on other servers, too, which can be missing for long.
	AwaitsStandbys() bool
}

// Generation is that of an engine that has generations, else 0.
func Generation(ctx context.Context, e Engine) (uint64, error) {
	if r, ok := e.(Revivable); ok {
		return r.Generation(ctx)
	}
	return 0, nil
}

// Losses is that of an engine that can have some, else 0.
func Losses(e Engine) uint64 {
	if r, ok := e.(Revivable); ok {
		return r.Losses()
	}
	return 0
}

// Savepoint is a mark in a transaction's writes.
type Savepoint int

// RecordRange bounds a table scan: ids in [Min, Max], 0 meaning no bound.
type RecordRange struct {
	Min, Max RecordID
	Reverse  bool

	// Bare says that nobody asks for Doc.
	Bare bool

	// Contains is what is known of the records that are wanted; nil if nothing is.
	Contains Contains

	// Likely is how many records will be read, as far as one can say; 0 for unknown.
	Likely int64

	// Loose says that nothing else that the transaction reads has to fit to the scan, nor
	// what comes behind Likely to what comes before: an engine may read them in newer
	// states.
	Loose bool
}

// KeyRun is the keys k with Lower <= k < Upper.
type KeyRun struct{ Lower, Upper []byte }

// IndexRange bounds an index scan: keys in [Lower, Upper), nil meaning no
// bound. A bound is a key, a prefix of keys, or either of them followed by a byte
// of 0x80 or more; a key followed by smaller bytes is not a bound.
//
// After and AfterID continue a scan where an earlier one stopped: the first
// entry returned is the one that follows (After, AfterID) in scan direction,
// whether or not that entry still exists. A nil After means from the start.
type IndexRange struct {
	Lower, Upper []byte
	Reverse      bool
	After        []byte
	AfterID      RecordID

	// Runs are ranges within Lower and Upper, apart from each other and in ascending order:
	// entries outside of them may be left out. Nil if all are wanted.
	Runs []KeyRun

	// Fetch names the table whose records Doc returns; 0 fetches none.
	Fetch TableID

	// Contains is, with Fetch, what is known of the records that are wanted; nil if
	// nothing is. Entries of other records may be left out, those whose record does
	// not exist may not.
	Contains Contains

	// Likely is how many entries will be read of those that are not left out, as far
	// as one can say; 0 for unknown.
	Likely int64

	// Loose is as in RecordRange. An entry and its record are of one state all the same.
	Loose bool
}

// RecordIterator walks records. Next moves to the first or next one and says
// whether there is one; after false, Err tells why it stopped (nil at the end).
// The slice returned by Doc is valid until the following Next, Seek or Close.
// An iterator sees the transaction's own writes made before it was opened and
// none made later, so a scan may update what it walks over. It must be closed
// before its transaction ends, and before a RollbackTo. Next checks its context
// now and then.
type RecordIterator interface {
	Next() bool
	ID() RecordID
	Doc() []byte
	Err() error
	Close() error
}

// IndexIterator walks index entries, with the rules of RecordIterator.
type IndexIterator interface {
	Next() bool
	// SeekGE moves to the first entry with key ≥ the given one (≤ for a reverse
	// scan) that is ahead of the current one in scan direction, for scans that
	// skip over keys. It never moves back: with a key that the scan has passed
	// already it is Next.
	SeekGE(key []byte) bool
	Key() []byte
	ID() RecordID
	TypeBits() []byte
	// Doc returns the entry's record if the range asked to fetch. It is nil, with
	// no error, only if the record does not exist, which is a torn index.
	Doc() []byte
	Err() error
	Close() error
}
