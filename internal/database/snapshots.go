package database

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// DefaultSnapshotWindow is how long a state that was read can be read again, as in MongoDB.
	DefaultSnapshotWindow = 5 * time.Minute
	// maxSnapshots bounds the states kept for reads to come, unless the engine has a smaller bound. The oldest goes first.
	maxSnapshots = 128
)

// snapshots are the states that reads of a past time can have: those that have been read before. A state is kept for the
// window after its last read, and while somebody reads it.
type snapshots struct {
	window atomic.Int64 // nanoseconds
	limit  int          // of kept

	mu     sync.Mutex // guards all below, and the states' refs and until
	kept   []*state   // by time
	timer  *time.Timer
	closed bool
}

// retainLimiter is an engine that can retain a few states only.
type retainLimiter interface{ RetainLimit() int }

func (s *snapshots) init(engine storage.Engine) {
	s.window.Store(int64(DefaultSnapshotWindow))
	s.limit = maxSnapshots
	if e, ok := engine.(retainLimiter); ok {
		s.limit = min(s.limit, e.RetainLimit())
	}
}

// state is a state of the data and of the definitions of collections.
type state struct {
	engine storage.Retained
	defs   *catalog.Snapshot
	refs   int       // readers, and one while it is among those kept
	until  time.Time // when it is no longer kept
	losses uint64    // of the engine before it was retained: it may be gone after the next
}

func (s *state) time() uint64 { return s.engine.Applied() }

// Snapshot is the data as of a cluster time. It must be released; cursors and transactions opened on it keep what they
// need themselves.
type Snapshot struct {
	db    *DB
	state *state
	at    uint64
}

// Time is the cluster time of the snapshot.
func (s *Snapshot) Time() uint64 { return s.at }

// Release lets go of the snapshot. s may be nil.
func (s *Snapshot) Release() {
	if s == nil || s.state == nil {
		return
	}
	s.db.snapshots.mu.Lock()
	defer s.db.snapshots.mu.Unlock()
	s.state.release()
	s.state = nil
}

// hold returns a second handle of the snapshot. s may be nil.
func (s *Snapshot) hold() *Snapshot {
	if s == nil {
		return nil
	}
	s.db.snapshots.mu.Lock()
	defer s.db.snapshots.mu.Unlock()
	s.state.refs++
	return &Snapshot{db: s.db, state: s.state, at: s.at}
}

// release gives a reference back; snapshots.mu is held.
func (s *state) release() {
	if s.refs--; s.refs == 0 {
		s.engine.Release()
	}
}

// collection returns a collection as of the snapshot, nil if there was none.
func (s *Snapshot) collection(ns Namespace) (*catalog.Collection, error) {
	coll := s.state.defs.Collection(ns.DB, ns.Coll)
	if coll != nil && coll.Capped != nil {
		return nil, mongoerr.New(mongoerr.SnapshotUnavailable, "Reading from a capped collection with readConcern snapshot is not supported: %s", ns)
	}
	return coll, nil
}

// options are those of a transaction that reads the snapshot, or the present state if s is nil.
func (s *Snapshot) options() storage.TxnOptions {
	if s == nil {
		return storage.TxnOptions{ReadOnly: true}
	}
	return storage.TxnOptions{ReadOnly: true, At: s.state.engine}
}

// SnapshotWindow is how long a state can be read again.
func (d *DB) SnapshotWindow() time.Duration { return time.Duration(d.snapshots.window.Load()) }

// SetSnapshotWindow changes it.
func (d *DB) SetSnapshotWindow(window time.Duration) {
	d.snapshots.window.Store(int64(window))
	d.snapshots.expire()
}

// SnapshotNow is the data as it is now.
func (d *DB) SnapshotNow() (*Snapshot, error) {
	st, err := d.present(context.Background())
	if err != nil {
		return nil, err
	}
	return &Snapshot{db: d, state: st, at: st.time()}, nil
}

// SnapshotAt is the data as of a cluster time that is not in the future. Only states that have been read before can be
// had, and those that have not changed since: from one to the other there is nothing but no-ops in the log.
func (d *DB) SnapshotAt(ctx context.Context, at uint64) (*Snapshot, error) {
	clock := d.engine.Clock()
	if at > clock.Applied() {
		// What has its time already but cannot be seen yet comes before what is written now.
		if err := d.Noop(ctx, readNoop); err != nil {
			return nil, err
		}
	}
	before, after := d.snapshots.around(at)
	candidates := []*state{before, after}
	if before == nil || before.time() != at {
		now, err := d.present(ctx)
		if err != nil {
			release(&d.snapshots, candidates...)
			return nil, err
		}
		candidates = append(candidates, now)
	}
	for i, st := range candidates {
		if st == nil {
			continue
		}
		same, err := d.quietBetween(ctx, min(st.time(), at), max(st.time(), at))
		if err != nil {
			release(&d.snapshots, candidates...)
			return nil, err
		}
		if same {
			candidates[i] = nil
			release(&d.snapshots, candidates...)
			return &Snapshot{db: d, state: st, at: at}, nil
		}
	}
	release(&d.snapshots, candidates...)
	if time.Unix(int64(at>>32), 0).Add(d.SnapshotWindow()).Before(clock.Now()) {
		return nil, mongoerr.New(mongoerr.SnapshotTooOld, "Read timestamp %s is older than the oldest available timestamp.",
			bsonval.Format(bsonval.TimestampBits(at)))
	}
	return nil, mongoerr.New(mongoerr.SnapshotUnavailable, "Unable to read from a snapshot at %s: the state of that time is not kept",
		bsonval.Format(bsonval.TimestampBits(at)))
}

