package database

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/text"
)

func noCollection() stageNode {
	return stageNode{name: "EOF", works: 1, fields: func(b *bsonval.Builder) { b.Str("type", "nonExistentNamespace") }}
}

// fastCount is a count of a whole collection.
func fastCount(n int64, q *FindQuery) stageNode {
	return stageNode{name: "RECORD_STORE_FAST_COUNT", works: 1, counts: func(b *bsonval.Builder) {
		b.Int64("nCounted", n).Int64("nSkipped", q.Skip)
	}}
}

func filterDoc(m *match.Matcher) bsonval.Doc {
	if m == nil {
		return nil
	}
	return match.ToBSON(m.Root())
}

func direction(p *plan.Plan) string {
	if p.Reverse {
		return "backward"
	}
	return "forward"
}

// accessTree is a plan as a tree of stages, with the numbers of a scan or a
// trial. The scan may be nil.
func accessTree(p *plan.Plan, s exec.Stats, scan *exec.Scan) stageNode {
	docs := func(b *bsonval.Builder) { b.Int32("docsExamined", int32(s.DocsExamined)) }
	switch {
	case p.Nothing:
		return stageNode{name: "EOF", works: 1, fields: func(b *bsonval.Builder) { b.Str("type", "predicateEvalsToFalse") }}
	case p.MergeFrom > 0:
		return mergeTree(p, s, scan)
	case p.Union != nil:
		or := stageNode{name: "OR", works: s.Works + 1, out: s.Returned, inputs: childTrees(p, scan), many: true}
		or.counts = func(b *bsonval.Builder) {
			b.Int32("dupsTested", int32(s.Returned+s.DupsDropped)).Int32("dupsDropped", int32(s.DupsDropped))
		}
		return or
	case p.Index == nil:
		return stageNode{name: "COLLSCAN", filter: filterDoc(p.Filter), works: s.Works + 1, out: s.Returned, counts: docs,
			fields: func(b *bsonval.Builder) {
				b.Str("direction", direction(p))
				appendRecordBounds(b, p)
				appendContains(b, p)
			}}
	}
	if p.Near != nil {
		return nearTree(p, s)
	}
	if p.Text != nil {
		return textTree(p, s)
	}
	if clustered, bounded := p.Clustered(); clustered {
		name := "COLLSCAN"
		if bounded {
			name = "CLUSTERED_IXSCAN"
		}
		return stageNode{name: name, filter: filterDoc(p.Filter), works: s.Works + 1, out: s.Returned, counts: docs,
			fields: func(b *bsonval.Builder) {
				b.Str("direction", direction(p))
				appendContains(b, p)
			}}
	}
	keys := keysTree(p, s)
	if p.Covered {
		keys.out = s.Returned
		return keys
	}
	keys.out = s.DocsExamined
	return stageNode{name: "FETCH", filter: filterDoc(p.Filter), works: s.KeysExamined + 1, out: s.Returned,
		inputs: []stageNode{keys}, counts: func(b *bsonval.Builder) { docs(b); b.Int32("alreadyHasObj", 0) },
		fields: func(b *bsonval.Builder) { appendContains(b, p) }}
}

// nearTree is the search by distance. Its rings are found only while it runs, so
// no scan is shown below it.
func nearTree(p *plan.Plan, s exec.Stats) stageNode {
	return stageNode{
		name: p.Stage(), filter: filterDoc(p.Filter), works: s.Works + 1, out: s.Returned,
		fields: func(b *bsonval.Builder) {
			b.Doc("keyPattern", p.Index.Key).Str("indexName", p.Index.Name).Int32("indexVersion", indexVersion)
		},
		counts: func(b *bsonval.Builder) {
			b.Int32("keysExamined", int32(s.KeysExamined)).Int32("docsExamined", int32(s.DocsExamined))
		},
	}
}

// textTree is a text search: the documents of all terms, and the whole search on
// top of them.
func textTree(p *plan.Plan, s exec.Stats) stageNode {
	or := stageNode{name: "TEXT_OR", works: s.Works + 1, out: s.DocsExamined, counts: func(b *bsonval.Builder) {
		b.Int32("docsExamined", int32(s.DocsExamined))
	}}
	scan := stageNode{name: "IXSCAN", works: s.KeysExamined + 1, out: s.KeysExamined, fields: func(b *bsonval.Builder) {
		b.Doc("keyPattern", p.Index.Key).Str("indexName", p.Index.Name).Int32("indexVersion", indexVersion).Str("direction", "forward")
	}, counts: func(b *bsonval.Builder) {
		b.Int32("keysExamined", int32(s.KeysExamined)).Int32("seeks", int32(s.Seeks))
	}}
	or.inputs = []stageNode{scan}
	return stageNode{
		name: p.Stage(), filter: filterDoc(p.Filter), works: s.Works + 1, out: s.Returned, inputs: []stageNode{or},
		fields: func(b *bsonval.Builder) {
			b.StartDoc("indexPrefix").End().Str("indexName", p.Index.Name).StartDoc("parsedTextQuery")
			p.Text.Query.Query.Describe(b)
			b.End().Int32("textIndexVersion", text.Version)
		},
	}
}

