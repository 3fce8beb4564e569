package indexkey

import (
	"github.com/archelon-db/archelon/internal/bsonval"
)

// Geo indexes look for geometries, which may be arrays of numbers, so they do not
// expand arrays at the end of a path as other indexes do. Every combination of the
// values of the fields is a key, also of values from different arrays.

// combinations adds a key for each combination of the components' values; no
// component may be empty. Components with several values are multikey.
func (k *Keys) combinations(components [][]bsonval.Value, fields []Field) {
	at := make([]int, len(components))
	for i, values := range components {
		if len(values) > 1 {
			k.Multikey |= 1 << i
		}
	}
	for {
		k.Begin()
		for i, values := range components {
			k.Component(values[at[i]], fields[i].Desc)
		}
		k.End()
		i := len(at) - 1
		for ; i >= 0; i-- {
			if at[i]++; at[i] < len(components[i]) {
				break
			}
			at[i] = 0
		}
		if i < 0 {
			return
		}
	}
}

// along appends all the values at a path, those in arrays on the way included; an
// array at its end is one value.
func along(dst []bsonval.Value, v bsonval.Value, parts []string) []bsonval.Value {
	if len(parts) == 0 {
		if v.IsMissing() {
			return dst
		}
		return append(dst, v)
	}
	switch v.Type() {
	case bsonval.TypeDocument:
		return along(dst, v.Doc().Lookup(parts[0]), parts[1:])
	case bsonval.TypeArray:
		if elem, ok := element(v.Doc(), parts[0]); ok {
			return along(dst, elem, parts[1:])
		}
		it := v.Doc().Iter()
		for it.Next() {
			if it.Value().Type() == bsonval.TypeDocument {
				dst = along(dst, it.Value(), parts)
			}
		}
	}
	return dst
}

// literals are the values of a field that holds no geometry: as in an ordinary
// index.
func literals(d bsonval.Doc, parts []string) []bsonval.Value {
	var out []bsonval.Value
	for _, v := range along(nil, bsonval.Document(d), parts) {
		switch {
		case v.Type() != bsonval.TypeArray:
			out = append(out, v)
		case v.Doc().IsEmpty():
			out = append(out, bsonval.Undefined)
		default:
			out = v.Doc().Values(out)
		}
	}
	if len(out) == 0 {
		out = append(out, bsonval.Null)
	}
	return out
}

// metArray says whether a path goes through an array, or, if atEnd is set, ends in
// one: then the field is multikey even if there is one value.
func metArray(d bsonval.Doc, parts []string, atEnd bool) bool {
	_, at, arr := descend(bsonval.Document(d), parts, 0)
	return arr != nil && (atEnd || at < len(parts))
}
