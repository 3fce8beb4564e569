package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/archelon-db/archelon/internal/clock"
	"github.com/archelon-db/archelon/internal/storage"
)

// gateCount is the number of gates, a power of two.
const gateCount = 16

// gate is passed by every operation and held shut by Close. There are several so
// that operations on different processors do not meet on one cache line.
type gate struct {
	sync.RWMutex
	_ [40]byte
}

// Store is a storage engine in one folder. It implements [storage.Engine].
type Store struct {
	config Config
	log    *slog.Logger
	db     *pebble.DB
	cache  *pebble.Cache
	lock   *pebble.Lock // nil in memory
	format format

	gates    [gateCount]gate
	closing  atomic.Bool  // set first by Close: iterators stop, nothing new begins
	closed   bool         // guarded by all gates: pebble is closed
	iters    atomic.Int64 // open iterators
	nextTxn  atomic.Uint64
	openTxns atomic.Int64

	clock    *clock.Clock
	durable  durable
	views    viewSet
	locks    *lockTable
	ranges   rangeSet
	overlays sync.Pool // *writeSet

	txnMu  sync.Mutex // guards txns
	txns   txn        // ring of the open transactions that hold something of Pebble's
	space  spaceGuard
	nosync lateSync

	commitMu sync.Mutex                  // held while a commit is given its position and applied; Pebble may stall it
	tail     storage.TableID             // guarded by commitMu: the value of the log key
	stuck    bool                        // guarded by commitMu: Pebble's commit pipeline is locked for good
	failed   atomic.Pointer[FailedError] // set once the journal has failed or a file was found damaged
	commits  atomic.Int64
	syncs    atomic.Int64
}

var _ storage.Engine = (*Store)(nil)

// Open opens the store in a folder, or creates one.
func Open(config Config) (*Store, error) {
	s := &Store{config: config.withDefaults()}
	s.log, s.clock = s.config.Logger, s.config.Clock
	s.txns.prev, s.txns.next = &s.txns, &s.txns
	s.locks = newLockTable(&s.views.oldest, s.config.CacheBytes/cachedShare)
	s.overlays.New = func() any { return newWriteSet() }
	s.space = spaceGuard{fs: s.config.FS, dir: s.config.Dir, min: s.config.MinFreeBytes}
	s.nosync = lateSync{store: s, interval: s.config.JournalInterval}
	if s.nosync.interval <= 0 {
		s.nosync.interval = defaultNoSyncInterval
	}
	if err := s.open(); err != nil {
		err.Dir = s.config.Dir
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *Store) open() *OpenError {
	if err := s.openFolder(); err != nil {
		return err
	}
	s.cache = pebble.NewCache(s.config.CacheBytes)
	db, err := pebble.Open(s.config.Dir, s.pebbleOptions())
	if err != nil {
		if pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) {
			return &OpenError{Kind: ErrDamaged, Cause: err, Hint: "restore the folder from a backup"}
		}
		return &OpenError{Cause: err}
	}
	s.db = db
	if err := s.checkHeader(); err != nil {
		return &OpenError{Kind: ErrDamaged, Cause: err, Hint: "restore the folder from a backup"}
	}
	if err := s.ranges.load(db); err != nil {
		return &OpenError{Kind: ErrDamaged, Cause: err, Hint: "restore the folder from a backup"}
	}
	last, tail, err := lastPosition(db)
	if err != nil {
		return &OpenError{Kind: ErrDamaged, Cause: err, Hint: "restore the folder from a backup"}
	}
	s.tail = tail
	s.clock.SetApplied(last)
	s.durable.grow(s.clock.Applied())
	s.views.init(db, last)
	return nil
}

// openFolder makes the folder, locks it and checks that it is ours.
func (s *Store) openFolder() *OpenError {
	dir, fsys := s.config.Dir, s.config.FS
	const hint = "check the owner and the permissions of the folder"
	if err := makeDir(fsys, dir); err != nil {
		return &OpenError{Kind: ErrNotWritable, Cause: err, Hint: hint}
	}
	if s.config.Memory {
		s.format = format{version: formatVersion}
		return nil
	}
	lock, err := pebble.LockDirectory(dir, fsys)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			return &OpenError{Kind: ErrNotWritable, Cause: err, Hint: hint}
		}
		return &OpenError{Kind: ErrLocked, Cause: err, Hint: "stop the other process that uses it, or choose another folder"}
	}
	s.lock = lock
	f, oerr := checkFolder(fsys, dir)
	if oerr != nil {
		return oerr
	}
	s.format = f
	return nil
}

