package pipeline

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var lookupRows = []row{
	{name: "$lookup", doc: "Adds an array of matching documents of another collection.", parse: parseLookup},
}

// lookupStage is $lookup in its three forms: by equality, by a pipeline, or both.
type lookupStage struct {
	spec bsonval.Value
	ns   Namespace
	as   []string

	local   []string // nil: no equality
	foreign string
	fnames  []string // foreign, split

	sub     *Pipeline // nil: plain equality
	origin  *Pipeline // the $documents that equality picks from; nil: ns
	letVars []letVar
	deps    *expr.Deps
	c       *expr.Compiler

	// constant says that the sub-pipeline gives the same for each document.
	constant bool
}

// letVar is a variable that an outer document sets for a sub-pipeline.
type letVar struct {
	slot int
	e    expr.Expr
}

// lookupArgs are the arguments of $lookup as they were written.
type lookupArgs struct {
	from, let, pipeline         bsonval.Value
	local, foreign, as          string
	hasLocal, hasForeign, hasAs bool
}

func parseLookup(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "the $lookup stage specification must be an object, but found %s", arg.Type())
	}
	a, err := readLookup(arg.Doc())
	if err != nil {
		return nil, err
	}
	s := &lookupStage{spec: arg, c: p.c}
	if s.ns, err = p.lookupFrom(a); err != nil {
		return nil, err
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	if s.as, err = fieldpath.Parse(a.as); err != nil {
		return nil, err
	}
	if a.hasLocal {
		if s.local, err = fieldpath.Parse(a.local); err != nil {
			return nil, err
		}
		if s.fnames, err = fieldpath.Parse(a.foreign); err != nil {
			return nil, err
		}
		s.foreign = a.foreign
	}
	return []stage{s}, s.parseSub(p, a)
}

func readLookup(d bsonval.Doc) (*lookupArgs, error) {
	a := &lookupArgs{}
	if d.Lookup("from").IsMissing() && !startsWith(d.Lookup("pipeline").Doc(), "$documents") {
		return nil, mongoerr.New(mongoerr.FailedToParse, "must specify 'from' field for a $lookup")
	}
	it := d.Iter()
	for it.Next() {
		name, v := it.KeyStr(), it.Value()
		switch name {
		case "pipeline":
			if v.Type() != bsonval.TypeArray {
				return nil, mongoerr.New(mongoerr.TypeMismatch, "'pipeline' option must be specified as an array")
			}
			a.pipeline = v
		case "let":
			if isNull(v) {
				continue
			}
			if v.Type() != bsonval.TypeDocument {
				return nil, errFieldType("$lookup", "let", v, "object")
			}
			a.let = v
		case "from":
			if v.Type() != bsonval.TypeString && v.Type() != bsonval.TypeDocument {
				return nil, mongoerr.New(mongoerr.FailedToParse, "$lookup argument 'from' must be a string, is type %s", v.Type())
			}
			a.from = v
		case "as", "localField", "foreignField":
			if v.Type() != bsonval.TypeString {
				return nil, mongoerr.New(mongoerr.FailedToParse, "$lookup argument '%s: %s' must be a string, is type %s", name, bsonval.Format(v), v.Type())
			}
			s := strings.Clone(v.Str())
			switch name {
			case "as":
				a.as, a.hasAs = s, true
			case "localField":
				a.local, a.hasLocal = s, true
			default:
				a.foreign, a.hasForeign = s, true
			}
		default:
			return nil, errUnknownField("$lookup", name)
		}
	}
	return a, nil
}

// check checks that the arguments fit together.
func (a *lookupArgs) check() error {
	switch {
	case !a.hasAs:
		return mongoerr.New(mongoerr.FailedToParse, "must specify 'as' field for a $lookup")
	case !a.pipeline.IsMissing() && a.hasLocal != a.hasForeign:
		return mongoerr.New(mongoerr.FailedToParse, "$lookup requires both or neither of 'localField' and 'foreignField' to be specified")
	case a.pipeline.IsMissing() && (!a.hasLocal || !a.hasForeign):
		return mongoerr.New(mongoerr.FailedToParse, "$lookup requires either 'pipeline' or both 'localField' and 'foreignField' to be specified")
	case a.pipeline.IsMissing() && !a.let.IsMissing():
		return mongoerr.New(mongoerr.FailedToParse, "$lookup with a 'let' argument must also specify 'pipeline'")
	}
	return nil
}

