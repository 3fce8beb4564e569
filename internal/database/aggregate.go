package database

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/changestream"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/plan"
)

// AggregateQuery is an aggregate command. A namespace without collection name
// is for pipelines that make their own documents.
type AggregateQuery struct {
	Pipeline     bsonval.Doc // an array
	Let          bsonval.Doc
	Hint         *plan.Hint
	Collation    *collation.Spec
	AllowDiskUse bool
	Comment      bsonval.Value
}

// aggregation is a pipeline made ready to run.
type aggregation struct {
	db   *DB
	op   *Op
	ns   Namespace // of the collection that is read, after views
	c    *compilation
	pipe *pipeline.Pipeline
	data *data
	env  *pipeline.Env
}

// newAggregation parses a pipeline on a collection or view.
func (d *DB) newAggregation(ctx context.Context, op *Op, ns Namespace, q *AggregateQuery, cur *Cursor) (*aggregation, error) {
	a := &aggregation{db: d, op: op}
	stages := q.Pipeline
	coll, err := d.lookUp(ctx, op, ns)
	if err != nil {
		return nil, err
	}
	if a.c, err = op.compilation(coll, q.Collation, nil); err != nil {
		return nil, err
	}
	a.c.compiler.NoClock = true // as in MongoDB, where let is evaluated before the clock is read
	if err := a.c.declare(q.Let); err != nil {
		return nil, err
	}
	a.c.compiler.NoClock = false
	if coll != nil && coll.IsView() && firstStage(stages) == "$changeStream" {
		return nil, changestream.ErrView(ns.DB, ns.Coll)
	}
	if coll != nil && coll.IsView() && firstStage(stages) != "$collStats" { // which is about the view itself
		if q.Collation != nil && !a.c.collation.Equal(coll.Collation) {
			return nil, mongoerr.New(mongoerr.OptionNotSupportedOnView,
				"Cannot override a view's default collation: %s", ns)
		}
		base, prefix, err := d.resolveView(ns)
		if err != nil {
			return nil, err
		}
		stages, ns = concatArrays(prefix, stages), base
	}
	a.ns = ns
	a.pipe, err = pipeline.Parse(stages, pipeline.Options{Compiler: a.c.compiler, NS: ns, TextIndex: d.textSpec(op)})
	if err != nil {
		return nil, err
	}
	if err := d.checkViewCollations(a); err != nil {
		return nil, err
	}
	a.pipe.Optimize()
	a.data = &data{db: d, op: op, c: a.c, cur: cur, hint: q.Hint, hinted: ns}
	a.env = &pipeline.Env{
		Expr: a.c.env, Vars: a.c.vars, Data: a.data, AllowDiskUse: q.AllowDiskUse, TempFile: d.tempFile,
		NewObjectID: d.ids.bytes,
	}
	return a, a.pipe.Check(ctx, a.data)
}

// firstStage is the name of a pipeline's first stage.
func firstStage(stages bsonval.Doc) string {
	_, first, _ := stages.First()
	if first.Type() != bsonval.TypeDocument {
		return ""
	}
	name, _, _ := first.Doc().First()
	return name
}

// open starts the pipeline: its first stages in the planner, the rest behind.
func (a *aggregation) open(ctx context.Context) (pipeline.Source, error) {
	if a.pipe.HasSource() {
		return a.pipe.Open(ctx, a.env, nil)
	}
	if a.ns.Coll == "" {
		return nil, mongoerr.New(mongoerr.InvalidNamespace,
			"{aggregate: 1} is not valid for '%s'; a collection is required.", a.pipe.First())
	}
	if a.db.isMade(a.ns) {
		return a.openMade(ctx)
	}
	q, rest := a.pipe.Leading()
	q.Collator, q.Vars = a.c.env.Collator, a.c.vars
	src, err := a.data.Open(ctx, a.ns, q)
	if err != nil {
		return nil, err
	}
	return rest.Open(ctx, a.env, src)
}

