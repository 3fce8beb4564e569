package pipeline

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var unionRows = []row{
	{name: "$unionWith", doc: "Appends the documents of another collection's pipeline.", parse: parseUnion},
}

type unionStage struct {
	spec bsonval.Value
	ns   Namespace
	sub  *Pipeline
}

func parseUnion(p *parser, arg bsonval.Value) ([]stage, error) {
	s := &unionStage{spec: arg, ns: Namespace{DB: p.ns.DB}}
	stages := bsonval.EmptyDoc
	hasPipeline := false
	switch arg.Type() {
	case bsonval.TypeString:
		s.ns.Coll = arg.Str()
	case bsonval.TypeDocument:
		err := fields("$unionWith", arg.Doc(), func(name string, v bsonval.Value) (known bool, err error) {
			switch name {
			case "coll":
				s.ns.Coll, err = fieldString("$unionWith", name, v)
			case "pipeline":
				if v.Type() != bsonval.TypeArray {
					return true, errFieldType("$unionWith", name, v, "array")
				}
				stages, hasPipeline = v.Doc(), true
			default:
				return false, nil
			}
			return true, err
		})
		if err != nil {
			return nil, err
		}
	default:
		return nil, mongoerr.New(mongoerr.FailedToParse, "the $unionWith stage specification must be an object or string, but found %s", arg.Type())
	}
	if s.ns.Coll == "" && !hasPipeline {
		if arg.Type() == bsonval.TypeString {
			return nil, checkCollName(s.ns.DB, "")
		}
		return nil, mongoerr.New(mongoerr.FailedToParse, "$unionWith stage without explicit collection must have a pipeline with $documents as first stage")
	}
	if s.ns.Coll == "" && !startsWith(stages, "$documents") {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$unionWith stage without explicit collection must have a pipeline with $documents as first stage")
	}
	if s.ns.Coll != "" {
		if err := checkCollName(s.ns.DB, s.ns.Coll); err != nil {
			return nil, err
		}
	}
	var err error
	s.sub, err = p.sub("$unionWith", s.ns, stages)
	return []stage{s}, err
}

// startsWith says whether a pipeline's first stage has the name.
func startsWith(stages bsonval.Doc, name string) bool {
	_, v, ok := stages.First()
	if !ok || v.Type() != bsonval.TypeDocument {
		return false
	}
	k, _, _ := v.Doc().First()
	return k == name
}

func (s *unionStage) name() string           { return "$unionWith" }
func (s *unionStage) explain() bsonval.Value { return s.spec }
func (s *unionStage) needs() needs           { return needsAll }
func (s *unionStage) reads() []Namespace     { return append(s.sub.Namespaces(), s.ns) }

func (s *unionStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &unionSource{input: newInput(r, src), s: s}, nil
}

type unionSource struct {
	input
	s      *unionStage
	second Source
}

func (x *unionSource) Next(ctx context.Context) (bsonval.Doc, error) {
	if x.second == nil {
		d, err := x.next(ctx)
		if err != io.EOF {
			return d, err
		}
		if x.second, err = x.s.sub.openOn(ctx, x.r, x.s.ns); err != nil {
			return nil, err
		}
	}
	return x.second.Next(ctx)
}

// Metadata implements MetaSource.
func (x *unionSource) Metadata() bsonval.Doc {
	if x.second != nil {
		return nil
	}
	return x.input.Metadata()
}

func (x *unionSource) Close() error {
	if x.second != nil {
		x.second.Close()
	}
	return x.input.Close()
}

// openOn runs a sub-pipeline on a collection.
func (p *Pipeline) openOn(ctx context.Context, r *run, ns Namespace) (Source, error) {
	if p.HasSource() {
		return p.open(ctx, r, nil)
	}
	q, rest := p.Leading()
	q.Vars, q.Collator = r.c.Vars, r.collator()
	src, err := r.env.Data.Open(ctx, ns, q)
	if err != nil {
		return nil, err
	}
	return rest.open(ctx, r, src)
}
