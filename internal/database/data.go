package database

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/sortkey"
	"github.com/archelon-db/archelon/internal/storage"
)

// data gives a pipeline its collections: it implements pipeline.Data. All scans
// read through the cursor's view.
type data struct {
	db     *DB
	op     *Op
	c      *compilation
	cur    *Cursor
	hint   *plan.Hint // for the collection hinted
	hinted Namespace

	explain bool // the pipeline is explained

	merges     bool   // Merge was called
	generation uint64 // of the storage before that
}

var _ pipeline.Data = (*data)(nil)

// Open implements pipeline.Data.
func (t *data) Open(ctx context.Context, ns Namespace, q pipeline.Query) (pipeline.Source, error) {
	coll, err := t.db.lookUp(ctx, t.op, ns)
	if err != nil {
		return nil, err
	}
	ec := t.c.compiler.NewContext()
	copy(ec.Vars, q.Vars)
	m, err := t.matcher(q)
	if err != nil {
		return nil, err
	}
	var order *sortkey.Pattern
	if len(q.Sort) > 5 {
		if order, err = sortkey.Compile(q.Sort); err != nil {
			return nil, err
		}
	}
	src := &collSource{data: t, q: q, ec: ec, order: order, skip: q.Skip, left: -1, scored: coll.TextSpec() != nil && m.HasText()}
	if q.Limit > 0 {
		src.left = q.Limit
	}
	switch {
	case coll == nil:
		return pipeline.NewList(nil), nil
	case coll.IsView():
		src.view, err = t.openView(ctx, ns)
		src.matcher = m
		return src, err
	}
	pq := &plan.Query{Filter: m, Sort: order, Collation: t.c.collation, Need: needOf(q.Deps)}
	if t.hint != nil && ns == t.hinted {
		pq.Hint = t.hint
	}
	pq.Allowed = t.op.settings.allowed(ns)
	open := t.db.openScan
	if t.explain {
		open = t.db.openTried
		src.filtered = t.db.filters.of(coll, pq) != nil
	}
	if src.scan, src.trials, err = open(ctx, &t.cur.view, coll, pq, ec); err != nil {
		return nil, err
	}
	if order == nil || src.scan.Plan.Sorted {
		src.scan.Skip = q.Skip
		if q.Limit > 0 && q.Limit <= math.MaxInt64-q.Skip {
			src.scan.Likely = q.Skip + q.Limit
		}
	}
	if q.Sample > 0 {
		src.scan.Draw(q.Sample, t.c.env.Rand)
	}
	return src, nil
}

func (t *data) matcher(q pipeline.Query) (*match.Matcher, error) {
	if q.Matcher != nil {
		return q.Matcher, nil
	}
	return t.c.filter(q.Filter, 0)
}

// needOf is what the planner may cover: top-level fields only.
func needOf(deps *expr.Deps) []string {
	if deps == nil || deps.All {
		return nil
	}
	need := make([]string, 0, len(deps.Fields))
	for _, f := range deps.Fields {
		if !slices.Contains(need, f) {
			need = append(need, f)
		}
	}
	return need
}

// openView runs a view's pipeline.
func (t *data) openView(ctx context.Context, ns Namespace) (pipeline.Source, error) {
	base, stages, err := t.db.resolveView(ns)
	if err != nil {
		return nil, err
	}
	c := &compilation{env: t.c.env, compiler: expr.NewCompiler(t.c.env), collation: t.c.collation}
	pipe, err := pipeline.Parse(stages, pipeline.Options{Compiler: c.compiler, NS: base, TextIndex: t.db.textSpec(t.op)})
	if err != nil {
		return nil, err
	}
	pipe.Optimize()
	inner := &data{db: t.db, op: t.op, c: c, cur: t.cur}
	a := &aggregation{db: t.db, op: t.op, ns: base, c: c, pipe: pipe, data: inner, env: &pipeline.Env{
		Expr: c.env, Data: inner, AllowDiskUse: true, TempFile: t.db.tempFile, NewObjectID: t.db.ids.bytes,
	}}
	return a.open(ctx)
}

