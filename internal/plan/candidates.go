package plan

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// planner holds what is common to the candidates of one query.
type planner struct {
	builder
	q     *Query
	coll  *catalog.Collection
	nodes []match.Node
	preds *predicates
}

// Candidates returns the plans that could answer a query, at least one. A plan
// with an index comes before a collection scan, which is among them only if no
// index helps. The multikey marks of indexes are read here: the transaction's snapshot must have
// been taken before.
func Candidates(coll *catalog.Collection, q *Query) ([]*Plan, error) {
	if q.Allowed != nil {
		if plans, err := allowed(coll, q); len(plans) > 0 || err != nil {
			return plans, err
		}
		free := *q
		free.Allowed = nil
		q = &free
	}
	return candidates(coll, q)
}

func candidates(coll *catalog.Collection, q *Query) ([]*Plan, error) {
	p := &planner{q: q, coll: coll, nodes: conjuncts(q.Filter.Root()), builder: builder{ctx: q.Context}}
	if q.Collation != nil {
		p.collator = q.Collation.Collator()
	}
	if _, never := q.Filter.Root().(match.AlwaysFalse); never && q.Hint == nil {
		return []*Plan{{Nothing: true, Sorted: true, Covered: true}}, nil
	}
	p.preds = collect(p.builder, p.nodes)
	if near := p.nearOf(); near != nil {
		return p.nearPlans(near)
	}
	if coll.TextIndex() != nil && q.Filter.HasText() {
		return p.search()
	}
	if q.Hint != nil {
		return p.hinted()
	}
	if q.Min != nil || q.Max != nil {
		return nil, mongoerr.New(51173, "When using min()/max() a hint of which index to use must be provided")
	}
	if q.NaturalReverse {
		return []*Plan{p.scan(-1)}, nil
	}
	var out []*Plan
	for _, x := range coll.Indexes {
		if !p.usableIndex(x) {
			continue
		}
		for _, plan := range p.access(x, false) {
			if plan.Point {
				return []*Plan{plan}, nil // nothing can be faster
			}
			out = append(out, plan)
		}
	}
	if len(out) == 0 || !anyBounded(out) {
		if u := p.union(); u != nil {
			out = append(out, u)
		}
	}
	if len(out) == 0 {
		return []*Plan{p.scan(1)}, nil
	}
	return out, nil
}

func anyBounded(plans []*Plan) bool {
	for _, p := range plans {
		for _, f := range p.Bounds.Fields {
			if !f.IsFull() {
				return true
			}
		}
	}
	return false
}

// scan is the collection scan.
func (p *planner) scan(direction int) *Plan {
	if p.coll.Clustered {
		return p.clustered(direction)
	}
	plan := &Plan{Reverse: direction < 0, Filter: p.residual(0), Sorted: p.q.Sort == nil}
	plan.KeyOnly = plan.Filter == nil && plan.Sorted && p.q.Need != nil && len(p.q.Need) == 0
	p.boundRecords(plan)
	return plan
}

// decisions are the conjuncts of a filter that are known to be true. Those past the 64th are never
// noted: a filter applied once more does no harm.
type decisions uint64

func (d *decisions) add(conjunct int) {
	if conjunct < 64 {
		*d |= 1 << conjunct
	}
}

func (d decisions) has(conjunct int) bool { return conjunct < 64 && d&(1<<conjunct) != 0 }

// residual is the filter still to be applied when the conjuncts in decided are
// known to be true.
func (p *planner) residual(decided decisions) *match.Matcher {
	var rest []match.Node
	for i, n := range p.nodes {
		if !decided.has(i) {
			rest = append(rest, n)
		}
	}
	switch len(rest) {
	case 0:
		return nil
	case len(p.nodes):
		return p.q.Filter
	}
	return match.FromNode(match.NewAnd(rest...))
}

