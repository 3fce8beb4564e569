package database

import (
	"context"
	"io"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/pipeline"
)

// Verbosities of explain.
const (
	ExplainPlanner  = "queryPlanner"
	ExplainStats    = "executionStats"
	ExplainAllPlans = "allPlansExecution"
)

// ExplainFind explains a find on a collection or view.
func (d *DB) ExplainFind(ctx context.Context, op *Op, ns Namespace, q *FindQuery, verbosity string) (bsonval.Doc, error) {
	return d.explainQuery(ctx, op, ns, q, findStages(q), verbosity)
}

// ExplainCount explains a count.
func (d *DB) ExplainCount(ctx context.Context, op *Op, ns Namespace, q *FindQuery, verbosity string) (bsonval.Doc, error) {
	count := *q
	count.count = true
	stages := concatArrays(findStages(q), bsonval.NewArrayBuilder().StartDoc("").Str("$count", "count").End().Build())
	return d.explainQuery(ctx, op, ns, &count, stages, verbosity)
}

// ExplainDistinct explains a distinct of the values at a path.
func (d *DB) ExplainDistinct(ctx context.Context, op *Op, ns Namespace, key string, q *FindQuery, verbosity string) (bsonval.Doc, error) {
	distinct := *q
	distinct.distinct = key
	group := bsonval.NewArrayBuilder().StartDoc("").StartDoc("$group").Null("_id").
		StartDoc("distinct").Str("$addToSet", "$"+key).End().End().End().Build()
	return d.explainQuery(ctx, op, ns, &distinct, concatArrays(findStages(q), group), verbosity)
}

// explainQuery explains a query, which on a view is the pipeline given.
func (d *DB) explainQuery(ctx context.Context, op *Op, ns Namespace, q *FindQuery, stages bsonval.Doc, verbosity string) (bsonval.Doc, error) {
	if !q.count {
		explained := *q
		explained.explain = true
		if err := d.applyFindSettings(op, ns, &explained); err != nil {
			return nil, err
		}
	}
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	if coll != nil && coll.IsView() {
		return d.ExplainAggregate(ctx, op, ns, &AggregateQuery{
			Pipeline: stages, Let: q.Let, Collation: q.Collation, AllowDiskUse: q.AllowDiskUse,
		}, verbosity)
	}
	b := bsonval.NewBuilder().Str("explainVersion", "1")
	err := d.explainFind(ctx, op, ns, q, verbosity, func(e *explanation) { e.appendTo(b, verbosity) })
	return b.Build(), clientError(ctx, err)
}

func (d *DB) explainFind(ctx context.Context, op *Op, ns Namespace, q *FindQuery, verbosity string,
	use func(*explanation),
) error {
	explained := *q
	explained.explain = true
	q = &explained
	cur := &Cursor{db: d, ns: ns}
	cur.attach()
	defer cur.Close()
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	f, err := d.newFinder(ctx, op, coll, q, &cur.view)
	if err != nil {
		return err
	}
	cur.out = f
	e := &explanation{ns: ns, filter: match.ToBSON(f.matcher.Root()), trials: f.trials, settings: op.settings.document()}
	if coll == nil {
		e.winning = noCollection()
		use(e)
		return nil
	}
	e.shape, e.filtered = shapeOf(f.query()), d.filters.of(coll, f.query()) != nil
	if q.count && len(q.Filter) <= 5 && q.Hint == nil {
		n, _, err := d.counts(ctx, op, coll)
		e.winning = fastCount(clip(n, q), q)
		use(e)
		return err
	}
	if verbosity != ExplainPlanner {
		if err := e.run(ctx, f); err != nil {
			return err
		}
	}
	e.winning = f.tree(f.scan.Plan, f.scan.Stats, f.scan, e.returned)
	for i, t := range f.trials {
		if i > 0 {
			e.rejected = append(e.rejected, f.tree(t.Plan, t.Stats, nil, t.Stats.Returned))
		}
	}
	if q.count {
		e.returned = 0 // a count returns no documents
	}
	use(e)
	return nil
}

// run runs a query to its end.
func (e *explanation) run(ctx context.Context, f *finder) error {
	start := time.Now()
	var buf []byte
	var err error
	for err == nil {
		if buf, err = f.Append(ctx, buf[:0]); err == nil {
			e.returned++
		}
	}
	e.took, e.stats = time.Since(start), f.scan.Stats
	if err == io.EOF {
		return nil
	}
	return err
}

// ExplainAggregate explains a pipeline: as a find if the planner runs all of it,
// else as stages behind a $cursor.
func (d *DB) ExplainAggregate(ctx context.Context, op *Op, ns Namespace, q *AggregateQuery, verbosity string) (bsonval.Doc, error) {
	cur := &Cursor{db: d, ns: ns}
	cur.attach()
	defer cur.Close()
	b := bsonval.NewBuilder().Str("explainVersion", "1")
	err := cur.explainAggregate(ctx, op, ns, q, verbosity, b)
	return b.Build(), clientError(ctx, err)
}

