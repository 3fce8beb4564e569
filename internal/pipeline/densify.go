package pipeline

import (
	"context"
	"io"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var densifyRows = []row{
	{name: "$densify", doc: "Adds documents where a sequence of numbers or dates has gaps.", parse: parseDensify},
}

// densifyStage fills the gaps of documents that come sorted by the field.
type densifyStage struct {
	spec      bsonval.Value
	field     []string
	partition [][]string
	bounds    string // full, partition, range
	lo, hi    bsonval.Value
	step      *stepper
}

func parseDensify(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "The $densify stage specification must be an object, found %s", arg.Type())
	}
	const stageName = "$densify"
	s := &densifyStage{spec: arg}
	var rng bsonval.Doc
	err := fields(stageName, arg.Doc(), func(name string, v bsonval.Value) (bool, error) {
		switch name {
		case "field":
			f, err := fieldString(stageName, name, v)
			if err == nil {
				s.field, err = fieldpath.Parse(f)
			}
			return true, err
		case "partitionByFields":
			var err error
			s.partition, err = pathList(stageName, name, v)
			return true, err
		case "range":
			var err error
			rng, err = fieldDoc(stageName, name, v)
			return true, err
		}
		return false, nil
	})
	switch {
	case err != nil:
		return nil, err
	case s.field == nil:
		return nil, errMissingField(stageName, "field")
	case rng == nil:
		return nil, errMissingField(stageName, "range")
	}
	for _, f := range s.partition {
		if related(joinPath(f), joinPath(s.field)) {
			return nil, mongoerr.New(8993000, "BSON field '$densify.partitionByFields' contains the field that is being densified or a part of it")
		}
	}
	if err := s.parseRange(p, rng); err != nil {
		return nil, err
	}
	sort, err := newSort(s.sortSpec())
	if err != nil {
		return nil, err
	}
	return []stage{sort, s}, nil
}

// pathList reads an array of dotted field names.
func pathList(stage, name string, v bsonval.Value) ([][]string, error) {
	if v.Type() != bsonval.TypeArray {
		return nil, errFieldType(stage, name, v, "array")
	}
	var list [][]string
	it := v.Doc().Iter()
	for it.Next() {
		s, err := fieldString(stage, name+"."+it.KeyStr(), it.Value())
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(s, "$") {
			return nil, mongoerr.New(8993001, "%s: field names of '%s' must not start with '$'", stage, name)
		}
		path, err := fieldpath.Parse(s)
		if err != nil {
			return nil, err
		}
		list = append(list, path)
	}
	return list, nil
}

func (s *densifyStage) parseRange(p *parser, d bsonval.Doc) error {
	const stage = "$densify.range"
	var step, bounds bsonval.Value
	unit := ""
	err := fields(stage, d, func(name string, v bsonval.Value) (known bool, err error) {
		switch name {
		case "step":
			step = v
		case "bounds":
			bounds = v
		case "unit":
			unit, err = fieldString(stage, name, v)
		default:
			return false, nil
		}
		return true, err
	})
	switch {
	case err != nil:
		return err
	case step.IsMissing():
		return errMissingField(stage, "step")
	case bounds.IsMissing():
		return errMissingField(stage, "bounds")
	case !step.IsNumber():
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field '$densify.range.step' is the wrong type '%s', expected types '[int, decimal, double, long]'", step.Type())
	case step.AsDouble() <= 0 || step.IsNaN():
		return mongoerr.New(5733401, "the step parameter in a range statement must be a strictly positive numeric value")
	}
	if s.step, err = newStepper(p.c, step, unit); err != nil {
		return err
	}
	return s.parseBounds(bounds, unit)
}

func (s *densifyStage) parseBounds(bounds bsonval.Value, unit string) error {
	switch bounds.Type() {
	case bsonval.TypeString:
		s.bounds = bounds.Str()
		if s.bounds != "full" && s.bounds != "partition" {
			return mongoerr.New(5946802, "Bounds string must either be 'full' or 'partition'")
		}
		if s.bounds == "partition" && s.partition == nil {
			return mongoerr.New(5733408, "one may not specify the bounds as 'partition' without specifying a non-empty array of partitionByFields. You may have meant to specify 'full' bounds.")
		}
		return nil
	case bsonval.TypeArray:
	default:
		return mongoerr.New(5733402, "the bounds in a range statement must be the string 'full', 'partition', or an ascending array of two numbers or two dates")
	}
	vs := bounds.Doc().Values(nil)
	if len(vs) != 2 {
		return mongoerr.New(5733403, "a bounding array in a range statement must have exactly two elements")
	}
	s.bounds, s.lo, s.hi = "range", vs[0], vs[1]
	switch {
	case s.lo.IsNumber() && s.hi.IsNumber():
		if unit != "" {
			return mongoerr.New(5733409, "numeric bounds may not have unit parameter")
		}
	case s.lo.Type() == bsonval.TypeDate && s.hi.Type() == bsonval.TypeDate:
		if unit == "" {
			return mongoerr.New(5733410, "date bounds must specify a unit")
		}
	default:
		return mongoerr.New(5733406, "a bounding array must contain either both dates or both numeric types")
	}
	if bsonval.Compare(s.lo, s.hi) >= 0 {
		return mongoerr.New(5733407, "the bounds array in a range statement must be ascending")
	}
	return nil
}

