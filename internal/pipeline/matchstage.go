package pipeline

import (
	"context"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/text"
)

var matchRows = []row{
	{name: "$match", doc: "Passes the documents that match a filter.", parse: parseMatch, streaming: true},
}

type matchStage struct {
	filter  bsonval.Doc
	matcher *match.Matcher
	c       *expr.Compiler
	text    *text.Spec
}

func parseMatch(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(15959, "the match filter must be an expression in an object")
	}
	if p.at > 0 && hasOperator(arg.Doc(), "$text") {
		return nil, mongoerr.New(17313, "$match with $text is only allowed as the first pipeline stage")
	}
	if hasOperator(arg.Doc(), "$near", "$nearSphere", "$geoNear") {
		return nil, mongoerr.New(5626500, "$geoNear, $near, and $nearSphere are not allowed in this context, as these operators require sorting geospatial data. If you do not need sort, consider using $geoWithin instead.")
	}
	var spec *text.Spec
	if p.opts.TextIndex != nil && p.at == 0 && p.in != "$facet" {
		spec = p.opts.TextIndex(p.ns)
	}
	s, err := newMatch(p.c, spec, arg.Doc())
	if err != nil {
		return nil, err
	}
	p.c.NoTextScore = p.c.NoTextScore && !s.matcher.HasText()
	return []stage{s}, nil
}

// hasOperator says whether a filter uses one of some operators, at the top or on
// a field, inside $and and its like too.
func hasOperator(filter bsonval.Doc, names ...string) bool {
	it := filter.Iter()
	for it.Next() {
		key, v := it.KeyStr(), it.Value()
		if slices.Contains(names, key) {
			return true
		}
		switch {
		case v.Type() == bsonval.TypeArray && (key == "$and" || key == "$or" || key == "$nor"):
			inner := v.Doc().Iter()
			for inner.Next() {
				if inner.Value().Type() == bsonval.TypeDocument && hasOperator(inner.Value().Doc(), names...) {
					return true
				}
			}
		case v.Type() == bsonval.TypeDocument && key != "$expr":
			k, _, _ := v.Doc().First()
			if strings.HasPrefix(k, "$") && hasOperator(v.Doc(), names...) {
				return true
			}
		}
	}
	return false
}

func newMatch(c *expr.Compiler, spec *text.Spec, filter bsonval.Doc) (*matchStage, error) {
	outer := c.Deps
	c.Deps = nil
	m, err := match.Compile(filter, match.Options{
		Compiler: c, Ban: match.FeatureWhere | match.FeatureNear, TextIndex: spec,
	})
	c.Deps = outer
	if err != nil {
		return nil, err
	}
	return &matchStage{filter: filter, matcher: m, c: c, text: spec}, nil
}

func (s *matchStage) name() string           { return "$match" }
func (s *matchStage) explain() bsonval.Value { return bsonval.Document(s.filter) }

func (s *matchStage) needs() needs {
	d := &expr.Deps{}
	s.matcher.Deps(d)
	return needs{deps: d}
}

func (s *matchStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &matchSource{input: newInput(r, src), m: s.matcher}, nil
}

type matchSource struct {
	input
	m *match.Matcher
}

func (x *matchSource) Next(ctx context.Context) (bsonval.Doc, error) {
	for {
		d, err := x.nextBound(ctx)
		if err != nil {
			return nil, err
		}
		ok, err := x.m.Match(x.r.c, d)
		if err != nil {
			return nil, err
		}
		if ok {
			return d, nil
		}
	}
}
