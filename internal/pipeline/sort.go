package pipeline

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

var sortRows = []row{
	{name: "$sort", doc: "Orders the documents.", parse: parseSort},
}

// sortStage is $sort, with the limit of a $limit behind it.
type sortStage struct {
	spec    bsonval.Doc
	pattern *sortkey.Pattern
	limit   int64 // 0: none
}

func parseSort(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(15973, "the $sort key specification must be an object")
	}
	s, err := newSort(arg.Doc())
	if err != nil {
		return nil, err
	}
	if p.c.NoTextScore && s.pattern.UsesMeta("textScore") {
		return nil, expr.ErrNoTextScore()
	}
	return []stage{s}, nil
}

func newSort(spec bsonval.Doc) (*sortStage, error) {
	p, err := sortkey.Compile(spec)
	if err != nil {
		return nil, err
	}
	return &sortStage{spec: spec, pattern: p}, nil
}

func (s *sortStage) name() string { return "$sort" }

func (s *sortStage) explain() bsonval.Value {
	b := bsonval.NewBuilder().Doc("sortKey", s.spec)
	if s.limit > 0 {
		b.Int64("limit", s.limit)
	}
	return bsonval.Document(b.Build())
}

func (s *sortStage) needs() needs { return needs{deps: &expr.Deps{Fields: s.pattern.Fields()}} }

func (s *sortStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &sortSource{lazy: newLazy(r, src, s.fill)}, nil
}

// sortSource keeps its input's metadata.
type sortSource struct{ *lazy }

func (s *sortStage) fill(ctx context.Context, in *input) (Source, error) {
	sorter := NewSorter(s.pattern, s.limit, in.r.env)
	for {
		d, err := in.next(ctx)
		if err == io.EOF {
			return sorter.Sorted()
		}
		if err == nil {
			err = sorter.Add(d, in.Metadata())
		}
		if err != nil {
			sorter.Close()
			return nil, err
		}
	}
}
