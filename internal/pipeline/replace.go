package pipeline

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var replaceRows = []row{
	{name: "$replaceRoot", doc: "Replaces each document by one that it contains or computes.", parse: parseReplaceRoot, update: true, streaming: true},
	{name: "$replaceWith", doc: "Replaces each document by the value of an expression.", parse: parseReplaceWith, update: true, streaming: true},
}

type replaceStage struct {
	spec bsonval.Value
	e    expr.Expr
	deps *expr.Deps
}

func parseReplaceRoot(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(40229, "expected an object as specification for $replaceRoot stage, got %s", arg.Type())
	}
	newRoot := bsonval.Missing
	err := fields("$replaceRoot", arg.Doc(), func(name string, v bsonval.Value) (bool, error) {
		newRoot = v
		return name == "newRoot", nil
	})
	if err != nil {
		return nil, err
	}
	if newRoot.IsMissing() {
		return nil, errMissingField("$replaceRoot", "newRoot")
	}
	return parseReplaceWith(p, newRoot)
}

func parseReplaceWith(p *parser, arg bsonval.Value) ([]stage, error) {
	s := &replaceStage{spec: arg}
	var err error
	s.deps, err = p.capture(func() (err error) {
		s.e, err = p.c.Compile(arg)
		return err
	})
	return []stage{s}, err
}

func (s *replaceStage) name() string { return "$replaceRoot" }
func (s *replaceStage) explain() bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Value("newRoot", s.spec).Build())
}
func (s *replaceStage) needs() needs { return needs{deps: s.deps, only: true} }
func (s *replaceStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newMapped(r, src, s), nil
}

func (s *replaceStage) transform(dst []byte, c *expr.Context, _ bsonval.Doc) (bsonval.Doc, error) {
	v, err := s.e.Eval(c)
	if err != nil {
		return nil, err
	}
	if v.Type() != bsonval.TypeDocument {
		what := "missing"
		if !v.IsMissing() {
			what = bsonval.Format(v)
		}
		return nil, mongoerr.New(40228, "'newRoot' expression must evaluate to an object, but resulting value was: %s", what)
	}
	return append(dst, v.Doc()...), nil
}

// mapped runs a transformer.
type mapped struct {
	input
	f   transformer
	buf []byte
}

func newMapped(r *run, src Source, f transformer) *mapped {
	return &mapped{input: newInput(r, src), f: f}
}

func (m *mapped) Next(ctx context.Context) (bsonval.Doc, error) {
	d, err := m.nextBound(ctx)
	if err != nil {
		return nil, err
	}
	out, err := m.f.transform(m.buf[:0], m.r.c, d)
	if err != nil {
		return nil, err
	}
	m.buf = out
	return out, nil
}
