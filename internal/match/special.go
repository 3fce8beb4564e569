package match

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/text"
)

// Expr matches documents for which an aggregation expression is true.
type Expr struct {
	Expr expr.Expr
	// Spec is the expression's source.
	Spec bsonval.Value
}

func (n *Expr) match(s *state, d bsonval.Doc) bool {
	if s.err != nil {
		return false
	}
	s.c.Root = d
	v, err := n.Expr.Eval(s.c)
	if err != nil {
		s.err = err
		return false
	}
	return v.Truthy()
}

func (n *Expr) matchValue(*state, bsonval.Value) bool { return false }

// Where matches documents for which a JavaScript function returns something
// true.
type Where struct {
	// Source is the source of a function, or an expression or statements.
	Source string
	// Spec is the operator's argument.
	Spec bsonval.Value
}

func (n *Where) match(s *state, d bsonval.Doc) bool {
	if s.err != nil {
		return false
	}
	if s.c.Env.JS == nil {
		s.err = errNoScript()
		return false
	}
	ctx := s.c.Env.Ctx
	if ctx == nil {
		ctx = context.Background()
	}
	doc := bsonval.Document(d)
	v, err := s.c.Env.JS.Call(ctx, n.Source, doc, []bsonval.Value{doc})
	if err != nil {
		s.err = err
		return false
	}
	if v.Type() == bsonval.TypeString {
		return len(v.Bytes()) > 0
	}
	return v.Truthy() && !v.IsNaN()
}

func (n *Where) matchValue(*state, bsonval.Value) bool { return false }

func errNoScript() error {
	return mongoerr.New(mongoerr.BadValue, "no globalScriptEngine in $where parsing")
}

// SampleRate matches documents at random.
type SampleRate struct{ Rate float64 }

func (n *SampleRate) match(s *state, _ bsonval.Doc) bool {
	return n.Rate == 1 || n.Rate > 0 && s.c.Env.Rand() < n.Rate
}

func (n *SampleRate) matchValue(*state, bsonval.Value) bool { return false }

// Text is a text search in the fields of the collection's text index.
type Text struct {
	text.Search

	// Query is the search as the text index reads it.
	Query *text.Query
}

func (n *Text) match(_ *state, d bsonval.Doc) bool { return n.Query.Matches(d) }

func (n *Text) matchValue(*state, bsonval.Value) bool { return false }

// HasText says whether a text search is part of a filter.
func (m *Matcher) HasText() bool {
	found := false
	Walk(m.root, func(n Node) bool {
		_, text := n.(*Text)
		found = found || text
		return !found
	})
	return found
}

func errNoTextIndex() error {
	return mongoerr.New(mongoerr.IndexNotFound, "text index required for $text query")
}
