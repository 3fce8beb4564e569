package plan

// clustered is the scan of a clustered collection, whose natural order is that of
// _id: what the filter says about _id bounds it.
func (p *planner) clustered(direction int) *Plan {
	x := p.coll.IDIndex()
	bounds, _ := p.bounds(x, x.Collation.Equal(p.q.Collation))
	plan := &Plan{Index: x, Bounds: bounds, Filter: p.residual(0), Reverse: direction < 0, Sorted: p.q.Sort == nil}
	if p.q.Sort != nil {
		if sorted, reverse := p.sorts(x, bounds); sorted && x.Collation.Equal(p.q.Collation) {
			plan.Sorted, plan.Reverse = true, reverse
		}
	}
	return plan
}

// Clustered tells the scan of a clustered collection, and whether it is of a part
// of it.
func (p *Plan) Clustered() (clustered, bounded bool) {
	if p.Index == nil || !p.Index.Clustered || p.Covered {
		return false, false
	}
	return true, len(p.Bounds.Fields) > 0 && !p.Bounds.Fields[0].IsFull()
}
