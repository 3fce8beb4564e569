package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/storage"
)

// Namespace names a collection.
type Namespace = pipeline.Namespace

// Config is what a database is made of.
type Config struct {
	// Engine keeps the bytes. The database closes it.
	Engine storage.Engine

	// Logger is required.
	Logger *slog.Logger

	// TempDir is where large sorts and groups spill; empty means the system's
	// folder for temporary files.
	TempDir string

	// JS runs JavaScript; nil turns $where and $function off.
	JS *js.Engine

	// Oplog makes the database log its changes; nil for a server that does not.
	Oplog *OplogConfig

	// CursorTimeout is how long an idle cursor lives; 0 means 10 minutes.
	CursorTimeout time.Duration
}

// DB is an open database. All methods are safe for concurrent use.
type DB struct {
	engine  storage.Engine
	shared  bool // other processes have the store, too
	catalog *catalog.Catalog
	log     *slog.Logger
	tempDir string
	js      *js.Engine

	oplog        *changeLog   // nil: changes are not logged
	imagesExpiry atomic.Int64 // nanoseconds
	hub          *logHub      // for change streams

	cursors *cursors
	// transactions are those that are open, for Close.
	transactions transactions
	plans        planCache
	filters      indexFilters
	ids          objectIDs
	hints        idHints
	writers      sync.Pool // of *writer
	updaters     sync.Pool // of *updater
	snapshots    snapshots
	tallies      tallies
	builds       builds
	members      members
	onReload     atomic.Pointer[func(context.Context) error] // see OnReload; nil for none

	settings       atomic.Pointer[settingsByHash] // nil for none
	settingsChange sync.Mutex                     // serialises changes of settings

	counted      chan struct{} // closed when the collections have been counted after a crash
	losses       uint64        // of the engine, when the database was opened
	catalogCount sync.Mutex    // serialises recount
	stop         context.CancelFunc
	work         sync.WaitGroup

	// Metrics counts what was done since the start.
	Metrics Metrics

	// LatencyStats tells how often a collection was read and written and how long
	// that took, for $collStats; set by the command layer before serving.
	LatencyStats func(ns Namespace, histograms bool) bsonval.Doc

	// RetryImages makes the documents of config.image_collection; set by the command
	// layer before serving.
	RetryImages func(ctx context.Context) ([]bsonval.Doc, error)

	// System opens aggregation stages that report on the server as a whole
	// ($currentOp, $listLocalSessions …); set by the command layer before serving.
	System func(ctx context.Context, ns Namespace, stage string, arg bsonval.Doc) (pipeline.Source, error)
}

// Metrics are counters for serverStatus.
type Metrics struct {
	Inserted, Updated, Deleted, Returned atomic.Int64
	WriteConflicts                       atomic.Int64
	ScannedKeys, ScannedDocs             atomic.Int64
	CollectionScans                      atomic.Int64
	ChangeStreams, OpenStreams           atomic.Int64 // opened, and those open now
	ExpandedStreams                      atomic.Int64 // opened with showExpandedEvents
	EventsSplit, EventsTooLarge          atomic.Int64 // change events
}

// Open opens a database on an engine.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Logger == nil || cfg.Engine == nil {
		return nil, errors.New("database: engine and logger are required")
	}
	cat, err := catalog.Open(ctx, cfg.Engine)
	if err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.Background())
	d := &DB{
		engine: cfg.Engine, shared: storage.IsShared(cfg.Engine), catalog: cat, log: cfg.Logger, tempDir: cfg.TempDir, js: cfg.JS,
		stop: stop, counted: make(chan struct{}), losses: storage.Losses(cfg.Engine),
	}
	cat.Reloaded = d.reloaded
	d.members.init()
	d.builds.init()
	d.tallies.init(d.members.id())
	d.ids.init()
	d.hints.init()
	d.updaters.New = func() any { return &updater{} }
	d.snapshots.init(cfg.Engine)
	d.cursors = newCursors(cfg.CursorTimeout)
	d.hub = newLogHub(d)
	if err := d.load(ctx, cfg.Oplog); err != nil {
		stop()
		return nil, err
	}
	if d.oplog != nil {
		d.work.Go(func() { d.oplog.noopLoop(background) })
		d.work.Go(func() { d.oplog.trim.loop(background) })
		d.work.Go(func() { d.hub.run(background) })
	}
	if d.shared {
		d.work.Go(func() { d.watchOthers(background) })
		d.work.Go(func() { d.memberLoop(background) })
	}
	if !d.shared && storage.Losses(d.engine) != 0 {
		d.work.Go(func() { d.settleLoop(background) })
	}
	d.work.Go(func() { d.cursors.reap(background) })
	d.work.Go(func() { d.abandonLoop(background) })
	d.work.Go(func() { d.expireLoop(background) })
	return d, nil
}

// load reads what the database keeps and puts right what a crash has left behind.
func (d *DB) load(ctx context.Context, log *OplogConfig) error {
	if err := d.loadCounts(ctx); err != nil {
		return err
	}
	if err := d.loadQuerySettings(ctx); err != nil {
		return err
	}
	if err := d.openOplog(ctx, log); err != nil {
		return err
	}
	if d.shared {
		return d.join(ctx)
	}
	return d.dropUnfinishedIndexes(ctx, func(*catalog.Index) bool { return true })
}

