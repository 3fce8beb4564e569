package expr

import (
	"bytes"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var arrayConvertOperators = []operator{
	{name: "$arrayToObject", doc: "Makes a document of an array of names and values.", min: 1, max: 1, fn: arrayToObject},
	{name: "$objectToArray", doc: "Makes an array of {k, v} documents of a document.", min: 1, max: 1, fn: objectToArray},
}

func arrayToObject(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	a := args[0]
	if a.IsNullish() {
		return bsonval.Null, nil
	}
	if a.Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(40386, "$arrayToObject requires an array input, found: %s", a.Type())
	}
	first := a.Doc().Index(0).Type()
	if !a.Doc().IsEmpty() && first != bsonval.TypeArray && first != bsonval.TypeDocument {
		return bsonval.Missing, mongoerr.New(40398, "Unrecognised input type format for $arrayToObject: %s", first)
	}
	var fields fieldList
	it := a.Doc().Iter()
	for it.Next() {
		read := pairFromArray
		if first == bsonval.TypeDocument {
			read = pairFromDocument
		}
		k, v, err := read(it.Value())
		if err != nil {
			return bsonval.Missing, err
		}
		fields.set(k, v)
	}
	return fields.document(), nil
}

func pairFromArray(p bsonval.Value) (key string, v bsonval.Value, err error) {
	if p.Type() != bsonval.TypeArray {
		return "", v, mongoerr.New(40396, "$arrayToObject requires a consistent input format. Elements must all be "+
			"arrays or all be objects. Array was detected, now found: %s", p.Type())
	}
	if n := p.Doc().Len(); n != 2 {
		return "", v, mongoerr.New(40397, "$arrayToObject requires an array of size 2 arrays,found array of size: %d", n)
	}
	k := p.Doc().Index(0)
	if k.Type() != bsonval.TypeString {
		return "", v, mongoerr.New(40395, "$arrayToObject requires an array of key-value pairs, where the key must be "+
			"of type string. Found key type: %s", k.Type())
	}
	if bytes.IndexByte(k.Bytes(), 0) >= 0 {
		return "", v, mongoerr.New(4940400, "Key field cannot contain an embedded null byte")
	}
	return k.Str(), p.Doc().Index(1), nil
}

func pairFromDocument(p bsonval.Value) (key string, v bsonval.Value, err error) {
	if p.Type() != bsonval.TypeDocument {
		return "", v, mongoerr.New(40391, "$arrayToObject requires a consistent input format. Elements must all be "+
			"arrays or all be objects. Object was detected, now found: %s", p.Type())
	}
	if n := p.Doc().Len(); n != 2 {
		return "", v, mongoerr.New(40392, "$arrayToObject requires an object keys of 'k' and 'v'. "+
			"Found incorrect number of keys:%d", n)
	}
	k, v := p.Doc().Lookup("k"), p.Doc().Lookup("v")
	if k.IsMissing() || v.IsMissing() {
		return "", v, mongoerr.New(40393, "$arrayToObject requires an object with keys 'k' and 'v'. "+
			"Missing either or both keys from: %s", bsonval.Format(p))
	}
	if k.Type() != bsonval.TypeString {
		return "", v, mongoerr.New(40394, "$arrayToObject requires an object with keys 'k' and 'v', where the value of "+
			"'k' must be of type string. Found type: %s", k.Type())
	}
	if bytes.IndexByte(k.Bytes(), 0) >= 0 {
		return "", v, mongoerr.New(4940401, "Key field cannot contain an embedded null byte")
	}
	return k.Str(), v, nil
}

func objectToArray(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].IsNullish() {
		return bsonval.Null, nil
	}
	if args[0].Type() != bsonval.TypeDocument {
		return bsonval.Missing, mongoerr.New(40390, "$objectToArray requires a document input, found: %s", args[0].Type())
	}
	b := bsonval.NewArrayBuilder()
	it := args[0].Doc().Iter()
	for it.Next() {
		b.StartDoc("").Str("k", it.KeyStr()).Value("v", it.Value()).End()
	}
	return bsonval.Array(b.Build()), nil
}

// fieldList is a document under construction whose fields may be set again,
// keeping their place.
type fieldList struct {
	names  []string
	values []bsonval.Value
	index  map[string]int // positions, once there are many
}

// fieldListScan is how many fields are searched one by one before an index is
// built.
const fieldListScan = 16

func (l *fieldList) find(name string) int {
	if l.index != nil {
		if i, ok := l.index[name]; ok {
			return i
		}
		return -1
	}
	for i, n := range l.names {
		if n == name {
			return i
		}
	}
	return -1
}

// set sets a field; a missing value removes it.
func (l *fieldList) set(name string, v bsonval.Value) {
	if i := l.find(name); i >= 0 {
		l.values[i] = v
		return
	}
	l.names = append(l.names, name)
	l.values = append(l.values, v)
	switch {
	case l.index != nil:
		l.index[name] = len(l.names) - 1
	case len(l.names) > fieldListScan:
		l.index = make(map[string]int, 2*len(l.names))
		for i, n := range l.names {
			l.index[n] = i
		}
	}
}

func (l *fieldList) document() bsonval.Value {
	dst, at := bsonval.BeginDoc(nil)
	for i, name := range l.names {
		dst = bsonval.AppendElement(dst, name, l.values[i])
	}
	return bsonval.Document(bsonval.EndDoc(dst, at))
}
