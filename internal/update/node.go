package update

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// node is one component of the updated paths: a leaf with an operation, or a
// node with others under it. Children by name and by array filter exclude each
// other.
type node struct {
	path       string // from the top, for messages
	leaf       leafOp
	children   []child  // by name, sorted; see compareNames
	positional *node    // "$"
	filtered   []filter // "$[]" and "$[name]"
}

type child struct {
	name string
	node *node
}

// nodeSpace is room for the nodes of a small update, which are allocated with its
// program.
type nodeSpace struct {
	nodes    [4]node
	used     int
	children [3]child // of the root
}

// node makes a node.
func (s *nodeSpace) node(path string) *node {
	if s.used == len(s.nodes) {
		return &node{path: path}
	}
	n := &s.nodes[s.used]
	s.used++
	n.path = path
	return n
}

// filter is the node of one array filter; index -1 is "$[]".
type filter struct {
	index int
	node  *node
}

func (n *node) isEmpty() bool {
	return n.leaf == nil && len(n.children) == 0 && n.positional == nil && len(n.filtered) == 0
}

func (n *node) find(name string) *node {
	for i := range n.children {
		if n.children[i].name == name {
			return n.children[i].node
		}
	}
	return nil
}

func (n *node) findBytes(name []byte) int {
	for i := range n.children {
		if len(n.children[i].name) == len(name) && n.children[i].name == string(name) {
			return i
		}
	}
	return -1
}

// child returns the node of a child, which it makes if need be.
func (n *node) child(space *nodeSpace, name, path string) *node {
	if c := n.find(name); c != nil {
		return c
	}
	c := space.node(path)
	n.insert(child{name, c})
	return c
}

func (n *node) insert(c child) {
	at, _ := slices.BinarySearchFunc(n.children, c, func(a, b child) int { return compareNames(a.name, b.name) })
	n.children = slices.Insert(n.children, at, c)
}

func (n *node) filter(space *nodeSpace, index int, path string) *node {
	for _, f := range n.filtered {
		if f.index == index {
			return f.node
		}
	}
	c := space.node(path)
	n.filtered = append(n.filtered, filter{index, c})
	return c
}

func joinPath(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// compareNames orders names: array positions by number, others by bytes.
func compareNames(a, b string) int {
	if x, y := match.Position(a), match.Position(b); x >= 0 && y >= 0 {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}

// resolve puts the positional child among the others.
func (n *node) resolve(a *application) (*node, error) {
	if n.positional == nil {
		return n, nil
	}
	if a.in.ArrayIndex < 0 {
		return nil, mongoerr.New(mongoerr.BadValue,
			"The positional operator did not find the match needed from the query.")
	}
	name := strconv.Itoa(a.in.ArrayIndex)
	r := &node{path: n.path, children: slices.Clone(n.children), filtered: n.filtered}
	c := n.positional
	if i := r.findBytes([]byte(name)); i >= 0 {
		merged, err := merge(r.children[i].node, c)
		if err != nil {
			return nil, err
		}
		r.children[i].node = merged
		return r, nil
	}
	r.insert(child{name, c})
	return r, nil
}

// merge joins two nodes that turn out to be about the same place.
func merge(a, b *node) (*node, error) {
	if a.leaf != nil || b.leaf != nil || len(a.filtered) > 0 != (len(b.filtered) > 0) {
		return nil, conflict(b.path, a.path)
	}
	r := &node{path: a.path, children: slices.Clone(a.children), positional: a.positional, filtered: slices.Clone(a.filtered)}
	for _, c := range b.children {
		i := r.findBytes([]byte(c.name))
		if i < 0 {
			r.insert(c)
			continue
		}
		m, err := merge(r.children[i].node, c.node)
		if err != nil {
			return nil, err
		}
		r.children[i].node = m
	}
	for _, f := range b.filtered {
		i := slices.IndexFunc(r.filtered, func(g filter) bool { return g.index == f.index })
		if i < 0 {
			r.filtered = append(r.filtered, f)
			continue
		}
		m, err := merge(r.filtered[i].node, f.node)
		if err != nil {
			return nil, err
		}
		r.filtered[i].node = m
	}
	switch {
	case r.positional == nil:
		r.positional = b.positional
	case b.positional != nil:
		m, err := merge(r.positional, b.positional)
		if err != nil {
			return nil, err
		}
		r.positional = m
	}
	return r, nil
}

func conflict(path, at string) error {
	return mongoerr.New(mongoerr.ConflictingUpdateOperators,
		"Updating the path '%s' would create a conflict at '%s'", path, at)
}

// touches says whether something at, under or above the path is updated. Array
// positions match everything, on either side.
func (n *node) touches(names []string) bool {
	if n.leaf != nil || len(names) == 0 {
		return true
	}
	if n.positional != nil && n.positional.touches(names) {
		return true
	}
	for _, f := range n.filtered {
		if f.node.touches(names) {
			return true
		}
	}
	for _, c := range n.children {
		if c.name == names[0] && c.node.touches(names[1:]) ||
			match.Position(c.name) >= 0 && c.node.touches(names) {
			return true
		}
	}
	if match.Position(names[0]) < 0 {
		return false
	}
	return n.touches(names[1:]) || n.positional != nil && n.positional.touches(names[1:])
}

// demand says what the subtree asks of a path that does not exist: to be
// created, or at least that it could be.
func (n *node) demand(a *application) (create, viable bool) {
	if n.leaf != nil {
		return n.leaf.demand(a)
	}
	for _, c := range n.children {
		x, y := c.node.demand(a)
		create, viable = create || x, viable || y
	}
	if n.positional != nil {
		x, y := n.positional.demand(a)
		create, viable = create || x, viable || y
	}
	for _, f := range n.filtered {
		x, y := f.node.demand(a)
		create, viable = create || x, viable || y
	}
	return create, viable
}
