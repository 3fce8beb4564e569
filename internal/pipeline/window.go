package pipeline

import (
	"bytes"
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/accumulator"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

var windowRows = []row{
	{name: "$setWindowFields", doc: "Computes fields over windows of neighbouring documents.", parse: parseWindow},
}

// windowStage is $setWindowFields. It sorts by partition and sortBy, and then
// computes partition by partition.
type windowStage struct {
	spec      bsonval.Value
	partition expr.Expr        // nil: one partition
	sort      *sortkey.Pattern // nil: the input's order
	fields    [][]string
	windows   []*accumulator.Window
	deps      *expr.Deps
}

func parseWindow(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "the $setWindowFields stage specification must be an object, found %s", arg.Type())
	}
	return p.windowStages(arg.Doc())
}

func (p *parser) windowStages(d bsonval.Doc) ([]stage, error) {
	const stageName = "$setWindowFields"
	s := &windowStage{spec: bsonval.Document(d)}
	var partition, sortBy, output bsonval.Value
	err := fields(stageName, d, func(name string, v bsonval.Value) (known bool, err error) {
		switch name {
		case "partitionBy":
			partition = v
		case "sortBy":
			if !isNull(v) {
				sortBy = v
				_, err = fieldDoc(stageName, name, v)
			}
		case "output":
			output = v
			_, err = fieldDoc(stageName, name, v)
		default:
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	if output.IsMissing() {
		return nil, errMissingField(stageName, "output")
	}
	s.deps, err = p.capture(func() error {
		order, err := s.compileSort(sortBy)
		if err != nil {
			return err
		}
		if err := s.compilePartition(p, partition); err != nil {
			return err
		}
		return s.compileOutput(p, output.Doc(), order)
	})
	if err == nil && s.sort != nil {
		s.deps.Fields = append(s.deps.Fields, s.sort.Fields()...)
	}
	return []stage{s}, err
}

// compileSort returns the order that windows may rely on, nil for none. An empty
// sortBy is one, though it does not order anything.
func (s *windowStage) compileSort(v bsonval.Value) (*sortkey.Pattern, error) {
	switch {
	case v.IsMissing():
		return nil, nil
	case v.Doc().IsEmpty():
		return &sortkey.Pattern{}, nil
	}
	var err error
	s.sort, err = sortkey.Compile(v.Doc())
	return s.sort, err
}

func (s *windowStage) compilePartition(p *parser, v bsonval.Value) error {
	if v.IsMissing() {
		return nil
	}
	e, err := p.c.Compile(v)
	if err != nil {
		return err
	}
	if _, constant := expr.ConstantValue(e); !constant {
		s.partition = e
	}
	return nil
}

func (s *windowStage) compileOutput(p *parser, d bsonval.Doc, order *sortkey.Pattern) error {
	it := d.Iter()
	for it.Next() {
		path, err := fieldpath.Parse(it.KeyStr())
		if err != nil {
			return err
		}
		if it.Value().Type() != bsonval.TypeDocument {
			return mongoerr.New(mongoerr.FailedToParse, "the field '%s' must be an object", it.KeyStr())
		}
		for _, other := range s.fields {
			if related(joinPath(other), joinPath(path)) {
				return mongoerr.New(40176, "specification contains two conflicting paths. Cannot specify both '%s' and '%s'", joinPath(other), joinPath(path))
			}
		}
		w, err := accumulator.CompileWindow(p.c, it.Value(), order)
		if err != nil {
			return err
		}
		s.fields, s.windows = append(s.fields, path), append(s.windows, w)
	}
	return nil
}

func (s *windowStage) name() string           { return "$setWindowFields" }
func (s *windowStage) explain() bsonval.Value { return s.spec }
func (s *windowStage) needs() needs           { return needs{deps: s.deps} }

func (s *windowStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newLazy(r, src, s.fill), nil
}

// fill sorts the input.
func (s *windowStage) fill(ctx context.Context, in *input) (Source, error) {
	if s.sort == nil && s.partition == nil {
		return &windowSource{input: newInput(in.r, in.src), s: s}, nil
	}
	sorter := NewSorter(nil, 0, in.r.env)
	for {
		d, err := in.nextBound(ctx)
		if err == io.EOF {
			break
		}
		if err == nil {
			sorter.key, err = s.appendKey(sorter.key[:0], in.r, d)
		}
		if err == nil {
			err = sorter.insert(d, in.Metadata())
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
	return &windowSource{input: newInput(in.r, sorted), s: s}, nil
}

// appendKey appends the sort key of the context's document: partition, sortBy.
func (s *windowStage) appendKey(dst []byte, r *run, d bsonval.Doc) ([]byte, error) {
	dst, err := s.appendPartition(dst, r)
	if err != nil || s.sort == nil {
		return dst, err
	}
	return s.sort.Append(dst, d, r.collator())
}

func (s *windowStage) appendPartition(dst []byte, r *run) ([]byte, error) {
	if s.partition == nil {
		return dst, nil
	}
	v, err := s.partition.Eval(r.c)
	if err != nil {
		return dst, err
	}
	if v.Type() == bsonval.TypeArray {
		return dst, mongoerr.New(mongoerr.TypeMismatch, "An expression used to partition cannot evaluate to value of type array")
	}
	if v.IsMissing() {
		v = bsonval.Null
	}
	return keystring.Append(dst, v, false, r.collator()), nil
}

// windowSource computes one partition at a time.
type windowSource struct {
	input
	s       *windowStage
	docs    []bsonval.Doc
	values  [][]bsonval.Value // by output field
	at      int
	ahead   bsonval.Doc // first document of the following partition
	key     []byte      // its partition
	ended   bool
	buf, b2 []byte
}

func (x *windowSource) Next(ctx context.Context) (bsonval.Doc, error) {
	for x.at >= len(x.docs) {
		if x.ended {
			return nil, io.EOF
		}
		if err := x.partition(ctx); err != nil {
			return nil, err
		}
	}
	out := x.docs[x.at]
	for i, f := range x.s.fields {
		if v := x.values[i][x.at]; !v.IsMissing() {
			out = setPath(x.buf[:0], out, f, v)
			x.buf, x.b2 = x.b2, out
		}
	}
	x.at++
	return out, nil
}

// Metadata implements MetaSource: documents of a partition have lost theirs.
func (x *windowSource) Metadata() bsonval.Doc { return nil }

// partition reads and computes the next partition.
func (x *windowSource) partition(ctx context.Context) error {
	x.docs, x.at = x.docs[:0], 0
	if x.ahead != nil {
		x.docs = append(x.docs, x.ahead)
		x.ahead = nil
	}
	var held int64
	var key []byte
	for {
		d, err := x.nextBound(ctx)
		if err == io.EOF {
			x.ended = true
			break
		}
		if err != nil {
			return err
		}
		if key, err = x.s.appendPartition(key[:0], x.r); err != nil {
			return err
		}
		if len(x.docs) > 0 && !bytes.Equal(key, x.key) {
			x.key = append(x.key[:0], key...)
			x.ahead = d.Clone()
			break
		}
		x.key = append(x.key[:0], key...)
		x.docs = append(x.docs, d.Clone())
		if held += int64(len(d)); held > x.r.env.memoryLimit() {
			return errDiskUse("$setWindowFields", x.r.env.memoryLimit())
		}
	}
	return x.compute()
}

func (x *windowSource) compute() error {
	x.values = x.values[:0]
	if len(x.docs) == 0 {
		return nil
	}
	for _, w := range x.s.windows {
		values, err := w.Run(x.r.c, x.docs)
		if err != nil {
			return err
		}
		x.values = append(x.values, values)
	}
	return nil
}
