package match

import (
	"context"
	"sync"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/text"
)

// Features are parts of the language that not every place allows.
type Features uint8

// The features.
const (
	FeatureExpr Features = 1 << iota
	FeatureWhere
	FeatureText
	FeatureNear
	FeatureJSONSchema
)

// AllFeatures is every feature.
const AllFeatures = FeatureExpr | FeatureWhere | FeatureText | FeatureNear | FeatureJSONSchema

// Options are the surroundings of a filter.
type Options struct {
	// Compiler compiles $expr; its Env gives the collation, too. Nil means no
	// variables and strings in byte order.
	Compiler *expr.Compiler

	// Ban are the features refused in this place: $match bans FeatureWhere and
	// FeatureNear, arrayFilters and partial indexes ban all.
	Ban Features

	// TextIndex says what the collection's text index searches; without one $text
	// is refused.
	TextIndex *text.Spec
}

// Matcher is a compiled filter.
type Matcher struct {
	root  Node
	plan  *conjunction // for an And of simple leaves; nil otherwise
	needs bool

	// states are evaluations to use again: one would be allocated for each
	// document otherwise.
	states sync.Pool
}

// Compile compiles a filter.
func Compile(filter bsonval.Doc, o Options) (*Matcher, error) {
	p := newParser(o)
	root, err := p.document(filter.Clone(), levelTop)
	if err != nil {
		return nil, err
	}
	if err := checkSpecial(root, o); err != nil {
		return nil, err
	}
	return FromNode(root), nil
}

// FromNode makes a matcher of a tree, or part of one.
func FromNode(root Node) *Matcher {
	return &Matcher{root: root, plan: planConjunction(root), needs: needsContext(root)}
}

// Root returns the normalised tree.
func (m *Matcher) Root() Node { return m.root }

// NeedsContext says whether Match needs a context ($expr, $where and
// $sampleRate do).
func (m *Matcher) NeedsContext() bool { return m.needs }

// Match says whether a document matches. The context may be nil if NeedsContext
// is false.
func (m *Matcher) Match(c *expr.Context, d bsonval.Doc) (bool, error) {
	s := m.begin(c)
	var ok bool
	if m.plan != nil {
		ok = m.plan.match(s, d)
	} else {
		ok = m.root.match(s, d)
	}
	err := s.err
	m.end(s)
	return ok && err == nil, err
}

func (m *Matcher) end(s *state) {
	*s = state{}
	m.states.Put(s)
}

func (m *Matcher) begin(c *expr.Context) *state {
	s, ok := m.states.Get().(*state)
	if !ok {
		s = &state{}
	}
	*s = state{c: c}
	return s
}

// MatchIndex is Match that also tells which array element matched, for the
// positional operator; -1 means none.
func (m *Matcher) MatchIndex(c *expr.Context, d bsonval.Doc) (ok bool, index int, err error) {
	s := m.begin(c)
	s.record, s.index = true, -1
	ok = m.root.match(s, d)
	index, err = s.index, s.err
	m.end(s)
	if err != nil || !ok {
		return false, -1, err
	}
	return true, index, nil
}

// Deps notes the paths that a matcher reads.
func (m *Matcher) Deps(deps *expr.Deps) {
	Walk(m.root, func(n Node) bool {
		switch n := n.(type) {
		case *Expr, *Where, *JSONSchema, *Text:
			deps.AddAll()
		case interface{ FieldPath() string }:
			deps.Add(n.FieldPath())
			return false
		}
		return true
	})
}

// state is one evaluation under way.
type state struct {
	c      *expr.Context
	err    error
	record bool // note the index of the array element that matched
	index  int
}

// context is that of the command, or nil.
func (s *state) context() context.Context {
	if s.c == nil || s.c.Env == nil {
		return nil
	}
	return s.c.Env.Ctx
}

// found notes an array index; outer arrays call it after inner ones.
func (s *state) found(i int) {
	if s.record {
		s.index = i
	}
}

// quiet evaluates without noting an array index.
func (s *state) quiet(n Node, d bsonval.Doc) bool {
	record := s.record
	s.record = false
	ok := n.match(s, d)
	s.record = record
	return ok
}
