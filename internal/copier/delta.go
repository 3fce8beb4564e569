package copier

import (
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// node is what an update's description does at one place of a document, and below it.
type node struct {
	name     string
	set      bsonval.Value // missing: nothing is set
	unset    bool
	truncate int // -1: not at all
	below    []*node
}

// child finds or makes the node of a name.
func (n *node) child(name string) *node {
	for _, c := range n.below {
		if c.name == name {
			return c
		}
	}
	c := &node{name: name, truncate: -1}
	n.below = append(n.below, c)
	return c
}

// applyDelta is a document after an update of which an event has told. The document may be a later one than that which
// was updated: what does not fit is left out, see the package's comment.
func applyDelta(d, description Doc) Doc {
	root := &node{truncate: -1}
	paths := documentOf(description.Lookup("disambiguatedPaths"))
	for it := documentOf(description.Lookup("truncatedArrays")).Iter(); it.Next(); {
		t := documentOf(it.Value())
		size, _ := t.Lookup("newSize").AsInt64()
		root.reach(t.Lookup("field").Str(), paths).truncate = int(size)
	}
	for it := documentOf(description.Lookup("removedFields")).Iter(); it.Next(); {
		root.reach(it.Value().Str(), paths).unset = true
	}
	for it := documentOf(description.Lookup("updatedFields")).Iter(); it.Next(); {
		root.reach(it.KeyStr(), paths).set = it.Value()
	}
	return root.document(d)
}

// reach finds or makes the node of a path. Names with dots or of digits have their parts in paths.
func (n *node) reach(path string, paths Doc) *node {
	if parts := paths.Lookup(path); parts.Type() == bsonval.TypeArray {
		for it := parts.Doc().Iter(); it.Next(); {
			name := strconv.FormatInt(it.Value().TruncInt64(), 10)
			if it.Value().Type() == bsonval.TypeString {
				name = it.Value().Str()
			}
			n = n.child(name)
		}
		return n
	}
	for part := range strings.SplitSeq(path, ".") {
		n = n.child(part)
	}
	return n
}

// value is a value after the node's change.
func (n *node) value(v bsonval.Value) bsonval.Value {
	switch {
	case !n.set.IsMissing():
		return n.set
	case v.Type() == bsonval.TypeDocument && len(n.below) > 0:
		return bsonval.Document(n.document(v.Doc()))
	case v.Type() == bsonval.TypeArray:
		return bsonval.Array(n.array(v.Doc()))
	}
	return v
}

func (n *node) document(d Doc) Doc {
	out, at := bsonval.BeginDoc(make([]byte, 0, len(d)+64))
	seen := make(map[*node]bool, len(n.below))
	for it := d.Iter(); it.Next(); {
		c := n.find(it.KeyStr())
		if c == nil {
			out = append(out, it.Raw()...)
			continue
		}
		seen[c] = true
		if !c.unset || !c.set.IsMissing() {
			out = bsonval.AppendElementBytes(out, it.Key(), c.value(it.Value()))
		}
	}
	for _, c := range n.below {
		if !seen[c] {
			out = bsonval.AppendElement(out, c.name, c.set)
		}
	}
	return bsonval.EndDoc(out, at)
}

func (n *node) find(name string) *node {
	for _, c := range n.below {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (n *node) array(d Doc) Doc {
	values := d.Values(nil)
	if n.truncate >= 0 && n.truncate < len(values) {
		values = values[:n.truncate]
	}
	for _, c := range n.below {
		i, err := strconv.Atoi(c.name)
		switch {
		case err != nil || i < 0 || i > len(d)+maxGap:
		case i < len(values):
			if !c.unset {
				values[i] = c.value(values[i])
			}
		case !c.set.IsMissing():
			for len(values) < i {
				values = append(values, bsonval.Null)
			}
			values = append(values, c.set)
		}
	}
	return bsonval.ArrayOf(values...).Doc()
}

// maxGap bounds the nulls that a place beyond an array's end makes: no event of a real update needs more.
const maxGap = 1 << 20
