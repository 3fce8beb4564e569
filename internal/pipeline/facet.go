package pipeline

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var facetRows = []row{
	{name: "$facet", doc: "Runs several pipelines on the same documents.", parse: parseFacet, noFacet: true},
}

type facetStage struct {
	spec  bsonval.Value
	names []string
	subs  []*Pipeline
}

func parseFacet(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument || arg.Doc().IsEmpty() {
		return nil, mongoerr.New(40169, "the $facet specification must be a non-empty object")
	}
	s := &facetStage{spec: arg}
	it := arg.Doc().Iter()
	for it.Next() {
		name, v := strings.Clone(it.KeyStr()), it.Value()
		switch {
		case name == "" || name[0] == '$' || strings.ContainsAny(name, ".\x00"):
			return nil, mongoerr.New(40170, "invalid facet name: '%s'", name)
		case v.Type() != bsonval.TypeArray:
			return nil, mongoerr.New(40170, "arguments to $facet must be arrays, %s is type %s", name, v.Type())
		}
		sub, err := p.sub("$facet", p.ns, v.Doc())
		if err != nil {
			return nil, err
		}
		s.names, s.subs = append(s.names, name), append(s.subs, sub)
	}
	return []stage{s}, nil
}

func (s *facetStage) name() string           { return "$facet" }
func (s *facetStage) explain() bsonval.Value { return s.spec }

func (s *facetStage) reads() []Namespace {
	var list []Namespace
	for _, sub := range s.subs {
		list = append(list, sub.Namespaces()...)
	}
	return list
}

// needs is what the sub-pipelines read together.
func (s *facetStage) needs() needs {
	n := needs{only: true}
	for _, sub := range s.subs {
		d := sub.deps()
		if d == nil {
			return needsAll
		}
		if n.deps == nil {
			n.deps = d
		} else {
			n.deps.Fields = append(n.deps.Fields, d.Fields...)
		}
	}
	return n
}

func (s *facetStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newLazy(r, src, s.fill), nil
}
