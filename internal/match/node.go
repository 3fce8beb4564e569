package match

import "github.com/archelon-db/archelon/internal/bsonval"

// Node is a node of a filter's tree: one of the exported types of this package,
// as a pointer except for AlwaysTrue and AlwaysFalse.
type Node interface {
	// match says whether a whole document matches.
	match(s *state, d bsonval.Doc) bool
	// matchValue says whether a single value matches, inside $elemMatch and at
	// the end of a path.
	matchValue(s *state, v bsonval.Value) bool
}

// And matches what all of its nodes match. It has at least two, none of them an
// And.
type And struct{ Nodes []Node }

// Or matches what one of its nodes matches. It has at least two, none of them an
// Or.
type Or struct{ Nodes []Node }

// Nor matches what none of its nodes matches. It has at least two.
type Nor struct{ Nodes []Node }

// Not matches what its node does not match.
type Not struct{ Node Node }

// AlwaysTrue matches everything; it is the root of the empty filter.
type AlwaysTrue struct{}

// AlwaysFalse matches nothing.
type AlwaysFalse struct{}

func (n *And) match(s *state, d bsonval.Doc) bool {
	for _, c := range n.Nodes {
		if !c.match(s, d) {
			return false
		}
	}
	return true
}

func (n *And) matchValue(s *state, v bsonval.Value) bool {
	for _, c := range n.Nodes {
		if !c.matchValue(s, v) {
			return false
		}
	}
	return true
}

func (n *Or) match(s *state, d bsonval.Doc) bool {
	for _, c := range n.Nodes {
		if s.quiet(c, d) {
			return true
		}
	}
	return false
}

func (n *Or) matchValue(s *state, v bsonval.Value) bool {
	for _, c := range n.Nodes {
		if c.matchValue(s, v) {
			return true
		}
	}
	return false
}

func (n *Nor) match(s *state, d bsonval.Doc) bool {
	for _, c := range n.Nodes {
		if s.quiet(c, d) {
			return false
		}
	}
	return true
}

func (n *Nor) matchValue(s *state, v bsonval.Value) bool {
	for _, c := range n.Nodes {
		if c.matchValue(s, v) {
			return false
		}
	}
	return true
}

func (n *Not) match(s *state, d bsonval.Doc) bool { return !s.quiet(n.Node, d) }

func (n *Not) matchValue(s *state, v bsonval.Value) bool { return !n.Node.matchValue(s, v) }

func (AlwaysTrue) match(*state, bsonval.Doc) bool { return true }

func (AlwaysTrue) matchValue(*state, bsonval.Value) bool { return true }

func (AlwaysFalse) match(*state, bsonval.Doc) bool { return false }

func (AlwaysFalse) matchValue(*state, bsonval.Value) bool { return false }

// NewAnd makes a normalised conjunction.
func NewAnd(nodes ...Node) Node {
	var flat []Node
	for _, n := range nodes {
		switch n := n.(type) {
		case *And:
			flat = append(flat, n.Nodes...)
		case AlwaysTrue:
		case AlwaysFalse:
			return n
		default:
			flat = append(flat, n)
		}
	}
	switch len(flat) {
	case 0:
		return AlwaysTrue{}
	case 1:
		return flat[0]
	}
	return &And{flat}
}

// NewOr makes a normalised disjunction.
func NewOr(nodes ...Node) Node {
	var flat []Node
	for _, n := range nodes {
		switch n := n.(type) {
		case *Or:
			flat = append(flat, n.Nodes...)
		case AlwaysFalse:
		case AlwaysTrue:
			return n
		default:
			flat = append(flat, n)
		}
	}
	switch len(flat) {
	case 0:
		return AlwaysFalse{}
	case 1:
		return flat[0]
	}
	return &Or{flat}
}

// NewNor makes a normalised negated disjunction.
func NewNor(nodes ...Node) Node {
	if len(nodes) == 1 {
		return NewNot(nodes[0])
	}
	return &Nor{nodes}
}

// NewNot makes a normalised negation.
func NewNot(n Node) Node {
	switch n := n.(type) {
	case *Not:
		return n.Node
	case AlwaysTrue:
		return AlwaysFalse{}
	case AlwaysFalse:
		return AlwaysTrue{}
	}
	return &Not{n}
}

// Children returns a node's direct children.
func Children(n Node) []Node {
	switch n := n.(type) {
	case *And:
		return n.Nodes
	case *Or:
		return n.Nodes
	case *Nor:
		return n.Nodes
	case *Not:
		return []Node{n.Node}
	case *ElemMatchObject:
		return []Node{n.Node}
	case *ElemMatchValue:
		return n.Nodes
	}
	return nil
}

// Walk calls f for a node and, while f returns true, for what is under it.
func Walk(n Node, f func(Node) bool) {
	if !f(n) {
		return
	}
	for _, c := range Children(n) {
		Walk(c, f)
	}
}

func needsContext(root Node) bool {
	needs := false
	Walk(root, func(n Node) bool {
		switch n.(type) {
		case *Expr, *Where, *SampleRate:
			needs = true
		}
		return !needs
	})
	return needs
}
