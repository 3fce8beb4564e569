package database

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/storage"
)

// Out implements pipeline.Data: the documents go into a temporary collection
// with the target's options and indexes, which takes the target's name at the
// end.
func (t *data) Out(ctx context.Context, o pipeline.OutSpec) (pipeline.Writer, error) {
	if o.TimeSeries != nil {
		return nil, mongoerr.New(mongoerr.NotImplemented, "$out to a time-series collection is not supported")
	}
	target := t.db.catalog.Collection(o.NS.DB, o.NS.Coll)
	options := bsonval.EmptyDoc
	var specs []bsonval.Doc
	if target != nil {
		if target.IsView() {
			return nil, mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", o.NS)
		}
		if target.Capped != nil {
			return nil, mongoerr.New(17152, "namespace '%s' is capped so it can't be used for $out", o.NS)
		}
		options = target.Options
		for _, x := range target.Indexes {
			specs = append(specs, x.Spec)
		}
	} else {
		specs = []bsonval.Doc{idIndexSpec(nil)}
	}
	w := &outWriter{db: t.db, op: t.op, target: o.NS, options: options, specs: specs}
	w.temp = Namespace{DB: o.NS.DB, Coll: fmt.Sprintf("tmp.agg_out.%d", t.db.temporaryNumber())}
	if err := w.create(ctx); err != nil {
		w.Abort() // it may have been created
		return nil, err
	}
	return w, nil
}

// outWriter fills a temporary collection.
type outWriter struct {
	db           *DB
	op           *Op
	target, temp Namespace
	options      bsonval.Doc   // of the target when it began
	specs        []bsonval.Doc // of its indexes
	docs         []bsonval.Doc
	size         int
	done         bool
	generation   uint64 // of the storage when it began
}

func (w *outWriter) create(ctx context.Context) (err error) {
	if w.generation, err = storage.Generation(ctx, w.db.engine); err != nil {
		return err
	}
	coll, err := catalog.NewCollection(w.temp.DB, w.temp.Coll, w.options)
	if err != nil {
		return err
	}
	for _, spec := range w.specs {
		x, err := catalog.NewIndex(spec)
		if err != nil {
			return err
		}
		coll.Indexes = append(coll.Indexes, x)
	}
	return w.db.catalog.Change(ctx, func(ch *catalog.Change) error {
		if old := ch.Collection(w.temp.DB, w.temp.Coll); old != nil {
			if err := w.db.dropLogged(ctx, ch, old); err != nil {
				return err
			}
		}
		return w.db.create(ctx, ch, coll)
	})
}

// Write implements pipeline.Writer.
func (w *outWriter) Write(ctx context.Context, d bsonval.Doc) error {
	w.docs = append(w.docs, d.Clone())
	if w.size += len(d); w.size < batchBytes && len(w.docs) < insertBatchDocs {
		return nil
	}
	return w.flush(ctx)
}

func (w *outWriter) flush(ctx context.Context) error {
	op := *w.op
	op.NoSync, op.temporary = true, true
	res, err := w.db.Insert(ctx, &op, w.temp, w.docs, true)
	w.docs, w.size = w.docs[:0], 0
	if err == nil && len(res.Errors) > 0 {
		err = res.Errors[0].Err
	}
	return err
}

// Commit implements pipeline.Writer.
func (w *outWriter) Commit(ctx context.Context) error {
	if err := w.flush(ctx); err != nil {
		return err
	}
	if err := w.db.syncSince(ctx, w.generation); err != nil { // before the target is gone
		return clientError(ctx, err)
	}
	err := w.db.catalog.Change(ctx, func(ch *catalog.Change) error {
		temp, target := ch.Collection(w.temp.DB, w.temp.Coll), ch.Collection(w.target.DB, w.target.Coll)
		if temp == nil {
			return errTemporaryGone(w.temp)
		}
		if err := w.isAsItWas(target); err != nil {
			return err
		}
		return w.db.rename(ctx, ch, temp, target, w.target.DB, w.target.Coll)
	})
	w.done = err == nil
	return err
}

// isAsItWas says whether the documents have what has been defined for the target.
func (w *outWriter) isAsItWas(target *catalog.Collection) error {
	if target == nil || target.IsView() {
		return nil // nothing to lose, or rename refuses it
	}
	if !bytes.Equal(target.Options, w.options) {
		return mongoerr.New(mongoerr.CommandFailed, "collection options of target collection %s changed during processing", w.target)
	}
	if !slices.EqualFunc(target.Indexes, w.specs, func(x *catalog.Index, spec bsonval.Doc) bool { return bytes.Equal(x.Spec, spec) }) {
		return mongoerr.New(mongoerr.CommandFailed, "indexes of target collection %s changed during processing", w.target)
	}
	return nil
}

// Abort implements pipeline.Writer.
func (w *outWriter) Abort() {
	if w.done {
		return
	}
	w.done = true
	ctx := context.Background()
	drop := func(ch *catalog.Change) error {
		coll := ch.Collection(w.temp.DB, w.temp.Coll)
		if coll == nil {
			return nil
		}
		return w.db.dropLogged(ctx, ch, coll)
	}
	err := w.db.catalog.Change(ctx, drop)
	if e := mongoerr.As(err); e != nil && e.Code == mongoerr.HostUnreachable { // as what it is called for, perhaps: the storage may be back
		err = w.db.catalog.Change(ctx, drop)
	}
	if err != nil {
		w.db.log.Error("drop temporary collection of $out", "ns", w.temp.String(), "error", err)
	}
}
