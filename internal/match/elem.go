package match

import "github.com/archelon-db/archelon/internal/bsonval"

// ElemMatchObject matches arrays with an element that is a document (or array)
// matching a filter.
type ElemMatchObject struct {
	Field
	Node Node
}

func (n *ElemMatchObject) match(s *state, d bsonval.Doc) bool { return n.any(s, d, arrayItself, n) }

func (n *ElemMatchObject) matchValue(s *state, v bsonval.Value) bool {
	if v.Type() != bsonval.TypeArray {
		return false
	}
	it := v.Doc().Iter()
	for i := 0; it.Next(); i++ {
		if t := it.Value().Type(); t != bsonval.TypeDocument && t != bsonval.TypeArray {
			continue
		}
		if s.quiet(n.Node, it.Value().Doc()) {
			s.found(i)
			return true
		}
	}
	return false
}

// ElemMatchValue matches arrays with an element that satisfies all conditions,
// which have an empty path.
type ElemMatchValue struct {
	Field
	Nodes []Node
}

func (n *ElemMatchValue) match(s *state, d bsonval.Doc) bool { return n.any(s, d, arrayItself, n) }

func (n *ElemMatchValue) matchValue(s *state, v bsonval.Value) bool {
	if v.Type() != bsonval.TypeArray {
		return false
	}
	it := v.Doc().Iter()
	for i := 0; it.Next(); i++ {
		if n.element(s, it.Value()) {
			s.found(i)
			return true
		}
	}
	return false
}

func (n *ElemMatchValue) element(s *state, v bsonval.Value) bool {
	for _, c := range n.Nodes {
		if !c.matchValue(s, v) {
			return false
		}
	}
	return true
}
