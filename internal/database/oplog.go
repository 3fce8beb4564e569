package database

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// The collections of the oplog. Both are log tables: their records' ids are times.
var (
	oplogNS  = Namespace{DB: "local", Coll: "oplog.rs"}
	imagesNS = Namespace{DB: "config", Coll: "system.preimages"}
)

// OplogConfig is what the oplog is made of.
type OplogConfig struct {
	// SizeBytes is how large a new oplog may become; it is then stored and changed
	// by ResizeOplog. 0 means 256 MiB.
	SizeBytes int64

	// MinRetention is how long entries are kept even if the oplog becomes larger; 0
	// for what ResizeOplog has said last, or no such promise.
	MinRetention time.Duration
}

// defaultOplogBytes is the size of an oplog for which none is given.
const defaultOplogBytes = 256 << 20

// changeLog writes the oplog: each change adds its entry in the storage transaction
// that makes it, and the commit gives the entry its time.
type changeLog struct {
	db            *DB
	table, images storage.TableID
	guard         *catalog.Guard // of local.oplog.rs: what is in it, and who waits for more
	trim          *trimmer
	watchers      atomic.Int64                        // who wants to be told regularly that time goes on
	total         struct{ count, bytes atomic.Int64 } // of the entries of this process
	scratch       sync.Pool                           // of *logScratch
	scalars       *oplog.Targets                      // of updates that set scalars only
}

// logScratch is what a writer needs to make entries.
type logScratch struct {
	entry, diff []byte
	differ      oplog.Differ
}

// maxScratchBytes is how large a buffer may be that is kept for the next writer.
const maxScratchBytes = 64 << 10

// HasOplog says whether changes are logged.
func (d *DB) HasOplog() bool { return d.oplog != nil }

// OplogTable is the table of local.oplog.rs; ok is false if changes are not logged.
func (d *DB) OplogTable() (table storage.TableID, ok bool) {
	if d.oplog == nil {
		return 0, false
	}
	return d.oplog.table, true
}

// openOplog makes the collections of the oplog if they are missing and goes on
// with what is in them.
func (d *DB) openOplog(ctx context.Context, cfg *OplogConfig) error {
	if cfg == nil {
		return d.markGap(ctx)
	}
	size := cfg.SizeBytes
	if size == 0 {
		size = defaultOplogBytes
	}
	b := bsonval.NewBuilder().Bool("capped", true).Int64("size", size).Bool("autoIndexId", false)
	log, fresh, err := d.openLog(ctx, oplogNS, b.Build())
	if err != nil {
		return err
	}
	images, _, err := d.openLog(ctx, imagesNS, bsonval.EmptyDoc)
	if err != nil {
		return err
	}
	gap, err := d.closeGap(ctx, log, images)
	if err != nil {
		return err
	}
	retention := cfg.MinRetention
	if retention == 0 {
		if retention, err = d.storedRetention(ctx); err != nil {
			return err
		}
	}
	o := &changeLog{db: d, table: log.Table, images: images.Table, guard: log.Guard, scalars: oplog.NewTargets()}
	o.scratch.New = func() any { return &logScratch{} }
	if o.trim, err = newTrimmer(ctx, o, log.Capped.Size, retention); err != nil {
		return err
	}
	d.oplog = o
	if fresh && !gap {
		return d.Noop(ctx, oplog.Message("initiating set"))
	}
	return nil
}

// openLog returns a log table's collection, made if it is missing.
func (d *DB) openLog(ctx context.Context, ns Namespace, options bsonval.Doc) (log *catalog.Collection, fresh bool, err error) {
	err = d.catalog.Change(ctx, func(ch *catalog.Change) error {
		fresh = false
		if log = ch.Collection(ns.DB, ns.Coll); log != nil {
			if !log.Log {
				return mongoerr.New(mongoerr.NamespaceExists, "%s is a collection that this server has not made for its "+
					"oplog; rename or drop it in a standalone server", ns)
			}
			return nil
		}
		if log, err = catalog.NewCollection(ns.DB, ns.Coll, options); err != nil {
			return err
		}
		log.Log, fresh = true, true
		return ch.Create(ctx, log)
	})
	return log, fresh, err
}

