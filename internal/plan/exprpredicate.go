package plan

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

// mirrored are the operators with their operands exchanged.
var mirrored = map[string]string{"$eq": "$eq", "$lt": "$gt", "$lte": "$gte", "$gt": "$lt", "$gte": "$lte"}

// expression notes what the comparisons that an $expr consists of say of fields.
// Expressions do not look into arrays, so that is of use to indexes only while
// they are not multikey; and they compare values of all types.
func (p *predicates) expression(e expr.Expr, conjunct int) {
	for _, part := range expr.Conjuncts(e) {
		op, left, right, ok := expr.Comparison(part)
		if !ok {
			continue
		}
		path, ok := expr.FieldPath(left)
		if !ok {
			left, right, op = right, left, mirrored[op]
			if path, ok = expr.FieldPath(left); !ok {
				continue
			}
		}
		v, ok := expr.FixedValue(right, p.ctx)
		if !ok {
			continue
		}
		q := predicate{path: path, conjunct: conjunct, single: true, text: hasText(v)}
		if p.ordered(op, v, &q) {
			p.list = append(p.list, q)
		}
	}
}

// ordered fills set and present from a comparison in the order of all values. A
// missing field is less than null there, but null in an index.
func (p *predicates) ordered(op string, v bsonval.Value, q *predicate) bool {
	null := bsonval.CompareCollated(v, bsonval.Null, p.collator) <= 0
	if v.IsMissing() {
		v = bsonval.Null
	}
	first, last := p.before(bsonval.MinKey), p.after(bsonval.MaxKey)
	switch op {
	case "$eq":
		q.set, q.present = p.equal(v), !null
	case "$lt":
		q.set = p.of(first, p.before(v))
	case "$lte":
		q.set = p.of(first, p.after(v))
	case "$gt":
		q.set, q.present = p.of(p.after(v), last), !null
	case "$gte":
		q.set, q.present = p.of(p.before(v), last), !null
	default:
		return false
	}
	if null {
		q.set = p.unite(q.set, p.equal(bsonval.Null))
	}
	return true
}
