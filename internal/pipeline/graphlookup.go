package pipeline

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var graphLookupRows = []row{
	{name: "$graphLookup", doc: "Adds the documents of another collection that are reached by following a field.", parse: parseGraphLookup},
}

type graphStage struct {
	spec       bsonval.Value
	ns         Namespace
	start      expr.Expr
	as         []string
	from       []string    // connectFromField
	to         string      // connectToField
	depthField []string    // nil: none
	maxDepth   int64       // -1: none
	restrict   *matchStage // nil: none
	deps       *expr.Deps
	c          *expr.Compiler
}

func parseGraphLookup(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "the $graphLookup stage specification must be an object, but found %s", arg.Type())
	}
	s := &graphStage{spec: arg, ns: Namespace{DB: p.ns.DB}, maxDepth: -1, c: p.c, deps: &expr.Deps{}}
	it := arg.Doc().Iter()
	for it.Next() {
		if err := s.set(p, it.KeyStr(), it.Value()); err != nil {
			return nil, err
		}
	}
	if s.ns.Coll == "" || s.start == nil || s.as == nil || s.from == nil || s.to == "" {
		return nil, mongoerr.New(40105, "$graphLookup requires 'from', 'as', 'startWith', 'connectFromField', and 'connectToField' to be specified.")
	}
	return []stage{s}, nil
}

func (s *graphStage) set(p *parser, name string, v bsonval.Value) (err error) {
	switch name {
	case "startWith":
		s.deps, err = p.capture(func() (err error) {
			s.start, err = p.c.Compile(v)
			return err
		})
		return err
	case "maxDepth":
		if !v.IsNumber() {
			return mongoerr.New(40100, "maxDepth must be numeric, found type: %s", v.Type())
		}
		n, ok := wholeNumber(v)
		if ok && n < 0 {
			return mongoerr.New(40101, "maxDepth requires a nonnegative argument, found: %s", bsonval.Format(v))
		}
		if !ok {
			return mongoerr.New(40102, "maxDepth could not be represented as a long long: %s", bsonval.Format(v))
		}
		s.maxDepth = n
		return nil
	case "restrictSearchWithMatch":
		if v.Type() != bsonval.TypeDocument {
			return mongoerr.New(40185, "restrictSearchWithMatch must be an object, found %s", v.Type())
		}
		s.restrict, err = newMatch(p.c, nil, v.Doc())
		return err
	case "from", "as", "connectFromField", "connectToField", "depthField":
	default:
		return mongoerr.New(40104, "Unknown argument to $graphLookup: %s", name)
	}
	if v.Type() != bsonval.TypeString {
		if name == "from" && v.Type() == bsonval.TypeDocument {
			return readForeignDB(v.Doc())
		}
		code := mongoerr.Code(40103)
		if name == "from" {
			code = mongoerr.FailedToParse
		}
		return mongoerr.New(code, "expected string as argument for %s, found: %s", name, bsonval.Format(v))
	}
	str := strings.Clone(v.Str())
	if name == "from" {
		s.ns.Coll = str
		return checkCollName(s.ns.DB, str)
	}
	path, err := fieldpath.Parse(str)
	switch name {
	case "as":
		s.as = path
	case "connectFromField":
		s.from = path
	case "connectToField":
		s.to = str
	case "depthField":
		s.depthField = path
	}
	return err
}

func (s *graphStage) name() string           { return "$graphLookup" }
func (s *graphStage) explain() bsonval.Value { return s.spec }
func (s *graphStage) needs() needs           { return needs{deps: s.deps} }
func (s *graphStage) reads() []Namespace     { return []Namespace{s.ns} }

func (s *graphStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &graphSource{input: newInput(r, src), s: s}, nil
}

type graphSource struct {
	input
	s   *graphStage
	buf []byte
}

func (x *graphSource) Next(ctx context.Context) (bsonval.Doc, error) {
	d, err := x.nextBound(ctx)
	if err != nil {
		return nil, err
	}
	start, err := x.s.start.Eval(x.r.c)
	if err != nil {
		return nil, err
	}
	found, err := x.search(ctx, start)
	if err != nil {
		return nil, err
	}
	x.buf = setPath(x.buf[:0], d, x.s.as, bsonval.Array(found))
	return x.buf, nil
}

// graphSearch is the breadth-first search for one document.
type graphSearch struct {
	values  map[string]bool // values looked up so far
	visited map[string]bool // _ids of documents found
	next    []bsonval.Value // values to look up in the following round
	out     *bsonval.Builder
	held    int64
}

func (x *graphSource) search(ctx context.Context, start bsonval.Value) (bsonval.Doc, error) {
	g := &graphSearch{values: map[string]bool{}, visited: map[string]bool{}, out: bsonval.NewArrayBuilder()}
	if start.Type() == bsonval.TypeArray {
		it := start.Doc().Iter()
		for it.Next() {
			x.enqueue(g, it.Value())
		}
	} else {
		x.enqueue(g, start)
	}
	for depth := int64(0); len(g.next) > 0 && (x.s.maxDepth < 0 || depth <= x.s.maxDepth); depth++ {
		round := g.next
		g.next = nil
		if err := x.round(ctx, g, round, depth); err != nil {
			return nil, err
		}
	}
	return g.out.Build(), nil
}

func (x *graphSource) enqueue(g *graphSearch, v bsonval.Value) {
	if v.IsMissing() {
		v = bsonval.Null
	}
	key := string(keystring.Append(nil, v, false, x.r.collator()))
	if !g.values[key] {
		g.values[key] = true
		g.held += int64(len(key))
		g.next = append(g.next, v.Clone())
	}
}

func (x *graphSource) round(ctx context.Context, g *graphSearch, values []bsonval.Value, depth int64) error {
	filter := equalsAny(x.s.to, values)
	m, err := match.Compile(filter, match.Options{Compiler: x.s.c})
	if err != nil {
		return err
	}
	if r := x.s.restrict; r != nil {
		filter = conjunction([]bsonval.Doc{r.filter, filter})
		m = match.FromNode(match.NewAnd(r.matcher.Root(), m.Root()))
	}
	src, err := x.r.env.Data.Open(ctx, x.s.ns, Query{Filter: filter, Matcher: m, Collator: x.r.collator(), Vars: x.r.c.Vars})
	if err != nil {
		return err
	}
	return drain(ctx, src, func(d bsonval.Doc) error { return x.visit(g, d, depth) })
}

func (x *graphSource) visit(g *graphSearch, d bsonval.Doc, depth int64) error {
	id := string(keystring.Append(nil, d.Lookup("_id"), false, nil))
	if g.visited[id] {
		return nil
	}
	g.visited[id] = true
	out := d
	if x.s.depthField != nil {
		out = setPath(nil, d, x.s.depthField, bsonval.Int64(depth))
	}
	g.out.Add(bsonval.Document(out))
	if g.held += int64(len(out) + len(id)); g.held > x.r.env.memoryLimit() {
		return mongoerr.New(40099, "$graphLookup reached maximum memory consumption")
	}
	from := expr.Walk(bsonval.Document(d), x.s.from)
	switch from.Type() {
	case bsonval.TypeMissing:
	case bsonval.TypeArray:
		it := from.Doc().Iter()
		for it.Next() {
			x.enqueue(g, it.Value())
		}
	default:
		x.enqueue(g, from)
	}
	return nil
}