// isLogged says whether changes of a collection are logged: not those of the
// server's own books.
func isLogged(db, coll string) bool {
	switch db {
	case "local":
		return false
	case "config":
		return coll != "system.preimages" && coll != "transactions" && coll != "image_collection"
	}
	return coll != "system.profile"
}

// errWriteLog refuses writes to a log by anybody but the oplog.
func errWriteLog(ns Namespace) error {
	return mongoerr.New(mongoerr.InvalidNamespace, "cannot write to %s", ns)
}

// append adds an entry to a transaction.
func (o *changeLog) append(ctx context.Context, txn storage.Txn, entry []byte) error {
	return txn.Append(ctx, o.table, entry, entryStamp(entry))
}

// entryStamp says where a commit writes an entry's time and wall clock.
func entryStamp(entry []byte) storage.LogStamp {
	return storage.LogStamp{Time: len(entry) - oplog.TimeFromEnd, Wall: len(entry) - oplog.WallFromEnd}
}

// committed notes that entries have been committed.
func (o *changeLog) committed(count, bytes int64) {
	if count == 0 {
		return
	}
	o.total.count.Add(count)
	o.total.bytes.Add(bytes)
	o.guard.Count.Add(count)
	o.guard.Bytes.Add(bytes)
	o.trim.grew(count, bytes)
	o.guard.Arrivals.Announce()
}

// logged is what this process has logged.
func (o *changeLog) logged() tally { return tally{o.total.count.Load(), o.total.bytes.Load()} }

// loggedElsewhere notes what another process has logged.
func (o *changeLog) loggedElsewhere(t tally) {
	o.guard.Count.Add(t.count)
	o.guard.Bytes.Add(t.bytes)
	o.trim.grew(t.count, t.bytes)
}

// Noop logs an entry that changes nothing. Everything committed before it is durable
// when it returns.
func (d *DB) Noop(ctx context.Context, o bsonval.Doc) error {
	if d.oplog == nil {
		return errNoOplog()
	}
	txn := d.engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	op := oplog.NoopOp("", o, nil)
	entry := op.Append(nil, &oplog.Session{})
	if err := d.oplog.append(ctx, txn, entry); err != nil {
		return clientError(ctx, err)
	}
	if _, err := txn.Commit(context.WithoutCancel(ctx)); err != nil {
		return clientError(ctx, err)
	}
	d.oplog.committed(1, int64(len(entry)))
	return nil
}

// WatchOplog asks for an entry now and then while nothing happens, so that whoever
// follows the log sees that time goes on; until release is called.
func (d *DB) WatchOplog() (release func()) {
	if d.oplog == nil {
		return func() {}
	}
	d.oplog.watchers.Add(1)
	return sync.OnceFunc(func() { d.oplog.watchers.Add(-1) })
}

// noopInterval is how often the periodic no-op is due, as in MongoDB.
const noopInterval = 10 * time.Second

// noopLoop logs no-ops while somebody watches a log in which nothing happens, or
// knows a later time than that of its last entry.
func (o *changeLog) noopLoop(ctx context.Context) {
	tick := time.NewTicker(noopInterval)
	defer tick.Stop()
	clock := o.db.engine.Clock()
	before, known := o.guard.Count.Load(), clock.Time()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if o.wantsNoop(before, known) {
			if err := o.db.Noop(ctx, oplog.Message("periodic noop")); err != nil && ctx.Err() == nil {
				o.db.log.Warn("periodic no-op not logged", "error", err)
			}
		}
		before, known = o.guard.Count.Load(), clock.Time()
	}
}

// wantsNoop says whether a no-op is due, by the number of entries and the time known
// at the last look. A time known since then is not that of a commit under way.
func (o *changeLog) wantsNoop(before int64, known uint64) bool {
	return o.guard.Count.Load() == before && (o.watchers.Load() > 0 || known > o.db.engine.Clock().Applied())
}
