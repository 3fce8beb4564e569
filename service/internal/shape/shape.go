package shape

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Shape is a compiled type.
type Shape struct{ root *node }

// Of compiles the type of documents. Types that no document can be, and fields of types that BSON does not have, are
// errors.
func Of(t reflect.Type) (*Shape, error) {
	c := compiler{seen: map[reflect.Type]*node{}}
	n, err := c.compile(t)
	if err != nil {
		return nil, err
	}
	for target := n; ; target = target.elem {
		if target.kind == kindDocument || target.kind == kindStruct || target.kind == kindMap || target.kind == kindCustom {
			return &Shape{root: n}, nil
		}
		if target.kind != kindPointer {
			return nil, fmt.Errorf("%s is not a document", t)
		}
	}
}

// HasField says whether documents of the shape have a field of that name.
func (s *Shape) HasField(name string) bool {
	_, ok := s.root.target().index[name]
	return ok
}

// IsStruct tells shapes with known fields from documents of any kind.
func (s *Shape) IsStruct() bool { return s.root.target().kind == kindStruct }

// Fields are the names of the fields, in their order; none for shapes that are not structs.
func (s *Shape) Fields() []string {
	var names []string
	for _, f := range s.root.target().fields {
		names = append(names, f.name)
	}
	return names
}

// kind is the family of a node.
type kind uint8

const (
	kindStruct   kind = iota // document of known fields
	kindMap                  // document of any fields of one type
	kindDocument             // document of any kind: bson.Raw, bson.D
	kindSlice                // array
	kindArray                // array of a fixed length
	kindPointer              // null or the element
	kindAny                  // every value
	kindScalar               // see scalar
	kindLibrary              // what the bson package knows
	kindCustom               // what encodes or decodes itself
)

// node is a compiled type within a shape.
type node struct {
	kind kind
	typ  reflect.Type
	// accepts are the types that the decoder takes; none means all.
	accepts []bsonval.Type
	// produces are the types that the encoder writes; none means any.
	produces []bsonval.Type
	scalar   *scalar
	elem     *node

	// The following is for structs.

	fields []field
	index  map[string]int
	// rest is the inline map that takes unknown fields, nil for none.
	rest *field
}

// target is the node behind pointers.
func (n *node) target() *node {
	for n.kind == kindPointer {
		n = n.elem
	}
	return n
}

// maxFields is how many fields a struct may have: they are counted off in the bits of a word.
const maxFields = 256

// field is a field of a struct.
type field struct {
	name      string
	key       []byte // the name and its NUL
	at        []int  // for reflect.Value.FieldByIndex
	node      *node
	required  bool
	omitEmpty bool
	minSize   bool
	doc       string
}

// of returns the field's value.
func (f *field) of(v reflect.Value) reflect.Value {
	if len(f.at) == 1 {
		return v.Field(f.at[0])
	}
	return v.FieldByIndex(f.at)
}

// compiler remembers the types of one shape, so that a type may contain itself.
type compiler struct{ seen map[reflect.Type]*node }

var (
	typeRaw         = reflect.TypeFor[bson.Raw]()
	typeD           = reflect.TypeFor[bson.D]()
	typeTime        = reflect.TypeFor[time.Time]()
	typeEmpty       = reflect.TypeFor[any]()
	marshaler       = reflect.TypeFor[bson.Marshaler]()
	valueMarshaler  = reflect.TypeFor[bson.ValueMarshaler]()
	unmarshaler     = reflect.TypeFor[bson.Unmarshaler]()
	valueUnmarshal  = reflect.TypeFor[bson.ValueUnmarshaler]()
	bytesOfDocument = []bsonval.Type{bsonval.TypeDocument}
)

func (c *compiler) compile(t reflect.Type) (*node, error) {
	if n := c.seen[t]; n != nil {
		return n, nil
	}
	n := &node{typ: t}
	c.seen[t] = n
	if c.known(n, t) {
		return n, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		n.kind = kindPointer
		return n, c.element(n, t.Elem())
	case reflect.Interface:
		n.kind = kindAny
		return n, nil
	case reflect.Struct:
		n.kind, n.accepts, n.produces = kindStruct, bytesOfDocument, bytesOfDocument
		n.index = map[string]int{}
		return n, c.structFields(n, t, nil)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return nil, fmt.Errorf("%s: the keys of a map have to be strings", t)
		}
		n.kind, n.accepts, n.produces = kindMap, bytesOfDocument, bytesOfDocument
		return n, c.element(n, t.Elem())
	case reflect.Slice, reflect.Array:
		n.kind, n.accepts = kindSlice, []bsonval.Type{bsonval.TypeArray}
		if t.Kind() == reflect.Array {
			n.kind = kindArray
		}
		n.produces = n.accepts
		return n, c.element(n, t.Elem())
	}
	return nil, fmt.Errorf("%s is a type that BSON does not have", t)
}

