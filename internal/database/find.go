package database

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/projection"
	"github.com/archelon-db/archelon/internal/sortkey"
	"github.com/archelon-db/archelon/internal/storage"
)

// FindQuery is the query of a find, count or distinct command.
type FindQuery struct {
	Filter, Projection, Sort, Let bsonval.Doc
	Skip, Limit                   int64 // 0 is no limit
	Hint                          *plan.Hint
	Min, Max                      bsonval.Doc
	ReturnKey, ShowRecordID       bool
	AllowDiskUse                  bool
	Collation                     *collation.Spec
	NoCursorTimeout               bool
	Comment                       bsonval.Value

	// First is how many documents the first batch is to have at most; 0 for unknown.
	First int64

	// Tailable and AwaitData ask for a cursor that waits for new documents of a
	// capped collection.
	Tailable, AwaitData bool

	// distinct is the path whose different values are wanted of the documents.
	distinct string

	// count is set for queries whose documents are only counted.
	count bool

	// explain is set for queries that are explained.
	explain bool
}

// Find opens a cursor on the documents of a collection or view. One that does
// not exist is empty.
func (d *DB) Find(ctx context.Context, op *Op, ns Namespace, q *FindQuery) (*Cursor, error) {
	if err := d.applyFindSettings(op, ns, q); err != nil {
		return nil, err
	}
	coll, err := d.lookUp(ctx, op, ns)
	if err != nil {
		return nil, clientError(ctx, err)
	}
	if coll != nil && coll.IsView() || d.isMade(ns) {
		return d.findView(ctx, op, ns, q)
	}
	if err := checkTailable(op, ns, q, coll); err != nil {
		return nil, err
	}
	cur := &Cursor{db: d, ns: ns, owner: op.Owner, user: op.User, tx: op.Txn, at: op.At.hold(), durable: op.Durable, noTimeout: q.NoCursorTimeout}
	cur.attachFirst(op)
	f, err := d.newFinder(ctx, op, coll, q, &cur.view)
	if err != nil {
		cur.Close()
		return nil, clientError(ctx, err)
	}
	cur.out, cur.env = f, f.c.env
	if err = cur.tailCapped(f, q, coll); err != nil {
		cur.Close()
		return nil, err
	}
	return cur, nil
}

// finder streams the results of a find.
type finder struct {
	db   *DB
	c    *compilation
	q    *FindQuery
	coll *catalog.Collection
	ec   *expr.Context

	allowed *plan.IndexSet // by query settings; nil for all
	matcher *match.Matcher
	sort    *sortkey.Pattern
	proj    *projection.Projection
	trials  []exec.Trial
	scan    *exec.Scan
	sorter  *pipeline.Sorter
	sorted  pipeline.MetaSource

	scored bool    // documents have a text score
	score  float64 // of the last one

	keyed bool             // the projection asks for index keys
	id    storage.RecordID // of the document being projected

	skip, left int64 // left < 0 is no limit
}

// newFinder plans a find. The view must have a transaction. coll may be nil.
func (d *DB) newFinder(ctx context.Context, op *Op, coll *catalog.Collection, q *FindQuery, view *exec.View) (*finder, error) {
	f, err := op.compileFind(coll, q)
	if err != nil {
		return nil, err
	}
	f.db, f.skip, f.left = d, q.Skip, -1
	if q.Limit > 0 {
		f.left = q.Limit
	}
	if coll == nil {
		return f, nil
	}
	open := d.openScan
	if q.explain {
		open = d.openTried
	}
	if f.scan, f.trials, err = open(ctx, view, coll, f.query(), f.ec); err != nil {
		return f, err
	}
	if f.sort == nil || f.scan.Plan.Sorted {
		f.scan.Likely, f.scan.Skip = q.likely(), q.Skip
		f.scan.Loose = !q.Tailable && !q.explain
	}
	return f, nil
}

// likely is how many documents the first batch needs, 0 for unknown.
func (q *FindQuery) likely() int64 {
	n := q.Limit
	if q.First > 0 && (n == 0 || q.First < n) {
		n = q.First
	}
	if n == 0 || n > math.MaxInt64-q.Skip {
		return 0
	}
	return q.Skip + n
}