// childTrees are the trees of a union's plans.
func childTrees(p *plan.Plan, scan *exec.Scan) []stageNode {
	trees := make([]stageNode, 0, len(p.Union))
	for i, u := range p.Union {
		var stats exec.Stats
		var child *exec.Scan
		if scan != nil {
			child = scan.Children()[i]
			stats = child.Stats
		}
		trees = append(trees, accessTree(u, stats, child))
	}
	return trees
}

// mergeTree shows the fetch above the merge, as it is in MongoDB; here each scan
// fetches.
func mergeTree(p *plan.Plan, s exec.Stats, scan *exec.Scan) stageNode {
	merge := stageNode{name: "SORT_MERGE", works: s.Works + 1, out: s.Returned, many: true}
	merge.fields = func(b *bsonval.Builder) {
		b.StartDoc("sortPattern")
		for _, f := range p.Union[0].Index.Fields[p.MergeFrom:] {
			order := int32(1)
			if f.Desc != p.Union[0].Reverse {
				order = -1
			}
			b.Int32(f.Path, order)
		}
		b.End()
	}
	trees := childTrees(p, scan)
	if p.Covered {
		merge.inputs = trees
		return merge
	}
	fetch := over("FETCH", merge, nil)
	fetch.filter, fetch.fields = trees[0].filter, trees[0].fields
	fetch.counts = func(b *bsonval.Builder) { b.Int32("docsExamined", int32(s.DocsExamined)).Int32("alreadyHasObj", 0) }
	for _, t := range trees {
		if len(t.inputs) == 1 {
			t = t.inputs[0]
		}
		fetch.inputs[0].inputs = append(fetch.inputs[0].inputs, t)
	}
	return fetch
}

// keysTree is the scan of index keys.
func keysTree(p *plan.Plan, s exec.Stats) stageNode {
	keys := stageNode{name: "IXSCAN", filter: filterDoc(p.KeyFilter), works: s.KeysExamined + 1, out: s.KeysExamined - s.DupsDropped}
	if p.Distinct > 0 {
		keys.name = "DISTINCT_SCAN"
	}
	keys.fields = func(b *bsonval.Builder) { appendIndexScan(b, p) }
	keys.counts = func(b *bsonval.Builder) {
		b.Int32("keysExamined", int32(s.KeysExamined))
		if p.Distinct > 0 {
			return
		}
		b.Int32("seeks", int32(s.Seeks))
		tested := int64(0)
		if p.Index.IsMultikey() {
			tested = s.KeysExamined
		}
		b.Int32("dupsTested", int32(tested)).Int32("dupsDropped", int32(s.DupsDropped))
	}
	return keys
}

func appendIndexScan(b *bsonval.Builder, p *plan.Plan) {
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
	b.Int32("indexVersion", 2).Str("direction", direction(p)).StartDoc("indexBounds")
	for i, f := range x.Fields {
		b.StartArray(f.Path)
		set := p.Bounds.Field(i)
		for _, s := range set.Strings(f.Desc != p.Reverse) {
			b.Add(bsonval.String(s))
		}
		b.End()
	}
	b.End()
}

