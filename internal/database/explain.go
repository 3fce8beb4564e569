package database

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/plan"
)

// Verbosities of explain.
const (
	ExplainPlanner  = "queryPlanner"
	ExplainStats    = "executionStats"
	ExplainAllPlans = "allPlansExecution"
)

// explanation is the explain output of one query on one collection
// (https://www.mongodb.com/docs/manual/reference/explain-results/).
type explanation struct {
	ns      Namespace
	filter  bsonval.Doc
	shape   string
	winning stageNode
	// candidates are the trials, the winner first; empty if there was no choice.
	rejected []stageNode
	trials   []exec.Trial

	returned int64
	took     time.Duration
	stats    exec.Stats
}

// appendTo writes queryPlanner and, if asked for, executionStats.
func (e *explanation) appendTo(b *bsonval.Builder, verbosity string) {
	b.StartDoc("queryPlanner")
	b.Str("namespace", e.ns.String()).Doc("parsedQuery", e.filter).Bool("indexFilterSet", false)
	b.Str("queryHash", hashOf(e.shape)).Str("planCacheShapeHash", hashOf(e.shape))
	b.Str("planCacheKey", hashOf(e.shape+e.ns.String()))
	b.Int32("optimizationTimeMillis", 0)
	b.Bool("maxIndexedOrSolutionsReached", false).Bool("maxIndexedAndSolutionsReached", false)
	b.Bool("maxScansToExplodeReached", false).Bool("prunedSimilarIndexes", false)
	b.StartDoc("winningPlan").Bool("isCached", false)
	e.winning.appendTo(b, false)
	b.End()
	b.StartArray("rejectedPlans")
	for _, n := range e.rejected {
		b.StartDoc("").Bool("isCached", false)
		n.appendTo(b, false)
		b.End()
	}
	b.End().End()
	if verbosity == ExplainPlanner {
		return
	}
	b.StartDoc("executionStats").Bool("executionSuccess", true).Int32("nReturned", int32(e.returned))
	b.Int32("executionTimeMillis", int32(e.took.Milliseconds()))
	b.Int32("totalKeysExamined", int32(e.stats.KeysExamined)).Int32("totalDocsExamined", int32(e.stats.DocsExamined))
	b.StartDoc("executionStages").Bool("isCached", false)
	e.winning.appendTo(b, true)
	b.End()
	if verbosity == ExplainAllPlans {
		e.appendTrials(b)
	}
	b.End()
}

func (e *explanation) appendTrials(b *bsonval.Builder) {
	b.StartArray("allPlansExecution")
	for i, t := range e.trials {
		b.StartDoc("").Int32("nReturned", int32(t.Stats.Returned)).Int32("executionTimeMillisEstimate", 0)
		b.Int32("totalKeysExamined", int32(t.Stats.KeysExamined))
		b.Int32("totalDocsExamined", int32(t.Stats.DocsExamined)).Double("score", t.Score)
		b.StartDoc("executionStages")
		if i == 0 {
			e.winning.appendTo(b, true)
		} else {
			e.rejected[i-1].appendTo(b, true)
		}
		b.End().End()
	}
	b.End()
}

func hashOf(s string) string {
	h := fnv.New32a()
	io.WriteString(h, s)
	return fmt.Sprintf("%08X", h.Sum32())
}

// stageNode is one stage of a plan tree.
type stageNode struct {
	name   string
	fields func(*bsonval.Builder)
	counts func(*bsonval.Builder) // further numbers of the execution
	works  int64
	out    int64 // documents passed on
	inputs []stageNode
}

// appendTo writes the stage's fields into the open document.
func (n *stageNode) appendTo(b *bsonval.Builder, stats bool) {
	b.Str("stage", n.name)
	if stats {
		b.Int32("nReturned", int32(n.out)).Int32("executionTimeMillisEstimate", 0)
		b.Int32("works", int32(n.works)).Int32("advanced", int32(n.out))
		b.Int32("needTime", int32(max(n.works-n.out-1, 0))).Int32("needYield", 0)
		b.Int32("saveState", 0).Int32("restoreState", 0).Int32("isEOF", 1)
	}
	if n.fields != nil {
		n.fields(b)
	}
	if stats && n.counts != nil {
		n.counts(b)
	}
	switch {
	case len(n.inputs) == 1:
		b.StartDoc("inputStage")
		n.inputs[0].appendTo(b, stats)
		b.End()
	case len(n.inputs) > 1:
		b.StartArray("inputStages")
		for i := range n.inputs {
			b.StartDoc("")
			n.inputs[i].appendTo(b, stats)
			b.End()
		}
		b.End()
	}
}

// over puts a stage on top of another.
func over(name string, input stageNode, fields func(*bsonval.Builder)) stageNode {
	return stageNode{name: name, fields: fields, works: input.out + 1, out: input.out, inputs: []stageNode{input}}
}

