package sortkey

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// ElementOrder orders the elements of an array, as $sortArray and $push with
// $sort do: by whole value (1, -1) or by fields of the elements ({a: 1}).
type ElementOrder struct {
	fields *Pattern // nil: by whole value
	desc   bool
}

// CompileElementOrder checks and compiles the order of an array's elements. All
// its errors are BadValue.
func CompileElementOrder(v bsonval.Value) (*ElementOrder, error) {
	switch {
	case v.IsNumber():
		n, ok := v.AsInt64()
		if !ok || n != 1 && n != -1 {
			return nil, mongoerr.New(mongoerr.BadValue, "The sort element value must be either 1 or -1")
		}
		return &ElementOrder{desc: n < 0}, nil
	case v.Type() == bsonval.TypeDocument:
		p, err := compileElementFields(v.Doc())
		return &ElementOrder{fields: p}, err
	}
	return nil, mongoerr.New(mongoerr.BadValue, "The sort is invalid: use 1/-1 to sort the whole element, "+
		"or {field:1/-1} to sort embedded fields")
}

func compileElementFields(spec bsonval.Doc) (*Pattern, error) {
	p := &Pattern{}
	it := spec.Iter()
	for it.Next() {
		v, path := it.Value(), string(it.Key())
		n, ok := v.AsInt64()
		if !ok || n != 1 && n != -1 {
			return nil, mongoerr.New(mongoerr.BadValue, "The sort element value must be either 1 or -1")
		}
		if path == "" {
			return nil, mongoerr.New(mongoerr.BadValue, "The sort field cannot be empty")
		}
		part := Part{Path: path, Desc: n < 0, names: strings.Split(path, ".")}
		for _, name := range part.names {
			if name == "" {
				return nil, mongoerr.New(mongoerr.BadValue,
					"The sort field is a dotted field '%s' that has an empty part", path)
			}
		}
		p.parts = append(p.parts, part)
	}
	if len(p.parts) == 0 {
		return nil, mongoerr.New(mongoerr.BadValue, "The sort pattern is empty when it should be a set of fields.")
	}
	return p, nil
}

// Compare orders two elements. Elements that are no documents count as empty
// ones when sorting by fields, missing fields count as null, and arrays on the
// way are entered by position only.
func (o *ElementOrder) Compare(a, b bsonval.Value, c bsonval.Collator) int {
	if o.fields != nil {
		return o.fields.CompareElements(a, b, c)
	}
	r := bsonval.CompareCollated(a, b, c)
	if o.desc {
		return -r
	}
	return r
}

// CompareElements orders two elements of an array by their fields; see
// [ElementOrder].
func (p *Pattern) CompareElements(a, b bsonval.Value, c bsonval.Collator) int {
	for i := range p.parts {
		part := &p.parts[i]
		r := bsonval.CompareCollated(part.element(a), part.element(b), c)
		if r == 0 {
			continue
		}
		if part.Desc {
			return -r
		}
		return r
	}
	return 0
}

func (p *Part) element(v bsonval.Value) bsonval.Value {
	if v.Type() != bsonval.TypeDocument {
		return bsonval.Null
	}
	for _, name := range p.names {
		switch v.Type() {
		case bsonval.TypeDocument, bsonval.TypeArray:
			v = v.Doc().Lookup(name)
		default:
			return bsonval.Null
		}
	}
	return orNull(v)
}
