package pipeline

import (
	"context"
	"io"
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/accumulator"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

type bucketAutoStage struct {
	spec    bsonval.Value
	groupBy expr.Expr
	buckets int64
	series  *series // nil: no granularity
	fields  []string
	accs    []*accumulator.Factory
	deps    *expr.Deps
}

func parseBucketAuto(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(40240, "The argument to $bucketAuto must be an object, but found type: %s.", arg.Type())
	}
	s := &bucketAutoStage{spec: arg}
	var err error
	s.deps, err = p.capture(func() error {
		it := arg.Doc().Iter()
		for it.Next() {
			if err := s.set(p, it.KeyStr(), it.Value()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.groupBy == nil || s.buckets == 0 {
		return nil, mongoerr.New(40246, "$bucketAuto requires 'groupBy' and 'buckets' to be specified.")
	}
	if s.fields == nil {
		f, err := accumulator.Compile(p.c, bsonval.NewBuilder().Int32("$sum", 1).Build())
		if err != nil {
			return nil, err
		}
		s.fields, s.accs = []string{"count"}, []*accumulator.Factory{f}
	}
	return []stage{s}, nil
}

func (s *bucketAutoStage) set(p *parser, name string, v bsonval.Value) (err error) {
	switch name {
	case "groupBy":
		if !isExpression(v) {
			return mongoerr.New(40239, "The $bucketAuto 'groupBy' field must be defined as a $-prefixed path or an expression object, but found: %s.", bsonval.Format(v))
		}
		s.groupBy, err = p.c.Compile(v)
	case "buckets":
		if !v.IsNumber() {
			return mongoerr.New(40241, "The $bucketAuto 'buckets' field must be a numeric value, but found type: %s.", v.Type())
		}
		n, ok := wholeNumber(v)
		switch {
		case !ok || n != int64(int32(n)):
			return mongoerr.New(40242, "The $bucketAuto 'buckets' field must be representable as a 32-bit integer, but found %s.", bsonval.Format(v))
		case n <= 0:
			return mongoerr.New(40243, "The $bucketAuto 'buckets' field must be greater than 0, but found: %d.", n)
		}
		s.buckets = n
	case "output":
		if v.Type() != bsonval.TypeDocument {
			return mongoerr.New(40244, "The $bucketAuto 'output' field must be an object, but found type: %s.", v.Type())
		}
		it := v.Doc().Iter()
		for it.Next() {
			f, err := accumulator.CompileField(p.c, it.KeyStr(), it.Value())
			if err != nil {
				return err
			}
			s.fields, s.accs = append(s.fields, strings.Clone(it.KeyStr())), append(s.accs, f)
		}
	case "granularity":
		if v.Type() != bsonval.TypeString {
			return mongoerr.New(40261, "The $bucketAuto 'granularity' field must be a string, but found type: %s.", v.Type())
		}
		if s.series = seriesByName(v.Str()); s.series == nil {
			return mongoerr.New(40257, "Unknown rounding granularity '%s'", v.Str())
		}
	default:
		return mongoerr.New(40245, "Unrecognized option to $bucketAuto: %s.", name)
	}
	return err
}

func (s *bucketAutoStage) name() string           { return "$bucketAuto" }
func (s *bucketAutoStage) explain() bsonval.Value { return s.spec }
func (s *bucketAutoStage) needs() needs           { return needs{deps: s.deps, only: true} }

func (s *bucketAutoStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newLazy(r, src, s.fill), nil
}

func (s *bucketAutoStage) value(c *expr.Context) (bsonval.Value, error) {
	v, err := s.groupBy.Eval(c)
	if err != nil {
		return v, err
	}
	if v.IsMissing() {
		v = bsonval.Null
	}
	if s.series != nil {
		return v, s.series.check(v)
	}
	return v, nil
}

// fill sorts the documents by their values and counts them.
func (s *bucketAutoStage) fill(ctx context.Context, in *input) (Source, error) {
	sorter := NewSorter(nil, 0, in.r.env)
	var n int64
	for {
		_, err := in.nextBound(ctx)
		if err == io.EOF {
			break
		}
		var v bsonval.Value
		if err == nil {
			v, err = s.value(in.r.c)
		}
		if err == nil {
			n++
			sorter.key = keystring.Append(sorter.key[:0], v, false, in.r.collator())
			err = sorter.insert(in.r.c.Root, in.Metadata())
		}
		if err != nil {
			sorter.Close()
			return nil, err
		}
	}
	sorted, err := sorter.Sorted()
	if err != nil {
		return nil, err
	}
	size := max(1, int64(math.Round(float64(n)/float64(s.buckets))))
	return &bucketAutoSource{input: newInput(in.r, sorted), s: s, size: size}, nil
}

// bucketAutoSource makes the buckets. It reads one document ahead, because a
// bucket ends where the next one begins.
type bucketAutoSource struct {
	input
	s       *bucketAutoStage
	size    int64
	number  int64
	started bool
	done    bool
	doc     bsonval.Doc   // the document ahead
	v       bsonval.Value // its value
	max     bsonval.Value // of the bucket before
	out     []byte
}

func (x *bucketAutoSource) advance(ctx context.Context) error {
	d, err := x.nextBound(ctx)
	if err == io.EOF {
		x.done = true
		return nil
	}
	if err != nil {
		return err
	}
	x.doc = d
	v, err := x.s.value(x.r.c)
	x.v = v.Clone()
	return err
}

func (x *bucketAutoSource) Next(ctx context.Context) (bsonval.Doc, error) {
	if !x.started {
		x.started = true
		if err := x.advance(ctx); err != nil {
			return nil, err
		}
	}
	if x.done {
		return nil, io.EOF
	}
	x.number++
	states := make([]*accumulator.State, len(x.s.accs))
	for i, f := range x.s.accs {
		var err error
		if states[i], err = f.New(x.r.c, bsonval.Missing); err != nil {
			return nil, err
		}
	}
	lo := x.v
	if x.s.series != nil {
		if lo = x.max; lo.IsMissing() {
			lo = x.s.series.down(x.v)
		}
	}
	hi, err := x.take(ctx, states)
	if err != nil {
		return nil, err
	}
	x.max = hi
	return x.document(lo, hi, states)
}

// take fills a bucket and returns its upper end.
func (x *bucketAutoSource) take(ctx context.Context, states []*accumulator.State) (bsonval.Value, error) {
	last := x.v
	for n := int64(0); !x.done; n++ {
		if n >= x.size && x.number < x.s.buckets && !x.belongs(last) {
			break
		}
		last = x.v
		for _, st := range states {
			if err := st.Add(x.r.c); err != nil {
				return last, err
			}
		}
		if err := x.advance(ctx); err != nil {
			return last, err
		}
	}
	switch {
	case x.s.series != nil:
		return x.s.series.up(last), nil
	case x.done:
		return last, nil
	}
	return x.v, nil
}

// belongs says whether the document ahead must stay with one of value last.
func (x *bucketAutoSource) belongs(last bsonval.Value) bool {
	if x.s.series != nil {
		return bsonval.Compare(x.v, x.s.series.up(last)) < 0
	}
	return bsonval.CompareCollated(x.v, last, x.r.collator()) == 0
}

func (x *bucketAutoSource) document(lo, hi bsonval.Value, states []*accumulator.State) (bsonval.Doc, error) {
	b := bsonval.NewBuilderIn(x.out[:0])
	b.StartDoc("_id").Value("min", lo).Value("max", hi).End()
	for i, st := range states {
		v, err := st.Result()
		if err != nil {
			return nil, err
		}
		b.Value(x.s.fields[i], v)
	}
	x.out = b.Build()
	return x.out, nil
}