// accessTree is a plan as a tree of stages, with the numbers of a scan or a trial.
func accessTree(p *plan.Plan, filter bsonval.Doc, s exec.Stats, scan *exec.Scan) stageNode {
	direction := "forward"
	if p.Reverse {
		direction = "backward"
	}
	docs := func(b *bsonval.Builder) { b.Int32("docsExamined", int32(s.DocsExamined)) }
	withFilter := func(b *bsonval.Builder) {
		if p.Filter != nil {
			b.Doc("filter", filter)
		}
	}
	switch {
	case p.Nothing:
		return stageNode{name: "EOF", works: 1, fields: func(b *bsonval.Builder) { b.Str("type", "predicateEvalsToFalse") }}
	case p.Union != nil:
		or := stageNode{name: "OR", works: s.Works + 1, out: s.Returned}
		for i, u := range p.Union {
			var stats exec.Stats
			if scan != nil {
				stats = scan.Children()[i].Stats
			}
			or.inputs = append(or.inputs, accessTree(u, filter, stats, nil))
		}
		return or
	case p.Index == nil:
		return stageNode{name: "COLLSCAN", works: s.Works + 1, out: s.Returned, counts: docs, fields: func(b *bsonval.Builder) {
			withFilter(b)
			b.Str("direction", direction)
		}}
	}
	keys := stageNode{name: "IXSCAN", works: s.KeysExamined + 1, out: s.KeysExamined - s.DupsDropped}
	keys.fields = func(b *bsonval.Builder) { appendIndexScan(b, p, direction) }
	keys.counts = func(b *bsonval.Builder) {
		b.Int32("keysExamined", int32(s.KeysExamined)).Int32("seeks", int32(s.Seeks))
		b.Int32("dupsTested", int32(s.KeysExamined)).Int32("dupsDropped", int32(s.DupsDropped))
	}
	if p.Covered {
		return keys
	}
	return stageNode{name: "FETCH", works: s.KeysExamined + 1, out: s.Returned, inputs: []stageNode{keys},
		fields: withFilter, counts: docs}
}

func appendIndexScan(b *bsonval.Builder, p *plan.Plan, direction string) {
	x := p.Index
	b.Doc("keyPattern", x.Key).Str("indexName", x.Name)
	if x.Collation != nil {
		b.Doc("collation", x.Collation.Doc())
	}
	b.Bool("isMultiKey", x.IsMultikey()).StartDoc("multiKeyPaths")
	for i, f := range x.Fields {
		b.StartArray(f.Path)
		if x.MultikeyFields()&(1<<i) != 0 {
			b.Add(bsonval.String(f.Path))
		}
		b.End()
	}
	b.End()
	b.Bool("isUnique", x.Unique).Bool("isSparse", x.Sparse).Bool("isPartial", x.Partial != nil)
	b.Int32("indexVersion", 2).Str("direction", direction).StartDoc("indexBounds")
	for i, f := range x.Fields {
		b.StartArray(f.Path)
		down := f.Desc != p.Reverse
		set := p.Bounds.Field(i)
		for _, s := range set.Strings(down) {
			b.Add(bsonval.String(s))
		}
		b.End()
	}
	b.End()
}

// ExplainFind explains a find, count or distinct on a collection or view.
func (d *DB) ExplainFind(ctx context.Context, op *Op, ns Namespace, q *FindQuery, verbosity string) (bsonval.Doc, error) {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	if coll != nil && coll.IsView() {
		return d.ExplainAggregate(ctx, op, ns, &AggregateQuery{
			Pipeline: findStages(q), Let: q.Let, Collation: q.Collation, AllowDiskUse: q.AllowDiskUse,
		}, verbosity)
	}
	b := bsonval.NewBuilder().Str("explainVersion", "1")
	err := d.explainFind(ctx, op, ns, q, verbosity, func(e *explanation) { e.appendTo(b, verbosity) })
	return b.Build(), clientError(ctx, err)
}

func (d *DB) explainFind(ctx context.Context, op *Op, ns Namespace, q *FindQuery, verbosity string,
	use func(*explanation),
) error {
	cur := &Cursor{db: d, ns: ns}
	cur.attach()
	defer cur.Close()
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	f, err := d.newFinder(ctx, op, coll, q, &cur.view)
	if err != nil {
		return err
	}
	cur.out = f
	e := &explanation{ns: ns, filter: match.ToBSON(f.matcher.Root()), trials: f.trials}
	if coll == nil {
		e.winning = stageNode{name: "EOF", works: 1, fields: func(b *bsonval.Builder) { b.Str("type", "nonExistentNamespace") }}
		use(e)
		return nil
	}
	e.shape = shapeOf(f.query())
	if verbosity != ExplainPlanner {
		start := time.Now()
		var buf []byte
		for {
			buf, err = f.Append(ctx, buf[:0])
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			e.returned++
		}
		e.took, e.stats = time.Since(start), f.scan.Stats
	}
	e.winning = f.tree(f.scan.Plan, e.filter, f.scan.Stats, f.scan, e.returned)
	for i, t := range f.trials {
		if i > 0 {
			e.rejected = append(e.rejected, f.tree(t.Plan, e.filter, t.Stats, nil, t.Stats.Returned))
		}
	}
	use(e)
	return nil
}