// lookupFrom finds the foreign namespace.
func (p *parser) lookupFrom(a *lookupArgs) (Namespace, error) {
	ns := Namespace{DB: p.ns.DB}
	switch {
	case a.from.IsMissing():
		return ns, nil
	case a.from.Type() == bsonval.TypeDocument:
		return ns, readForeignDB(a.from.Doc())
	}
	ns.Coll = strings.Clone(a.from.Str())
	return ns, checkCollName(ns.DB, ns.Coll)
}

// readForeignDB refuses {db, coll}, which only a few namespaces of config and
// local may use.
func readForeignDB(d bsonval.Doc) error {
	err := fields("$lookup.from", d, func(name string, v bsonval.Value) (bool, error) {
		if name != "db" && name != "coll" {
			return false, nil
		}
		_, err := fieldString("$lookup.from", name, v)
		return true, err
	})
	if err != nil {
		return err
	}
	return mongoerr.New(mongoerr.FailedToParse, "$lookup with syntax {from: {db:<>, coll:<>},..} is not supported for db: %s and coll: %s",
		d.Lookup("db").Str(), d.Lookup("coll").Str())
}

// parseSub compiles let and pipeline.
func (s *lookupStage) parseSub(p *parser, a *lookupArgs) error {
	closeScope := p.c.Scope()
	defer closeScope()
	var err error
	s.deps, err = p.capture(func() (err error) {
		if !a.let.IsMissing() {
			s.letVars, err = compileLet(p.c, a.let.Doc())
		}
		return err
	})
	if err != nil || a.pipeline.IsMissing() {
		return err
	}
	s.sub, err = p.sub("$lookup", s.ns, a.pipeline.Doc())
	if err == nil && s.local != nil && s.sub.HasSource() {
		first, rest := *s.sub, *s.sub
		first.stages, rest.stages = s.sub.stages[:1], s.sub.stages[1:]
		s.origin, s.sub = &first, &rest
	}
	s.constant = len(s.letVars) == 0 && s.local == nil && p.depth == 0 && !isRandom(a.pipeline.Doc())
	return err
}

// compileLet compiles the values of let in the outer scope and declares the
// variables.
func compileLet(c *expr.Compiler, let bsonval.Doc) ([]letVar, error) {
	var vars []letVar
	var names []string
	it := let.Iter()
	for it.Next() {
		name := strings.Clone(it.KeyStr())
		if err := expr.CheckVariableName(name); err != nil {
			return nil, err
		}
		e, err := c.Compile(it.Value())
		if err != nil {
			return nil, err
		}
		vars, names = append(vars, letVar{e: e}), append(names, name)
	}
	for i, name := range names {
		vars[i].slot = c.Declare(name)
	}
	return vars, nil
}

// setLet evaluates let for the context's document.
func setLet(c *expr.Context, vars []letVar) error {
	for _, v := range vars {
		value, err := v.e.Eval(c)
		if err != nil {
			return err
		}
		c.Vars[v.slot] = value
	}
	return nil
}

// isRandom says whether a pipeline may give another result each time.
func isRandom(d bsonval.Doc) bool {
	it := d.Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "$rand", "$sample", "$sampleRate", "$function", "$accumulator":
			return true
		}
		if t := it.Value().Type(); (t == bsonval.TypeDocument || t == bsonval.TypeArray) && isRandom(it.Value().Doc()) {
			return true
		}
	}
	return false
}

func (s *lookupStage) name() string           { return "$lookup" }
func (s *lookupStage) explain() bsonval.Value { return s.spec }