// known compiles the types that are not taken apart.
func (c *compiler) known(n *node, t reflect.Type) bool {
	switch {
	case t == typeRaw, t == typeD:
		n.kind, n.accepts, n.produces = kindDocument, bytesOfDocument, bytesOfDocument
		return true
	case libraryTypes[t] != nil:
		n.kind = kindLibrary
		if types := libraryTypes[t]; types[0] != bsonval.TypeMissing {
			n.accepts, n.produces = types, types
		}
		return true
	case customised(t):
		n.kind = kindCustom
		return true
	}
	if s := scalarOf(t); s != nil {
		n.kind, n.scalar, n.accepts, n.produces = kindScalar, s, s.accepts, s.produces
		return true
	}
	return false
}

// customised says whether a type has methods of its own for BSON.
func customised(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, i := range []reflect.Type{marshaler, valueMarshaler, unmarshaler, valueUnmarshal} {
		if t.Implements(i) || t.Kind() != reflect.Pointer && p.Implements(i) {
			return true
		}
	}
	return false
}

func (c *compiler) element(n *node, t reflect.Type) (err error) {
	n.elem, err = c.compile(t)
	return err
}

// structFields adds the fields of a struct that lies at a place within the node's.
func (c *compiler) structFields(n *node, t reflect.Type, at []int) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, tagged := sf.Tag.Lookup("bson")
		if !sf.IsExported() || tag == "-" {
			continue
		}
		if !tagged && strings.IndexByte(string(sf.Tag), ':') < 0 {
			tag = string(sf.Tag)
		}
		options := strings.Split(tag, ",")
		f := field{name: options[0], at: append(at[:len(at):len(at)], i), doc: sf.Tag.Get("doc")}
		if f.name == "" {
			f.name = strings.ToLower(sf.Name)
		}
		inline := false
		for _, o := range options[1:] {
			switch o {
			case "omitempty":
				f.omitEmpty = true
			case "minsize":
				f.minSize = true
			case "inline":
				inline = true
			case "truncate":
				return fmt.Errorf("%s.%s: a service does not truncate numbers", t, sf.Name)
			default:
				return fmt.Errorf("%s.%s: unknown option %q of the bson tag", t, sf.Name, o)
			}
		}
		if inline {
			if err := c.inline(n, t, sf, f); err != nil {
				return err
			}
			continue
		}
		if err := c.addField(n, t, sf, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) addField(n *node, t reflect.Type, sf reflect.StructField, f field) (err error) {
	if f.node, err = c.compile(sf.Type); err != nil {
		return fmt.Errorf("%s.%s: %w", t, sf.Name, err)
	}
	if _, taken := n.index[f.name]; taken {
		return fmt.Errorf("%s: two fields are called %q", n.typ, f.name)
	}
	if len(n.fields) == maxFields {
		return fmt.Errorf("%s has more than %d fields", n.typ, maxFields)
	}
	if strings.IndexByte(f.name, 0) >= 0 {
		return fmt.Errorf("%s: the name of a field holds a NUL", n.typ)
	}
	f.required = !f.omitEmpty && sf.Type.Kind() != reflect.Pointer
	f.key = append([]byte(f.name), 0)
	n.index[f.name] = len(n.fields)
	n.fields = append(n.fields, f)
	return nil
}

// inline adds the fields of a struct as the node's own, or makes a map the place for unknown fields.
func (c *compiler) inline(n *node, t reflect.Type, sf reflect.StructField, f field) error {
	switch {
	case sf.Type.Kind() == reflect.Struct:
		return c.structFields(n, sf.Type, f.at)
	case sf.Type.Kind() == reflect.Map && sf.Type.Key().Kind() == reflect.String:
		if n.rest != nil {
			return fmt.Errorf("%s has two inline maps", n.typ)
		}
		elem, err := c.compile(sf.Type)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", t, sf.Name, err)
		}
		f.node = elem
		n.rest = &f
		return nil
	}
	return fmt.Errorf("%s.%s: only structs and maps with string keys can be inline", t, sf.Name)
}