// index is the plan over an ordinary index, or nil if it does not help.
func (p *planner) index(x *catalog.Index, forced bool) *Plan {
	sameOrder := x.Collation.Equal(p.q.Collation)
	bounds, decided := p.bounds(x, sameOrder)
	plan := &Plan{Index: x, Bounds: bounds, Filter: p.residual(decided), Sorted: p.q.Sort == nil}
	for _, f := range bounds.Fields {
		if f.IsEmpty() {
			plan.Nothing = true
		}
	}
	bounded := len(bounds.Fields) > 0 && !bounds.Fields[0].IsFull() || x.Sparse && p.present(x.Fields[0].Path)
	if p.q.Sort != nil && sameOrder {
		plan.Sorted, plan.Reverse = p.sorts(x, bounds)
	}
	p.cover(plan, decided)
	p.distinct(plan)
	if !bounded && !forced && !(p.q.Sort != nil && plan.Sorted) && plan.Distinct == 0 {
		return nil
	}
	if merged := p.explode(plan); merged != nil {
		return merged
	}
	plan.Point = x.Unique && len(bounds.Fields) == len(x.Fields) && allPoints(bounds) && !x.Sparse
	return plan
}

func allPoints(b Bounds) bool {
	for _, f := range b.Fields {
		if len(f.list) != 1 || !f.list[0].isPoint() {
			return false
		}
	}
	return true
}

// usable says whether a predicate's set is right in the order of an index.
func usable(q predicate, sameOrder bool) bool { return sameOrder || !q.text && !q.set.IsFull() }

// bounds finds the set of each index field, and the conjuncts that they decide.
func (p *planner) bounds(x *catalog.Index, sameOrder bool) (b Bounds, decided decisions) {
	multikey := x.MultikeyFields()
	group := -1 // the $elemMatch that bounds multikey fields; -1 while none is bounded
	for i, f := range x.Fields {
		set, from, by := p.all(), 0, -1
		isMulti := multikey&(1<<i) != 0
		for _, q := range p.preds.list {
			if q.path != f.Path || !usable(q, sameOrder) || q.set.IsFull() && !q.exact || q.single && isMulti {
				continue
			}
			if isMulti {
				// One predicate only, and several fields only through one $elemMatch.
				if !set.IsFull() && !better(q.set, set) || group >= 0 && (group == 0 || group != q.group) {
					continue
				}
				set, from, by = q.set, q.group, -1
				if q.exact && !q.whole && sameConjunct(p.preds, q) {
					by = q.conjunct
				}
				continue
			}
			set = p.intersect(set, q.set)
			if q.exact && sameConjunct(p.preds, q) {
				decided.add(q.conjunct)
			}
		}
		if isMulti && !set.IsFull() {
			group = from
		}
		if by >= 0 {
			decided.add(by)
		}
		b.Fields = append(b.Fields, set)
	}
	for len(b.Fields) > 1 && b.Fields[len(b.Fields)-1].IsFull() {
		b.Fields = b.Fields[:len(b.Fields)-1]
	}
	return b, decided
}

// sameConjunct says whether a predicate is all that its conjunct says.
func sameConjunct(ps *predicates, q predicate) bool {
	n := 0
	for _, o := range ps.list {
		if o.conjunct == q.conjunct {
			n++
		}
	}
	return n == 1
}

// better says whether x is likely the smaller set.
func better(x, y Intervals) bool { return x.IsPoints() && !y.IsPoints() }

// presentIn says whether every document that matches is in a sparse index.
func (p *planner) presentIn(x *catalog.Index, sameOrder bool) bool {
	for _, f := range x.Fields {
		for _, q := range p.preds.list {
			if q.path == f.Path && q.present && (sameOrder || !q.text) && !(q.single && x.IsMultikey()) {
				return true
			}
		}
	}
	return false
}

// present says whether the filter asks for a path to be there.
func (p *planner) present(path string) bool {
	return slices.ContainsFunc(p.preds.list, func(q predicate) bool { return q.path == path && q.present })
}

