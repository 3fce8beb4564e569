package projection

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
)

// Mode says whose specification is compiled.
type Mode uint8

// The modes.
const (
	// Find is the projection of find and findAndModify.
	Find Mode = iota
	// Aggregate is the $project stage.
	Aggregate
	// AddFields is the $addFields and $set stages.
	AddFields
)

// Options are the surroundings of a projection.
type Options struct {
	Mode Mode

	// Compiler compiles computed fields. Nil means no variables.
	Compiler *expr.Compiler

	// Filter is the query's filter, for the positional operator; nil is a query
	// without one.
	Filter *match.Matcher
}

// Projection is a compiled specification.
type Projection struct {
	root       *node
	kind       kind
	deps       expr.Deps
	computes   bool
	positional bool
	identity   bool
}

// kind says what happens to fields without a mention.
type kind uint8

const (
	undecided kind = iota
	inclusion
	exclusion
	addition
)

// Positional says whether Append needs the index of the array element that the
// filter matched (match.Matcher.MatchIndex).
func (p *Projection) Positional() bool { return p.positional }

// IsIdentity says that every document is projected to itself.
func (p *Projection) IsIdentity() bool { return p.identity }

// IsInclusion says that only fields named by the projection come out.
func (p *Projection) IsInclusion() bool { return p.kind == inclusion }

// NeedsContext says whether Append needs a context.
func (p *Projection) NeedsContext() bool { return p.computes }

// Deps are the fields of the source that the projection reads; All for those
// that let unnamed fields through.
func (p *Projection) Deps() expr.Deps {
	if p.kind != inclusion {
		return expr.Deps{All: true, Fields: p.deps.Fields, Meta: p.deps.Meta}
	}
	d := expr.Deps{All: p.deps.All, Fields: append([]string(nil), p.deps.Fields...), Meta: p.deps.Meta}
	p.root.walk("", func(path string, f *field) {
		if f.kind != fieldComputed {
			d.Add(path)
		}
	})
	return d
}

// ExprDeps are the fields that computed fields read.
func (p *Projection) ExprDeps() expr.Deps { return p.deps }

// IsSimpleInclusion tells an inclusion of plain paths, as an index can cover it:
// paths are in the order of the specification, without _id, and excludeID says
// that _id is left out.
func (p *Projection) IsSimpleInclusion() (paths []string, excludeID, ok bool) {
	if p.kind != inclusion || p.computes || p.positional {
		return nil, false, false
	}
	excludeID, ok = true, true
	p.root.walk("", func(path string, f *field) {
		switch {
		case f.kind != fieldPlain:
			ok = false
		case path == "_id":
			excludeID = false
		default:
			paths = append(paths, path)
		}
	})
	return paths, excludeID, ok
}

// Effect is what a projection does to a path.
type Effect uint8

// The effects.
const (
	// Keeps: the value at the path, and all under it, comes out as it went in.
	Keeps Effect = iota
	// Drops: nothing comes out at the path.
	Drops
	// Changes: something else may come out.
	Changes
)

// EffectOn says what the projection does to the value at a dotted path.
func (p *Projection) EffectOn(path string) Effect {
	n := p.root
	for {
		name, rest, more := strings.Cut(path, ".")
		f := n.find(name)
		switch {
		case f == nil && p.kind == inclusion:
			return Drops
		case f == nil:
			return Keeps
		case f.kind == fieldChild && more:
			n, path = f.child, rest
			continue
		case f.kind == fieldPlain && p.kind == inclusion && !f.positional:
			return Keeps
		case f.kind == fieldPlain && p.kind != inclusion:
			return Drops
		}
		return Changes
	}
}

// Rename is a computed field that is a plain copy of another.
type Rename struct{ From, To string }

// Renames lists the computed fields at the top that are plain paths ({b: "$a"}).
func (p *Projection) Renames() []Rename {
	var list []Rename
	for i := range p.root.fields {
		f := &p.root.fields[i]
		if f.kind != fieldComputed || f.e == nil {
			continue
		}
		if from, ok := expr.FieldPath(f.e); ok {
			list = append(list, Rename{from, f.name})
		}
	}
	return list
}

// Apply projects a document into new bytes.
func (p *Projection) Apply(c *expr.Context, d bsonval.Doc, arrayIndex int) (bsonval.Doc, error) {
	return p.Append(make([]byte, 0, len(d)+32), c, d, arrayIndex)
}

// Append appends the projected document to dst. The context may be nil if
// NeedsContext is false; arrayIndex is the index of the array element that the
// filter matched, -1 for none.
func (p *Projection) Append(dst []byte, c *expr.Context, d bsonval.Doc, arrayIndex int) ([]byte, error) {
	if p.identity {
		return append(dst, d...), nil
	}
	w := writer{dst: dst, c: c, doc: d, kind: p.kind, index: arrayIndex}
	if c != nil {
		c.Root = d
	}
	if err := w.document(p.root, d); err != nil {
		return dst, err
	}
	return w.dst, nil
}
