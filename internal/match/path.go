package match

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Field is a dotted path; leaves embed it.
type Field struct {
	// Path is the dotted path; empty in the conditions of ElemMatchValue.
	Path  string
	names []string
}

func newField(path string) Field { return Field{path, strings.Split(path, ".")} }

// FieldPath returns the dotted path.
func (f *Field) FieldPath() string { return f.Path }

// leafMode says what happens where a path ends at an array.
type leafMode bool

const (
	eachElement leafMode = true  // try every element, then the array
	arrayItself leafMode = false // try the array only
)

// any says whether one of the values at the path matches.
func (f *Field) any(s *state, d bsonval.Doc, mode leafMode, n Node) bool {
	return walk(s, d.Lookup(f.names[0]), f.names[1:], mode, n)
}

// walk follows names from v. A way that ends at a scalar or at a document
// without the next name gives one missing value.
func walk(s *state, v bsonval.Value, names []string, mode leafMode, n Node) bool {
	for len(names) > 0 {
		switch v.Type() {
		case bsonval.TypeDocument:
			v = v.Doc().Lookup(names[0])
			names = names[1:]
		case bsonval.TypeArray:
			return walkArray(s, v.Doc(), names, mode, n)
		default:
			return n.matchValue(s, bsonval.Missing)
		}
	}
	if v.Type() == bsonval.TypeArray && mode == eachElement {
		it := v.Doc().Iter()
		for i := 0; it.Next(); i++ {
			if n.matchValue(s, it.Value()) {
				s.found(i)
				return true
			}
		}
	}
	return n.matchValue(s, v)
}

// walkArray follows names (at least one) from an array: into each element that
// is a document, and into the element at the position that the first name is, if
// it is a number. Other elements give no value, not even a missing one. An element
// picked by position at the end of the path is tried as it is, without going
// through it if it is an array. A way by position notes no index.
func walkArray(s *state, a bsonval.Doc, names []string, mode leafMode, n Node) bool {
	position := Position(names[0])
	it := a.Iter()
	for i := 0; it.Next(); i++ {
		v := it.Value()
		if v.Type() == bsonval.TypeDocument && walk(s, v, names, mode, n) {
			s.found(i)
			return true
		}
		if i != position {
			continue
		}
		if len(names) == 1 {
			if n.matchValue(s, v) {
				return true
			}
			continue
		}
		inside, index := false, s.index
		switch v.Type() {
		case bsonval.TypeDocument:
			inside = walk(s, v, names[1:], mode, n)
		case bsonval.TypeArray:
			inside = walkArray(s, v.Doc(), names[1:], mode, n)
		}
		if inside {
			s.index = index
			return true
		}
	}
	return false
}

// Position returns the array position that a path component names, or -1:
// digits without leading zeros.
func Position(name string) int {
	if name == "" || len(name) > 9 || name[0] == '0' && len(name) > 1 {
		return -1
	}
	n := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// conjunction evaluates an And of leaves with one walk through the document: the
// first name of each leaf's path is looked for among the elements as they come.
type conjunction struct {
	leaves []leaf
	rest   []Node // nodes that are not leaves, tried last

	// name is the first name of all leaves' paths if it is the same, as in a
	// range; empty if not.
	name string
}

// leaf is a node with a path.
type leaf struct {
	name  string
	names []string // after the first
	mode  leafMode
	node  Node
}

// maxLeaves is the most leaves a conjunction takes: bits of a uint64.
const maxLeaves = 64

func planConjunction(root Node) *conjunction {
	and, ok := root.(*And)
	if !ok || len(and.Nodes) > maxLeaves {
		return nil
	}
	var p conjunction
	for _, n := range and.Nodes {
		if f, mode, ok := leafOf(n); ok {
			p.leaves = append(p.leaves, leaf{f.names[0], f.names[1:], mode, n})
		} else {
			p.rest = append(p.rest, n)
		}
	}
	if len(p.leaves) < 2 {
		return nil
	}
	p.name = p.leaves[0].name
	for _, l := range p.leaves {
		if l.name != p.name {
			p.name = ""
		}
	}
	return &p
}

// leafOf returns the path of the leaves that planConjunction takes.
func leafOf(n Node) (*Field, leafMode, bool) {
	switch n := n.(type) {
	case *Compare:
		return &n.Field, eachElement, true
	case *In:
		return &n.Field, eachElement, true
	case *Regex:
		return &n.Field, eachElement, true
	case *Type:
		return &n.Field, eachElement, true
	case *Exists:
		return &n.Field, arrayItself, true
	}
	return nil, false, false
}

func (p *conjunction) match(s *state, d bsonval.Doc) bool {
	if p.name != "" {
		return p.matchName(s, d)
	}
	open := uint64(1)<<len(p.leaves) - 1
	if len(p.leaves) == maxLeaves {
		open = ^uint64(0)
	}
	it := d.Iter()
	for open != 0 && it.Next() {
		key := it.Key()
		for i := range p.leaves {
			l := &p.leaves[i]
			if open&(1<<i) == 0 || len(l.name) != len(key) || l.name != string(key) {
				continue
			}
			if !walk(s, it.Value(), l.names, l.mode, l.node) {
				return false
			}
			open &^= 1 << i
		}
	}
	for i := range p.leaves {
		if open&(1<<i) != 0 && !p.leaves[i].node.matchValue(s, bsonval.Missing) {
			return false
		}
	}
	for _, n := range p.rest {
		if !n.match(s, d) {
			return false
		}
	}
	return true
}

// matchName is match for leaves with the same first name.
func (p *conjunction) matchName(s *state, d bsonval.Doc) bool {
	v := d.Lookup(p.name)
	for i := range p.leaves {
		l := &p.leaves[i]
		if !walk(s, v, l.names, l.mode, l.node) {
			return false
		}
	}
	for _, n := range p.rest {
		if !n.match(s, d) {
			return false
		}
	}
	return true
}
