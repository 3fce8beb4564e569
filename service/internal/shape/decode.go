package shape

import (
	"reflect"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Decode reads a validated document into dst, which has the shape's type and can be set. name is what errors call the
// document. The value keeps slices of d. The error is a *mongoerr.Error.
func (s *Shape) Decode(name string, d bsonval.Doc, dst reflect.Value) error {
	if f := s.root.decode(bsonval.Document(d), dst); f != nil {
		return f.error(name)
	}
	return nil
}

// takes says whether the decoder takes values of a type.
func (n *node) takes(t bsonval.Type) bool { return n.accepts == nil || slices.Contains(n.accepts, t) }

func (n *node) decode(v bsonval.Value, dst reflect.Value) *fault {
	if !n.takes(v.Type()) {
		return wrongType(v.Type(), n.accepts)
	}
	switch n.kind {
	case kindScalar:
		return n.scalar.set(v, dst)
	case kindStruct:
		return n.decodeStruct(v.Doc(), dst)
	case kindMap:
		return n.decodeMap(v.Doc(), dst)
	case kindSlice, kindArray:
		return n.decodeArray(v.Doc(), dst)
	case kindPointer:
		if v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined {
			dst.SetZero()
			return nil
		}
		if dst.IsNil() {
			dst.Set(reflect.New(n.typ.Elem()))
		}
		return n.elem.decode(v, dst.Elem())
	case kindDocument:
		if n.typ == typeRaw {
			dst.SetBytes(v.Doc())
			return nil
		}
	case kindAny:
		if n.typ != typeEmpty {
			return &fault{code: typeMismatch, text: "cannot be read into " + n.typ.String()}
		}
	}
	return n.decodeByLibrary(v, dst)
}

// decodeByLibrary leaves a value to the bson package.
func (n *node) decodeByLibrary(v bsonval.Value, dst reflect.Value) *fault {
	if n.typ == reflect.TypeFor[bson.RawValue]() {
		dst.Set(reflect.ValueOf(bson.RawValue{Type: bson.Type(v.Type()), Value: bsonval.AppendValue(nil, v)}))
		return nil
	}
	err := bson.UnmarshalValue(bson.Type(v.Type()), bsonval.AppendValue(nil, v), dst.Addr().Interface())
	if err != nil {
		return &fault{code: badValue, text: "is not valid: " + err.Error(), err: err}
	}
	return nil
}

// fieldSet is a set of fields by their position.
type fieldSet [maxFields / 64]uint64

func (s *fieldSet) add(i int) (twice bool) {
	word, bit := &s[i/64], uint64(1)<<(i%64)
	twice = *word&bit != 0
	*word |= bit
	return twice
}

func (s *fieldSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (n *node) decodeStruct(d bsonval.Doc, dst reflect.Value) *fault {
	var seen fieldSet
	it := d.Iter()
	for next := 0; it.Next(); next++ {
		i, known := n.find(it.Key(), next)
		if !known {
			if n.rest == nil {
				return (&fault{code: unknownField, text: "is an unknown field."}).in(string(it.Key()))
			}
			if f := n.decodeRest(string(it.Key()), it.Value(), dst); f != nil {
				return f
			}
			continue
		}
		next = i
		field := &n.fields[i]
		v := it.Value()
		if absent(v) && !field.node.takesNull() {
			if seen.has(i) {
				return (&fault{code: duplicateField, text: "is a duplicate field"}).in(field.name)
			}
			continue
		}
		if seen.add(i) {
			return (&fault{code: duplicateField, text: "is a duplicate field"}).in(field.name)
		}
		if f := field.node.decode(v, field.of(dst)); f != nil {
			return f.in(field.name)
		}
	}
	for i := range n.fields {
		if n.fields[i].required && !seen.has(i) {
			return (&fault{code: missingField, text: "is missing but a required field"}).in(n.fields[i].name)
		}
	}
	return nil
}

// find returns the position of a field; the one that is likely is tried first.
func (n *node) find(name []byte, likely int) (int, bool) {
	if likely < len(n.fields) && n.fields[likely].name == string(name) {
		return likely, true
	}
	i, ok := n.index[string(name)]
	return i, ok
}

func absent(v bsonval.Value) bool {
	return v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined
}

// takesNull tells types for which null is a value and not an absence.
func (n *node) takesNull() bool {
	return n.kind == kindAny || n.kind == kindPointer || n.kind == kindCustom || n.kind == kindLibrary && n.accepts == nil
}

// decodeRest stores a field that the struct does not name.
func (n *node) decodeRest(name string, v bsonval.Value, dst reflect.Value) *fault {
	m := n.rest.of(dst)
	if m.IsNil() {
		m.Set(reflect.MakeMap(m.Type()))
	}
	return n.rest.node.decodeEntry(name, v, m)
}

func (n *node) decodeMap(d bsonval.Doc, dst reflect.Value) *fault {
	m := reflect.MakeMapWithSize(n.typ, d.Len())
	it := d.Iter()
	for it.Next() {
		if f := n.decodeEntry(string(it.Key()), it.Value(), m); f != nil {
			return f
		}
	}
	dst.Set(m)
	return nil
}

// decodeEntry stores one entry of a map.
func (n *node) decodeEntry(name string, v bsonval.Value, m reflect.Value) *fault {
	e := reflect.New(n.typ.Elem()).Elem()
	if f := n.elem.decode(v, e); f != nil {
		return f.in(name)
	}
	m.SetMapIndex(reflect.ValueOf(name).Convert(n.typ.Key()), e)
	return nil
}

func (n *node) decodeArray(d bsonval.Doc, dst reflect.Value) *fault {
	size := d.Len()
	if n.kind == kindArray {
		if size != dst.Len() {
			return &fault{code: badValue, text: "must be an array of " + bsonval.Format(bsonval.Int64(int64(dst.Len()))) + " elements"}
		}
	} else {
		dst.Set(reflect.MakeSlice(n.typ, size, size))
	}
	it := d.Iter()
	for i := 0; it.Next(); i++ {
		if f := n.elem.decode(it.Value(), dst.Index(i)); f != nil {
			return f.inIndex(i)
		}
	}
	return nil
}
