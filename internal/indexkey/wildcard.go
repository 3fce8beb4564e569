package indexkey

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Wildcard makes the keys of wildcard indexes: for every leaf of a document that
// the index is about, its path and its value, between the values of the other
// fields of a compound index.
//
//	{a: 1, "b.$**": -1, c: 1}   gives   a | path | value (descending) | c
//
// Arrays stand for their elements, under the array's path; positions are no part
// of paths. Documents in them are walked, other arrays in them are values. An
// empty document is a leaf, an empty array the value undefined. A document
// without leaves has one key in a compound index, with the path and value MinKey.
type Wildcard struct {
	others *BTree // the other fields; nil if there are none
	at     int    // position of the wildcard field
	desc   bool

	// A path is in the index if it is one of paths or under one of them or, if
	// exclude is set, if it is not.
	paths   []string
	exclude bool
}

func newWildcard(s Spec) (Generator, error) {
	g := &Wildcard{}
	var others []Field
	for i, f := range s.Fields {
		if !IsWildcardPath(f.Path) {
			others = append(others, f)
			continue
		}
		g.at, g.desc = i, f.Desc
		if root := strings.TrimSuffix(f.Path, "$**"); root != "" {
			g.paths = []string{strings.TrimSuffix(root, ".")}
		} else {
			g.project(s.Options.Lookup("wildcardProjection"))
		}
	}
	if others != nil {
		g.others = New(others, false)
	}
	return g, nil
}

// project sets the paths that a wildcardProjection leaves: all but _id without
// one.
func (g *Wildcard) project(projection bsonval.Value) {
	g.exclude = true
	id := false
	if projection.Type() == bsonval.TypeDocument {
		g.collect("", projection.Doc(), &id)
	}
	if g.exclude && id && len(g.paths) == 0 {
		g.exclude = false // {_id: 1} alone includes nothing else
	}
	if g.exclude != id {
		g.paths = append(g.paths, "_id")
	}
}

func (g *Wildcard) collect(prefix string, d bsonval.Doc, id *bool) {
	it := d.Iter()
	for it.Next() {
		path, v := prefix+string(it.Key()), it.Value()
		switch {
		case v.Type() == bsonval.TypeDocument:
			g.collect(path+".", v.Doc(), id)
			continue
		case path == "_id":
			*id = v.Truthy()
			continue
		}
		g.exclude = !v.Truthy()
		g.paths = append(g.paths, path)
	}
}

// Position is the place of the wildcard field in the key pattern, which is the
// place of the path in keys; the value follows it.
func (g *Wildcard) Position() int { return g.at }

// Covers says whether every value at a path and under it is in the index.
func (g *Wildcard) Covers(path string) bool {
	for _, p := range g.paths {
		if within(path, p) {
			return !g.exclude
		}
		if g.exclude && within(p, path) {
			return false
		}
	}
	return g.exclude
}

// within says whether path is root or under it.
func within(path, root string) bool {
	return strings.HasPrefix(path, root) && (len(path) == len(root) || path[len(root)] == '.')
}

// Generate implements Generator.
func (g *Wildcard) Generate(k *Keys, d bsonval.Doc) error {
	w := wildcardWalk{g: g, k: k}
	if g.others == nil {
		w.document(d, 0)
		return nil
	}
	err := g.others.Each(k, d, func(vals []bsonval.Value) { w.others = append(w.others[:0], vals...) })
	if err != nil {
		return err
	}
	if k.Multikey != 0 {
		return mongoerr.New(7246301, "Compound wildcard indexes do not support arrays under their regular fields")
	}
	w.document(d, 0)
	if len(k.List) == 0 {
		w.put(bsonval.MinKey, bsonval.MinKey)
	}
	return nil
}

// wildcardWalk is the walk over one document.
type wildcardWalk struct {
	g      *Wildcard
	k      *Keys
	others []bsonval.Value
	path   []byte
}

// document walks a document whose path is path[:at].
func (w *wildcardWalk) document(d bsonval.Doc, at int) {
	it := d.Iter()
	for it.Next() {
		w.path = w.path[:at]
		if at > 0 {
			w.path = append(w.path, '.')
		}
		w.path = append(w.path, it.Key()...)
		if in, under := w.selected(); in || under {
			w.value(it.Value(), in, false)
		}
	}
}

// selected says whether the present path is in the index, and whether paths
// under it may be.
func (w *wildcardWalk) selected() (in, under bool) {
	path := bsonval.StringBytes(w.path).Str()
	for _, p := range w.g.paths {
		if within(path, p) {
			return !w.g.exclude, !w.g.exclude
		}
		if !w.g.exclude && within(p, path) {
			under = true
		}
	}
	return w.g.exclude, w.g.exclude || under
}

// value walks a value at the present path; in says whether the path is in the
// index, element that the value is an array's element.
func (w *wildcardWalk) value(v bsonval.Value, in, element bool) {
	switch {
	case v.Type() == bsonval.TypeDocument && !v.Doc().IsEmpty():
		w.document(v.Doc(), len(w.path))
	case v.Type() == bsonval.TypeArray && !element:
		w.k.Multikey |= 1 << (w.g.at + 1)
		at := len(w.path)
		it := v.Doc().Iter()
		for it.Next() {
			w.path = w.path[:at]
			w.value(it.Value(), in, true)
		}
		if v.Doc().IsEmpty() && in {
			w.leaf(bsonval.Undefined)
		}
	case in:
		w.leaf(v)
	}
}

func (w *wildcardWalk) leaf(v bsonval.Value) { w.put(bsonval.StringBytes(w.path), v) }

// put adds one key.
func (w *wildcardWalk) put(path, v bsonval.Value) {
	w.k.Begin()
	for i := range len(w.others) + 1 {
		if i == w.g.at {
			w.k.Component(path, false)
			w.k.Component(v, w.g.desc)
		}
		if i < len(w.others) {
			w.k.Component(w.others[i], w.g.others.fields[i].Desc)
		}
	}
	w.k.End()
}