// checkHeader compares the store's header with the folder's, or writes it into a
// store that has just been created.
func (s *Store) checkHeader() error {
	want := s.format.header()
	b, closer, err := s.db.Get(headerKey)
	if err == nil {
		defer closer.Close()
		if string(b) != string(want) {
			return fmt.Errorf("its header %x does not belong to the file %s", b, formatFile)
		}
		return nil
	}
	if err != pebble.ErrNotFound {
		return err
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	used := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	if used {
		return errors.New("its header is missing")
	}
	return s.db.Set(headerKey, want, s.writeOptions(true))
}

func (s *Store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 orderedFS{s.config.FS},
		Lock:               s.lock,
		Logger:             pebbleLogger{s.log},
		EventListener:      &pebble.EventListener{DataCorruption: s.damaged},
		Cache:              s.cache,
		FormatMajorVersion: pebbleFormat,
		DisableWAL:         s.config.Memory,

		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       l0Threshold,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                1 << 20,
		FlushDelayDeleteRange:       10 * time.Second,

		CompactionConcurrencyRange: func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
	}
	o.Experimental.SpanPolicyFunc = s.spanPolicy
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	for i := range o.Levels {
		o.Levels[i].BlockSize = 8 << 10
		o.Levels[i].IndexBlockSize = 64 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

func (s *Store) writeOptions(sync bool) *pebble.WriteOptions {
	if sync && !s.config.Memory {
		return pebble.Sync
	}
	return pebble.NoSync
}

// enter passes a gate; false means that the store is closed. It must be followed
// by exit, and not be nested.
func (s *Store) enter(id uint64) (*gate, bool) {
	g := &s.gates[id%gateCount]
	g.RLock()
	if s.closed || s.closing.Load() {
		g.RUnlock()
		return nil, false
	}
	return g, true
}

// ID is the store's identity: chosen at creation, 32 hexadecimal digits.
func (s *Store) ID() string { return s.format.id.String() }

// Clock is the clock that gives out positions and ids.
func (s *Store) Clock() *clock.Clock { return s.clock }

// Visible returns the time up to which commits are visible.
func (s *Store) Visible() uint64 { return uint64(s.views.lastCommitted()) }

// Sync waits until everything committed so far is durable.
func (s *Store) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g, ok := s.enter(0)
	if !ok {
		return storage.ErrClosed
	}
	defer g.RUnlock()
	return s.syncJournal()
}

// fail makes the store refuse all further commits.
func (s *Store) fail(err error) error {
	f := &FailedError{Cause: err}
	if s.failed.CompareAndSwap(nil, f) {
		s.log.Error("storage has failed; no more writes are accepted", "error", err)
	}
	return s.failed.Load()
}

// damaged is told of a file whose contents fail their checksums. What is still
// whole can be read, and saved; writes would not reach the tables for long.
func (s *Store) damaged(info pebble.DataCorruptionInfo) {
	_ = s.fail(fmt.Errorf("%w: %s: %w", ErrDamaged, info.Path, info.Details))
}

// Compact rewrites a table's records.
func (s *Store) Compact(ctx context.Context, t storage.TableID) error {
	g, ok := s.enter(0)
	if !ok {
		return storage.ErrClosed
	}
	defer g.RUnlock()
	if f := s.failed.Load(); f != nil {
		return f
	}
	r := s.ranges.get(prefixTable, uint32(t))
	if r == nil {
		return storage.ErrNotFound
	}
	return s.db.Compact(ctx, r.prefix(), r.end(), false)
}

// Close stops the store: transactions that are still open end with ErrClosed.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return storage.ErrClosed
	}
	s.nosync.stop()
	if err := s.shut(); err != nil {
		return err
	}
	for i := range s.gates {
		defer s.gates[i].Unlock()
	}
	for s.txns.next != &s.txns {
		s.txns.next.end(0)
	}
	s.views.closeAll()
	s.closed = true
	if s.stuck {
		return s.failed.Load() // closing Pebble would wait for ever
	}
	return s.release()
}

// shut waits until no iterator is open and holds all gates shut. An operation that was
// inside before may still open an iterator while shut waits for its gate, so it looks
// again when it has them all.
func (s *Store) shut() error {
	deadline := time.Now().Add(closeTimeout)
	for {
		for s.iters.Load() > 0 {
			if time.Now().After(deadline) {
				return fmt.Errorf("close store: %d iterators are still open", s.iters.Load())
			}
			time.Sleep(time.Millisecond) //nolint:forbidigo // closing waits for iterators, which count themselves without a lock
		}
		for i := range s.gates {
			s.gates[i].Lock()
		}
		if s.iters.Load() == 0 {
			return nil
		}
		for i := range s.gates {
			s.gates[i].Unlock()
		}
	}
}

// release closes what Open has opened.
func (s *Store) release() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
		s.db = nil
	}
	if s.cache != nil {
		s.cache.Unref()
		s.cache = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}
