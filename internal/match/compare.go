package match

import (
	"cmp"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Op is a comparison.
type Op uint8

// The comparisons.
const (
	Eq Op = iota
	Lt
	Lte
	Gt
	Gte
)

var opNames = [...]string{"$eq", "$lt", "$lte", "$gt", "$gte"}

// String returns the operator's name.
func (o Op) String() string { return opNames[o] }

// Compare compares the values at a path with a constant. Only values of a
// comparable type match, except that anything is comparable with MinKey and
// MaxKey; null equals missing.
type Compare struct {
	Field
	Op    Op
	Value bsonval.Value
	// Collator orders strings; nil means by bytes.
	Collator bsonval.Collator
}

func (n *Compare) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *Compare) matchValue(_ *state, v bsonval.Value) bool {
	vt, nt := v.Type(), n.Value.Type()
	if vt == bsonval.TypeDouble && nt == bsonval.TypeDouble {
		if a, b := v.Double(), n.Value.Double(); a == a && b == b {
			return n.Op.holds(cmp.Compare(a, b))
		}
	}
	if vt != nt && vt.Order() != nt.Order() {
		switch {
		case nt == bsonval.TypeNull:
			return vt == bsonval.TypeMissing && (n.Op == Eq || n.Op == Lte || n.Op == Gte)
		case nt == bsonval.TypeMinKey:
			return n.Op == Gt || n.Op == Gte
		case nt == bsonval.TypeMaxKey:
			return n.Op == Lt || n.Op == Lte
		}
		return false
	}
	if n.Op != Eq && nt.IsNumber() && v.IsNaN() != n.Value.IsNaN() {
		return false
	}
	return n.Op.holds(bsonval.CompareCollated(v, n.Value, n.Collator))
}

// holds says whether two values in the order c stand in the relation.
func (o Op) holds(c int) bool {
	switch o {
	case Eq:
		return c == 0
	case Lt:
		return c < 0
	case Lte:
		return c <= 0
	case Gt:
		return c > 0
	}
	return c >= 0
}

// In matches values equal to one of Values or matching one of Regexes.
type In struct {
	Field
	// Values are sorted, without equal ones.
	Values   []bsonval.Value
	Regexes  []*Regex
	Collator bsonval.Collator
	hasNull  bool
}

// newIn makes a normalised In: a comparison if there is one value, a Regex if
// there is one of those, nothing at all if there is none.
func newIn(f Field, values []bsonval.Value, regexes []*Regex, c bsonval.Collator) Node {
	compare := func(a, b bsonval.Value) int { return bsonval.CompareCollated(a, b, c) }
	slices.SortStableFunc(values, compare)
	values = slices.CompactFunc(values, func(a, b bsonval.Value) bool { return compare(a, b) == 0 })
	switch {
	case len(values) == 0 && len(regexes) == 0:
		return AlwaysFalse{}
	case len(values) == 1 && len(regexes) == 0:
		return &Compare{Field: f, Value: values[0], Collator: c}
	case len(values) == 0 && len(regexes) == 1:
		return regexes[0]
	}
	n := &In{Field: f, Values: values, Regexes: regexes, Collator: c}
	n.hasNull = slices.ContainsFunc(values, func(v bsonval.Value) bool { return v.Type() == bsonval.TypeNull })
	return n
}

// OnePath returns a disjunction as the In (or Compare) that it is if each of its nodes compares
// the same path with values for equality, and nil if not.
func (n *Or) OnePath() Node {
	var f Field
	var values []bsonval.Value
	var regexes []*Regex
	var c bsonval.Collator
	for i, o := range n.Nodes {
		of := f
		switch o := o.(type) {
		case *Compare:
			if o.Op != Eq {
				return nil
			}
			of, c, values = o.Field, o.Collator, append(values, o.Value)
		case *In:
			of, c = o.Field, o.Collator
			values, regexes = append(values, o.Values...), append(regexes, o.Regexes...)
		default:
			return nil
		}
		if i > 0 && of.Path != f.Path {
			return nil
		}
		f = of
	}
	return newIn(f, values, regexes, c)
}

func (n *In) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *In) matchValue(s *state, v bsonval.Value) bool {
	if v.IsMissing() {
		return n.hasNull
	}
	lo, hi := 0, len(n.Values)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		switch c := bsonval.CompareCollated(n.Values[m], v, n.Collator); {
		case c == 0:
			return true
		case c < 0:
			lo = m + 1
		default:
			hi = m
		}
	}
	for _, r := range n.Regexes {
		if r.matchValue(s, v) {
			return true
		}
	}
	return false
}
