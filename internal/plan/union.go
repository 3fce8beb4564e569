package plan

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// union plans a filter with an $or whose every branch has an index: the
// branches' results without repetitions. The other conjuncts go into each branch.
func (p *planner) union() *Plan {
	for i, n := range p.nodes {
		or, ok := n.(*match.Or)
		if !ok {
			continue
		}
		var rest []match.Node
		rest = append(append(rest, p.nodes[:i]...), p.nodes[i+1:]...)
		if plan := p.branches(or, rest); plan != nil {
			return plan
		}
	}
	return nil
}

func (p *planner) branches(or *match.Or, rest []match.Node) *Plan {
	u := &Plan{Sorted: p.q.Sort == nil}
	for _, branch := range or.Nodes {
		node := match.NewAnd(append([]match.Node{branch}, rest...)...)
		q := *p.q
		q.Filter, q.Sort, q.Distinct = match.FromNode(node), nil, ""
		if len(q.Need) > 0 || p.q.Sort != nil {
			q.Need = nil
		}
		b := &planner{builder: p.builder, q: &q, coll: p.coll, nodes: conjuncts(node)}
		b.preds = collect(b.builder, b.nodes)
		best := b.best()
		if best == nil {
			return nil
		}
		u.Union = append(u.Union, best)
	}
	return u
}

// best picks the branch's index with most bounded fields, points before ranges.
func (p *planner) best() *Plan {
	var best *Plan
	score := -1
	for _, x := range p.coll.Indexes {
		if !p.usableIndex(x) {
			continue
		}
		for _, plan := range p.access(x, false) {
			if plan.Text != nil {
				return plan // the only one that knows scores
			}
			if n := plan.Bounds.score(); n > score {
				best, score = plan, n
			}
		}
	}
	if best == nil {
		return p.union()
	}
	return best
}

// score counts the bounded fields, points twice.
func (b Bounds) score() int {
	n := 0
	for _, f := range b.Fields {
		switch {
		case f.IsPoints():
			n += 2
		case !f.IsFull():
			n++
		}
	}
	return n
}

// impliesPartial says whether every document that matches is in a partial
// index: each conjunct of its filter follows from one of the query's.
func (p *planner) impliesPartial(x *catalog.Index) bool {
	if !x.Collation.Equal(p.q.Collation) {
		return false
	}
	for _, n := range conjuncts(x.Partial.Root()) {
		if !p.implies(n) {
			return false
		}
	}
	return true
}

func (p *planner) implies(n match.Node) bool {
	switch n := n.(type) {
	case *match.Or:
		for _, c := range n.Nodes {
			if p.implies(c) {
				return true
			}
		}
		return false
	case *match.And:
		for _, c := range n.Nodes {
			if !p.implies(c) {
				return false
			}
		}
		return true
	}
	path, ok := pathOf(n)
	if !ok {
		return false
	}
	var want predicate
	if !p.preds.describe(n, &want) {
		return false
	}
	_, exists := n.(*match.Exists)
	if !exists && (!want.exact || want.whole) {
		return false
	}
	for _, q := range p.preds.list {
		if q.path != path || q.group != 0 {
			continue
		}
		if exists && q.present || !exists && p.subset(q.set, want.set) {
			return true
		}
	}
	return false
}

// subset says whether every value of x is in y.
func (p *planner) subset(x, y Intervals) bool { return p.intersect(x, p.complement(y)).IsEmpty() }

// minMax is the scan between the keys of min() and max().
func (p *planner) minMax(x *catalog.Index) (*Plan, error) {
	plan := &Plan{Index: x, Filter: p.residual(0), Sorted: p.q.Sort == nil, Bounds: Bounds{}}
	var err error
	if p.q.Min != nil {
		if plan.Lower, err = keyOf(x, p.q.Min); err != nil {
			return nil, err
		}
	}
	if p.q.Max != nil {
		if plan.Upper, err = keyOf(x, p.q.Max); err != nil {
			return nil, err
		}
	}
	if plan.Lower != nil && plan.Upper != nil && string(plan.Lower) >= string(plan.Upper) {
		return nil, mongoerr.New(51175, "The value provided for min() does not come before the value provided for max() "+
			"in the hinted index")
	}
	if p.q.Sort != nil {
		plan.Sorted, plan.Reverse = p.sorts(x, plan.Bounds)
	}
	return plan, nil
}

func keyOf(x *catalog.Index, d bsonval.Doc) ([]byte, error) {
	it := d.Iter()
	var key []byte
	for _, f := range x.Fields {
		if !it.Next() || it.KeyStr() != f.Path {
			return nil, mongoerr.New(51174, "The index chosen is not compatible with min/max: the fields of min() and max() "+
				"must be those of the hinted index, in the same order")
		}
		key = keystring.Append(key, it.Value(), f.Desc, x.Collator())
	}
	if it.Next() {
		return nil, mongoerr.New(51174, "The index chosen is not compatible with min/max: the fields of min() and max() "+
			"must be those of the hinted index, in the same order")
	}
	return key, nil
}
