package pipeline

import (
	"context"
	"io"
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var limitRows = []row{
	{name: "$limit", doc: "Passes the first n documents only.", parse: parseLimit},
	{name: "$skip", doc: "Leaves out the first n documents.", parse: parseSkip},
}

type limitStage struct{ n int64 }

func parseLimit(_ *parser, arg bsonval.Value) ([]stage, error) {
	n, err := count(5107201, "limit", arg)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, mongoerr.New(15958, "the limit must be positive")
	}
	return []stage{&limitStage{n}}, nil
}

// count reads a number that is not negative.
func count(code mongoerr.Code, what string, v bsonval.Value) (int64, error) {
	invalid := func(why string) error {
		return mongoerr.New(code, "invalid argument to $%s stage: %s in: $%s: %s", what, why, what, bsonval.Format(v))
	}
	if !v.IsNumber() {
		return 0, invalid("Expected a number")
	}
	n, ok := wholeNumber(v)
	switch {
	case !ok:
		return 0, invalid("Expected an integer")
	case n < 0:
		return 0, invalid("Expected a non-negative number")
	}
	return n, nil
}

func (s *limitStage) name() string           { return "$limit" }
func (s *limitStage) explain() bsonval.Value { return bsonval.Int64(s.n) }
func (s *limitStage) needs() needs           { return needs{deps: &expr.Deps{}} }
func (s *limitStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &limitSource{input: newInput(r, src), left: s.n}, nil
}

type limitSource struct {
	input
	left int64
}

func (s *limitSource) Next(ctx context.Context) (bsonval.Doc, error) {
	if s.left == 0 {
		return nil, io.EOF
	}
	s.left--
	return s.next(ctx)
}

type skipStage struct{ n int64 }

func parseSkip(_ *parser, arg bsonval.Value) ([]stage, error) {
	n, err := count(5107200, "skip", arg)
	if err != nil {
		return nil, err
	}
	return []stage{&skipStage{n}}, nil
}

func (s *skipStage) name() string           { return "$skip" }
func (s *skipStage) explain() bsonval.Value { return bsonval.Int64(s.n) }
func (s *skipStage) needs() needs           { return needs{deps: &expr.Deps{}} }
func (s *skipStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &skipSource{input: newInput(r, src), left: s.n}, nil
}

type skipSource struct {
	input
	left int64
}

func (s *skipSource) Next(ctx context.Context) (bsonval.Doc, error) {
	for s.left > 0 {
		s.left--
		if _, err := s.next(ctx); err != nil {
			return nil, err
		}
	}
	return s.next(ctx)
}

// addClamped adds two counts that are not negative.
func addClamped(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
