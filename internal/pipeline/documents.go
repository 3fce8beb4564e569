package pipeline

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var documentsRows = []row{
	{name: "$documents", doc: "Starts a pipeline with documents written in it.", parse: parseDocuments, first: true, noInput: true, noFacet: true},
}

type documentsStage struct {
	spec bsonval.Value
	docs expr.Expr
}

func parseDocuments(p *parser, arg bsonval.Value) ([]stage, error) {
	e, err := p.c.Compile(arg)
	if err != nil {
		return nil, err
	}
	return []stage{&documentsStage{arg, e}}, nil
}

func (s *documentsStage) isOrigin()              {}
func (s *documentsStage) name() string           { return "$documents" }
func (s *documentsStage) explain() bsonval.Value { return s.spec }
func (s *documentsStage) needs() needs           { return needsAll }

func (s *documentsStage) open(_ context.Context, r *run, _ Source) (Source, error) {
	r.c.Root, r.c.Meta = bsonval.EmptyDoc, nil
	v, err := s.docs.Eval(r.c)
	if err != nil {
		return nil, err
	}
	if v.Type() != bsonval.TypeArray {
		return nil, mongoerr.New(5858203, "an array is expected: %s", v.Type())
	}
	var docs []bsonval.Doc
	it := v.Clone().Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(40228, "'newRoot' expression must evaluate to an object, but resulting value was: %s", bsonval.Format(it.Value()))
		}
		docs = append(docs, it.Value().Doc())
	}
	return NewList(docs), nil
}
