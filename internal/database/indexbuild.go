package database

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// An index is built in the background of writes: it is in the catalog, not
// ready, from the start, so that writers maintain it. The build goes through
// the records in natural order in batches, each in a transaction of its own
// under the collection's guard, so that writers wait for one batch at most.
// Records behind the present position are in the index already, those ahead of
// it are either maintained by their writers or still to come; an entry put
// twice is the same entry. When the end is reached the index becomes ready.

// Limits of one batch of a build.
const (
	buildBatchDocs  = 5000
	buildBatchBytes = 8 << 20 // of documents
)

// buildReport is how often a long build reports its progress to the log.
const buildReport = 10 * time.Second

// build fills new indexes of a collection. If it fails they are gone.
func (d *DB) build(ctx context.Context, coll *catalog.Collection, indexes []*catalog.Index, id oplog.UUID) error {
	defer d.builds.end(indexes)
	b := &indexBuild{db: d, ns: Namespace{DB: coll.DB, Coll: coll.Name}, uuid: coll.UUID, indexes: indexes, id: id, began: time.Now()}
	b.reported = b.began
	generation, err := storage.Generation(ctx, d.engine)
	if err == nil {
		err = b.run(ctx)
	}
	if err == nil {
		err = d.syncSince(ctx, generation) // or the index would be ready without what a batch has put there
	}
	if err == nil {
		err = b.finish(ctx, nil)
	}
	if err != nil {
		d.log.Info("index build failed", "ns", b.ns.String(), "indexes", b.names(), "error", err)
		return errors.Join(err, b.finish(context.WithoutCancel(ctx), err))
	}
	d.log.Info("index build done", "ns", b.ns.String(), "indexes", b.names(), "documents", b.done, "took", time.Since(b.began))
	return nil
}

// indexBuild is one build under way. It belongs to one goroutine.
type indexBuild struct {
	db      *DB
	ns      Namespace
	uuid    catalog.UUID
	indexes []*catalog.Index
	id      oplog.UUID // in the log

	last            storage.RecordID // the last record that is in the indexes
	done            int64
	began, reported time.Time
}

func (b *indexBuild) names() []string {
	var names []string
	for _, x := range b.indexes {
		names = append(names, x.Name)
	}
	return names
}

func (b *indexBuild) run(ctx context.Context) error {
	op := b.db.NewOp(ctx)
	op.NoSync = true
	hope := hopeful
	for {
		more, err := b.batch(ctx, op, hope)
		if catalog.IsStale(err) {
			err = b.db.catalog.Refresh(ctx, b.db.catalog.Snapshot())
			if err == nil {
				continue
			}
		}
		if errors.Is(err, storage.ErrWriteConflict) {
			hope = none
			if err := pause(ctx, 10); err != nil {
				return err
			}
			continue // a writer that began before the guard was taken, or a key that is there
		}
		hope = hopeful
		if err != nil || !more {
			return err
		}
		if now := time.Now(); now.Sub(b.reported) > buildReport {
			b.reported = now
			b.db.log.Info("index build goes on", "ns", b.ns.String(), "indexes", b.names(), "documents", b.done,
				"of_about", b.db.about(b.ns))
		}
	}
}

// about is the number of documents of a collection, roughly.
func (d *DB) about(ns Namespace) int64 {
	if coll := d.catalog.Collection(ns.DB, ns.Coll); coll != nil && coll.Guard != nil {
		return coll.Guard.Count.Load() // of a shared store only what this process has added
	}
	return 0
}

// collection returns the collection if it still has the indexes.
func (b *indexBuild) collection(snap *catalog.Snapshot) (*catalog.Collection, error) {
	coll := snap.Collection(b.ns.DB, b.ns.Coll)
	if coll == nil || coll.UUID != b.uuid {
		return nil, mongoerr.New(mongoerr.IndexBuildAborted, "Index build failed: the collection %s was dropped", b.ns)
	}
	for _, x := range b.indexes {
		if coll.Index(x.Name) == nil || coll.Index(x.Name).ID != x.ID {
			return nil, mongoerr.New(mongoerr.IndexBuildAborted, "Index build failed: the index %s was dropped", x.Name)
		}
	}
	return coll, nil
}

// batch adds the next records to the indexes.
func (b *indexBuild) batch(ctx context.Context, op *Op, hope hope) (more bool, err error) {
	coll, err := b.collection(b.db.catalog.Snapshot())
	if err != nil {
		return false, err
	}
	if err := coll.Guard.Exclude(ctx); err != nil {
		return false, err
	}
	defer coll.Guard.Readmit()
	snap := b.db.catalog.Snapshot()
	if coll, err = b.collection(snap); err != nil {
		return false, err
	}
	w := &writer{db: b.db, op: op, coll: coll, losses: storage.Losses(b.db.engine)}
	w.txn = b.db.engine.Begin(b.db.buildOptions(w, snap, hope))
	defer w.txn.Rollback()
	it, err := w.txn.Scan(ctx, coll.Table, storage.RecordRange{Min: b.last + 1})
	if err != nil {
		return false, err
	}
	if b.db.shared {
		// Transactions that have their snapshot and write the collection only now
		// would not see these entries: this makes them fail.
		if err := w.txn.PutMeta(ctx, coll.Key(), coll.Stored()); err != nil {
			return false, errors.Join(err, it.Close())
		}
	}
	last, docs, size, err := b.fill(ctx, w, it)
	more = docs == b.batchDocs() || size >= buildBatchBytes
	if err = errors.Join(err, it.Close()); err != nil {
		return false, err
	}
	if err := w.commit(); err != nil {
		return false, err
	}
	b.last = max(b.last, last)
	b.done += docs
	return more, nil
}