// sorts says whether scanning an index gives the query's order, and whether
// backwards.
func (p *planner) sorts(x *catalog.Index, b Bounds) (sorted, reverse bool) {
	parts := p.q.Sort.Parts()
	if p.q.Sort.HasMeta() {
		return false, false
	}
	multikey := x.MultikeyFields()
	at, decided := 0, false
	for _, part := range parts {
		// Fields of one value do not disturb the order.
		for at < len(x.Fields) && x.Fields[at].Path != part.Path && onePoint(b, at) && multikey&(1<<at) == 0 {
			at++
		}
		if at == len(x.Fields) || x.Fields[at].Path != part.Path {
			if onePointPath(x, b, part.Path, multikey) {
				continue
			}
			return false, false
		}
		// An array sorts by its smallest or largest element, which the bounds
		// might hide.
		if multikey&(1<<at) != 0 && at < len(b.Fields) && !b.Fields[at].IsFull() {
			return false, false
		}
		back := x.Fields[at].Desc != part.Desc
		if decided && back != reverse {
			return false, false
		}
		reverse, decided = back, true
		at++
	}
	return true, reverse
}

func onePoint(b Bounds, i int) bool {
	return i < len(b.Fields) && len(b.Fields[i].list) == 1 && b.Fields[i].list[0].isPoint()
}

func onePointPath(x *catalog.Index, b Bounds, path string, multikey uint32) bool {
	for i, f := range x.Fields {
		if f.Path == path {
			return onePoint(b, i) && multikey&(1<<i) == 0
		}
	}
	return false
}

// hinted is the plan with the index that the hint names.
func (p *planner) hinted() ([]*Plan, error) {
	h := p.q.Hint
	if h.Natural != 0 {
		return []*Plan{p.scan(h.Natural)}, nil
	}
	for _, x := range p.coll.Indexes {
		if h.Name != "" && x.Name != h.Name || h.Name == "" && !sameKey(x.Key, h.Key) || x.Hidden || !x.Ready {
			continue
		}
		if p.q.Min != nil || p.q.Max != nil {
			plan, err := p.minMax(x)
			return []*Plan{plan}, err
		}
		if plans := p.access(x, true); len(plans) > 0 {
			return plans[:1], nil
		}
		if x.Kind != indexkey.KindBTree && x.Kind != indexkey.KindHashed {
			return nil, mongoerr.New(mongoerr.NoQueryExecutionPlans, "error processing query: ns=%s planner returned error :: "+
				"caused by :: No query solutions: the hinted index %s cannot answer the query", p.coll.Namespace(), x.Name)
		}
		// Partial or sparse: it answers with what it has, as in MongoDB.
		if x.Sparse || x.Partial != nil {
			return []*Plan{p.incomplete(x)}, nil
		}
		return []*Plan{p.scan(1)}, nil
	}
	return nil, mongoerr.New(mongoerr.BadValue, "error processing query: ns=%s planner returned error :: caused by :: "+
		"hint provided does not correspond to an existing index", p.coll.Namespace())
}

func (p *planner) incomplete(x *catalog.Index) *Plan {
	bounds, _ := p.bounds(x, x.Collation.Equal(p.q.Collation))
	plan := &Plan{Index: x, Bounds: bounds, Filter: p.residual(0), Sorted: p.q.Sort == nil}
	if p.q.Sort != nil {
		plan.Sorted, plan.Reverse = p.sorts(x, bounds)
	}
	return plan
}

func sameKey(a, b bsonval.Doc) bool {
	ia, ib := a.Iter(), b.Iter()
	for {
		na, nb := ia.Next(), ib.Next()
		if na != nb {
			return false
		}
		if !na {
			return true
		}
		if string(ia.Key()) != string(ib.Key()) || !bsonval.Equal(ia.Value(), ib.Value()) {
			return false
		}
	}
}