// Aggregate opens a cursor on the results of a pipeline. Pipelines that end in
// $out or $merge have run when it returns.
func (d *DB) Aggregate(ctx context.Context, op *Op, ns Namespace, q *AggregateQuery) (*Cursor, error) {
	if op.Txn != nil { // before the cursor is attached to it
		if err := op.Txn.begin(); err != nil {
			return nil, clientError(ctx, err)
		}
	}
	cur := &Cursor{db: d, ns: ns, owner: op.Owner, user: op.User, tx: op.Txn, at: op.At.hold(), durable: op.Durable}
	if ns.Coll == "" {
		cur.ns.Coll = "$cmd.aggregate"
	}
	cur.attachFirst(op)
	err := cur.aggregate(ctx, op, ns, q)
	if err != nil {
		cur.Close()
		return nil, clientError(ctx, err)
	}
	return cur, nil
}

func (c *Cursor) aggregate(ctx context.Context, op *Op, ns Namespace, q *AggregateQuery) error {
	if err := c.db.applyAggregateSettings(op, ns, q, false); err != nil {
		return err
	}
	a, err := c.db.newAggregation(ctx, op, ns, q, c)
	if err != nil {
		return err
	}
	c.env = a.c.env
	c.splits = a.pipe.TakeSplit()
	_, _, writes := a.pipe.Target()
	if writes {
		if err := c.settle(ctx, op); err != nil {
			return err
		}
	}
	src, err := a.open(ctx)
	if err != nil {
		return err
	}
	c.out = &documents{src}
	if c.changes != nil {
		c.out = &changeEvents{src: src, stream: c.changes, split: c.splits}
		c.passed()
	}
	if !writes {
		return nil
	}
	// The first document asked for makes the pipeline run; it has none to give.
	if _, err := src.Next(ctx); err != io.EOF {
		return err
	}
	c.done = true
	return nil
}

// documents is a pipeline's source as a stream.
type documents struct{ src pipeline.Source }

func (s *documents) Append(ctx context.Context, dst []byte) ([]byte, error) {
	d, err := s.src.Next(ctx)
	if err != nil {
		return dst, err
	}
	if len(d) > bsonval.MaxDocumentBytes {
		return dst, mongoerr.New(mongoerr.BSONObjectTooLarge,
			"BSONObj size: %d (0x%X) is invalid. Size must be between 0 and %d(16MB)", len(d), len(d),
			bsonval.MaxDocumentBytes)
	}
	return append(dst, d...), nil
}

func (s *documents) Close() error { return s.src.Close() }

// concatArrays is the elements of a, then those of b.
func concatArrays(a, b bsonval.Doc) bsonval.Doc {
	out := bsonval.NewArrayBuilder()
	for _, d := range []bsonval.Doc{a, b} {
		it := d.Iter()
		for it.Next() {
			out.Add(it.Value())
		}
	}
	return out.Build()
}

// findView answers a find on a view by the pipeline it stands for.
func (d *DB) findView(ctx context.Context, op *Op, ns Namespace, q *FindQuery) (*Cursor, error) {
	unsupported := ""
	switch {
	case q.ReturnKey:
		unsupported = "returnKey"
	case q.ShowRecordID:
		unsupported = "showRecordId"
	case q.Tailable:
		unsupported = "tailable"
	case q.Min != nil || q.Max != nil:
		unsupported = "min or max"
	}
	if unsupported != "" {
		return nil, mongoerr.New(mongoerr.InvalidPipelineOperator,
			"Option %s not supported in aggregation.", unsupported)
	}
	cur, err := d.Aggregate(ctx, op, ns, &AggregateQuery{
		Pipeline: findStages(q), Let: q.Let, Collation: q.Collation, AllowDiskUse: q.AllowDiskUse,
	})
	if err == nil {
		cur.noTimeout = q.NoCursorTimeout
	}
	return cur, err
}

// findStages is a find as the stages of a pipeline.
func findStages(q *FindQuery) bsonval.Doc {
	b := bsonval.NewArrayBuilder()
	if len(q.Filter) > 5 {
		b.StartDoc("").Doc("$match", q.Filter).End()
	}
	if len(q.Sort) > 5 {
		b.StartDoc("").Doc("$sort", q.Sort).End()
	}
	if q.Skip > 0 {
		b.StartDoc("").Int64("$skip", q.Skip).End()
	}
	if q.Limit > 0 {
		b.StartDoc("").Int64("$limit", q.Limit).End()
	}
	if len(q.Projection) > 5 {
		b.StartDoc("").Doc("$project", q.Projection).End()
	}
	return b.Build()
}
