package plan

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
)

// predicate is what one conjunct of a filter says of one path: a superset of
// the index keys, at that path, of documents that match it.
type predicate struct {
	path string
	set  Intervals

	// exact says that in an index that is not multikey at the path, a key in the
	// set means that the conjunct is true.
	exact bool

	// whole says that exact holds only while the index is not multikey at the
	// path: an element for which the condition is true says nothing of the others.
	whole bool

	// present says that documents without the path do not match, so a sparse
	// index holds all that do.
	present bool

	// text says that the set depends on the order of strings.
	text bool

	// single says that the set is right only while the index is not multikey at
	// the path: the keys of an array's elements without the path are null, but
	// the filter does not see null there.
	single bool

	// group is the $elemMatch the predicate comes from, 0 for none: predicates
	// of one group speak of one array element.
	group int

	// conjunct is the index of the top-level conjunct it comes from.
	conjunct int
}

// predicates collects what a filter's conjuncts say.
type predicates struct {
	builder
	list   []predicate
	groups int
}

// conjuncts returns the parts of a filter that must all match.
func conjuncts(root match.Node) []match.Node {
	if and, ok := root.(*match.And); ok {
		return and.Nodes
	}
	if _, ok := root.(match.AlwaysTrue); ok {
		return nil
	}
	return []match.Node{root}
}

func collect(b builder, nodes []match.Node) *predicates {
	p := &predicates{builder: b}
	for i, n := range nodes {
		p.add(n, "", 0, i)
	}
	return p
}

// add notes what a node says, its paths prefixed.
func (p *predicates) add(n match.Node, prefix string, group, conjunct int) {
	switch n := n.(type) {
	case *match.And:
		for _, c := range n.Nodes {
			p.add(c, prefix, group, conjunct)
		}
		return
	case *match.ElemMatchObject:
		p.groups++
		p.add(n.Node, prefix+n.Path+".", p.groups, conjunct)
		return
	case *match.ElemMatchValue:
		p.elemMatchValue(n, prefix, conjunct)
		return
	case *match.Or:
		if in := n.OnePath(); in != nil {
			p.add(in, prefix, group, conjunct)
		}
		return
	case *match.Expr:
		if group == 0 {
			p.expression(n.Expr, conjunct)
		}
		return
	}
	path, ok := pathOf(n)
	if !ok {
		return
	}
	q := predicate{path: prefix + path, group: group, conjunct: conjunct}
	if !p.describe(n, &q) {
		return
	}
	if group != 0 {
		// The element may be any; only the filter knows which.
		q.exact = false
	}
	p.list = append(p.list, q)
}

func pathOf(n match.Node) (string, bool) {
	if not, ok := n.(*match.Not); ok {
		n = not.Node
	}
	if f, ok := n.(interface{ FieldPath() string }); ok {
		return f.FieldPath(), true
	}
	return "", false
}

// elemMatchValue: conditions on one element may be intersected, since each
// element is a key of its own.
func (p *predicates) elemMatchValue(n *match.ElemMatchValue, prefix string, conjunct int) {
	p.groups++
	q := predicate{path: prefix + n.Path, set: p.all(), present: true, group: p.groups, conjunct: conjunct}
	for _, c := range n.Nodes {
		var one predicate
		if p.describe(c, &one) {
			q.set = p.intersect(q.set, one.set)
			q.text = q.text || one.text
		}
	}
	p.list = append(p.list, q)
}

// describe fills set, exact, present and text from a leaf; false means that the
// leaf says nothing an index can use.
func (p *predicates) describe(n match.Node, q *predicate) bool {
	switch n := n.(type) {
	case *match.Compare:
		p.compare(n.Op, n.Value, q)
	case *match.In:
		p.in(n, q)
	case *match.Regex:
		q.set, q.exact = p.regex(n)
		q.present, q.text = true, true
	case *match.Exists:
		q.set, q.present = p.all(), true
	case *match.Type:
		return p.types(n, q)
	case *match.Not:
		return p.not(n, q)
	default:
		return false
	}
	return true
}

