package plan

import (
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/sortkey"
)

// cover says what of the query the index's keys can tell without the documents:
// conditions of the filter that the bounds do not decide, and all that is needed.
func (p *planner) cover(plan *Plan, decided decisions) {
	need := p.q.Need
	if p.q.Sort != nil && !plan.Sorted && need != nil {
		need = append(slices.Clone(need), p.q.Sort.Fields()...)
	}
	if plan.Filter == nil && need != nil && len(need) == 0 {
		// Counting needs no more than the number of records.
		plan.Covered, plan.KeyOnly = true, true
		return
	}
	if plan.Index.IsMultikey() || plan.Index.Collation != nil {
		return // not all values are in the keys
	}
	p.splitFilter(plan, decided)
	plan.Covered = need != nil && plan.Filter == nil && holds(plan.Index, need)
}

// splitFilter makes conditions that the keys can tell the key filter.
func (p *planner) splitFilter(plan *Plan, decided decisions) {
	var onKey, onDoc []match.Node
	for i, n := range p.nodes {
		switch {
		case decided.has(i):
		case toldByKey(plan.Index, n):
			onKey = append(onKey, n)
		default:
			onDoc = append(onDoc, n)
		}
	}
	if len(onKey) == 0 {
		return
	}
	plan.KeyFilter = match.FromNode(match.NewAnd(onKey...))
	if plan.Filter = nil; len(onDoc) > 0 {
		plan.Filter = match.FromNode(match.NewAnd(onDoc...))
	}
}

// toldByKey says whether the values in an index's keys tell if a condition is
// true.
func toldByKey(x *catalog.Index, n match.Node) bool {
	deps := &expr.Deps{}
	match.FromNode(n).Deps(deps)
	return !deps.All && len(deps.Fields) > 0 && len(deps.Meta) == 0 && holds(x, deps.Fields)
}

// holds says whether an index's keys have the values of all paths. A dotted
// field cannot tell a missing parent from a missing field.
func holds(x *catalog.Index, paths []string) bool {
	for _, path := range paths {
		if strings.Contains(path, ".") ||
			!slices.ContainsFunc(x.Fields, func(f catalog.Field) bool { return f.Path == path }) {
			return false
		}
	}
	return true
}

// distinct makes a plan that meets each value of the path asked for once, if the
// index is in its order and the documents found need no look.
func (p *planner) distinct(plan *Plan) {
	x := plan.Index
	if p.q.Distinct == "" || plan.Filter != nil || p.q.Sort != nil || x.IsMultikey() ||
		!x.Collation.Equal(p.q.Collation) {
		return
	}
	for i, f := range x.Fields {
		if f.Path == p.q.Distinct {
			plan.Distinct = i + 1
			return
		}
		if !plan.Bounds.Field(i).IsPoints() {
			return
		}
	}
}

// maxExploded is how many scans may be merged for one sort, MongoDB's number.
const maxExploded = 200

// explode turns a scan whose first fields have a few values each, but which is
// not in the query's order because of that, into one scan for each combination,
// merged in the order of the fields behind. nil says that this is not possible.
func (p *planner) explode(plan *Plan) *Plan {
	x := plan.Index
	if p.q.Sort == nil || plan.Sorted || p.q.Sort.HasMeta() || x.IsMultikey() || !x.Collation.Equal(p.q.Collation) {
		return nil
	}
	parts := p.q.Sort.Parts()
	at := slices.IndexFunc(x.Fields, func(f catalog.Field) bool { return f.Path == parts[0].Path })
	if at <= 0 {
		return nil
	}
	count := 1
	for i := range at {
		set := plan.Bounds.Field(i)
		sorted := slices.ContainsFunc(parts, func(q sortkey.Part) bool { return q.Path == x.Fields[i].Path })
		if !set.IsPoints() || sorted && len(set.list) > 1 {
			return nil
		}
		if count *= len(set.list); count > maxExploded {
			return nil
		}
	}
	out := &Plan{MergeFrom: at, Sorted: true, Covered: plan.Covered, KeyOnly: plan.KeyOnly}
	for n := range count {
		child := *plan
		child.Bounds.Fields = slices.Clone(plan.Bounds.Fields)
		for i := range at {
			set := plan.Bounds.Fields[i]
			child.Bounds.Fields[i] = Intervals{set.list[n%len(set.list):][:1], set.collator}
			n /= len(set.list)
		}
		if child.Sorted, child.Reverse = p.sorts(x, child.Bounds); !child.Sorted {
			return nil
		}
		out.Union = append(out.Union, &child)
	}
	return out
}