// collSource reads one collection (or view) for a pipeline.
type collSource struct {
	data   *data
	q      pipeline.Query
	ec     *expr.Context
	order  *sortkey.Pattern
	trials []exec.Trial

	filtered bool // an index filter limits the plans; set for explain
	scan     *exec.Scan
	view     pipeline.Source // of a view, instead of scan
	matcher  *match.Matcher  // applied to a view's documents
	sorter   *pipeline.Sorter
	sorted   pipeline.MetaSource

	scored bool // documents have a text score
	score  float64

	skip, left int64 // left < 0 is no limit
}

// Next implements pipeline.Source.
func (s *collSource) Next(ctx context.Context) (bsonval.Doc, error) {
	for s.left != 0 {
		d, err := s.ordered(ctx)
		if err != nil {
			return nil, err
		}
		if s.skip > 0 {
			s.skip--
			continue
		}
		if s.left > 0 {
			s.left--
		}
		return d, nil
	}
	return nil, io.EOF
}

// Count implements pipeline.CountingSource.
func (s *collSource) Count(ctx context.Context) (n int64, ok bool, err error) {
	if s.scan == nil || s.order != nil && !s.scan.Plan.Sorted {
		return 0, false, nil
	}
	if n, ok, err = s.scan.Count(ctx, s.scan.Likely); !ok || err != nil {
		return 0, false, err
	}
	n = max(n-s.skip, 0)
	if s.left >= 0 {
		n = min(n, s.left)
	}
	return n, true, nil
}

func (s *collSource) ordered(ctx context.Context) (bsonval.Doc, error) {
	if s.sorted == nil {
		d, err := s.found(ctx)
		// Only now it is certain which plan runs.
		if s.order == nil || s.scan != nil && s.scan.Plan.Sorted {
			return d, err
		}
		if err := s.sort(ctx, d, err); err != nil {
			return nil, err
		}
	}
	return s.sorted.Next(ctx)
}

// sort sorts all that is found, of which the first document has been found
// already.
func (s *collSource) sort(ctx context.Context, d bsonval.Doc, err error) error {
	limit := int64(0)
	if s.left >= 0 {
		limit = s.skip + s.left
	}
	s.sorter = pipeline.NewSorter(s.order, limit, &pipeline.Env{
		Expr: s.data.c.env, AllowDiskUse: true, TempFile: s.data.db.tempFile,
	})
	for ; err == nil; d, err = s.found(ctx) {
		if err := s.sorter.Add(d, s.Metadata()); err != nil {
			return err
		}
	}
	if err == io.EOF {
		s.sorted, err = s.sorter.Sorted()
	}
	return err
}

// found is the next matching document in any order.
func (s *collSource) found(ctx context.Context) (bsonval.Doc, error) {
	if s.scan != nil {
		row, err := s.scan.Next(ctx)
		s.score = row.Score
		return row.Doc, err
	}
	for {
		d, err := s.view.Next(ctx)
		if err != nil {
			return nil, err
		}
		if ok, err := s.matcher.Match(s.ec, d); ok || err != nil {
			return d, err
		}
	}
}

// Metadata implements pipeline.MetaSource: the score of a text search and the
// index key, if they are known and wanted.
func (s *collSource) Metadata() bsonval.Doc {
	switch {
	case !s.scored && !s.q.IndexKeys:
		return nil
	case s.sorted != nil:
		return s.sorted.Metadata()
	}
	b := bsonval.NewBuilder()
	if s.scored {
		b.Double("textScore", s.score)
	}
	if s.q.IndexKeys && s.scan != nil {
		if key := s.scan.KeyDoc(); !key.IsEmpty() {
			b.Doc("indexKey", key)
		}
	}
	return b.Build()
}

// Close implements pipeline.Source.
func (s *collSource) Close() error {
	if s.sorter != nil {
		s.sorter.Close()
	}
	if s.view != nil {
		return s.view.Close()
	}
	if s.scan == nil {
		return nil
	}
	s.data.db.Metrics.ScannedKeys.Add(s.scan.Stats.KeysExamined)
	s.data.db.Metrics.ScannedDocs.Add(s.scan.Stats.DocsExamined)
	return s.scan.Close()
}