func (c *Cursor) explainAggregate(ctx context.Context, op *Op, ns Namespace, q *AggregateQuery, verbosity string,
	b *bsonval.Builder,
) error {
	if err := c.db.applyAggregateSettings(op, ns, q, true); err != nil {
		return err
	}
	a, err := c.db.newAggregation(ctx, op, ns, q, c)
	if err != nil {
		return err
	}
	a.data.explain = true
	if a.pipe.HasSource() || a.ns.Coll == "" {
		b.Array("stages", a.pipe.Explain())
		return nil
	}
	lead, rest := a.pipe.Leading()
	lead.Collator, lead.Vars = a.c.env.Collator, a.c.vars
	src, err := a.data.Open(ctx, a.ns, lead)
	if err != nil {
		return err
	}
	e := &explanation{ns: a.ns, filter: bsonval.EmptyDoc, settings: op.settings.document()}
	if lead.Matcher != nil {
		e.filter = match.ToBSON(lead.Matcher.Root())
	}
	var counts []*int64
	if _, _, writes := a.pipe.Target(); verbosity != ExplainPlanner && !writes {
		if counts, err = e.runStages(ctx, rest, a.env, src); err != nil {
			return err
		}
	} else {
		defer src.Close()
	}
	e.describe(src, lead.Sort)
	if rest.Len() == 0 {
		e.appendTo(b, verbosity)
		return nil
	}
	b.StartArray("stages").StartDoc("").StartDoc("$cursor")
	e.appendTo(b, verbosity)
	b.End()
	if counts != nil {
		b.Int64("nReturned", e.returned).Int64("executionTimeMillisEstimate", e.took.Milliseconds())
	}
	b.End()
	it := rest.Explain().Iter()
	for i := 0; it.Next(); i++ {
		if counts == nil {
			b.Add(it.Value())
			continue
		}
		b.StartDoc("")
		stage := it.Value().Doc().Iter()
		for stage.Next() {
			b.Value(stage.KeyStr(), stage.Value())
		}
		b.Int64("nReturned", *counts[i]).Int64("executionTimeMillisEstimate", e.took.Milliseconds()).End()
	}
	b.End()
	return nil
}

// runStages runs a pipeline to its end and returns how many documents each stage
// passed on.
func (e *explanation) runStages(ctx context.Context, p *pipeline.Pipeline, env *pipeline.Env, src pipeline.Source) ([]*int64, error) {
	start := time.Now()
	lead := &countedSource{Source: src}
	out, counts, err := p.OpenCounted(ctx, env, lead)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	for err == nil {
		_, err = out.Next(ctx)
	}
	e.took, e.returned = time.Since(start), lead.n
	if err == io.EOF {
		return counts, nil
	}
	return nil, err
}

// countedSource counts the documents of a collection that a pipeline takes.
type countedSource struct {
	pipeline.Source
	n int64
}

func (s *countedSource) Next(ctx context.Context) (bsonval.Doc, error) {
	d, err := s.Source.Next(ctx)
	if err == nil {
		s.n++
	}
	return d, err
}

// ExplainUpdate explains the first update statement of a command; nothing is
// changed.
func (d *DB) ExplainUpdate(ctx context.Context, op *Op, ns Namespace, s *UpdateStatement, verbosity string) (bsonval.Doc, error) {
	if _, err := d.newUpdater(op, ns, d.defined(op, ns), s); err != nil {
		return nil, err
	}
	q := &FindQuery{Filter: s.Filter, Sort: s.Sort, Hint: s.Hint, Collation: s.Collation, Let: s.Let}
	return d.explainWrite(ctx, op, ns, q, s.Multi, "UPDATE", verbosity)
}

// ExplainDelete explains the first delete statement of a command; nothing is
// deleted.
func (d *DB) ExplainDelete(ctx context.Context, op *Op, ns Namespace, s *DeleteStatement, verbosity string) (bsonval.Doc, error) {
	q := &FindQuery{Filter: s.Filter, Hint: s.Hint, Collation: s.Collation, Let: s.Let}
	return d.explainWrite(ctx, op, ns, q, s.Multi, "DELETE", verbosity)
}

func (d *DB) explainWrite(ctx context.Context, op *Op, ns Namespace, q *FindQuery, multi bool, stage, verbosity string) (bsonval.Doc, error) {
	if !multi {
		q.Limit = 1
	}
	b := bsonval.NewBuilder().Str("explainVersion", "1")
	err := d.explainFind(ctx, op, ns, q, verbosity, func(e *explanation) {
		count := e.returned
		if e.winning.name == "LIMIT" { // a write stops by itself
			e.winning = e.winning.inputs[0]
		}
		e.winning = over(stage, e.winning, nil)
		e.winning.counts = func(b *bsonval.Builder) {
			if stage == "DELETE" {
				b.Int32("nWouldDelete", int32(count))
			} else {
				b.Int32("nMatched", int32(count)).Int32("nWouldModify", int32(count)).Int32("nWouldUpsert", 0)
			}
		}
		e.winning.out, e.returned = 0, 0
		e.appendTo(b, verbosity)
	})
	return b.Build(), clientError(ctx, err)
}
