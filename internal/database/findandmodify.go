package database

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/projection"
)

// FindAndModify is the findAndModify command.
type FindAndModify struct {
	Filter, Sort, Fields bsonval.Doc
	Update               bsonval.Value // missing with Remove
	Remove, New, Upsert  bool
	Hint                 *plan.Hint
	Collation            *collation.Spec
	Let                  bsonval.Doc

	ArrayFilters []bsonval.Doc
}

// FindAndModifyResult says what a findAndModify found and did.
type FindAndModifyResult struct {
	Value           bsonval.Doc // projected; nil for none
	N               int64
	UpdatedExisting bool
	Upserted        bsonval.Value

	// Image is what is to be kept of the document that a retryable write has changed,
	// nil for nothing.
	Image *RetryImage
}

// RetryImage is a document from before or after the change of a retryable write.
type RetryImage struct {
	Kind string      // oplog.PreImage or oplog.PostImage
	Doc  bsonval.Doc // nil if it is the result's Value
}

// FindAndModify changes or removes the first matching document and returns it as
// it was or as it is.
func (d *DB) FindAndModify(ctx context.Context, op *Op, ns Namespace, s *FindAndModify) (FindAndModifyResult, error) {
	run := d.findAndUpdate
	if s.Remove {
		run = d.findAndRemove
	}
	defer op.assumeNothing()
	for {
		coll, err := d.assume(ctx, op, ns, s.Collation)
		if err != nil {
			return FindAndModifyResult{}, err
		}
		if res, err := run(ctx, op, ns, coll, s); !errors.Is(err, errOtherCollation) {
			return res, err
		}
	}
}

func (d *DB) findAndUpdate(ctx context.Context, op *Op, ns Namespace, coll *catalog.Collection, s *FindAndModify) (FindAndModifyResult, error) {
	u, err := d.newUpdater(op, ns, coll, &UpdateStatement{
		Filter: s.Filter, Update: s.Update, Upsert: s.Upsert, Sort: s.Sort, Hint: s.Hint, Collation: s.Collation,
		Let: s.Let, ArrayFilters: s.ArrayFilters,
	})
	if err != nil {
		return FindAndModifyResult{}, err
	}
	out, err := newReturned(&u.c, s)
	if err != nil {
		return FindAndModifyResult{}, err
	}
	var res FindAndModifyResult
	for attempt := 0; ; attempt++ {
		var exists bool
		exists, err = d.existing(ctx, op, ns, s.Upsert, func(w *writer) error {
			res = FindAndModifyResult{}
			sel, err := u.selection(w)
			if err != nil {
				return err
			}
			sel.index = sel.index || out.needsIndex()
			if sel.index && sel.matcher == nil {
				sel.matcher, sel.id = out.matcher, bsonval.Missing
			}
			err = w.findAndUpdate(ctx, u, sel, out, &res)
			op.Outcome.Found = res
			return err
		})
		if !exists {
			return FindAndModifyResult{}, nil
		}
		if !s.Upsert || op.Txn != nil || attempt > 3 || !mongoerr.Is(err, mongoerr.DuplicateKey) || !u.retryUpsert(err) {
			break
		}
	}
	if err != nil {
		return FindAndModifyResult{}, err
	}
	if res.UpdatedExisting {
		d.Metrics.Updated.Add(1)
	}
	return res, nil
}

func (w *writer) findAndUpdate(ctx context.Context, u *updater, sel *selection, out *returned, res *FindAndModifyResult) error {
	t, ok, err := w.first(ctx, sel)
	if err != nil {
		return err
	}
	if !ok {
		if !u.s.Upsert {
			return nil
		}
		doc, id, err := w.upsert(ctx, u)
		if err != nil {
			return err
		}
		res.N, res.Upserted = 1, id.Clone()
		if out.s.New {
			res.Value, err = out.project(doc, -1)
		}
		return err
	}
	kind := oplog.PreImage
	if out.s.New {
		kind = oplog.PostImage
	}
	kept := w.log.keepImage(kind)
	doc, changed, err := w.change(ctx, u, t)
	if err != nil {
		return err
	}
	res.N, res.UpdatedExisting = 1, true
	if !out.s.New {
		doc = t.doc
	}
	if kept && changed {
		out.keep(res, kind, doc)
	}
	res.Value, err = out.project(doc, t.index)
	return err
}

func (d *DB) findAndRemove(ctx context.Context, op *Op, ns Namespace, coll *catalog.Collection, s *FindAndModify) (res FindAndModifyResult, err error) {
	c, err := op.compilation(coll, s.Collation, s.Let)
	if err != nil {
		return res, err
	}
	out, err := newReturned(c, s)
	if err != nil {
		return res, err
	}
	exists, err := d.existing(ctx, op, ns, false, func(w *writer) error {
		res = FindAndModifyResult{}
		sel, err := w.selection(c, s.Filter, s.Sort, s.Hint)
		if err != nil {
			return err
		}
		if out.needsIndex() {
			sel.index, sel.matcher, sel.id = true, out.matcher, bsonval.Missing
		}
		t, ok, err := w.first(ctx, sel)
		op.Outcome.Found = res
		if !ok || err != nil {
			return err
		}
		kept := w.log.keepImage(oplog.PreImage)
		if err := w.remove(ctx, t.id, t.doc); err != nil {
			return err
		}
		res.N = 1
		if kept {
			out.keep(&res, oplog.PreImage, t.doc)
		}
		res.Value, err = out.project(t.doc, t.index)
		op.Outcome.Found = res
		return err
	})
	if err != nil || !exists {
		return FindAndModifyResult{}, err
	}
	d.Metrics.Deleted.Add(res.N)
	return res, nil
}

// returned projects the document that findAndModify returns.
type returned struct {
	s       *FindAndModify
	c       *compilation
	proj    *projection.Projection // nil for whole documents
	matcher *match.Matcher         // nil without a projection
}

func newReturned(c *compilation, s *FindAndModify) (*returned, error) {
	r := &returned{s: s, c: c}
	if len(s.Fields) <= 5 {
		return r, nil
	}
	var err error
	if r.matcher, err = c.filter(s.Filter, 0); err != nil {
		return nil, err
	}
	r.proj, err = projection.Compile(s.Fields, projection.Options{
		Mode: projection.Find, Compiler: c.compiler, Filter: r.matcher,
	})
	return r, err
}

func (r *returned) needsIndex() bool { return r.proj != nil && r.proj.Positional() }

// keep notes the image of a document; without a projection it is what is returned.
func (r *returned) keep(res *FindAndModifyResult, kind string, d bsonval.Doc) {
	res.Image = &RetryImage{Kind: kind}
	if r.proj != nil {
		res.Image.Doc = d.Clone()
	}
}

func (r *returned) project(d bsonval.Doc, index int) (bsonval.Doc, error) {
	if r.proj == nil {
		return d.Clone(), nil
	}
	return r.proj.Append(nil, r.c.context(), d, index)
}
