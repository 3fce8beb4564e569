package pipeline

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/projection"
)

var projectRows = []row{
	{name: "$addFields", doc: "Adds computed fields to the documents.", parse: parseAddFields("$addFields"), update: true, streaming: true},
	{name: "$project", doc: "Includes, excludes and computes fields.", parse: parseProject, update: true, streaming: true},
	{name: "$set", doc: "Another name of $addFields.", parse: parseAddFields("$set"), update: true, streaming: true},
	{name: "$unset", doc: "Leaves out fields.", parse: parseUnset, update: true, streaming: true},
}

// projectStage is $project, $addFields or $unset.
type projectStage struct {
	stage string
	spec  bsonval.Value
	p     *projection.Projection
}

func parseProject(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(15969, "$project specification must be an object")
	}
	pr, err := projection.Compile(arg.Doc(), projection.Options{Mode: projection.Aggregate, Compiler: p.c})
	return []stage{&projectStage{"$project", arg, pr}}, err
}

func parseAddFields(name string) func(*parser, bsonval.Value) ([]stage, error) {
	return func(p *parser, arg bsonval.Value) ([]stage, error) {
		if arg.Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(40272, "%s specification stage must be an object, got %s", name, arg.Type())
		}
		pr, err := projection.Compile(arg.Doc(), projection.Options{Mode: projection.AddFields, Compiler: p.c})
		return []stage{&projectStage{name, arg, pr}}, err
	}
}

func parseUnset(_ *parser, arg bsonval.Value) ([]stage, error) {
	var paths []string
	switch arg.Type() {
	case bsonval.TypeString:
		paths = []string{strings.Clone(arg.Str())}
	case bsonval.TypeArray:
		if arg.Doc().IsEmpty() {
			return nil, mongoerr.New(31119, "$unset specification must be a string or an array with at least one field")
		}
		it := arg.Doc().Iter()
		for it.Next() {
			if it.Value().Type() != bsonval.TypeString {
				return nil, mongoerr.New(31120, "$unset specification must be a string or an array containing only string values")
			}
			paths = append(paths, strings.Clone(it.Value().Str()))
		}
	default:
		return nil, mongoerr.New(31002, "$unset specification must be a string or an array")
	}
	for _, path := range paths {
		if strings.IndexByte(path, 0) >= 0 {
			return nil, mongoerr.New(9527900, "field name contains null byte: %q", path)
		}
	}
	for _, path := range paths {
		if _, err := fieldpath.Parse(path); err != nil {
			return nil, err
		}
	}
	pr, err := projection.CompileExclusion(paths)
	return []stage{&projectStage{"$unset", arg, pr}}, err
}

func (s *projectStage) name() string           { return s.stage }
func (s *projectStage) explain() bsonval.Value { return s.spec }

func (s *projectStage) needs() needs {
	if s.p.IsInclusion() {
		d := s.p.Deps()
		return needs{deps: &d, only: true}
	}
	d := s.p.ExprDeps()
	return needs{deps: &d}
}

func (s *projectStage) filterBefore(paths []string) bool {
	for _, p := range paths {
		if s.p.EffectOn(p) != projection.Keeps {
			return false
		}
	}
	return true
}

func (s *projectStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newMapped(r, src, s), nil
}

func (s *projectStage) transform(dst []byte, c *expr.Context, d bsonval.Doc) (bsonval.Doc, error) {
	out, err := s.p.Append(dst, c, d, -1)
	return out, err
}