// compileFind compiles the parts of a find. coll may be nil.
func (op *Op) compileFind(coll *catalog.Collection, q *FindQuery) (*finder, error) {
	f := &finder{q: q, coll: coll}
	if coll != nil {
		f.allowed = op.settings.allowed(Namespace{DB: coll.DB, Coll: coll.Name})
	}
	var err error
	if f.c, err = op.compilation(coll, q.Collation, q.Let); err != nil {
		return nil, err
	}
	if f.matcher, err = f.c.filter(q.Filter, 0); err != nil {
		return nil, err
	}
	f.scored = f.c.text != nil && f.matcher.HasText()
	f.c.compiler.NoTextScore = !f.scored
	if len(q.Sort) > 5 && q.Sort.Lookup("$natural").IsMissing() {
		if f.sort, err = sortkey.Compile(q.Sort); err != nil {
			return nil, err
		}
		if !f.scored && f.sort.UsesMeta("textScore") {
			return nil, expr.ErrNoTextScore()
		}
	}
	if len(q.Projection) > 5 {
		f.proj, err = projection.Compile(q.Projection, projection.Options{
			Mode: projection.Find, Compiler: f.c.compiler, Filter: f.matcher,
		})
		if err != nil {
			return nil, err
		}
		if f.proj.IsIdentity() {
			f.proj = nil
		}
	}
	f.ec = f.c.context()
	if f.proj != nil {
		f.keyed = slices.Contains(f.proj.ExprDeps().Meta, "indexKey")
	}
	if f.scored || f.proj != nil {
		f.ec.Meta = f.meta
	}
	return f, nil
}

// meta gives the metadata of the document that was found last.
func (f *finder) meta(name string) bsonval.Value {
	switch {
	case name == "textScore" && f.scored:
		return bsonval.Double(f.score)
	case name == "recordId" && f.id != 0:
		return bsonval.Int64(int64(f.id))
	case name == "indexKey" && f.sorted != nil:
		return f.sorted.Metadata().Lookup("indexKey")
	case name == "indexKey":
		if key := f.scan.KeyDoc(); !key.IsEmpty() {
			return bsonval.Document(key)
		}
	}
	return bsonval.Missing
}

// query is what is asked of the planner.
func (f *finder) query() *plan.Query {
	q := &plan.Query{
		Filter: f.matcher, Sort: f.sort, Collation: f.c.collation, Hint: f.q.Hint, Min: f.q.Min, Max: f.q.Max,
		Need: f.need(), Distinct: f.q.distinct, Allowed: f.allowed,
	}
	if f.q.Tailable {
		q.Hint = tailHint(q.Hint)
	}
	if v := f.q.Sort.Lookup("$natural"); len(f.q.Sort) > 5 && v.IsNumber() && q.Hint == nil {
		q.Hint = &plan.Hint{Natural: 1}
		if v.AsDouble() < 0 {
			q.Hint.Natural = -1
		}
	}
	return q
}

// need lists the fields that an index must hold to answer without the documents;
// nil means whole documents.
func (f *finder) need() []string {
	if f.q.distinct != "" {
		return []string{f.q.distinct}
	}
	if f.q.count {
		return []string{}
	}
	if f.proj == nil || f.q.ReturnKey || f.q.ShowRecordID {
		return nil
	}
	paths, excludeID, ok := f.proj.IsSimpleInclusion()
	if !ok {
		return nil
	}
	need := append([]string{}, paths...)
	if !excludeID {
		need = append(need, "_id")
	}
	return need
}