// buildOptions are those of a batch's transaction, which keeps the writers of other
// processes out.
func (d *DB) buildOptions(w *writer, snap *catalog.Snapshot, hope hope) storage.TxnOptions {
	o := storage.TxnOptions{NoSync: true, Hopeful: hope == hopeful, Losses: w.losses}
	if d.shared {
		o.Expect, o.Alone, o.ConflictWait = snap.Version(), []storage.TableID{w.coll.Table}, conflictWait
	}
	return o
}

// batchDocs is how many documents a batch has. In a shared store one takes longer, and
// the writers of other processes wait for it with connections of their own.
func (b *indexBuild) batchDocs() int64 {
	if b.db.shared {
		return buildBatchDocs / 5
	}
	return buildBatchDocs
}

// fill writes the entries of one batch's records.
func (b *indexBuild) fill(ctx context.Context, w *writer, it storage.RecordIterator) (last storage.RecordID, docs, size int64, err error) {
	for docs < b.batchDocs() && size < buildBatchBytes && it.Next() {
		id, doc := it.ID(), bsonval.Doc(it.Doc())
		for _, x := range b.indexes {
			if err := w.keysOf(x, doc, &w.keys); err != nil {
				return 0, 0, 0, err
			}
			if err := w.mark(ctx, x, w.keys.Multikey); err != nil {
				return 0, 0, 0, err
			}
			for _, k := range w.keys.List {
				if err := w.put(ctx, x, k, id, doc); err != nil {
					return 0, 0, 0, err
				}
			}
		}
		last = id
		docs++
		size += int64(len(doc))
	}
	return last, docs, size, it.Err()
}

// finish makes the indexes ready, or removes them if the build has failed.
func (b *indexBuild) finish(ctx context.Context, failure error) error {
	return b.db.catalog.Change(ctx, func(ch *catalog.Change) error {
		coll, err := b.collection(ch.Snapshot())
		if failure != nil {
			return b.abandon(ctx, ch, failure)
		}
		if err != nil {
			return err
		}
		o := oplog.CommitIndexBuild(coll.Name, b.id, indexSpecs(b.indexes)...)
		if err := b.db.logCommand(ctx, ch, coll, o, nil); err != nil {
			return err
		}
		return ch.Put(ctx, coll.With(func(c *catalog.Collection) {
			for i, x := range c.Indexes {
				if slices.ContainsFunc(b.indexes, func(y *catalog.Index) bool { return x.ID == y.ID }) {
					ready := *x
					ready.Ready = true
					c.Indexes[i] = &ready
				}
			}
		}))
	})
}

// abandon removes what is left of the indexes.
func (b *indexBuild) abandon(ctx context.Context, ch *catalog.Change, failure error) error {
	coll := ch.Collection(b.ns.DB, b.ns.Coll)
	if coll == nil || coll.UUID != b.uuid {
		return nil
	}
	if err := ch.Hold(coll); err != nil {
		return err
	}
	var drop []*catalog.Index
	for _, x := range coll.Indexes {
		if slices.ContainsFunc(b.indexes, func(y *catalog.Index) bool { return x.ID == y.ID }) {
			drop = append(drop, x)
		}
	}
	if len(drop) == 0 {
		return nil
	}
	o := oplog.AbortIndexBuild(coll.Name, b.id, causeOf(failure), indexSpecs(b.indexes)...)
	if err := b.db.logCommand(ctx, ch, coll, o, nil); err != nil {
		return err
	}
	return removeIndexes(ctx, ch, coll, drop)
}

// causeOf is an error as the log tells it.
func causeOf(err error) bsonval.Doc {
	e := mongoerr.As(err)
	if e == nil {
		e = mongoerr.New(mongoerr.InternalError, "%v", err)
	}
	return bsonval.NewBuilder().Bool("ok", false).Int32("code", int32(e.Code)).Str("codeName", e.Code.Name()).
		Str("errmsg", e.Message).Build()
}

// buildPoll is how often somebody who waits for a build looks.
const buildPoll = 20 * time.Millisecond

// awaitBuild waits until an index is ready or gone.
func (d *DB) awaitBuild(ctx context.Context, ns Namespace, x *catalog.Index) error {
	tick := time.NewTicker(buildPoll)
	defer tick.Stop()
	for {
		coll := d.catalog.Collection(ns.DB, ns.Coll)
		if coll == nil {
			return nil
		}
		if now := coll.Index(x.Name); now == nil || now.ID != x.ID || now.Ready {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