func filterOf(d bsonval.Doc) bsonval.Doc {
	if d == nil {
		return bsonval.EmptyDoc
	}
	return d
}

// tree puts the stages of a find over a plan's access.
func (f *finder) tree(p *plan.Plan, filter bsonval.Doc, s exec.Stats, scan *exec.Scan, returned int64) stageNode {
	n := accessTree(p, filter, s, scan)
	if _, ok := idOf(filterOf(f.q.Filter), f.c.collation); ok && p.Point && f.q.Hint == nil && p.Index.IsID() {
		n = stageNode{name: "EXPRESS_IXSCAN", works: s.Works, out: s.Returned, fields: func(b *bsonval.Builder) {
			b.Str("keyPattern", bsonval.FormatDoc(p.Index.Key)).Str("indexName", p.Index.Name)
		}, counts: func(b *bsonval.Builder) {
			b.Int32("keysExamined", int32(s.KeysExamined)).Int32("docsExamined", int32(s.DocsExamined))
		}}
	}
	if f.sort != nil && !p.Sorted {
		n = over("SORT", n, func(b *bsonval.Builder) {
			b.Doc("sortPattern", f.q.Sort).Int32("memLimit", 100<<20)
			if f.q.Limit > 0 {
				b.Int64("limitAmount", f.q.Limit+f.q.Skip)
			}
			b.Str("type", "simple")
		})
	}
	if f.q.Skip > 0 {
		n = over("SKIP", n, func(b *bsonval.Builder) { b.Int64("skipAmount", f.q.Skip) })
	}
	if f.q.Limit > 0 && (f.sort == nil || p.Sorted) {
		n = over("LIMIT", n, func(b *bsonval.Builder) { b.Int64("limitAmount", f.q.Limit) })
	}
	switch {
	case f.q.ReturnKey:
		n = over("RETURN_KEY", n, nil)
	case f.proj != nil:
		n = over(f.projectionStage(p), n, func(b *bsonval.Builder) { b.Doc("transformBy", f.q.Projection) })
	}
	if scan != nil {
		n.out = returned
	}
	return n
}

func (f *finder) projectionStage(p *plan.Plan) string {
	_, _, simple := f.proj.IsSimpleInclusion()
	switch {
	case p.Covered:
		return "PROJECTION_COVERED"
	case simple:
		return "PROJECTION_SIMPLE"
	}
	return "PROJECTION_DEFAULT"
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
	a, err := c.db.newAggregation(ctx, op, ns, q, c)
	if err != nil {
		return err
	}
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
	e := &explanation{ns: a.ns, filter: bsonval.EmptyDoc}
	if lead.Matcher != nil {
		e.filter = match.ToBSON(lead.Matcher.Root())
	}
	_, _, writes := a.pipe.Target()
	if verbosity != ExplainPlanner && !writes {
		start := time.Now()
		out, err := rest.Open(ctx, a.env, src)
		if err != nil {
			return err
		}
		defer out.Close()
		for {
			if _, err := out.Next(ctx); err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			e.returned++
		}
		e.took = time.Since(start)
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
	b.End().End()
	it := rest.Explain().Iter()
	for it.Next() {
		b.Add(it.Value())
	}
	b.End()
	return nil
}

// describe fills the plan of what data.Open returned.
func (e *explanation) describe(src any, sort bsonval.Doc) {
	s, ok := src.(*collSource)
	if !ok || s.scan == nil {
		e.winning = stageNode{name: "EOF", works: 1, fields: func(b *bsonval.Builder) { b.Str("type", "nonExistentNamespace") }}
		return
	}
	e.stats, e.trials = s.scan.Stats, s.trials
	tree := func(p *plan.Plan, st exec.Stats, scan *exec.Scan) stageNode {
		n := accessTree(p, e.filter, st, scan)
		if s.order != nil && !p.Sorted {
			n = over("SORT", n, func(b *bsonval.Builder) { b.Doc("sortPattern", sort).Str("type", "simple") })
		}
		if s.q.Skip > 0 {
			n = over("SKIP", n, func(b *bsonval.Builder) { b.Int64("skipAmount", s.q.Skip) })
		}
		if s.q.Limit > 0 {
			n = over("LIMIT", n, func(b *bsonval.Builder) { b.Int64("limitAmount", s.q.Limit) })
		}
		return n
	}
	e.winning = tree(s.scan.Plan, s.scan.Stats, s.scan)
	for i, t := range s.trials {
		if i > 0 {
			e.rejected = append(e.rejected, tree(t.Plan, t.Stats, nil))
		}
	}
}

// ExplainUpdate explains the first update statement of a command; nothing is
// changed.
func (d *DB) ExplainUpdate(ctx context.Context, op *Op, ns Namespace, s *UpdateStatement, verbosity string) (bsonval.Doc, error) {
	if _, err := d.newUpdater(op, ns, s); err != nil {
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