// Append implements stream.
func (f *finder) Append(ctx context.Context, dst []byte) ([]byte, error) {
	for {
		if f.left == 0 || f.scan == nil {
			return dst, io.EOF
		}
		d, id, err := f.next(ctx)
		if err != nil {
			return dst, err
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if f.left > 0 {
			f.left--
		}
		return f.write(dst, d, id)
	}
}

// next returns the next document in order.
func (f *finder) next(ctx context.Context) (bsonval.Doc, storage.RecordID, error) {
	if f.sorted == nil {
		row, err := f.scan.Next(ctx)
		// Only now it is certain which plan runs.
		if f.sort == nil || f.scan.Plan.Sorted {
			f.score = row.Score
			return row.Doc, row.ID, err
		}
		if err := f.fill(ctx, row, err); err != nil {
			return nil, 0, err
		}
	}
	d, err := f.sorted.Next(ctx)
	if err != nil {
		return nil, 0, err
	}
	meta := f.sorted.Metadata()
	f.score = meta.Lookup("textScore").AsDouble()
	return d, storage.RecordID(meta.Lookup("id").Int64()), nil
}

// fill sorts everything the scan finds, of which the first row has been found
// already.
func (f *finder) fill(ctx context.Context, row exec.Row, err error) error {
	limit := int64(0)
	if f.left >= 0 {
		limit = f.skip + f.left
	}
	f.sorter = pipeline.NewSorter(f.sort, limit, &pipeline.Env{
		Expr: f.c.env, AllowDiskUse: f.q.AllowDiskUse, TempFile: f.db.tempFile,
	})
	withMeta := f.scored || f.q.ShowRecordID || f.keyed
	var meta bsonval.Doc
	for ; err == nil; row, err = f.scan.Next(ctx) {
		if withMeta {
			b := bsonval.NewBuilder().Int64("id", int64(row.ID))
			if f.scored {
				b.Double("textScore", row.Score)
			}
			if key := f.scan.KeyDoc(); f.keyed && !key.IsEmpty() {
				b.Doc("indexKey", key)
			}
			meta = b.Build()
		}
		if err := f.sorter.Add(row.Doc, meta); err != nil {
			return err
		}
	}
	if err == io.EOF {
		f.sorted, err = f.sorter.Sorted()
	}
	return err
}

// write appends one result.
func (f *finder) write(dst []byte, d bsonval.Doc, id storage.RecordID) ([]byte, error) {
	switch {
	case f.q.ReturnKey:
		return append(dst, f.scan.KeyDoc()...), nil
	case f.proj == nil && !f.q.ShowRecordID:
		return append(dst, d...), nil
	}
	at := len(dst)
	var err error
	if f.proj == nil {
		dst = append(dst, d...)
	} else {
		index := -1
		if f.proj.Positional() {
			if _, index, err = f.matcher.MatchIndex(f.ec, d); err != nil {
				return dst, err
			}
		}
		f.ec.Root, f.id = d, id
		if dst, err = f.proj.Append(dst, f.ec, d, index); err != nil {
			return dst, err
		}
	}
	if f.q.ShowRecordID {
		dst = bsonval.AppendElement(dst[:len(dst)-1], "$recordId", bsonval.Int64(int64(id)))
		dst = bsonval.EndDoc(dst, at)
	}
	return dst, nil
}

// exhausted says that nothing can come any more: the limit is reached.
func (f *finder) exhausted() bool { return f.left == 0 }

// Close implements stream.
func (f *finder) Close() error {
	if f.sorter != nil {
		f.sorter.Close()
	}
	if f.scan == nil {
		return nil
	}
	f.db.Metrics.ScannedKeys.Add(f.scan.Stats.KeysExamined)
	f.db.Metrics.ScannedDocs.Add(f.scan.Stats.DocsExamined)
	return f.scan.Close()
}

// FindByID appends the document with an _id to dst, the whole answer of the most
// frequent query; ok is false if the collection needs the long way (it is a
// view, or has a collation that the value minds). found is false if there is no such
// document.
func (d *DB) FindByID(ctx context.Context, ns Namespace, filter bsonval.Doc, dst []byte) (out []byte, found, ok bool, err error) {
	snap := d.catalog.Snapshot()
	coll := snap.Collection(ns.DB, ns.Coll)
	if coll == nil && d.shared {
		return dst, false, false, nil // perhaps it is not known here yet
	}
	if coll == nil {
		_, plain := idOf(filter, nil)
		return dst, false, plain && !d.isMade(ns), nil
	}
	if coll.IsView() || coll.IDIndex() == nil {
		return dst, false, false, nil
	}
	id, ok := idOf(filter, coll.Collation)
	if !ok {
		return dst, false, false, nil
	}
	x := coll.IDIndex()
	x.Uses.Add(1)
	var buf [64]byte
	key := keystring.Append(buf[:0], id, false, nil)
	hint := d.hints.of(coll.Table, key)
	guess := hint.record()
	if guess != 0 {
		if doc := d.engine.Peek(coll.Table, guess); doc != nil && hasID(doc, id) {
			d.Metrics.Returned.Add(1)
			return append(dst, doc...), true, true, nil
		}
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true, Single: true, Expect: snap.Version()})
	defer txn.Rollback()
	if guess != 0 {
		if doc, err := txn.Get(ctx, coll.Table, guess); err == nil && hasID(doc, id) {
			d.Metrics.Returned.Add(1)
			return append(dst, doc...), true, true, nil
		}
	}
	rid, err := txn.LookupUnique(ctx, x.ID, key)
	if errors.Is(err, storage.ErrNotFound) {
		return dst, false, true, nil
	}
	if err != nil {
		return dst, false, true, clientError(ctx, err)
	}
	doc, err := txn.Get(ctx, coll.Table, rid)
	if err != nil {
		return dst, false, true, clientError(ctx, err)
	}
	hint.remember(rid)
	d.Metrics.Returned.Add(1)
	return append(dst, doc...), true, true, nil
}
