package database

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/storage"
)

// A series is several operations, of which each changes one record of a collection, in one
// storage transaction: with an engine that is another server most of the time goes into
// journeys, and that makes them few. What each changes the next one sees; an error of one undoes all,
// and they are done one by one then.
type series struct {
	w       *writer
	ns      Namespace
	counted []counted
	err     error // of an operation, which may have left half of what it does behind
}

// counted is what is to be added to a metric when the series has taken effect.
type counted struct {
	metric *atomic.Int64
	n      int64
}

// count adds to a metric what an operation has done.
func (d *DB) count(op *Op, metric *atomic.Int64, n int64) {
	if s := op.series; s != nil {
		s.counted = append(s.counted, counted{metric, n})
		return
	}
	metric.Add(n)
}

// IsDistant says whether operations are better done in series.
func (d *DB) IsDistant() bool { return storage.IsDistant(d.engine) }

// InSeries says whether the operation's writes are part of a series. Statement then tells the log
// which is under way.
func (op *Op) InSeries() bool { return op.series != nil }

// SeriesIsFull says whether the series should end here, because it has written much: fn may leave the rest undone.
func (op *Op) SeriesIsFull() bool { return op.series.w.isFull() }

// Together runs fn, in which the operation's writes of single records of a collection are a
// series. It returns false if nothing has been done, because something was in the way or fn
// has failed. filters are those of the writes to come, nil for what is none of a single record's.
func (d *DB) Together(ctx context.Context, op *Op, ns Namespace, filters []bsonval.Doc, fn func() error) (done bool, err error) {
	w := d.newWriter()
	defer d.release(w)
	w.reset(d, op)
	w.hope = hopeful
	ran, s := false, &series{w: w, ns: ns}
	err = d.writeOnce(ctx, ns, w, func(w *writer) error {
		if w.coll.Capped != nil {
			return errNoSeries
		}
		if err := foresee(ctx, w.txn, w.coll, filters); err != nil {
			return err
		}
		op.series = s
		defer func() { op.series = nil }()
		if err := cmp.Or(fn(), s.err); err != nil {
			return err
		}
		ran = true
		return nil
	})
	switch {
	case err == nil:
		for _, c := range s.counted {
			c.metric.Add(c.n)
		}
		return true, nil
	case !ran, errors.Is(err, storage.ErrWriteConflict), catalog.IsStale(err):
		return false, nil
	}
	return false, clientError(ctx, err) // of the commit: it may have happened
}

// errNoSeries says that a collection is written one record after the other.
var errNoSeries = errors.New("database: not in a series")

// write is DB.write in a series. After an error there is nothing to go on with, nor to try again.
func (s *series) write(ctx context.Context, op *Op, ns Namespace, fn func(*writer) error) error {
	switch {
	case s.err != nil:
	case ns != s.ns:
		s.err = errNoSeries
	default:
		s.w.stmt = op.Statement
		s.err = clientError(ctx, fn(s.w))
	}
	return s.err
}

// Foresee tells a transaction which records the operations to come are about.
func (d *DB) Foresee(ctx context.Context, op *Op, ns Namespace, filters []bsonval.Doc) error {
	t := op.Txn
	coll, err := t.collection(ctx, ns)
	if err != nil || coll == nil || coll.IsView() || coll.Capped != nil {
		return clientError(ctx, err)
	}
	if err = t.holdShared(ctx, coll); err == nil {
		err = foresee(ctx, t.txn, coll, filters)
	}
	if err != nil {
		t.Abort()
	}
	return clientError(ctx, err)
}

// foresee tells a storage transaction of the records that filters find by _id.
func foresee(ctx context.Context, txn storage.Txn, coll *catalog.Collection, filters []bsonval.Doc) error {
	ahead, ok := txn.(storage.AheadLocker)
	x := coll.IDIndex()
	if !ok || x == nil {
		return nil
	}
	var keys [][]byte
	for _, f := range filters {
		if id, plain := idOf(filterOf(f), coll.Collation); plain {
			keys = append(keys, keystring.Append(nil, id, false, x.Collator()))
		}
	}
	if len(keys) < 2 {
		return nil
	}
	found, err := ahead.LookupAhead(ctx, x.ID, keys)
	if err != nil {
		return err
	}
	ids := make([]storage.RecordID, 0, len(found))
	for _, id := range found {
		if id != 0 {
			ids = append(ids, id)
		}
	}
	ahead.LockAhead(coll.Table, ids)
	return nil
}
