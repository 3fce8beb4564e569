package oplog

import (
	"bytes"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// # The layout of a diff
//
// A document's diff has these sections, in this order, each where it is not
// empty:
//
//	d: {name: false, …}     fields removed
//	u: {name: value, …}     fields with a new value, in their old place
//	i: {name: value, …}     fields appended; one of that name is removed first
//	s<name>: diff           a change inside the document or array there
//
// An array's diff:
//
//	a: true                 marks it
//	l: int32                its new length, if it is shorter now
//	u<index>: value         an element's new value, or one appended
//	s<index>: diff          a change inside an element
//
// Since names are matched in order and the rest appended, every document whose
// names differ from each other can be expressed, order included.

// section is what becomes of a field.
type section uint8

const (
	removed section = iota
	updated
	inserted
	inside
	moved // to inserted
)

// change is one field's.
type change struct {
	section  section
	key      []byte
	val      bsonval.Value // what u and i log
	from, to int           // the diff inside, in Differ.buf
}

// Differ computes diffs. The zero Differ is ready; it keeps its buffers from one
// diff to the next and is for one goroutine at a time.
type Differ struct {
	buf     []byte
	changes []change
	seen    []uint64 // a hash set; see hasTwins
	sized   bool     // log a value whole where the diff inside it is larger
}

// maxKeptBytes is the largest buffer that a Differ keeps.
const maxKeptBytes = 1 << 20

// Diff is the diff that makes new of old, appended to dst. ok is false if there
// is none: a field name occurs twice in a document.
//
// targets are the paths that an update's operators name: a value there is logged
// whole, as the operators' own log has it, and not compared. Nil compares all the
// way down, as MongoDB does for pipeline updates; then a value is also logged whole
// where that is shorter.
func (f *Differ) Diff(dst []byte, old, new bsonval.Doc, targets *Targets) (diff []byte, ok bool) {
	f.buf, f.changes = f.buf[:0], f.changes[:0]
	f.sized = targets == nil
	ok = f.document(old, new, targets)
	if ok {
		dst = append(dst, f.buf...)
	}
	f.drop(0)
	if cap(f.buf) > maxKeptBytes {
		f.buf = nil
	}
	return dst, ok
}

// drop forgets the changes from first on, and with them the documents they are
// slices of.
func (f *Differ) drop(first int) {
	clear(f.changes[first:])
	f.changes = f.changes[:first]
}

// deltaBytes is what {$v: 2, diff: …} takes around a diff.
const deltaBytes = 15

// Smaller says whether a diff is worth logging in place of the new document: what
// decides for pipeline updates.
func Smaller(diff, new bsonval.Doc) bool { return len(diff)+deltaBytes < len(new) }

// Diff is the diff of a pipeline update; ok is false if the new document is to be
// logged instead, because it is not larger or cannot be expressed.
func Diff(old, new bsonval.Doc) (diff bsonval.Doc, ok bool) {
	var f Differ
	d, ok := f.Diff(nil, old, new, nil)
	if !ok || !Smaller(d, new) {
		return nil, false
	}
	return d, true
}

// document appends the diff of two documents to buf.
func (f *Differ) document(old, new bsonval.Doc, targets *Targets) bool {
	base, first := len(f.buf), len(f.changes)
	a, b, moreA := differ(old, new)
	moreB := b.Next()
	for moreA && moreB {
		same := bytes.Equal(a.Raw(), b.Raw())
		if !same && !bytes.Equal(a.Key(), b.Key()) {
			f.changes = append(f.changes, change{section: removed, key: a.Key()})
			moreA = a.Next()
			continue
		}
		if !same && !f.field(a.Value(), b.Value(), b.Key(), targets.field(b.Key())) {
			return false
		}
		moreA, moreB = a.Next(), b.Next()
	}
	for ; moreA; moreA = a.Next() {
		f.changes = append(f.changes, change{section: removed, key: a.Key()})
	}
	if f.hasTwins(old) || moreB && f.hasTwins(new) {
		return false
	}
	if moreB {
		gone := f.removals(first)
		for ; moreB; moreB = b.Next() {
			gone.take(f, b.Key())
			f.changes = append(f.changes, change{section: inserted, key: b.Key(), val: b.Value()})
		}
	}
	f.seal(base, func() { f.sections(first) })
	f.drop(first)
	return true
}

// differ is where two documents begin to differ: a stands at the first field that new
// does not have in the same place, which there is if more, b before that place.
func differ(old, new bsonval.Doc) (a, b bsonval.Iter, more bool) {
	a = old.Iter()
	at := 4
	for more = a.Next(); more && bytes.HasPrefix(new[at:], a.Raw()); more = a.Next() {
		at += len(a.Raw())
	}
	return a, new.IterFrom(at), more
}

// removals finds the changes from..to of fields removed by their names.
type removals struct {
	from, to int
	byName   map[string]int // nil: there are few
}

// fewRemovals is how many are looked through one by one.
const fewRemovals = 32

func (f *Differ) removals(first int) removals {
	r := removals{from: first, to: len(f.changes)}
	if r.to-r.from <= fewRemovals {
		return r
	}
	r.byName = make(map[string]int, r.to-r.from)
	for i := r.from; i < r.to; i++ {
		if c := &f.changes[i]; c.section == removed {
			r.byName[string(c.key)] = i
		}
	}
	return r
}

// take finds that a removed field is appended: it is not logged as removed.
func (r *removals) take(f *Differ, key []byte) {
	if r.byName != nil {
		if i, ok := r.byName[string(key)]; ok {
			f.changes[i].section = moved
		}
		return
	}
	for i := r.from; i < r.to; i++ {
		if c := &f.changes[i]; c.section == removed && bytes.Equal(c.key, key) {
			c.section = moved
			return
		}
	}
}

// field logs a field or element whose value changed: what is inside, or all of
// it.
func (f *Differ) field(old, new bsonval.Value, key []byte, targets *Targets) bool {
	if old.Type() == new.Type() && !targets.here() && !filled(old, targets) {
		at, first, ok := len(f.buf), len(f.changes), true
		switch {
		case new.Type() == bsonval.TypeDocument:
			ok = f.document(old.Doc(), new.Doc(), targets)
		case new.Type() == bsonval.TypeArray:
			ok = f.array(old.Doc(), new.Doc(), targets)
		default:
			at = -1
		}
		switch {
		case at < 0:
		case !ok:
			f.buf = f.buf[:at]
			f.drop(first)
		case f.sized && len(f.buf)-at > len(new.Doc()):
			f.buf = f.buf[:at]
		default:
			f.changes = append(f.changes, change{section: inside, key: key, from: at, to: len(f.buf)})
			return true
		}
	}
	f.changes = append(f.changes, change{section: updated, key: key, val: new})
	return true
}

// filled tells an empty array to which operators append: what they log is the
// whole array then.
func filled(old bsonval.Value, targets *Targets) bool {
	return targets != nil && old.Type() == bsonval.TypeArray && old.Doc().IsEmpty() && !targets.fills()
}

// isIndex says whether an array element has the name it should have.
func isIndex(key []byte, n int) bool {
	var room [20]byte
	return bytes.Equal(key, bsonval.AppendIndexKey(room[:0], n))
}

// array appends the diff of two arrays to buf. ok is false if their elements are
// not named by their positions.
func (f *Differ) array(old, new bsonval.Doc, targets *Targets) bool {
	base, first := len(f.buf), len(f.changes)
	a, b := old.Iter(), new.Iter()
	n := 0
	moreA, moreB := a.Next(), b.Next()
	for ; moreA && moreB; n++ {
		same := bsonval.Identical(a.Value(), b.Value())
		if !same && (!isIndex(b.Key(), n) || !f.field(a.Value(), b.Value(), b.Key(), targets.field(b.Key()))) {
			return false
		}
		moreA, moreB = a.Next(), b.Next()
	}
	shorter := moreA
	for i := n; moreB; i++ {
		key, v := b.Key(), b.Value()
		if !isIndex(key, i) {
			return false
		}
		moreB = b.Next()
		if moreB && v.Type() == bsonval.TypeNull && targets != nil && !targets.field(key).here() && targets.fills() {
			continue // filled up to an element that the operators name
		}
		f.changes = append(f.changes, change{section: updated, key: key, val: v})
	}
	f.seal(base, func() { f.elements(first, shorter, n) })
	f.drop(first)
	return true
}

// seal puts the diff that write appends in the place of the diffs inside it,
// which lie from base on.
func (f *Differ) seal(base int, write func()) {
	from := len(f.buf)
	var at int
	f.buf, at = bsonval.BeginDoc(f.buf)
	write()
	f.buf = bsonval.EndDoc(f.buf, at)
	f.buf = f.buf[:base+copy(f.buf[base:], f.buf[from:])]
}

// sections writes a document's changes from first on.
func (f *Differ) sections(first int) {
	for s, name := range [...]string{removed: "d", updated: "u", inserted: "i"} {
		at := -1
		for i := first; i < len(f.changes); i++ {
			c := &f.changes[i]
			if c.section != section(s) {
				continue
			}
			if at < 0 {
				f.buf, at = bsonval.BeginElement(f.buf, bsonval.TypeDocument, name)
			}
			v := c.val
			if c.section == removed {
				v = bsonval.False
			}
			f.buf = bsonval.AppendElementBytes(f.buf, c.key, v)
		}
		if at >= 0 {
			f.buf = bsonval.EndDoc(f.buf, at)
		}
	}
	for i := first; i < len(f.changes); i++ {
		if c := &f.changes[i]; c.section == inside {
			f.inside(c)
		}
	}
}

// elements writes an array's changes from first on.
func (f *Differ) elements(first int, shorter bool, n int) {
	f.buf = bsonval.AppendElement(f.buf, "a", bsonval.True)
	if shorter {
		f.buf = bsonval.AppendElement(f.buf, "l", bsonval.Int32(int32(n)))
	}
	for i := first; i < len(f.changes); i++ {
		c := &f.changes[i]
		if c.section == inside {
			f.inside(c)
			continue
		}
		f.buf = append(append(f.buf, byte(c.val.Type()), 'u'), c.key...)
		f.buf = bsonval.AppendValue(append(f.buf, 0), c.val)
	}
}

// inside writes s<name> with a diff that stands in buf.
func (f *Differ) inside(c *change) {
	f.buf = append(append(f.buf, byte(bsonval.TypeDocument), 's'), c.key...)
	f.buf = append(f.buf, 0)
	f.buf = append(f.buf, f.buf[c.from:c.to]...)
}
