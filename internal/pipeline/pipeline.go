package pipeline

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/text"
)

// Options say how to parse a pipeline.
type Options struct {
	// Compiler compiles all expressions; variables in its scope can be used.
	Compiler *expr.Compiler

	// NS is the collection (or database) that the pipeline runs on.
	NS Namespace

	// TextIndex returns what the text index of a collection searches, nil if it has
	// none; nil means that no collection has one.
	TextIndex func(Namespace) *text.Spec

	// Update restricts the stages to those of an update by pipeline.
	Update bool

	// View restricts the stages to those of a view's definition.
	View bool
}

// Pipeline is a compiled pipeline. It is immutable once optimised and may be run
// any number of times, one run at a time.
type Pipeline struct {
	opts   Options
	stages []stage
}

// maxStages is the largest number of stages that MongoDB takes in one pipeline.
const maxStages = 1000

// maxDepth bounds sub-pipelines in sub-pipelines, as MongoDB does.
const maxDepth = 20

// Parse compiles the stages, a BSON array of documents. Errors have the codes
// MongoDB gives for them at parse time.
func Parse(stages bsonval.Doc, o Options) (*Pipeline, error) {
	p := &parser{opts: o, c: o.Compiler, ns: o.NS}
	list, err := p.parseStages(stages.Clone())
	if err != nil {
		return nil, err
	}
	return &Pipeline{opts: o, stages: list}, nil
}

// parser holds what the stages of one (sub-)pipeline may know while they are
// parsed.
type parser struct {
	opts  Options
	c     *expr.Compiler
	ns    Namespace
	depth int    // sub-pipelines around this one
	at    int    // stages before the one being parsed
	in    string // the stage that holds this sub-pipeline; empty at the top
}

// sub parses a sub-pipeline of the stage `in` on another collection. Variables
// declared in the compiler are in scope.
func (p *parser) sub(in string, ns Namespace, stages bsonval.Doc) (*Pipeline, error) {
	if p.depth+1 > maxDepth {
		return nil, mongoerr.New(mongoerr.MaxSubPipelineDepthExceeded,
			"Maximum number of nested sub-pipelines exceeded. Limit is %d", maxDepth)
	}
	q := &parser{opts: p.opts, c: p.c, ns: ns, depth: p.depth + 1, in: in}
	outer := p.c.Deps
	p.c.Deps = nil
	list, err := q.parseStages(stages)
	p.c.Deps = outer
	if err != nil {
		return nil, err
	}
	pl := &Pipeline{opts: p.opts, stages: list}
	pl.opts.NS = ns
	pl.Optimize()
	return pl, nil
}

func (p *parser) parseStages(a bsonval.Doc) ([]stage, error) {
	if n := a.Len(); n > maxStages {
		return nil, mongoerr.New(7749501, "Pipeline length must be no longer than %d stages", maxStages)
	}
	if p.in != "$facet" {
		// A text score there is only behind $match with $text, the first stage.
		outer := p.c.NoTextScore
		p.c.NoTextScore = true
		defer func() { p.c.NoTextScore = outer }()
	}
	var list []stage
	var rows []*row
	it := a.Iter()
	for ; it.Next(); p.at++ {
		r, ss, err := p.parseStage(it.Value())
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
		list = append(list, ss...)
	}
	if err := p.checkPositions(rows, list); err != nil {
		return nil, err
	}
	for len(list) > 1 && isEmptyMatch(list[0]) && list[1].name() == "$geoNear" {
		list = list[1:]
	}
	return list, nil
}