// HasIndex implements pipeline.Data.
func (t *data) HasIndex(_ context.Context, ns Namespace, field string) bool {
	coll := t.db.defined(t.op, ns)
	return coll != nil && t.hasIndex(coll, field)
}

func (t *data) hasIndex(coll *catalog.Collection, field string) bool {
	return slices.ContainsFunc(coll.Indexes, func(x *catalog.Index) bool {
		return x.Kind == indexkey.KindBTree && x.Fields[0].Path == field && x.Ready && !x.Hidden && !x.Sparse && x.Partial == nil &&
			x.Collation.Equal(t.c.collation)
	})
}

// Gathers implements pipeline.Data. In a transaction the engine reads each part of an index by itself; with
// several indexes the planner may take one for a value and another for many.
func (t *data) Gathers(_ context.Context, ns Namespace, field string) bool {
	if !t.db.IsDistant() || t.op.Txn != nil {
		return false
	}
	coll := t.db.defined(t.op, ns)
	if coll == nil || !t.hasIndex(coll, field) {
		return false
	}
	serving := 0
	for _, x := range coll.Indexes {
		if first, _, _ := x.Key.First(); first == field || x.Kind == indexkey.KindWildcard {
			serving++
		}
	}
	return serving == 1
}

// HasUniqueIndex implements pipeline.Data.
func (t *data) HasUniqueIndex(_ context.Context, ns Namespace, fields []string) (bool, error) {
	if len(fields) == 1 && fields[0] == "_id" {
		return true, nil
	}
	coll := t.db.defined(t.op, ns)
	if coll == nil {
		return false, nil
	}
	return slices.ContainsFunc(coll.Indexes, func(x *catalog.Index) bool {
		if x.Kind != indexkey.KindBTree || !x.Unique || !x.Ready || x.Partial != nil || len(x.Fields) != len(fields) ||
			!x.Collation.Equal(t.c.collation) {
			return false
		}
		for _, f := range x.Fields {
			if !slices.Contains(fields, f.Path) {
				return false
			}
		}
		return true
	}), nil
}

// System implements pipeline.Data.
func (t *data) System(ctx context.Context, ns Namespace, stage string, arg bsonval.Doc) (pipeline.Source, error) {
	switch stage {
	case "$collStats", "$indexStats", "$planCacheStats", "$querySettings", "$listCatalog", "$listClusterCatalog":
		docs, err := t.db.systemStage(ctx, ns, stage, arg)
		return pipeline.NewList(docs), err
	case "$changeStream":
		return t.db.openChangeStream(ctx, t.cur, ns, arg)
	}
	if t.db.System == nil {
		return nil, mongoerr.New(mongoerr.NotImplemented, "%s is not supported", stage)
	}
	return t.db.System(ctx, ns, stage, arg)
}

// GeoIndexes implements pipeline.Data.
func (t *data) GeoIndexes(_ context.Context, ns Namespace) ([]pipeline.GeoIndex, error) {
	coll := t.db.defined(t.op, ns)
	if coll == nil {
		return nil, mongoerr.New(mongoerr.NamespaceNotFound, "$geoNear requires a collection, but %s does not exist", ns)
	}
	var list []pipeline.GeoIndex
	for _, x := range coll.Indexes {
		if !x.Ready || x.Hidden || x.Kind != indexkey.Kind2D && x.Kind != indexkey.Kind2DSphere {
			continue
		}
		it := x.Key.Iter()
		for it.Next() {
			if it.Value().Type() == bsonval.TypeString {
				list = append(list, pipeline.GeoIndex{Field: string(it.Key()), Kind: string(x.Kind)})
			}
		}
	}
	return list, nil
}

// outCounter makes the names of $out's temporary collections different.
var outCounter atomic.Int64

