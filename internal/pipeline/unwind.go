package pipeline

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var unwindRows = []row{
	{name: "$unwind", doc: "Makes a document of each element of an array.", parse: parseUnwind},
}

type unwindStage struct {
	path     []string
	preserve bool
	index    []string // nil: no index field
}

func parseUnwind(_ *parser, arg bsonval.Value) ([]stage, error) {
	s := &unwindStage{}
	var prefixed string
	switch arg.Type() {
	case bsonval.TypeString:
		prefixed = arg.Str()
	case bsonval.TypeDocument:
		var err error
		if prefixed, err = s.parseFields(arg.Doc()); err != nil {
			return nil, err
		}
	default:
		return nil, mongoerr.New(15981, "expected either a string or an object as specification for $unwind stage, got %s", arg.Type())
	}
	if prefixed == "" {
		return nil, mongoerr.New(28812, "no path specified to $unwind stage")
	}
	if prefixed[0] != '$' {
		return nil, mongoerr.New(28818, "path option to $unwind stage should be prefixed with a '$': %s", prefixed)
	}
	path, err := fieldpath.Parse(prefixed[1:])
	if err != nil {
		return nil, err
	}
	s.path = cloneAll(path)
	return []stage{s}, nil
}

func (s *unwindStage) parseFields(d bsonval.Doc) (path string, err error) {
	it := d.Iter()
	for it.Next() {
		v := it.Value()
		switch it.KeyStr() {
		case "path":
			if v.Type() != bsonval.TypeString {
				return "", mongoerr.New(28808, "expected a string as the path for $unwind stage, got %s", v.Type())
			}
			path = v.Str()
		case "preserveNullAndEmptyArrays":
			if v.Type() != bsonval.TypeBool {
				return "", mongoerr.New(28809, "expected a boolean for the preserveNullAndEmptyArrays option to $unwind stage, got %s", v.Type())
			}
			s.preserve = v.Bool()
		case "includeArrayIndex":
			if v.Type() != bsonval.TypeString || v.Str() == "" {
				return "", mongoerr.New(28810, "expected a non-empty string for the includeArrayIndex option to $unwind stage, got %s", v.Type())
			}
			if v.Str()[0] == '$' {
				return "", mongoerr.New(28822, "includeArrayIndex option to $unwind stage should not be prefixed with a '$': %s", v.Str())
			}
			if s.index, err = fieldpath.Parse(v.Str()); err != nil {
				return "", err
			}
			s.index = cloneAll(s.index)
		default:
			return "", mongoerr.New(28811, "unrecognized option to $unwind stage: %s", it.KeyStr())
		}
	}
	return path, nil
}

func cloneAll(a []string) []string {
	b := make([]string, len(a))
	for i, s := range a {
		b[i] = strings.Clone(s)
	}
	return b
}

func (s *unwindStage) name() string { return "$unwind" }

func (s *unwindStage) explain() bsonval.Value {
	b := bsonval.NewBuilder().Str("path", "$"+strings.Join(s.path, "."))
	if s.preserve {
		b.Bool("preserveNullAndEmptyArrays", true)
	}
	if s.index != nil {
		b.Str("includeArrayIndex", strings.Join(s.index, "."))
	}
	return bsonval.Document(b.Build())
}

func (s *unwindStage) needs() needs {
	return needs{deps: &expr.Deps{Fields: []string{strings.Join(s.path, ".")}}}
}

func (s *unwindStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &unwindSource{input: newInput(r, src), s: s}, nil
}

// unwindSource walks the array of the document that its input handed out last.
type unwindSource struct {
	input
	s        *unwindStage
	doc      bsonval.Doc
	elements bsonval.Iter
	n        int64
	open     bool
	buf, tmp []byte
}

func (x *unwindSource) Next(ctx context.Context) (bsonval.Doc, error) {
	for {
		if x.open {
			if x.elements.Next() {
				x.n++
				return x.emit(x.elements.Value(), bsonval.Int64(x.n-1)), nil
			}
			x.open = false
		}
		d, err := x.next(ctx)
		if err != nil {
			return nil, err
		}
		x.doc = d
		v := d.LookupPath(x.s.path...)
		switch {
		case v.Type() == bsonval.TypeArray && !v.Doc().IsEmpty():
			x.elements, x.n, x.open = v.Doc().Iter(), 0, true
		case v.Type() == bsonval.TypeArray:
			if x.s.preserve {
				return x.emit(bsonval.Missing, bsonval.Null), nil
			}
		case v.IsNullish():
			if x.s.preserve {
				return x.emit(v, bsonval.Null), nil
			}
		default:
			return x.emit(v, bsonval.Null), nil
		}
	}
}

// emit makes the document with v in the array's place.
func (x *unwindSource) emit(v, index bsonval.Value) bsonval.Doc {
	x.buf = replacePath(x.buf[:0], x.doc, x.s.path, v)
	if x.s.index == nil {
		return x.buf
	}
	x.tmp = setPath(x.tmp[:0], x.buf, x.s.index, index)
	return x.tmp
}