// Close stops background work, writes the collections' counts and closes the
// engine.
func (d *DB) Close() error {
	d.stop()
	d.work.Wait()
	d.transactions.abortAll()
	d.cursors.closeAll()
	d.snapshots.close()
	return errors.Join(d.saveCounts(context.Background()), d.engine.Close())
}

// Catalog returns the catalog as it is now.
func (d *DB) Catalog() *catalog.Snapshot { return d.catalog.Snapshot() }

// Engine returns the storage engine, for its statistics.
func (d *DB) Engine() storage.Engine { return d.engine }

// NewObjectID returns a new ObjectId.
func (d *DB) NewObjectID() bsonval.Value { return d.ids.next() }

// Op is one operation: what its statements share. The zero Op is an operation
// with defaults.
type Op struct {
	// Env is what expressions may know; made by NewOp.
	Env *expr.Env

	// Durable says that the client is to see only what is on disk. The kernel just
	// remembers it for cursors ([Cursor.Durable]): whoever answers the client waits.
	Durable bool

	// NoSync acknowledges before the commit is on disk (write concern w: 0 or
	// j: false).
	NoSync bool

	// BypassValidation skips collection validators.
	BypassValidation bool

	// KeepEmptyTimestamps stores Timestamp(0, 0) as it is instead of the present
	// time.
	KeepEmptyTimestamps bool

	// Retryable names the retryable write that the operation is; nil for none.
	Retryable *Retryable

	// Owner is the session that cursors belong to; empty for none.
	Owner string

	// User is who cursors belong to; empty for nobody.
	User string

	// Txn is the multi-document transaction that the operation is part of; nil for
	// an operation that stands for itself.
	Txn *Transaction

	// At is the snapshot that the operation reads; nil for the state as it is now. It has no meaning with Txn, nor for
	// writes.
	At *Snapshot

	// BeforeCommit, if set, is called in each write transaction just before it
	// commits, to store what must be decided together with the write.
	BeforeCommit func(ctx context.Context, txn storage.Txn) error

	// Outcome is what the transaction has done, when BeforeCommit is called.
	Outcome Outcome

	// Expect, if set, returns what the next transaction of a write expects of a shared
	// store, in addition to the definitions. The write fails if that is not so, and is to
	// be run again. Committed, if set, is called after each commit.
	Expect    func() []*storage.Expectation
	Committed func()

	// Statement is the number of the statement that is under way in its command.
	Statement int

	series    *series           // that its writes are part of; nil for none
	wrote     bool              // something may have been committed, in a shared store
	temporary bool              // the collection it writes was made for it, and is not made again if somebody drops it
	assumed   assumption        // what its statement was compiled with
	defs      *catalog.Snapshot // that the operation goes by, in a shared store
	used      []usedDefinition  // of them
	settings  *QuerySettings    // of the command's shape; nil for none
	settled   bool              // settings have been looked for
}

// NewOp makes an operation that begins now.
func (d *DB) NewOp(ctx context.Context) *Op {
	op := &struct { // in one allocation
		Op
		env    expr.Env
		script js.Session
	}{env: expr.Env{NowMS: time.Now().UnixMilli(), Rand: rand.Float64, Ctx: ctx}}
	op.Env = &op.env
	if d.js != nil {
		d.js.Begin(&op.script)
		op.env.JS = &op.script
	}
	return &op.Op
}

// tempFile makes a scratch file without a name.
func (d *DB) tempFile() (pipeline.TempFile, error) {
	f, err := os.CreateTemp(d.tempDir, "archelon-spill-*")
	if err != nil {
		return nil, fmt.Errorf("spill to disk: %w", err)
	}
	// The file lives as long as it is open.
	return f, os.Remove(f.Name())
}

// clientError turns errors of the engine and of contexts into what clients are
// told. Others pass unchanged.
func clientError(ctx context.Context, err error) error {
	switch {
	case err == nil || mongoerr.As(err) != nil:
		return err
	case errors.Is(err, storage.ErrWriteConflict):
		return mongoerr.New(mongoerr.WriteConflict, "Caused by :: Write conflict during plan execution and yielding is "+
			"disabled. :: Please retry your operation or multi-document transaction.")
	case errors.Is(err, context.DeadlineExceeded):
		return mongoerr.New(mongoerr.MaxTimeMSExpired, "operation exceeded time limit")
	case errors.Is(err, context.Canceled):
		if e := mongoerr.As(context.Cause(ctx)); e != nil {
			return e
		}
		return mongoerr.New(mongoerr.Interrupted, "operation was interrupted")
	case errors.Is(err, storage.ErrClosed):
		return mongoerr.New(mongoerr.InterruptedAtShutdown, "interrupted at shutdown")
	case errors.Is(err, storage.ErrNoSpace):
		return mongoerr.New(mongoerr.OutOfDiskSpace, "%v", err)
	}
	return err
}