func (s *lookupStage) reads() []Namespace {
	if s.sub == nil {
		return []Namespace{s.ns}
	}
	list := s.sub.Namespaces()
	if s.ns.Coll != "" {
		list = append(list, s.ns)
	}
	return list
}

func (s *lookupStage) needs() needs {
	d := &expr.Deps{All: s.deps.All, Fields: append([]string(nil), s.deps.Fields...)}
	if s.local != nil {
		d.Add(strings.Join(s.local, "."))
	}
	return needs{deps: d}
}

func (s *lookupStage) open(ctx context.Context, r *run, src Source) (Source, error) {
	x := &lookupSource{input: newInput(r, src), s: s}
	if s.local != nil {
		x.join = newJoin(r, s)
		if x.join.gathers(ctx) {
			x.ahead = newBatches(&x.input, x.join)
		}
	}
	return x, nil
}

// lookupSource adds the joined array to each document.
type lookupSource struct {
	input
	s      *lookupStage
	join   *join
	ahead  *batches    // nil: each document by itself
	cached bsonval.Doc // the result of a constant sub-pipeline
	array  []byte      // of one document
	buf    []byte
}

func (x *lookupSource) Next(ctx context.Context) (bsonval.Doc, error) {
	d, joined, err := x.nextJoined(ctx)
	if err != nil {
		return nil, err
	}
	x.buf = setPath(x.buf[:0], d, x.s.as, bsonval.Array(joined))
	if len(x.buf) > maxInternalDocument {
		return nil, mongoerr.New(4568, "Total size of documents in %s matching pipeline's $lookup stage exceeds %d bytes", x.s.ns.Coll, maxInternalDocument)
	}
	return x.buf, nil
}

// maxInternalDocument is the largest document between stages: MongoDB's limit of
// 16 MiB and its allowance for internal documents.
const maxInternalDocument = bsonval.MaxDocumentBytes + 16<<10

// nextJoined is the next document and its array.
func (x *lookupSource) nextJoined(ctx context.Context) (d, array bsonval.Doc, err error) {
	if x.ahead != nil {
		d, src, err := x.ahead.next(ctx)
		if err != nil {
			return nil, nil, err
		}
		array, err = x.collect(ctx, src)
		return d, array, err
	}
	if d, err = x.nextBound(ctx); err != nil {
		return nil, nil, err
	}
	array, err = x.joined(ctx, d)
	return d, array, err
}

// Metadata implements MetaSource.
func (x *lookupSource) Metadata() bsonval.Doc {
	if x.ahead != nil {
		return x.ahead.last
	}
	return x.input.Metadata()
}

// joined is the array for one document.
func (x *lookupSource) joined(ctx context.Context, d bsonval.Doc) (bsonval.Doc, error) {
	if x.cached != nil {
		return x.cached, nil
	}
	if err := setLet(x.r.c, x.s.letVars); err != nil {
		return nil, err
	}
	var src Source
	var err error
	switch {
	case x.join == nil:
		src, err = x.s.sub.openOn(ctx, x.r, x.s.ns)
	default:
		src, err = x.join.find(ctx, d)
	}
	if err != nil {
		return nil, err
	}
	array, err := x.collect(ctx, src)
	if err == nil && x.s.constant {
		x.cached = array.Clone()
	}
	return array, err
}

// collect makes an array of the documents of a source, and closes it.
func (x *lookupSource) collect(ctx context.Context, src Source) (bsonval.Doc, error) {
	var at, n int
	x.array, at = bsonval.BeginDoc(x.array[:0])
	err := drain(ctx, src, func(d bsonval.Doc) error {
		x.array = append(bsonval.AppendIndexKey(append(x.array, byte(bsonval.TypeDocument)), n), 0)
		x.array = append(x.array, d...)
		n++
		if len(x.array) > maxInternalDocument {
			return mongoerr.New(4568, "Total size of documents in %s matching pipeline's $lookup stage exceeds %d bytes", x.s.ns.Coll, maxInternalDocument)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	x.array = bsonval.EndDoc(x.array, at)
	return x.array, nil
}
