package plan

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/indexkey"
)

// hashed is the plan over a hashed index: equality on the hashed field becomes
// equality of hashes, the other fields are bounded as in an ordinary index. The
// filter is always applied again, since different values may have one hash.
func (p *planner) hashed(x *catalog.Index, forced bool) *Plan {
	bounds, _ := p.bounds(x, x.Collation.Equal(p.q.Collation))
	if at := indexkey.HashedField(x.Key); at < len(bounds.Fields) {
		bounds.Fields[at] = p.hashes(bounds.Fields[at])
	}
	if len(bounds.Fields) == 0 || bounds.Fields[0].IsFull() && !forced {
		return nil
	}
	plan := &Plan{Index: x, Bounds: bounds, Filter: p.q.Filter, Sorted: p.q.Sort == nil}
	for _, f := range bounds.Fields {
		plan.Nothing = plan.Nothing || f.IsEmpty()
	}
	return plan
}

// hashes is the set of the hashes of single values; all values if there are
// others in the set.
func (p *planner) hashes(set Intervals) Intervals {
	if set.IsEmpty() {
		return set
	}
	if !set.IsPoints() {
		return p.all()
	}
	points := make([]Intervals, 0, len(set.list))
	for _, iv := range set.list {
		points = append(points, p.equal(bsonval.Int64(bsonval.HashedKey(iv.lo.v))))
	}
	return p.unite(points...)
}