// sortSpec is the order in which the stage needs its input.
func (s *densifyStage) sortSpec() bsonval.Doc {
	b := bsonval.NewBuilder()
	if s.bounds == "partition" {
		for _, f := range s.partition {
			b.Int32(joinPath(f), 1)
		}
	}
	return b.Int32(joinPath(s.field), 1).Build()
}

func (s *densifyStage) name() string           { return "$densify" }
func (s *densifyStage) explain() bsonval.Value { return s.spec }

func (s *densifyStage) needs() needs {
	d := &expr.Deps{Fields: []string{joinPath(s.field)}}
	for _, f := range s.partition {
		d.Add(joinPath(f))
	}
	return needs{deps: d}
}

func (s *densifyStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &densifySource{input: newInput(r, src), s: s, groups: map[string]*densifyGroup{}}, nil
}

// densifyGroup is the sequence of one partition.
type densifyGroup struct {
	doc  bsonval.Doc // a document with the partition's fields
	base bsonval.Value
	n    int64         // steps from base to next
	next bsonval.Value // the next value of the sequence
}

type densifySource struct {
	input
	s       *densifyStage
	groups  map[string]*densifyGroup
	order   []*densifyGroup
	first   bsonval.Value // the smallest value of all
	last    bsonval.Value // the largest one so far
	pending bsonval.Doc   // read, but documents before it are still being made
	value   bsonval.Value // of pending
	group   *densifyGroup // of pending
	ended   bool
	made    int64
	buf     []byte
}

// maxDensified bounds the documents that one stage makes, as MongoDB does.
const maxDensified = 500_000

func (x *densifySource) Next(ctx context.Context) (bsonval.Doc, error) {
	for {
		if x.pending != nil {
			if d, ok, err := x.before(x.group, x.value); ok || err != nil {
				return d, err
			}
			d := x.pending
			x.pending = nil
			return d, x.passed()
		}
		if x.ended {
			return x.rest()
		}
		d, err := x.next(ctx)
		if err == io.EOF {
			x.ended = true
			x.last = x.last.Clone()
			continue
		}
		if err != nil {
			return nil, err
		}
		v := expr.Walk(bsonval.Document(d), x.s.field)
		if v.IsNullish() {
			return d, nil
		}
		if err := x.s.step.check(v); err != nil {
			return nil, err
		}
		if err := x.begin(d, v.Clone()); err != nil {
			return nil, err
		}
	}
}

// begin notes a document whose gap is to be filled first.
func (x *densifySource) begin(d bsonval.Doc, v bsonval.Value) error {
	if x.first.IsMissing() {
		x.first = v
	}
	x.last = v
	var key []byte
	partition := bsonval.EmptyDoc
	for _, f := range x.s.partition {
		pv := expr.Walk(bsonval.Document(d), f)
		key = keystring.Append(key, pv, false, x.r.collator())
		if !pv.IsMissing() {
			partition = setPath(nil, partition, f, pv)
		}
	}
	g := x.groups[string(key)]
	if g == nil {
		g = &densifyGroup{doc: partition}
		switch x.s.bounds {
		case "full":
			g.base = x.first
		case "partition":
			g.base = v
		default:
			g.base = x.s.lo
		}
		g.next = g.base
		x.groups[string(key)] = g
		x.order = append(x.order, g)
	}
	x.pending, x.value, x.group = d, v, g
	return nil
}

// before makes the next document of a sequence that lies before v.
func (x *densifySource) before(g *densifyGroup, v bsonval.Value) (bsonval.Doc, bool, error) {
	if bsonval.Compare(g.next, v) >= 0 || x.s.bounds == "range" && bsonval.Compare(g.next, x.s.hi) >= 0 {
		return nil, false, nil
	}
	d, err := x.make(g)
	return d, true, err
}

// passed moves the sequence of the pending document beyond it.
func (x *densifySource) passed() error {
	for bsonval.Compare(x.group.next, x.value) <= 0 {
		if x.s.bounds == "range" && bsonval.Compare(x.group.next, x.s.hi) >= 0 {
			return nil
		}
		if err := x.advance(x.group); err != nil {
			return err
		}
	}
	return nil
}

func (x *densifySource) advance(g *densifyGroup) (err error) {
	g.n++
	g.next, err = x.s.step.at(x.r.c, g.base, g.n)
	return err
}

// make makes a document with the next value of a sequence.
func (x *densifySource) make(g *densifyGroup) (bsonval.Doc, error) {
	if x.made++; x.made > maxDensified {
		return nil, mongoerr.New(5897900, "Generated %d documents in $densify, which is over the limit of %d. Increase the 'internalQueryMaxAllowedDensifyDocs' parameter to allow more generated documents", x.made, maxDensified)
	}
	x.buf = setPath(x.buf[:0], g.doc, x.s.field, g.next)
	return x.buf, x.advance(g)
}

// rest fills the sequences behind the last document.
func (x *densifySource) rest() (bsonval.Doc, error) {
	if x.s.bounds == "range" && len(x.order) == 0 && x.s.partition == nil {
		x.order = append(x.order, &densifyGroup{doc: bsonval.EmptyDoc, base: x.s.lo, next: x.s.lo})
	}
	for len(x.order) > 0 {
		g := x.order[0]
		switch {
		case x.s.bounds == "full" && bsonval.Compare(g.next, x.last) <= 0,
			x.s.bounds == "range" && bsonval.Compare(g.next, x.s.hi) < 0:
			return x.make(g)
		}
		x.order = x.order[1:]
	}
	return nil, io.EOF
}
