package projection

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
)

type fieldKind uint8

const (
	fieldPlain    fieldKind = iota // included or excluded
	fieldChild                     // something under it is mentioned
	fieldComputed                  // an expression or $elemMatch
	fieldSlice                     // $slice of an array
)

// field is a field mentioned by the specification.
type field struct {
	name  string
	kind  fieldKind
	child *node // fieldChild

	e     expr.Expr      // fieldComputed by an expression
	elems *match.Matcher // fieldComputed by $elemMatch

	skip, limit int // fieldSlice; skip < 0 counts from the end, limit < 0 takes the last
	hasSkip     bool

	// positional: the field is on the path of the positional operator.
	positional bool
}

// node is the fields mentioned under one path, in the order of the
// specification.
type node struct {
	fields []field
	// computes: there is a computed field here or further down.
	computes bool
}

func (n *node) find(name string) *field {
	for i := range n.fields {
		if n.fields[i].name == name {
			return &n.fields[i]
		}
	}
	return nil
}

func (n *node) findBytes(name []byte) int {
	for i := range n.fields {
		if len(n.fields[i].name) == len(name) && n.fields[i].name == string(name) {
			return i
		}
	}
	return -1
}

// walk calls f for each leaf with its dotted path.
func (n *node) walk(prefix string, f func(path string, leaf *field)) {
	for i := range n.fields {
		leaf := &n.fields[i]
		if leaf.kind == fieldChild {
			leaf.child.walk(prefix+leaf.name+".", f)
		} else {
			f(prefix+leaf.name, leaf)
		}
	}
}

// markComputes sets the computes flags.
func (n *node) markComputes() bool {
	for i := range n.fields {
		f := &n.fields[i]
		if f.kind == fieldComputed || f.kind == fieldChild && f.child.markComputes() {
			n.computes = true
		}
	}
	return n.computes
}

// value is what a computed field is for a document; missing for nothing.
func (f *field) value(c *expr.Context, d bsonval.Doc) (bsonval.Value, error) {
	if f.elems == nil {
		return f.e.Eval(c)
	}
	ok, i, err := f.elems.MatchIndex(c, d)
	if !ok || i < 0 || err != nil {
		return bsonval.Missing, err
	}
	return bsonval.ArrayOf(d.Lookup(f.name).Doc().Index(i)), nil
}
