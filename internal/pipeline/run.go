package pipeline

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// run is one run of a pipeline with its sub-pipelines.
type run struct {
	env *Env
	c   *expr.Context
}

func (r *run) collator() bsonval.Collator { return r.env.Expr.Collator }

// errDiskUse is the error of a blocking stage that would have to spill.
func errDiskUse(what string, limit int64) error {
	return mongoerr.New(mongoerr.QueryExceededMemoryLimitNoDiskUseAllowed,
		"%s exceeded memory limit of %d bytes, but did not opt in to external sorting. Pass allowDiskUse:true to opt in.",
		what, limit)
}

// input is the part of a running stage that reads the stage before it. Stages
// embed it: it closes the source and passes metadata on.
type input struct {
	r    *run
	src  Source
	meta MetaSource // nil if the documents have no metadata
	look func(string) bsonval.Value
	n    int
}

func newInput(r *run, src Source) input {
	in := input{r: r, src: src}
	if m, ok := src.(MetaSource); ok && carriesMeta(src) {
		in.meta = m
		in.look = func(name string) bsonval.Value { return m.Metadata().Lookup(name) }
	}
	return in
}

// carriesMeta says whether a source may have metadata: a stage does if what it
// reads does.
func carriesMeta(src Source) bool {
	if s, ok := src.(interface{ hasMeta() bool }); ok {
		return s.hasMeta()
	}
	_, ok := src.(MetaSource)
	return ok
}

func (in *input) hasMeta() bool { return in.meta != nil }

// Metadata implements MetaSource.
func (in *input) Metadata() bsonval.Doc {
	if in.meta == nil {
		return nil
	}
	return in.meta.Metadata()
}

// Close implements Source.
func (in *input) Close() error { return in.src.Close() }

// next reads a document and now and then looks at ctx.
func (in *input) next(ctx context.Context) (bsonval.Doc, error) {
	if in.n++; in.n&511 == 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return in.src.Next(ctx)
}

// nextBound is next, and makes the document the root of expressions.
func (in *input) nextBound(ctx context.Context) (bsonval.Doc, error) {
	d, err := in.next(ctx)
	if err == nil {
		in.bind(d)
	}
	return d, err
}

// bind makes a document the root of expressions.
func (in *input) bind(d bsonval.Doc) {
	in.r.c.Root = d
	in.r.c.Meta = in.look
}

// drain reads a source to its end, copying the documents, and closes it.
func drain(ctx context.Context, src Source, keep func(bsonval.Doc) error) error {
	defer src.Close()
	for n := 1; ; n++ {
		if n&511 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		d, err := src.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = keep(d)
		}
		if err != nil {
			return err
		}
	}
}

// list is a source of documents in memory.
type list struct {
	docs []bsonval.Doc
	next int
}

// NewList returns a source of the given documents.
func NewList(docs []bsonval.Doc) Source { return &list{docs: docs} }

func (l *list) Next(context.Context) (bsonval.Doc, error) {
	if l.next >= len(l.docs) {
		return nil, io.EOF
	}
	l.next++
	return l.docs[l.next-1], nil
}

func (l *list) Close() error { return nil }

// lazy is a source that is opened at its first Next: blocking stages do all
// their work there, so that opening a pipeline reads nothing.
type lazy struct {
	input
	fill func(ctx context.Context, in *input) (Source, error)
	out  Source
	err  error
}

func newLazy(r *run, src Source, fill func(ctx context.Context, in *input) (Source, error)) *lazy {
	return &lazy{input: newInput(r, src), fill: fill}
}

func (l *lazy) Next(ctx context.Context) (bsonval.Doc, error) {
	if l.out == nil && l.err == nil {
		l.out, l.err = l.fill(ctx, &l.input)
	}
	if l.err != nil {
		return nil, l.err
	}
	return l.out.Next(ctx)
}

// Metadata implements MetaSource: what a blocking stage hands out is its own.
func (l *lazy) Metadata() bsonval.Doc {
	if m, ok := l.out.(MetaSource); ok {
		return m.Metadata()
	}
	return nil
}

func (l *lazy) Close() error {
	err := l.src.Close()
	if l.out != nil {
		l.out.Close()
	}
	return err
}
