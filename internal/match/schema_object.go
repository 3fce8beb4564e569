package match

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/regex"
)

// requiredRule is required.
type requiredRule struct {
	spec
	names []string
}

func (r *requiredRule) allows(v bsonval.Value) bool {
	return v.Type() != bsonval.TypeDocument || hasAll(v.Doc(), r.names)
}

func hasAll(d bsonval.Doc, names []string) bool {
	for _, n := range names {
		if d.Lookup(n).IsMissing() {
			return false
		}
	}
	return true
}

// property is a name and its schema.
type property struct {
	name   string
	schema *schema
}

// propertiesRule is properties.
type propertiesRule struct {
	spec
	properties []property
}

func (r *propertiesRule) allows(v bsonval.Value) bool {
	if v.Type() != bsonval.TypeDocument {
		return true
	}
	for _, p := range r.properties {
		if p.fails(v.Doc()) {
			return false
		}
	}
	return true
}

// fails says whether the document has the property, and its value is not
// allowed.
func (p *property) fails(d bsonval.Doc) bool {
	v := d.Lookup(p.name)
	return !v.IsMissing() && !p.schema.allows(v)
}

// patternProperty is a pattern of names and its schema.
type patternProperty struct {
	pattern string
	re      *regex.Regex
	schema  *schema
}

// otherPropertiesRule is patternProperties and additionalProperties: values whose
// names match a pattern must be allowed by its schema; values whose names are
// not in names and match no pattern by the additional schema, or must not be.
type otherPropertiesRule struct {
	spec
	names      []string
	patterns   []patternProperty
	additional *schema // nil allows all
	none       bool    // no additional properties
}

func (r *otherPropertiesRule) allows(v bsonval.Value) bool {
	if v.Type() != bsonval.TypeDocument {
		return true
	}
	it := v.Doc().Iter()
	for it.Next() {
		if !r.allowsElement(it.Key(), it.Value()) {
			return false
		}
	}
	return true
}

func (r *otherPropertiesRule) allowsElement(key []byte, v bsonval.Value) bool {
	known := false
	for _, p := range r.patterns {
		if p.re.MatchBytes(key) {
			known = true
			if !p.schema.allows(v) {
				return false
			}
		}
	}
	if known || r.named(key) {
		return true
	}
	return !r.none && (r.additional == nil || r.additional.allows(v))
}

func (r *otherPropertiesRule) named(key []byte) bool {
	for _, n := range r.names {
		if n == string(key) {
			return true
		}
	}
	return false
}

// dependency is what the presence of a property asks for: other properties, or a
// schema of the whole document.
type dependency struct {
	name   string
	needs  []string
	schema *schema // nil if needs is set
}

// dependenciesRule is dependencies.
type dependenciesRule struct {
	spec
	list []dependency
}

func (r *dependenciesRule) allows(v bsonval.Value) bool {
	if v.Type() != bsonval.TypeDocument {
		return true
	}
	for _, d := range r.list {
		if d.fails(v) {
			return false
		}
	}
	return true
}

func (d *dependency) fails(v bsonval.Value) bool {
	if v.Doc().Lookup(d.name).IsMissing() {
		return false
	}
	if d.schema != nil {
		return !d.schema.allows(v)
	}
	return !hasAll(v.Doc(), d.needs)
}