// tree puts the stages of a find over a plan's access.
func (f *finder) tree(p *plan.Plan, s exec.Stats, scan *exec.Scan, returned int64) stageNode {
	n := accessTree(p, s, scan)
	_, byID := idOf(f.q.Filter, f.c.collation)
	if byID && p.Point && f.q.Hint == nil && p.Index.IsID() && !f.q.count {
		n = stageNode{name: "EXPRESS_IXSCAN", works: s.Works, out: s.Returned, fields: func(b *bsonval.Builder) {
			b.Str("keyPattern", bsonval.FormatDoc(p.Index.Key)).Str("indexName", p.Index.Name)
		}, counts: func(b *bsonval.Builder) {
			b.Int32("keysExamined", int32(s.KeysExamined)).Int32("docsExamined", int32(s.DocsExamined))
			b.Int32("fetches", int32(s.DocsExamined))
		}}
	}
	if f.q.count {
		return f.countTree(p, n, s)
	}
	if f.sort != nil && !p.Sorted {
		n = sortStage(n, f.q.Sort, f.q.Skip, f.q.Limit)
	}
	if f.q.Skip > 0 {
		n = over("SKIP", n, func(b *bsonval.Builder) { b.Int64("skipAmount", f.q.Skip) })
		n.out = max(n.out-f.q.Skip, 0)
	}
	if f.q.Limit > 0 && (f.sort == nil || p.Sorted) {
		n = over("LIMIT", n, func(b *bsonval.Builder) { b.Int64("limitAmount", f.q.Limit) })
		n.out = min(n.out, f.q.Limit)
	}
	switch {
	case f.q.ReturnKey:
		n = over("RETURN_KEY", n, nil)
	case f.proj != nil:
		n = over(f.projectionStage(p), n, func(b *bsonval.Builder) { b.Doc("transformBy", f.q.Projection) })
	case f.q.distinct != "" && p.Covered:
		n = over("PROJECTION_COVERED", n, func(b *bsonval.Builder) {
			b.StartDoc("transformBy").Int32(f.q.distinct, 1).Int32("_id", 0).End()
		})
	}
	if scan != nil {
		n.out = returned
	}
	return n
}

// countTree puts the counting stage over a plan's access.
func (f *finder) countTree(p *plan.Plan, n stageNode, s exec.Stats) stageNode {
	if p.KeyOnly && p.Index != nil {
		if _, _, exact, _ := p.Bounds.Range(p.Index); exact {
			n.name = "COUNT_SCAN"
		}
	}
	n = over("COUNT", n, nil)
	n.out = 0
	n.counts = func(b *bsonval.Builder) {
		b.Int64("nCounted", clip(s.Returned, f.q)).Int64("nSkipped", min(f.q.Skip, s.Returned))
	}
	return n
}

// sortStage is a sort in memory of which limit results are kept, all if it is 0.
func sortStage(n stageNode, pattern bsonval.Doc, skip, limit int64) stageNode {
	n = over("SORT", n, func(b *bsonval.Builder) {
		b.Doc("sortPattern", pattern).Int32("memLimit", 100<<20)
		if limit > 0 {
			b.Int64("limitAmount", limit+skip)
		}
		b.Str("type", "simple")
	})
	n.works = 2 * n.out
	if limit > 0 {
		n.out = min(n.out, skip+limit)
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

// describe fills the plan of what data.Open returned.
func (e *explanation) describe(src any, sort bsonval.Doc) {
	s, ok := src.(*collSource)
	if !ok || s.scan == nil {
		e.winning = noCollection()
		return
	}
	e.stats, e.trials = s.scan.Stats, s.trials
	tree := func(p *plan.Plan, st exec.Stats, scan *exec.Scan) stageNode {
		n := accessTree(p, st, scan)
		if s.order != nil && !p.Sorted {
			n = sortStage(n, sort, s.q.Skip, s.q.Limit)
		}
		if s.q.Skip > 0 {
			n = over("SKIP", n, func(b *bsonval.Builder) { b.Int64("skipAmount", s.q.Skip) })
			n.out = max(n.out-s.q.Skip, 0)
		}
		if s.q.Limit > 0 && (s.order == nil || p.Sorted) {
			n = over("LIMIT", n, func(b *bsonval.Builder) { b.Int64("limitAmount", s.q.Limit) })
			n.out = min(n.out, s.q.Limit)
		}
		if need := needOf(s.q.Deps); p.Covered && !p.KeyOnly && len(need) > 0 {
			n = over("PROJECTION_COVERED", n, func(b *bsonval.Builder) {
				b.StartDoc("transformBy")
				for _, path := range need {
					b.Int32(path, 1)
				}
				if !slices.Contains(need, "_id") {
					b.Int32("_id", 0)
				}
				b.End()
			})
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

// appendRecordBounds tells which part of a log is scanned.
func appendRecordBounds(b *bsonval.Builder, p *plan.Plan) {
	if p.MinRecord != 0 {
		b.Value("minRecord", bsonval.TimestampBits(uint64(p.MinRecord)))
	}
	if p.MaxRecord != 0 {
		b.Value("maxRecord", bsonval.TimestampBits(uint64(p.MaxRecord)))
	}
}