// temporaryNumber is a number that no other temporary collection of the store has in its
// name.
func (d *DB) temporaryNumber() uint64 {
	n := uint64(outCounter.Add(1))
	if d.shared {
		id := d.members.id()
		n |= uint64(binary.BigEndian.Uint32(id[:])) << 31
	}
	return n
}

var errNoMatch = mongoerr.New(mongoerr.MergeStageNoMatchingDocument,
	"$merge could not find a matching document in the target collection for at least one document in the source collection")

// Merge implements pipeline.Data.
func (t *data) Merge(ctx context.Context, ns Namespace, ops []pipeline.MergeOp) error {
	op := *t.op
	op.At = nil // it writes to the present state
	op.NoSync = op.NoSync || op.Txn == nil
	if !t.merges {
		var err error
		if t.generation, err = storage.Generation(ctx, t.db.engine); err != nil {
			return clientError(ctx, err)
		}
		t.merges = true
	}
	for len(ops) > 1 && op.Txn == nil && t.db.IsDistant() {
		filters := make([]bsonval.Doc, len(ops))
		for i := range ops {
			filters[i] = ops[i].Filter
		}
		ran := 0
		done, err := t.db.Together(ctx, &op, ns, filters, func() error {
			for ran = 0; ran < len(ops) && (ran == 0 || !op.SeriesIsFull()); ran++ {
				if err := t.merge(ctx, &op, ns, &ops[ran]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !done {
			break
		}
		ops = ops[ran:]
	}
	var failed error
	for i := range ops {
		if err := t.merge(ctx, &op, ns, &ops[i]); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

func (t *data) merge(ctx context.Context, op *Op, ns Namespace, m *pipeline.MergeOp) error {
	if m.Insert == nil && t.db.defined(t.op, ns) == nil {
		if m.MustMatch {
			return errNoMatch
		}
		return nil // and the collection is not created for nothing
	}
	return t.db.writeCreating(ctx, op, ns, oneRecord, func(w *writer) error {
		if m.MustInsert {
			return w.insertOne(ctx, m.Insert)
		}
		sel, err := w.selection(t.c, m.Filter, nil, nil)
		if err != nil {
			return err
		}
		found, ok, err := w.first(ctx, sel)
		switch {
		case err != nil:
			return err
		case !ok && m.MustMatch:
			return errNoMatch
		case !ok && m.Insert == nil, ok && m.Update == nil:
			return nil
		case !ok:
			return w.insertOne(ctx, m.Insert)
		}
		doc, err := m.Update(found.doc)
		if err != nil {
			return err
		}
		return w.merged(ctx, found, doc)
	})
}

// Merged implements pipeline.Data.
func (t *data) Merged(ctx context.Context) error {
	if t.op.NoSync || t.op.Txn != nil || !t.merges {
		return nil
	}
	return clientError(ctx, t.db.syncSince(ctx, t.generation))
}

// merged stores the new version of a document, its _id unchanged, if it is another one.
func (w *writer) merged(ctx context.Context, t target, doc bsonval.Doc) error {
	if id := doc.Lookup("_id"); !id.IsMissing() && !bsonval.Equal(id, t.doc.Lookup("_id")) {
		return mongoerr.New(mongoerr.ImmutableField, "$merge failed to update the matching document, did you attempt to "+
			"modify the _id or the shard key? :: caused by :: Performing an update on the path '_id' would modify the "+
			"immutable field '_id'")
	}
	if doc.Lookup("_id").IsMissing() {
		dst, at := bsonval.BeginDoc(nil)
		dst = bsonval.AppendElement(dst, "_id", t.doc.Lookup("_id"))
		doc = bsonval.EndDoc(append(dst, doc[4:len(doc)-1]...), at)
	}
	doc, err := w.db.prepare(w.op, doc)
	if err != nil || bytes.Equal(doc, t.doc) {
		return err
	}
	if err := w.validate(ctx, doc, t.doc); err != nil {
		return err
	}
	if err := w.txn.Lock(ctx, w.coll.Table, t.id); err != nil {
		return err
	}
	w.as, w.targets = logDiff, nil
	return w.replace(ctx, t.id, t.doc, doc, nil)
}
