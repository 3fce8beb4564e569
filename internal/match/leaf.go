package match

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/regex"
)

// Exists matches documents that have the path.
type Exists struct{ Field }

func (n *Exists) match(s *state, d bsonval.Doc) bool { return n.any(s, d, arrayItself, n) }

func (n *Exists) matchValue(_ *state, v bsonval.Value) bool { return !v.IsMissing() }

// TypeSet is a set of BSON types.
type TypeSet struct{ bits [4]uint64 }

// Add adds a type.
func (t *TypeSet) Add(x bsonval.Type) { t.bits[x>>6] |= 1 << (x & 63) }

// Has says whether a type is in the set.
func (t *TypeSet) Has(x bsonval.Type) bool { return t.bits[x>>6]&(1<<(x&63)) != 0 }

// IsEmpty tells the empty set.
func (t *TypeSet) IsEmpty() bool { return t.bits == [4]uint64{} }

// addNumbers adds the four numeric types.
func (t *TypeSet) addNumbers() {
	t.Add(bsonval.TypeInt32)
	t.Add(bsonval.TypeInt64)
	t.Add(bsonval.TypeDouble)
	t.Add(bsonval.TypeDecimal128)
}

// Type matches values of some types.
type Type struct {
	Field
	Types TypeSet
	// Spec is the operator's argument.
	Spec bsonval.Value
}

func (n *Type) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *Type) matchValue(_ *state, v bsonval.Value) bool {
	return !v.IsMissing() && n.Types.Has(v.Type())
}

// Size matches arrays of a length.
type Size struct {
	Field
	Size int
}

func (n *Size) match(s *state, d bsonval.Doc) bool { return n.any(s, d, arrayItself, n) }

func (n *Size) matchValue(_ *state, v bsonval.Value) bool {
	return v.Type() == bsonval.TypeArray && v.Doc().Len() == n.Size
}

// Mod matches numbers that leave a remainder, cut to integers.
type Mod struct {
	Field
	Divisor, Remainder int64
}

func (n *Mod) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *Mod) matchValue(_ *state, v bsonval.Value) bool {
	x, ok := truncated(v)
	if !ok {
		return false
	}
	if n.Divisor == -1 {
		return n.Remainder == 0 // int64's smallest value divided by -1 overflows
	}
	return x%n.Divisor == n.Remainder
}

// truncated cuts a number to an integer; ok is false outside int64.
func truncated(v bsonval.Value) (n int64, ok bool) {
	switch v.Type() {
	case bsonval.TypeInt32, bsonval.TypeInt64:
		return v.Int64(), true
	case bsonval.TypeDouble:
		f := v.Double()
		if f >= -1<<63 && f < 1<<63 {
			return int64(f), true
		}
	case bsonval.TypeDecimal128:
		return v.Decimal().Int64()
	}
	return 0, false
}

// Regex matches strings by a regular expression, and the same regular
// expression as a value.
type Regex struct {
	Field
	Pattern, Options string

	// Regexp is the compiled expression.
	Regexp *regex.Regex
}

func newRegex(f Field, pattern, options string) (*Regex, error) {
	r, err := regex.Compile(pattern, options)
	if err != nil {
		return nil, err
	}
	return &Regex{f, pattern, options, r}, nil
}

func (n *Regex) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *Regex) matchValue(s *state, v bsonval.Value) bool {
	switch v.Type() {
	case bsonval.TypeString, bsonval.TypeSymbol:
		ok, err := n.Regexp.Match(s.context(), v.Bytes())
		if err != nil {
			s.err = err
		}
		return ok
	case bsonval.TypeRegex:
		p, o := v.RegexParts()
		return p == n.Pattern && o == n.Options
	}
	return false
}
