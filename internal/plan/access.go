package plan

import (
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/indexkey"
)

// access lists the plans over one index, none if it does not help. Each kind of
// index has its own way. A forced plan is wanted even if it is slow.
func (p *planner) access(x *catalog.Index, forced bool) []*Plan {
	if !p.complete(x) {
		return nil
	}
	switch x.Kind {
	case indexkey.KindBTree:
		if plan := p.index(x, forced); plan != nil {
			return []*Plan{plan}
		}
	case indexkey.KindHashed:
		if plan := p.hashed(x, forced); plan != nil {
			return []*Plan{plan}
		}
	case indexkey.KindWildcard:
		return p.wildcard(x)
	case indexkey.Kind2D, indexkey.Kind2DSphere:
		if plan := p.regions(x, forced); plan != nil {
			return []*Plan{plan}
		}
	case indexkey.KindText:
		if plan := p.textMatch(x); plan != nil {
			return []*Plan{plan}
		}
	}
	return nil
}

// complete says whether every document that matches is in an index that leaves
// some out.
func (p *planner) complete(x *catalog.Index) bool {
	if x.Partial != nil && !p.impliesPartial(x) {
		return false
	}
	if x.Kind == indexkey.Kind2D || x.Kind == indexkey.Kind2DSphere {
		return true // what asks for a geometry asks for it to be there
	}
	return !x.Sparse || p.presentIn(x, x.Collation.Equal(p.q.Collation))
}
