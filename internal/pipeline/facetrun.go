package pipeline

import (
	"context"
	"io"
	"iter"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// facetBatch is how many bytes of input all sub-pipelines see before the next
// ones are read.
const facetBatch = 1 << 20

// facetInput is the part of $facet's input that is at hand.
type facetInput struct {
	docs []bsonval.Doc
	buf  []byte
	eof  bool
}

// read replaces the documents by the next ones.
func (in *facetInput) read(ctx context.Context, src Source) error {
	in.docs, in.buf = in.docs[:0], in.buf[:0]
	for len(in.buf) < facetBatch {
		d, err := src.Next(ctx)
		if err == io.EOF {
			in.eof = true
			return nil
		}
		if err != nil {
			return err
		}
		at := len(in.buf)
		in.buf = append(in.buf, d...)
		in.docs = append(in.docs, in.buf[at:len(in.buf):len(in.buf)])
	}
	return nil
}

// facetBranch is one sub-pipeline. It runs as a coroutine that stops when it has
// used up the input at hand, so that all see the input in one pass.
type facetBranch struct {
	in    *facetInput
	at    int
	yield func(struct{}) bool
	out   *bsonval.Builder
	err   error
}

// Next implements Source.
func (f *facetBranch) Next(context.Context) (bsonval.Doc, error) {
	for f.at == len(f.in.docs) {
		if f.in.eof || !f.yield(struct{}{}) {
			return nil, io.EOF
		}
		f.at = 0
	}
	f.at++
	return f.in.docs[f.at-1], nil
}

// Close implements Source.
func (f *facetBranch) Close() error { return nil }

// run is the coroutine.
func (f *facetBranch) run(ctx context.Context, r *run, sub *Pipeline) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		f.yield = yield
		var src Source
		if src, f.err = sub.open(ctx, r, f); f.err != nil {
			return
		}
		f.err = drain(ctx, src, func(d bsonval.Doc) error {
			f.out.Add(bsonval.Document(d))
			return checkFacet(r, f.out.Len())
		})
	}
}

func checkFacet(r *run, size int) error {
	if limit := r.env.memoryLimit(); int64(size) > limit {
		return mongoerr.New(4031700, "document constructed by $facet is %d bytes, which exceeds the limit of %d bytes", size, limit)
	}
	return nil
}

func (s *facetStage) fill(ctx context.Context, in *input) (Source, error) {
	defer in.src.Close()
	batch := &facetInput{}
	branches := make([]*facetBranch, len(s.subs))
	var running []func() (struct{}, bool)
	for i, sub := range s.subs {
		branches[i] = &facetBranch{in: batch, out: bsonval.NewArrayBuilder()}
		next, stop := iter.Pull(branches[i].run(ctx, in.r, sub))
		defer stop()
		running = append(running, next)
	}
	for len(running) > 0 {
		if err := batch.read(ctx, in.src); err != nil {
			return nil, err
		}
		still := running[:0]
		for _, next := range running {
			if _, more := next(); more {
				still = append(still, next)
			}
		}
		running = still
		for _, f := range branches {
			if f.err != nil {
				return nil, f.err
			}
		}
	}
	b := bsonval.NewBuilder()
	for i, f := range branches {
		b.Array(s.names[i], f.out.Build())
		if err := checkFacet(in.r, b.Len()); err != nil {
			return nil, err
		}
	}
	return NewList([]bsonval.Doc{b.Build()}), nil
}