// readNoop is what is written to the log so that a read can have its cluster time.
var readNoop = bsonval.NewBuilder().Str("msg", "read at a cluster time").Build()

func release(s *snapshots, states ...*state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range states {
		if st != nil {
			st.release()
		}
	}
}

// quietBetween says whether the log has nothing but no-ops after one time and up to another, which is visible.
func (d *DB) quietBetween(ctx context.Context, from, to uint64) (bool, error) {
	if from == to {
		return true, nil
	}
	log, ok := d.OplogTable()
	if !ok {
		return false, nil
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	// The record before shows that nothing was cut off from the log since.
	first, err := txn.Scan(ctx, log, storage.RecordRange{Max: storage.RecordID(from), Reverse: true})
	if err != nil {
		return false, err
	}
	known := first.Next()
	if err := first.Close(); err != nil || !known {
		return false, err
	}
	it, err := txn.Scan(ctx, log, storage.RecordRange{Min: storage.RecordID(from) + 1, Max: storage.RecordID(to)})
	if err != nil {
		return false, err
	}
	defer it.Close()
	for it.Next() {
		if bsonval.Doc(it.Doc()).Lookup("op").Str() != "n" {
			return false, nil
		}
	}
	return true, it.Err()
}

// present returns the state as it is now, which is kept for reads to come.
func (d *DB) present(ctx context.Context) (*state, error) {
	s := &d.snapshots
	s.mu.Lock()
	if n := len(s.kept); n > 0 {
		// A state nothing has been committed after does for the present one.
		if st := s.kept[n-1]; !d.shared && st.losses == storage.Losses(d.engine) && st.time() == d.engine.Clock().Applied() && st.defs == d.catalog.Snapshot() {
			st.refs++
			st.until = time.Now().Add(d.SnapshotWindow())
			s.mu.Unlock()
			return st, nil
		}
	}
	s.mu.Unlock()
	st := &state{refs: 2, losses: storage.Losses(d.engine)}
	var err error
	st.defs, err = d.catalog.Pinned(ctx, func() (storage.Retained, error) {
		var err error
		st.engine, err = d.engine.Retain()
		return st.engine, err
	})
	if err != nil {
		if st.engine != nil {
			st.engine.Release()
		}
		return nil, err
	}
	st.until = time.Now().Add(d.SnapshotWindow())
	s.keep(st)
	return st, nil
}

// keep adds a state to those kept, in place of the oldest if there are too many.
func (s *snapshots) keep(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		st.release()
		return
	}
	i, _ := slices.BinarySearchFunc(s.kept, st.time(), func(st *state, t uint64) int {
		if st.time() <= t {
			return -1 // behind those of the same time: definitions may have changed
		}
		return 1
	})
	s.kept = slices.Insert(s.kept, i, st)
	if len(s.kept) > s.limit {
		s.kept[0].release()
		s.kept = slices.Delete(s.kept, 0, 1)
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(time.Until(st.until), s.expire)
	}
}

// around returns the kept states next to a time: the latest that is not after it and the earliest after it, nil for none.
// They are held for the caller.
func (s *snapshots) around(at uint64) (before, after *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := time.Now().Add(time.Duration(s.window.Load()))
	for _, st := range s.kept {
		if st.time() > at {
			after = st
			break
		}
		before = st
	}
	for _, st := range []*state{before, after} {
		if st != nil {
			st.refs++
			if st.time() == at {
				st.until = until
			}
		}
	}
	return before, after
}

// expire lets go of the states whose time is over.
func (s *snapshots) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now, window := time.Now(), time.Duration(s.window.Load())
	next := now.Add(window)
	s.kept = slices.DeleteFunc(s.kept, func(st *state) bool {
		if latest := now.Add(window); st.until.After(latest) {
			st.until = latest // the window has become shorter
		}
		if st.until.After(now) {
			if st.until.Before(next) {
				next = st.until
			}
			return false
		}
		st.release()
		return true
	})
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if len(s.kept) > 0 {
		s.timer = time.AfterFunc(next.Sub(now), s.expire)
	}
}

// close lets go of all states. Readers keep theirs.
func (s *snapshots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, st := range s.kept {
		st.release()
	}
	s.kept = nil
}

// SnapshotsKept is the number of states kept for reads to come.
func (d *DB) SnapshotsKept() int {
	d.snapshots.mu.Lock()
	defer d.snapshots.mu.Unlock()
	return len(d.snapshots.kept)
}

// BeginTransactionAt starts a transaction that reads a snapshot instead of the state at its first operation. A collection
// whose definition has changed since cannot be used in it.
func (d *DB) BeginTransactionAt(s *Snapshot) *Transaction {
	t := d.beginTransaction(storage.TxnOptions{ConflictWait: transactionWait, At: s.state.engine})
	t.snap = s.state.defs
	t.reads.Store(s.at)
	t.txn.Snapshot()
	return t
}

// SnapshotTime is the cluster time that a cursor reads at; ok is false for one that reads the present state.
func (c *Cursor) SnapshotTime() (at uint64, ok bool) {
	if c.at == nil {
		return 0, false
	}
	return c.at.at, true
}
