package oplog

import (
	"errors"
	"strconv"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// ErrDiff is the error of a document that is no diff.
var ErrDiff = errors.New("malformed update diff")

// maxFilled is the largest index that a diff may write in an array: the update
// language's own limit on filling arrays up, counted from 0.
const maxFilled = 1_500_000

// Apply makes the document that a diff describes. Changes of fields that are not
// there or of another type are as MongoDB has them: an update appends, a change
// inside is skipped.
func Apply(old, diff bsonval.Doc) (bsonval.Doc, error) {
	if err := bsonval.Validate(diff); err != nil {
		return nil, ErrDiff
	}
	return appendDocument(make([]byte, 0, len(old)+len(diff)), old, diff)
}

// sections are a document's diff, taken apart.
type sections struct {
	d, u, i, all fields
	inside       bool // there are changes inside fields
}

// fields are a section's fields, found by name.
type fields struct {
	doc    bsonval.Doc
	byName map[string]bsonval.Value // nil: there are few
}

// fewChanges is how many fields are looked through one by one.
const fewChanges = 64

func newFields(d bsonval.Doc) fields {
	f := fields{doc: d}
	if n := d.Len(); n > fewChanges {
		f.byName = make(map[string]bsonval.Value, n)
		it := d.Iter()
		for it.Next() {
			f.byName[it.KeyStr()] = it.Value()
		}
	}
	return f
}

func (f *fields) get(name string) bsonval.Value {
	if f.byName != nil {
		return f.byName[name]
	}
	return f.doc.Lookup(name)
}

func readSections(diff bsonval.Doc) (s sections, err error) {
	s.d.doc, s.u.doc, s.i.doc = bsonval.EmptyDoc, bsonval.EmptyDoc, bsonval.EmptyDoc
	s.all = newFields(diff)
	it := diff.Iter()
	for it.Next() {
		name := it.KeyStr()
		if it.Value().Type() != bsonval.TypeDocument {
			return s, ErrDiff
		}
		switch {
		case name == "d":
			s.d = newFields(it.Value().Doc())
		case name == "u":
			s.u = newFields(it.Value().Doc())
		case name == "i":
			s.i = newFields(it.Value().Doc())
		case name == "" || name[0] != 's':
			return s, ErrDiff
		default:
			s.inside = true
		}
	}
	return s, nil
}

func appendDocument(dst []byte, old, diff bsonval.Doc) ([]byte, error) {
	s, err := readSections(diff)
	if err != nil {
		return nil, err
	}
	dst, at := bsonval.BeginDoc(dst)
	updated := 0
	it := old.Iter()
	for it.Next() {
		name := it.KeyStr()
		if !s.d.get(name).IsMissing() || !s.i.get(name).IsMissing() {
			continue
		}
		v, sub := it.Value(), bsonval.Missing
		if n := s.u.get(name); !n.IsMissing() {
			v = n
			updated++
		} else if s.inside {
			sub = s.all.get("s" + name)
		}
		if !sub.IsMissing() {
			if dst, err = appendInside(dst, name, v, sub.Doc()); err != nil {
				return nil, err
			}
			continue
		}
		dst = bsonval.AppendElement(dst, name, v)
	}
	if updated < s.u.doc.Len() {
		dst = appendMissing(dst, old, s.u.doc)
	}
	for i := s.i.doc.Iter(); i.Next(); {
		dst = append(dst, i.Raw()...)
	}
	return bsonval.EndDoc(dst, at), nil
}

// appendMissing appends the updated fields that the document did not have.
func appendMissing(dst []byte, old, u bsonval.Doc) []byte {
	had := newFields(old)
	for it := u.Iter(); it.Next(); {
		if had.get(it.KeyStr()).IsMissing() {
			dst = append(dst, it.Raw()...)
		}
	}
	return dst
}

// appendInside appends a field whose value changes inside.
func appendInside(dst []byte, name string, v bsonval.Value, diff bsonval.Doc) ([]byte, error) {
	array := isArrayDiff(diff)
	if array != (v.Type() == bsonval.TypeArray) || !array && v.Type() != bsonval.TypeDocument {
		return bsonval.AppendElement(dst, name, v), nil
	}
	dst = append(append(append(dst, byte(v.Type())), name...), 0)
	if array {
		return appendArray(dst, v.Doc(), diff)
	}
	return appendDocument(dst, v.Doc(), diff)
}

// isArrayDiff tells an array's diff: a comes first and is true.
func isArrayDiff(diff bsonval.Doc) bool {
	name, v, _ := diff.First()
	return name == "a" && v.Type() == bsonval.TypeBool
}

func appendArray(dst []byte, old, diff bsonval.Doc) ([]byte, error) {
	changes := diff.Iter()
	changes.Next() // a
	x, err := nextElement(&changes)
	if err != nil {
		return nil, err
	}
	end := -1
	if x.resize {
		end = x.index
		if x, err = nextElement(&changes); err != nil {
			return nil, err
		}
	}
	dst, at := bsonval.BeginDoc(dst)
	it := old.Iter()
	name := make([]byte, 0, 8)
	for n := 0; ; n++ {
		more := it.Next() && (end < 0 || n < end)
		if !more && x.index < n {
			return bsonval.EndDoc(dst, at), nil
		}
		name = bsonval.AppendIndexKey(name[:0], n)
		v := bsonval.Null
		if more {
			v = it.Value()
		}
		if x.index != n {
			dst = bsonval.AppendElementBytes(dst, name, v)
			continue
		}
		if x.inside {
			dst, err = appendInside(dst, string(name), v, x.val.Doc())
		} else {
			dst = bsonval.AppendElementBytes(dst, name, x.val)
		}
		if err != nil {
			return nil, err
		}
		last := x.index
		if x, err = nextElement(&changes); err != nil {
			return nil, err
		}
		if x.resize || x.index >= 0 && x.index <= last {
			return nil, ErrDiff
		}
	}
}

// element is one change of an array's diff.
type element struct {
	index          int // -1: there is none
	val            bsonval.Value
	inside, resize bool
}

func nextElement(it *bsonval.Iter) (element, error) {
	if !it.Next() {
		return element{index: -1}, nil
	}
	name, v := it.KeyStr(), it.Value()
	if name == "l" && v.Type() == bsonval.TypeInt32 && v.Int32() >= 0 {
		return element{index: int(v.Int32()), resize: true}, nil
	}
	if len(name) < 2 {
		return element{}, ErrDiff
	}
	index, err := strconv.Atoi(name[1:])
	e := element{index: index, val: v, inside: name[0] == 's'}
	if err != nil || index < 0 || index > maxFilled || name[0] != 'u' && (!e.inside || v.Type() != bsonval.TypeDocument) {
		return element{}, ErrDiff
	}
	return e, nil
}
