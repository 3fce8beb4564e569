package update

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// equality is a field that a filter wants to be equal to a value.
type equality struct {
	path  string
	names []string
	v     bsonval.Value
}

// UpsertDocument makes the document that an upsert inserts: the filter's
// equalities, then the update, with _id first. newID gives an _id where neither
// has one. The context is needed by pipelines only.
func (p *Program) UpsertDocument(c *expr.Context, filter *match.Matcher, newID func() bsonval.Value) (bsonval.Doc, error) {
	base, err := p.baseDocument(filter.Root())
	if err != nil {
		return nil, err
	}
	out, _, err := p.Apply(c, base, Input{ArrayIndex: -1, Insert: true})
	if err != nil {
		return nil, err
	}
	id := out.Lookup("_id")
	if id.IsMissing() {
		id = newID()
	}
	if err := CheckID(id); err != nil {
		return nil, err
	}
	dst, at := bsonval.BeginDoc(make([]byte, 0, len(out)+32))
	dst = bsonval.AppendElement(dst, "_id", id)
	it := out.Iter()
	for it.Next() {
		if it.KeyStr() != "_id" {
			dst = bsonval.AppendElementBytes(dst, it.Key(), it.Value())
		}
	}
	return bsonval.EndDoc(dst, at), nil
}

func (p *Program) baseDocument(root match.Node) (bsonval.Doc, error) {
	var list []equality
	if err := collect(&list, root); err != nil {
		return nil, err
	}
	tree := &baseNode{}
	for _, e := range list {
		if p.kind == Replacement && e.names[0] != "_id" {
			continue
		}
		tree.add(e.names, e.v)
	}
	return tree.build(), nil
}

// collect finds the equalities that must hold for the whole filter.
func collect(list *[]equality, n match.Node) error {
	switch n := n.(type) {
	case *match.And:
		for _, c := range n.Nodes {
			if err := collect(list, c); err != nil {
				return err
			}
		}
	case *match.Compare:
		if n.Op != match.Eq {
			return nil
		}
		names := strings.Split(n.Path, ".")
		for _, e := range *list {
			if e.path == n.Path {
				return mongoerr.New(mongoerr.NotSingleValueField,
					"cannot infer query fields to set, path '%s' is matched twice", n.Path)
			}
			if strings.HasPrefix(n.Path, e.path+".") || strings.HasPrefix(e.path, n.Path+".") {
				return mongoerr.New(mongoerr.NotSingleValueField,
					"cannot infer query fields to set, both paths '%s' and '%s' are matched", n.Path, e.path)
			}
		}
		*list = append(*list, equality{n.Path, names, n.Value})
	}
	return nil
}

// baseNode is a document under construction.
type baseNode struct {
	name     string
	v        bsonval.Value // a leaf's value
	children []*baseNode
}

func (n *baseNode) add(names []string, v bsonval.Value) {
	for _, name := range names {
		var next *baseNode
		for _, c := range n.children {
			if c.name == name {
				next = c
			}
		}
		if next == nil {
			next = &baseNode{name: name}
			n.children = append(n.children, next)
		}
		n = next
	}
	n.v = v
}

func (n *baseNode) build() bsonval.Doc {
	b := bsonval.NewBuilder()
	for _, c := range n.children {
		if len(c.children) > 0 {
			b.Doc(c.name, c.build())
		} else {
			b.Value(c.name, c.v)
		}
	}
	return b.Build()
}
