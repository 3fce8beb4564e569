package pipeline

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

// OpenCounted is Open, and counts the documents that each stage passes on, for
// explain. The counts are final when the source is at its end.
func (p *Pipeline) OpenCounted(ctx context.Context, env *Env, src Source) (Source, []*int64, error) {
	c := &expr.Context{Env: env.Expr, Vars: make([]bsonval.Value, max(p.opts.Compiler.Slots(), len(env.Vars)))}
	copy(c.Vars, env.Vars)
	r := &run{env: env, c: c}
	counts := make([]*int64, 0, len(p.stages))
	for i := range p.stages {
		one := *p
		one.stages = p.stages[i : i+1]
		next, err := one.open(ctx, r, src)
		if err != nil {
			return nil, nil, err
		}
		n := new(int64)
		counts = append(counts, n)
		src = &counted{next, n}
	}
	return src, counts, nil
}

// counted counts the documents of a source.
type counted struct {
	src Source
	n   *int64
}

func (s *counted) Next(ctx context.Context) (bsonval.Doc, error) {
	d, err := s.src.Next(ctx)
	if err == nil {
		*s.n++
	}
	return d, err
}

func (s *counted) Close() error { return s.src.Close() }

func (s *counted) hasMeta() bool { return carriesMeta(s.src) }

// Metadata implements MetaSource.
func (s *counted) Metadata() bsonval.Doc {
	if m, ok := s.src.(MetaSource); ok {
		return m.Metadata()
	}
	return nil
}
