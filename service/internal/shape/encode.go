package shape

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// AppendFields appends the elements of the document that v, of the shape's type, is: all of it but length and end. A nil
// document has no elements.
func (s *Shape) AppendFields(dst []byte, v reflect.Value) ([]byte, error) {
	n := s.root
	for n.kind == kindPointer {
		if v.IsNil() {
			return dst, nil
		}
		n, v = n.elem, v.Elem()
	}
	switch {
	case n.kind == kindStruct:
		return n.appendFields(dst, v)
	case n.kind == kindMap:
		return n.appendEntries(dst, v)
	case n.typ == typeRaw:
		return appendInside(dst, v.Bytes())
	}
	d, err := bson.Marshal(v.Interface())
	if err != nil {
		return dst, err
	}
	return appendInside(dst, d)
}

// AppendDoc appends the whole document.
func (s *Shape) AppendDoc(dst []byte, v reflect.Value) ([]byte, error) {
	dst, at := bsonval.BeginDoc(dst)
	dst, err := s.AppendFields(dst, v)
	if err != nil {
		return dst, err
	}
	return bsonval.EndDoc(dst, at), nil
}

// appendInside appends the elements of a document of unknown origin.
func appendInside(dst, d []byte) ([]byte, error) {
	if len(d) == 0 {
		return dst, nil
	}
	if err := bsonval.Validate(d); err != nil {
		return dst, err
	}
	return append(dst, d[4:len(d)-1]...), nil
}

func (n *node) appendFields(dst []byte, v reflect.Value) ([]byte, error) {
	var err error
	for i := range n.fields {
		f := &n.fields[i]
		fv := f.of(v)
		if f.omitEmpty && isEmpty(fv) {
			continue
		}
		if dst, err = f.node.appendElement(dst, f.key, fv, f.minSize); err != nil {
			return dst, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	if n.rest == nil {
		return dst, nil
	}
	rest := n.rest.of(v)
	for _, k := range rest.MapKeys() {
		if _, taken := n.index[k.String()]; taken {
			return dst, fmt.Errorf("the inline map has %q, which is a field", k.String())
		}
	}
	return n.rest.node.appendEntries(dst, rest)
}

// appendEntries appends the entries of a map, sorted.
func (n *node) appendEntries(dst []byte, v reflect.Value) ([]byte, error) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	var err error
	for _, k := range keys {
		if strings.IndexByte(k.String(), 0) >= 0 {
			return dst, fmt.Errorf("a key holds a NUL: %q", k.String())
		}
		if dst, err = n.elem.appendElement(dst, append([]byte(k.String()), 0), v.MapIndex(k), false); err != nil {
			return dst, fmt.Errorf("key %s: %w", k.String(), err)
		}
	}
	return dst, nil
}

// appendElement appends an element; key ends with its NUL.
func (n *node) appendElement(dst, key []byte, v reflect.Value, minSize bool) ([]byte, error) {
	for n.kind == kindPointer {
		if v.IsNil() {
			return appendHead(dst, bsonval.TypeNull, key), nil
		}
		n, v = n.elem, v.Elem()
	}
	switch n.kind {
	case kindScalar:
		return n.appendScalar(dst, key, v, minSize)
	case kindStruct:
		dst, at := beginElement(dst, bsonval.TypeDocument, key)
		dst, err := n.appendFields(dst, v)
		return bsonval.EndDoc(dst, at), err
	case kindMap, kindSlice:
		if v.IsNil() {
			return appendHead(dst, bsonval.TypeNull, key), nil
		}
		if n.kind == kindSlice {
			return n.appendArray(dst, key, v)
		}
		dst, at := beginElement(dst, bsonval.TypeDocument, key)
		dst, err := n.appendEntries(dst, v)
		return bsonval.EndDoc(dst, at), err
	case kindArray:
		return n.appendArray(dst, key, v)
	case kindDocument:
		if v.IsNil() && n.typ != typeRaw {
			return appendHead(dst, bsonval.TypeNull, key), nil
		}
		if n.typ == typeRaw {
			dst, at := beginElement(dst, bsonval.TypeDocument, key)
			dst, err := appendInside(dst, v.Bytes())
			return bsonval.EndDoc(dst, at), err
		}
	case kindAny:
		if v.IsNil() {
			return appendHead(dst, bsonval.TypeNull, key), nil
		}
	}
	return appendByLibrary(dst, key, v)
}

func (n *node) appendScalar(dst, key []byte, v reflect.Value, minSize bool) ([]byte, error) {
	// Doubles and strings are worth a way of their own.
	switch n.scalar {
	case &floatScalar:
		return binary.LittleEndian.AppendUint64(appendHead(dst, bsonval.TypeDouble, key), math.Float64bits(v.Float())), nil
	case &stringScalar:
		dst = appendHead(dst, bsonval.TypeString, key)
		s := v.String()
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)+1))
		return append(append(dst, s...), 0), nil
	}
	value := n.scalar.get(v, minSize)
	if value.IsMissing() {
		return dst, fmt.Errorf("%v does not fit a BSON number", v)
	}
	return bsonval.AppendValue(appendHead(dst, value.Type(), key), value), nil
}

func (n *node) appendArray(dst, key []byte, v reflect.Value) ([]byte, error) {
	dst, at := beginElement(dst, bsonval.TypeArray, key)
	var index [24]byte
	var err error
	for i := range v.Len() {
		k := append(bsonval.AppendIndexKey(index[:0], i), 0)
		if dst, err = n.elem.appendElement(dst, k, v.Index(i), false); err != nil {
			return dst, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return bsonval.EndDoc(dst, at), nil
}

// appendByLibrary leaves a value to the bson package.
func appendByLibrary(dst, key []byte, v reflect.Value) ([]byte, error) {
	value := v.Interface()
	if v.CanAddr() && v.Kind() != reflect.Interface && !v.Type().Implements(valueMarshaler) && !v.Type().Implements(marshaler) {
		value = v.Addr().Interface() // the methods may be those of the pointer
	}
	if raw, ok := value.(bson.RawValue); ok && raw.IsZero() {
		return dst, nil
	}
	t, data, err := bson.MarshalValue(value)
	if err != nil {
		return dst, err
	}
	return append(appendHead(dst, bsonval.Type(t), key), data...), nil
}

func appendHead(dst []byte, t bsonval.Type, key []byte) []byte {
	return append(append(dst, byte(t)), key...)
}

func beginElement(dst []byte, t bsonval.Type, key []byte) ([]byte, int) {
	return bsonval.BeginDoc(appendHead(dst, t, key))
}

// isEmpty is what omitempty leaves out.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		if z, ok := v.Interface().(bson.Zeroer); ok {
			return z.IsZero()
		}
		return v.Len() == 0
	case reflect.Struct:
		z, ok := v.Interface().(bson.Zeroer)
		return ok && z.IsZero()
	}
	return v.IsZero()
}
