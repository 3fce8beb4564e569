package projection

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// writer projects one document.
type writer struct {
	dst   []byte
	c     *expr.Context
	doc   bsonval.Doc
	kind  kind
	index int
}

// seenSet is the fields of a node met in a document.
type seenSet struct {
	bits uint64
	more map[int]bool // fields from 64 on
}

func (s *seenSet) add(i int) {
	if i < 64 {
		s.bits |= 1 << i
		return
	}
	if s.more == nil {
		s.more = map[int]bool{}
	}
	s.more[i] = true
}

func (s *seenSet) has(i int) bool {
	if i < 64 {
		return s.bits&(1<<i) != 0
	}
	return s.more[i]
}

// document writes d projected by n.
func (w *writer) document(n *node, d bsonval.Doc) error {
	at := 0
	w.dst, at = bsonval.BeginDoc(w.dst)
	var seen seenSet
	left := len(n.fields)
	it := d.Iter()
	for it.Next() {
		i := n.findBytes(it.Key())
		if i < 0 {
			if w.kind != inclusion {
				w.dst = append(w.dst, it.Raw()...)
			} else if left == 0 {
				break
			}
			continue
		}
		left--
		written, err := w.element(&n.fields[i], it.Key(), it.Value())
		if err != nil {
			return err
		}
		if written {
			seen.add(i)
		}
	}
	if n.computes {
		if err := w.rest(n, &seen); err != nil {
			return err
		}
	}
	w.dst = bsonval.EndDoc(w.dst, at)
	return nil
}

// element writes an element that the specification mentions. written says that
// nothing more is to be done about the field.
func (w *writer) element(f *field, key []byte, v bsonval.Value) (written bool, err error) {
	switch f.kind {
	case fieldPlain:
		if w.kind != inclusion {
			return true, nil
		}
		if f.positional && v.Type() == bsonval.TypeArray {
			v, err = w.pick(v.Doc())
			if err != nil {
				return true, err
			}
		}
		w.dst = bsonval.AppendElementBytes(w.dst, key, v)
		return true, nil
	case fieldSlice:
		if v.Type() == bsonval.TypeArray {
			v = bsonval.Array(f.slice(v.Doc()))
		}
		w.dst = bsonval.AppendElementBytes(w.dst, key, v)
		return true, nil
	case fieldChild:
		return w.child(f, key, v)
	}
	if w.kind == inclusion {
		return false, nil // computed fields of an inclusion come last
	}
	v, err = f.value(w.c, w.doc)
	w.dst = bsonval.AppendElementBytes(w.dst, key, v)
	return true, err
}

// child writes a value of which parts are mentioned.
func (w *writer) child(f *field, key []byte, v bsonval.Value) (written bool, err error) {
	switch v.Type() {
	case bsonval.TypeDocument:
		w.dst = append(append(append(w.dst, byte(bsonval.TypeDocument)), key...), 0)
		return true, w.document(f.child, v.Doc())
	case bsonval.TypeArray:
		start := len(w.dst)
		w.dst = append(append(append(w.dst, byte(bsonval.TypeArray)), key...), 0)
		at := len(w.dst)
		if err := w.array(f.child, v.Doc()); err != nil || !f.positional {
			return true, err
		}
		picked, err := w.pick(append(bsonval.Doc(nil), w.dst[at:]...))
		w.dst = bsonval.AppendElementBytes(w.dst[:start], key, picked)
		return true, err
	}
	switch w.kind {
	case inclusion:
		return false, nil
	case addition:
		if f.child.computes {
			w.dst = append(append(append(w.dst, byte(bsonval.TypeDocument)), key...), 0)
			return true, w.document(f.child, bsonval.EmptyDoc)
		}
	}
	if f.child.computes {
		return false, nil
	}
	w.dst = bsonval.AppendElementBytes(w.dst, key, v)
	return true, nil
}

// array writes an array of which parts of the elements are mentioned.
func (w *writer) array(n *node, a bsonval.Doc) error {
	at, i := 0, 0
	w.dst, at = bsonval.BeginDoc(w.dst)
	it := a.Iter()
	for it.Next() {
		v := it.Value()
		t := v.Type()
		nested := t == bsonval.TypeDocument || t == bsonval.TypeArray
		if !nested && w.kind == inclusion {
			continue
		}
		if !nested && n.computes {
			v, t, nested = bsonval.Document(bsonval.EmptyDoc), bsonval.TypeDocument, true
		}
		w.dst = append(w.dst, byte(t))
		w.dst = append(bsonval.AppendIndexKey(w.dst, i), 0)
		i++
		var err error
		switch {
		case !nested:
			w.dst = bsonval.AppendValue(w.dst, v)
		case t == bsonval.TypeDocument:
			err = w.document(n, v.Doc())
		default:
			err = w.array(n, v.Doc())
		}
		if err != nil {
			return err
		}
	}
	w.dst = bsonval.EndDoc(w.dst, at)
	return nil
}

// rest writes computed fields that were not met.
func (w *writer) rest(n *node, seen *seenSet) error {
	for i := range n.fields {
		f := &n.fields[i]
		if seen.has(i) {
			continue
		}
		switch {
		case f.kind == fieldComputed:
			v, err := f.value(w.c, w.doc)
			if err != nil {
				return err
			}
			w.dst = bsonval.AppendElement(w.dst, f.name, v)
		case f.kind == fieldChild && f.child.computes:
			w.dst = append(append(append(w.dst, byte(bsonval.TypeDocument)), f.name...), 0)
			if err := w.document(f.child, bsonval.EmptyDoc); err != nil {
				return err
			}
		}
	}
	return nil
}

// pick takes the element of an array that the filter matched.
func (w *writer) pick(a bsonval.Doc) (bsonval.Value, error) {
	if w.index < 0 {
		return bsonval.Missing, mongoerr.New(51246, "Executor error during find command :: caused by ::"+
			" positional operator '.$' couldn't find a matching element in the array")
	}
	v := a.Index(w.index)
	if v.IsMissing() {
		return v, mongoerr.New(51247, "Executor error during find command :: caused by ::"+
			" positional operator '.$' element mismatch")
	}
	return bsonval.ArrayOf(v), nil
}

// slice cuts an array.
func (f *field) slice(a bsonval.Doc) bsonval.Doc {
	n := a.Len()
	from, to := 0, n
	switch {
	case !f.hasSkip && f.limit < 0:
		from = max(0, n+f.limit)
	case !f.hasSkip:
		to = min(n, f.limit)
	case f.skip < 0:
		from = max(0, n+f.skip)
		to = from + min(f.limit, n-from)
	default:
		from = min(n, f.skip)
		to = from + min(f.limit, n-from)
	}
	if from == 0 && to == n {
		return a
	}
	b := bsonval.NewArrayBuilder()
	it := a.Iter()
	for i := 0; i < to && it.Next(); i++ {
		if i >= from {
			b.Add(it.Value())
		}
	}
	return b.Build()
}
