package database

import (
	"context"
	"errors"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/sortkey"
	"github.com/archelon-db/archelon/internal/storage"
)

// target is a record that a write is about to change.
type target struct {
	id  storage.RecordID
	doc bsonval.Doc // not the engine's bytes; valid until the next one is looked for
	// index is the array element that the filter matched, -1 for none.
	index int
	// claimed says that the transaction has claimed the record.
	claimed bool
}

// selection is what the writes of one statement look for.
type selection struct {
	c       *compilation
	filter  bsonval.Doc
	matcher *match.Matcher // nil as long as only an _id is asked for
	id      bsonval.Value  // the _id, if that is all that is asked for
	sort    *sortkey.Pattern
	hint    *plan.Hint
	index   bool // the array element matched is wanted
}

// selection compiles a statement's filter, in the place of the one before. Filters
// on one _id are not compiled unless the array position is wanted.
func (w *writer) selection(c *compilation, filter, sort bsonval.Doc, hint *plan.Hint) (*selection, error) {
	s := &w.sel
	*s = selection{c: c, filter: filter, hint: hint}
	if filter == nil {
		s.filter = bsonval.EmptyDoc
	}
	// The _id index is in the order of the collection's collation.
	if id, ok := idOf(s.filter, w.coll.Collation); ok && c.collation == nil && hint == nil {
		s.id = id // there is nothing to sort, and MongoDB does not look whether it could be
		return s, nil
	}
	var err error
	if len(sort) > 5 {
		if s.sort, err = sortkey.Compile(sort); err != nil {
			return nil, err
		}
	}
	s.matcher, err = c.filter(s.filter, 0)
	return s, err
}

// first finds the first record that a statement is about; ok is false if there
// is none.
func (w *writer) first(ctx context.Context, s *selection) (t target, ok bool, err error) {
	if !s.id.IsMissing() {
		return w.byID(ctx, s)
	}
	var view exec.View
	view.Attach(w.txn)
	defer view.Detach()
	ec := s.c.context()
	scan, err := w.open(ctx, &view, s, ec)
	if err != nil {
		return t, false, err
	}
	defer scan.Close()
	row, err := firstRow(ctx, scan, s, ec.Env.Collator)
	if err == io.EOF {
		return t, false, nil
	}
	if err != nil {
		return t, false, err
	}
	t = target{id: row.ID, doc: row.Doc.Clone(), index: -1}
	if s.index {
		_, t.index, err = s.matcher.MatchIndex(ec, t.doc)
	}
	return t, err == nil, err
}

// firstRow is the first record in sort order.
func firstRow(ctx context.Context, scan *exec.Scan, s *selection, c bsonval.Collator) (exec.Row, error) {
	row, err := scan.Next(ctx)
	if err != nil || scan.Plan.Sorted {
		return row, err
	}
	best := exec.Row{ID: row.ID, Doc: row.Doc.Clone()}
	for {
		row, err := scan.Next(ctx)
		if err == io.EOF {
			return best, nil
		}
		if err != nil {
			return row, err
		}
		r, err := s.sort.Compare(row.Doc, best.Doc, c)
		if err != nil {
			return row, err
		}
		if r < 0 {
			best = exec.Row{ID: row.ID, Doc: row.Doc.Clone()}
		}
	}
}

func (w *writer) open(ctx context.Context, view *exec.View, s *selection, ec *expr.Context) (*exec.Scan, error) {
	q := &plan.Query{Filter: s.matcher, Sort: s.sort, Collation: s.c.collation, Hint: s.hint}
	scan, _, err := w.db.openScan(ctx, view, w.coll, q, ec)
	if err == nil && (s.sort == nil || scan.Plan.Sorted) {
		scan.Likely = 1
	}
	return scan, err
}

// byID finds the record with an _id.
func (w *writer) byID(ctx context.Context, s *selection) (t target, ok bool, err error) {
	x := w.coll.IDIndex()
	var buf [64]byte
	key := keystring.Append(buf[:0], s.id, false, x.Collator())
	hint := w.db.hints.of(w.coll.Table, key)
	if id := hint.record(); id != 0 && w.op.Txn == nil { // in a transaction it may name what its snapshot does not show
		doc, err := w.claim(ctx, id)
		if err == nil && hasID(doc, s.id) {
			return w.found(id, doc), true, nil
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return t, false, err
		}
	}
	id, err := w.txn.LookupUnique(ctx, x.ID, key)
	if errors.Is(err, storage.ErrNotFound) {
		return t, false, nil
	}
	if err != nil {
		return t, false, err
	}
	doc, err := w.claim(ctx, id)
	if err != nil {
		return t, false, err
	}
	hint.remember(id)
	return w.found(id, doc), true, nil
}

// found is the target with an _id, which has been claimed.
func (w *writer) found(id storage.RecordID, doc []byte) target {
	w.room.old = append(w.room.old[:0], doc...)
	return target{id: id, doc: w.room.old, index: -1, claimed: true}
}

// claim claims a record, which makes the version read the newest, and reads it.
func (w *writer) claim(ctx context.Context, id storage.RecordID) ([]byte, error) {
	if err := w.txn.Lock(ctx, w.coll.Table, id); err != nil {
		return nil, err
	}
	return w.txn.Get(ctx, w.coll.Table, id)
}

// all lists the records that match, in the order of the plan, as of one moment.
func (d *DB) all(ctx context.Context, op *Op, ns Namespace, c *compilation, m *match.Matcher, hint *plan.Hint,
) ([]storage.RecordID, error) {
	for attempt := 0; ; attempt++ {
		ids, err := d.allOnce(ctx, op, ns, c, m, hint)
		if op.Txn != nil || !catalog.IsStale(err) {
			return ids, err
		}
		// Here, for the command may have done something already.
		if err := d.catalog.Refresh(ctx, op.defs); err != nil {
			return nil, err
		}
		op.forgetDefinitions()
		if err := pause(ctx, attempt); err != nil {
			return nil, err
		}
	}
}

func (d *DB) allOnce(ctx context.Context, op *Op, ns Namespace, c *compilation, m *match.Matcher, hint *plan.Hint,
) ([]storage.RecordID, error) {
	coll, err := d.lookUp(ctx, op, ns)
	switch {
	case err != nil:
		return nil, err
	case coll == nil:
		return nil, nil
	case coll.IsView():
		return nil, mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", ns)
	case coll.Log:
		return nil, errWriteLog(ns)
	}
	if err := op.assumed.check(ns, coll); err != nil {
		return nil, err
	}
	txn, end, err := d.reading(op)
	if err != nil {
		return nil, err
	}
	defer end()
	var view exec.View
	view.Attach(txn)
	defer view.Detach()
	ec := c.context()
	scan, _, err := d.openScan(ctx, &view, coll, &plan.Query{Filter: m, Collation: c.collation, Hint: hint, Need: []string{}}, ec)
	if err != nil {
		return nil, err
	}
	defer scan.Close()
	var ids []storage.RecordID
	for {
		row, err := scan.Next(ctx)
		if err == io.EOF {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, row.ID)
	}
}

// again reads a record found earlier and says whether it still matches.
func (w *writer) again(ctx context.Context, id storage.RecordID, m *match.Matcher, ec *expr.Context) (t target, ok bool, err error) {
	doc, err := w.txn.Get(ctx, w.coll.Table, id)
	if errors.Is(err, storage.ErrNotFound) {
		return t, false, nil
	}
	if err != nil {
		return t, false, err
	}
	t = target{id: id, doc: bsonval.Doc(doc).Clone(), index: -1}
	ok, t.index, err = m.MatchIndex(ec, t.doc)
	return t, ok, err
}