func (p *predicates) compare(op match.Op, v bsonval.Value, q *predicate) {
	q.text = hasText(v)
	null := v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined
	q.present = !null && (op == match.Eq || v.Type() != bsonval.TypeMinKey && v.Type() != bsonval.TypeMaxKey)
	if v.Type() == bsonval.TypeArray {
		q.set = p.all()
		if op == match.Eq {
			q.set = p.arrayPoint(v)
		}
		return
	}
	q.exact = !null && v.Type() != bsonval.TypeMinKey && v.Type() != bsonval.TypeMaxKey
	if v.Type() == bsonval.TypeNull && op == match.Eq {
		// The key of null and of no value; of an array's elements it tells less.
		q.exact, q.whole = true, true
	}
	switch op {
	case match.Eq:
		q.set = p.equal(v)
	case match.Lt, match.Lte:
		q.set = p.less(v, op == match.Lte)
	default:
		q.set = p.greater(v, op == match.Gte)
	}
}

// arrayPoint is the keys of documents whose value equals an array: the array's
// first element (undefined if there is none), or, inside another array, the array.
func (p *predicates) arrayPoint(v bsonval.Value) Intervals {
	first := v.Doc().Index(0)
	if first.IsMissing() {
		first = bsonval.Undefined
	}
	return p.unite(p.equal(first), p.equal(v))
}

func (p *predicates) in(n *match.In, q *predicate) {
	sets := make([]Intervals, 0, len(n.Values)+len(n.Regexes))
	q.exact, q.present = true, true
	for _, v := range n.Values {
		var one predicate
		p.compare(match.Eq, v, &one)
		sets = append(sets, one.set)
		q.exact, q.present, q.text = q.exact && one.exact, q.present && one.present, q.text || one.text
		q.whole = q.whole || one.whole
	}
	for _, r := range n.Regexes {
		set, exact := p.regex(r)
		sets = append(sets, set)
		q.exact, q.text = q.exact && exact, true
	}
	q.set = p.unite(sets...)
}

// regex is the strings with the expression's literal prefix, and the expression
// itself as a value. A collation does not bind regular expressions, so with one
// all strings are candidates.
func (p *predicates) regex(n *match.Regex) (set Intervals, exact bool) {
	itself := p.equal(bsonval.Regex(n.Pattern, n.Options))
	prefix, whole := n.Regexp.LiteralPrefix()
	lo, hi := p.bracket(bsonval.String(""))
	if p.collator == nil && prefix != "" {
		lo = p.before(bsonval.String(prefix))
		if next := successor(prefix); next != "" {
			hi = p.before(bsonval.String(next))
		}
	} else {
		whole = false
	}
	return p.unite(p.of(lo, hi), itself), whole
}

// successor is the smallest string above all strings that begin with s; empty
// if there is none.
func successor(s string) string {
	b := []byte(s)
	for len(b) > 0 {
		if b[len(b)-1] < 0xff {
			b[len(b)-1]++
			return string(b)
		}
		b = b[:len(b)-1]
	}
	return ""
}

func (p *predicates) types(n *match.Type, q *predicate) bool {
	q.set, q.present = p.all(), true
	if n.Types.Has(bsonval.TypeArray) || n.Types.Has(bsonval.TypeNull) {
		return true
	}
	var sets []Intervals
	for t := 0; t < 256; t++ {
		bt := bsonval.Type(t)
		if !n.Types.Has(bt) {
			continue
		}
		low, ok := smallestOf[bt]
		if !ok {
			return true
		}
		lo, hi := p.bracket(low)
		if bt.IsNumber() {
			lo = p.before(bsonval.Double(nan))
		}
		sets = append(sets, p.of(lo, hi))
	}
	q.set = p.unite(sets...)
	return true
}

func (p *predicates) not(n *match.Not, q *predicate) bool {
	switch inner := n.Node.(type) {
	case *match.Compare:
		if inner.Value.Type() == bsonval.TypeArray {
			return false
		}
	case *match.In:
		for _, v := range inner.Values {
			if v.Type() == bsonval.TypeArray {
				return false
			}
		}
		if len(inner.Regexes) > 0 {
			return false
		}
	case *match.Exists:
		q.set = p.equal(bsonval.Null)
		return true
	default:
		return false
	}
	var one predicate
	if !p.describe(n.Node, &one) {
		return false
	}
	q.set, q.text = p.complement(one.set), one.text
	q.exact, q.whole = one.exact, true
	q.single = p.intersect(q.set, p.equal(bsonval.Null)).IsEmpty()
	q.present = q.single
	return one.exact // what is inside a superset may still not match
}

// hasText says whether a value's place in an index depends on the order of
// strings.
func hasText(v bsonval.Value) bool {
	switch v.Type() {
	case bsonval.TypeString, bsonval.TypeSymbol, bsonval.TypeDocument, bsonval.TypeArray:
		return true
	}
	return false
}