func (p *parser) parseStage(v bsonval.Value) (*row, []stage, error) {
	if v.Type() != bsonval.TypeDocument {
		return nil, nil, mongoerr.New(mongoerr.TypeMismatch, "Each element of the 'pipeline' array must be an object")
	}
	if v.Doc().Len() != 1 {
		return nil, nil, mongoerr.New(40323, "A pipeline stage specification object must contain exactly one field.")
	}
	name, arg, _ := v.Doc().First()
	r := rows[name]
	if r == nil {
		return nil, nil, mongoerr.New(40324, "Unrecognized pipeline stage name: '%s'", name)
	}
	if p.opts.Update && !r.update {
		return nil, nil, mongoerr.New(mongoerr.InvalidOptions, "%s is not allowed to be used within an update", name)
	}
	if err := p.checkContext(r); err != nil {
		return nil, nil, err
	}
	ss, err := r.parse(p, arg)
	return r, ss, err
}

// capture runs compile and returns the fields of the document that it makes
// expressions read.
func (p *parser) capture(compile func() error) (*expr.Deps, error) {
	outer := p.c.Deps
	d := &expr.Deps{}
	p.c.Deps = d
	err := compile()
	p.c.Deps = outer
	if outer != nil {
		outer.All = outer.All || d.All
		outer.Fields = append(outer.Fields, d.Fields...)
	}
	return d, err
}

// Len is the number of stages.
func (p *Pipeline) Len() int { return len(p.stages) }

// HasSource says that the first stage makes the documents itself ($documents,
// $collStats …): Open needs no source then.
func (p *Pipeline) HasSource() bool {
	if len(p.stages) == 0 {
		return false
	}
	_, ok := p.stages[0].(origin)
	return ok
}

// First is the name of the first stage; empty if there is none.
func (p *Pipeline) First() string {
	if len(p.stages) == 0 {
		return ""
	}
	return p.stages[0].name()
}

// Target returns the collection that the pipeline writes to ($out, $merge).
func (p *Pipeline) Target() (ns Namespace, stage string, ok bool) {
	if len(p.stages) > 0 {
		last := p.stages[len(p.stages)-1]
		if w, is := last.(interface{ target() Namespace }); is {
			return w.target(), last.name(), true
		}
	}
	return Namespace{}, "", false
}

// Namespaces lists the other collections that the pipeline reads ($lookup,
// $unionWith, $graphLookup, at any depth), with repetitions.
func (p *Pipeline) Namespaces() []Namespace {
	var list []Namespace
	for _, s := range p.stages {
		if r, ok := s.(interface{ reads() []Namespace }); ok {
			list = append(list, r.reads()...)
		}
	}
	return list
}

// Open starts a run. src is the collection that the pipeline reads; it is
// ignored if HasSource. Closing the returned source closes src; if Open fails,
// src is closed.
func (p *Pipeline) Open(ctx context.Context, env *Env, src Source) (Source, error) {
	c := &expr.Context{Env: env.Expr, Vars: make([]bsonval.Value, max(p.opts.Compiler.Slots(), len(env.Vars)))}
	copy(c.Vars, env.Vars)
	return p.open(ctx, &run{env: env, c: c}, src)
}

func (p *Pipeline) open(ctx context.Context, r *run, src Source) (Source, error) {
	for _, s := range p.stages {
		next, err := s.open(ctx, r, src)
		if err != nil {
			if src != nil {
				src.Close()
			}
			return nil, err
		}
		src = next
	}
	return src, nil
}

// Transform returns the pipeline as a function from document to document, for
// updates. Only stages that are allowed in updates can be transformed. The
// context must come from the same compiler.
func (p *Pipeline) Transform() (func(*expr.Context, bsonval.Doc) (bsonval.Doc, error), error) {
	var fs []transformer
	for _, s := range p.stages {
		f, ok := s.(transformer)
		if !ok {
			return nil, mongoerr.New(mongoerr.InvalidOptions, "%s is not allowed to be used within an update", s.name())
		}
		fs = append(fs, f)
	}
	return func(c *expr.Context, d bsonval.Doc) (bsonval.Doc, error) {
		for _, f := range fs {
			c.Root = d
			out, err := f.transform(nil, c, d)
			if err != nil {
				return nil, err
			}
			d = out
		}
		return d, nil
	}, nil
}
