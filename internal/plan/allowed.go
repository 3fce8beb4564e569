package plan

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
)

// IndexSet is a choice of the indexes that a query may use, made by an index
// filter or by query settings. It wins over the query's hint.
type IndexSet struct {
	Names []string
	Keys  []bsonval.Doc

	// Natural are directions of the collection scan (±1) that count as if they
	// were indexes.
	Natural []int

	// Advisory says that a query that none of them helps is planned as if there
	// were no choice. Without it a collection scan answers.
	Advisory bool
}

// Has says whether an index is in the set; a nil set has all.
func (s *IndexSet) Has(x *catalog.Index) bool {
	return s == nil || slices.Contains(s.Names, x.Name) ||
		slices.ContainsFunc(s.Keys, func(key bsonval.Doc) bool { return sameKey(x.Key, key) })
}

// usableIndex says whether the planner may look at an index.
func (p *planner) usableIndex(x *catalog.Index) bool {
	return !x.Hidden && x.Ready && p.q.Allowed.Has(x)
}

// allowed returns the plans with the indexes that the query is limited to; none
// if they do not help and the choice is only advice.
func allowed(coll *catalog.Collection, q *Query) ([]*Plan, error) {
	limited := *q
	if q.Hint != nil && q.Hint.Natural == 0 && q.Min == nil && q.Max == nil {
		limited.Hint = nil
	}
	plans, err := candidates(coll, &limited)
	if err != nil || limited.Hint != nil || plans[0].Near != nil {
		return plans, err
	}
	none := len(plans) == 1 && plans[0].Index == nil && plans[0].Union == nil && !plans[0].Nothing
	if none && (len(q.Allowed.Natural) > 0 || q.Allowed.Advisory) {
		plans = nil
	}
	for _, direction := range q.Allowed.Natural {
		p := &planner{q: q, coll: coll, nodes: conjuncts(q.Filter.Root())}
		plans = append(plans, p.scan(direction))
	}
	return plans, nil
}
