package plan

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/indexkey"
)

// pathField is the name of the path component of wildcard keys, as explain shows
// it.
const pathField = "$_path"

// wildcard lists the plans over a wildcard index: one for each path that the
// filter asks to be present, over the keys of that path, as if the index were
// {…, $_path: 1, path: 1, …}; and for compound indexes one that bounds only the
// fields before the wildcard. The filter is always applied again.
func (p *planner) wildcard(x *catalog.Index) []*Plan {
	if !x.Collation.Equal(p.q.Collation) {
		return nil // paths are in the index's order, too
	}
	g, ok := x.Generator.(*indexkey.Wildcard)
	if !ok {
		return nil
	}
	var plans []*Plan
	seen := map[string]bool{}
	for _, q := range p.preds.list {
		if q.present && !(q.single && x.IsMultikey()) && !seen[q.path] && g.Covers(q.path) && !(x.IsMultikey() && hasPosition(q.path)) {
			seen[q.path] = true
			plans = append(plans, p.wildcardPath(x, g.Position(), q))
		}
	}
	if len(plans) == 0 && g.Position() > 0 {
		if plan := p.wildcardPrefix(x, g.Position()); plan != nil {
			plans = append(plans, plan)
		}
	}
	return plans
}

// hasPosition says whether a path may go through an array by position, which is
// no part of the paths in the index. While there are no arrays, numbers are names.
func hasPosition(path string) bool {
	for part := range strings.SplitSeq(path, ".") {
		if part != "" && part[0] >= '0' && part[0] <= '9' {
			return true
		}
	}
	return false
}

// expanded is a wildcard index as an index on one path.
func expanded(x *catalog.Index, at int, path string) *catalog.Index {
	v := *x
	v.Fields = nil
	key := bsonval.NewBuilder()
	it := x.Key.Iter()
	for i := 0; it.Next(); i++ {
		if i == at {
			v.Fields = append(v.Fields, catalog.Field{Path: pathField}, catalog.Field{Path: path, Desc: x.Fields[i].Desc})
			key.Int32(pathField, 1).Value(path, it.Value())
			continue
		}
		v.Fields = append(v.Fields, x.Fields[i])
		key.Value(string(it.Key()), it.Value())
	}
	v.Key = key.Build()
	return &v
}

// wildcardPath is the plan over the keys of one path, which the predicate q asks
// to be present.
func (p *planner) wildcardPath(x *catalog.Index, at int, q predicate) *Plan {
	v := expanded(x, at, q.path)
	bounds, _ := p.bounds(v, true)
	for len(bounds.Fields) < at+2 {
		bounds.Fields = append(bounds.Fields, p.all())
	}
	plan := &Plan{Index: v, Bounds: bounds, Filter: p.q.Filter, Sorted: p.q.Sort == nil}
	bounds.Fields[at] = p.equal(bsonval.String(q.path))
	value := &bounds.Fields[at+1]
	// Documents are in the index by their leaves, under longer paths.
	objects := p.of(p.bracket(bsonval.Document(bsonval.EmptyDoc)))
	if !p.intersect(*value, objects).IsEmpty() {
		*value = p.all()
		under := p.all()
		if p.collator == nil {
			under = p.of(p.before(bsonval.String(q.path+".")), p.before(bsonval.String(q.path+"/")))
		}
		bounds.Fields[at] = p.unite(bounds.Fields[at], under)
		plan.Repeats = true
	}
	for _, f := range bounds.Fields {
		plan.Nothing = plan.Nothing || f.IsEmpty()
	}
	if p.q.Sort != nil && !plan.Repeats {
		plan.Sorted, plan.Reverse = p.sorts(v, bounds)
	}
	return plan
}

// wildcardPrefix is the plan over the fields before the wildcard; nil if the
// first one is not bounded.
func (p *planner) wildcardPrefix(x *catalog.Index, at int) *Plan {
	v := expanded(x, at, pathField)
	bounds, _ := p.bounds(v, true)
	if len(bounds.Fields) > at {
		bounds.Fields = bounds.Fields[:at]
	}
	if bounds.Fields[0].IsFull() {
		return nil
	}
	plan := &Plan{Index: v, Bounds: bounds, Filter: p.q.Filter, Sorted: p.q.Sort == nil, Repeats: true}
	for _, f := range bounds.Fields {
		plan.Nothing = plan.Nothing || f.IsEmpty()
	}
	return plan
}
