package match

import (
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/regex"
)

// JSONSchema matches documents that a schema allows.
type JSONSchema struct {
	// Spec is the operator's argument.
	Spec   bsonval.Value
	schema *schema
}

func (n *JSONSchema) match(_ *state, d bsonval.Doc) bool {
	return n.schema.allows(bsonval.Document(d))
}

func (n *JSONSchema) matchValue(*state, bsonval.Value) bool { return false }

// schema is a compiled JSON schema (draft 4, with bsonType). It allows a value
// that all its rules allow; a rule about one type allows all values of others.
type schema struct {
	title, description bsonval.Value
	rules              []rule
}

func (s *schema) allows(v bsonval.Value) bool {
	for _, r := range s.rules {
		if !r.allows(v) {
			return false
		}
	}
	return true
}

// rule is a keyword, or several that work together. Its spec is the keyword's
// argument.
type rule interface {
	allows(v bsonval.Value) bool
	keyword() string
	argument() bsonval.Value
}

// spec is what a rule was made of; rules embed it.
type spec struct {
	name string
	arg  bsonval.Value
}

func (s spec) keyword() string         { return s.name }
func (s spec) argument() bsonval.Value { return s.arg }

// typeRule is type and bsonType.
type typeRule struct {
	spec
	types TypeSet
}

func (r *typeRule) allows(v bsonval.Value) bool { return r.types.Has(v.Type()) }

// enumRule is enum.
type enumRule struct {
	spec
	values []bsonval.Value
}

func (r *enumRule) allows(v bsonval.Value) bool { return containsUnordered(r.values, v) }

func containsUnordered(values []bsonval.Value, v bsonval.Value) bool {
	for _, e := range values {
		if equalUnordered(e, v) {
			return true
		}
	}
	return false
}

// equalUnordered is equality that ignores the order of fields in documents.
func equalUnordered(a, b bsonval.Value) bool {
	at, bt := a.Type(), b.Type()
	switch {
	case at == bsonval.TypeDocument && bt == bsonval.TypeDocument:
		if a.Doc().Len() != b.Doc().Len() {
			return false
		}
		it := a.Doc().Iter()
		for it.Next() {
			v := b.Doc().Lookup(it.KeyStr())
			if v.IsMissing() || !equalUnordered(it.Value(), v) {
				return false
			}
		}
		return true
	case at == bsonval.TypeArray && bt == bsonval.TypeArray:
		ia, ib := a.Doc().Iter(), b.Doc().Iter()
		for {
			na, nb := ia.Next(), ib.Next()
			if !na || !nb {
				return na == nb
			}
			if !equalUnordered(ia.Value(), ib.Value()) {
				return false
			}
		}
	}
	return bsonval.Equal(a, b)
}

// boundRule is minimum and maximum, with their exclusive forms.
type boundRule struct {
	spec
	op Op
}

func (r *boundRule) allows(v bsonval.Value) bool {
	if !v.IsNumber() {
		return true
	}
	n := Compare{Op: r.op, Value: r.arg}
	return n.matchValue(nil, v)
}

// multipleRule is multipleOf.
type multipleRule struct{ spec }

func (r *multipleRule) allows(v bsonval.Value) bool {
	return !v.IsNumber() || v.AsDecimal().Rem(r.arg.AsDecimal()).IsZero()
}

// countRule bounds a length: minLength, maxItems, minProperties …
type countRule struct {
	spec
	typ   bsonval.Type
	limit int64
	upper bool
}

func (r *countRule) allows(v bsonval.Value) bool {
	if v.Type() != r.typ {
		return true
	}
	n := int64(lengthOf(v))
	return n == r.limit || n < r.limit == r.upper
}

// lengthOf counts a string's characters or a document's or array's elements.
func lengthOf(v bsonval.Value) int {
	if v.Type() == bsonval.TypeString {
		return utf8.RuneCount(v.Bytes())
	}
	return v.Doc().Len()
}

// patternRule is pattern.
type patternRule struct {
	spec
	re *regex.Regex
}

func (r *patternRule) allows(v bsonval.Value) bool {
	return v.Type() != bsonval.TypeString || r.re.MatchBytes(v.Bytes())
}

// uniqueRule is uniqueItems: true.
type uniqueRule struct{ spec }

func (r *uniqueRule) allows(v bsonval.Value) bool {
	return v.Type() != bsonval.TypeArray || firstDuplicate(v.Doc()).IsMissing()
}

func firstDuplicate(a bsonval.Doc) bsonval.Value {
	seen := make([]bsonval.Value, 0, 16)
	it := a.Iter()
	for it.Next() {
		if containsUnordered(seen, it.Value()) {
			return it.Value()
		}
		seen = append(seen, it.Value())
	}
	return bsonval.Missing
}

// itemsRule is items and additionalItems: one schema for each of the first
// elements, and rest for those after them; nil allows all.
type itemsRule struct {
	spec
	first []*schema
	rest  *schema
	none  bool // no elements after the first ones
}

func (r *itemsRule) allows(v bsonval.Value) bool {
	return v.Type() != bsonval.TypeArray || r.failing(v.Doc()) < 0
}

// failing returns the position of the first element that is not allowed, or -1.
func (r *itemsRule) failing(a bsonval.Doc) int {
	it := a.Iter()
	for i := 0; it.Next(); i++ {
		switch {
		case i < len(r.first):
			if !r.first[i].allows(it.Value()) {
				return i
			}
		case r.none || r.rest != nil && !r.rest.allows(it.Value()):
			return i
		}
	}
	return -1
}

// logicRule is allOf, anyOf, oneOf and not.
type logicRule struct {
	spec
	schemas []*schema
}

func (r *logicRule) allows(v bsonval.Value) bool {
	n := 0
	for _, s := range r.schemas {
		if s.allows(v) {
			n++
		}
	}
	switch r.name {
	case "allOf":
		return n == len(r.schemas)
	case "anyOf":
		return n > 0
	case "oneOf":
		return n == 1
	}
	return n == 0
}
