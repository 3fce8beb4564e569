package pipeline

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/accumulator"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var groupRows = []row{
	{name: "$group", doc: "Groups the documents by an expression and accumulates values for each group.", parse: parseGroup},
}

type groupStage struct {
	spec   bsonval.Value
	id     expr.Expr
	fields []string
	accs   []*accumulator.Factory
	deps   *expr.Deps
}

func parseGroup(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(15947, "a group's fields must be specified in an object")
	}
	s := &groupStage{spec: arg}
	var err error
	s.deps, err = p.capture(func() error { return s.compile(p, arg.Doc()) })
	return []stage{s}, err
}

func (s *groupStage) compile(p *parser, d bsonval.Doc) error {
	it := d.Iter()
	for it.Next() {
		name, v := it.KeyStr(), it.Value()
		if name == "_id" {
			if s.id != nil {
				return mongoerr.New(15948, "a group's _id may only be specified once")
			}
			var err error
			if s.id, err = compileGroupID(p.c, v); err != nil {
				return err
			}
			continue
		}
		f, err := accumulator.CompileField(p.c, name, v)
		if err != nil {
			return err
		}
		s.fields, s.accs = append(s.fields, strings.Clone(name)), append(s.accs, f)
	}
	if s.id == nil {
		return mongoerr.New(15955, "a group specification must include an _id")
	}
	return nil
}

// compileGroupID compiles the expression to group by.
func compileGroupID(c *expr.Compiler, v bsonval.Value) (expr.Expr, error) {
	if v.Type() != bsonval.TypeDocument || v.Doc().IsEmpty() {
		e, err := c.Compile(v)
		if mongoerr.Is(err, 51144) {
			err = mongoerr.New(10071200, "Builtin variable '$$CLUSTER_TIME' is not available")
		}
		return e, err
	}
	if k, _, _ := v.Doc().First(); strings.HasPrefix(k, "$") {
		return c.Compile(v)
	}
	it := v.Doc().Iter()
	for it.Next() {
		if it.Value().IsNumber() || it.Value().Type() == bsonval.TypeBool {
			return nil, mongoerr.New(17390, "$group does not support inclusion-style expressions")
		}
	}
	return c.CompileObjectLiteral(v.Doc())
}

func (s *groupStage) name() string           { return "$group" }
func (s *groupStage) explain() bsonval.Value { return s.spec }
func (s *groupStage) needs() needs           { return needs{deps: s.deps, only: true} }

func (s *groupStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newLazy(r, src, s.fill), nil
}

func (s *groupStage) fill(ctx context.Context, in *input) (Source, error) {
	g := &grouper{s: s, r: in.r, index: map[string]int32{}}
	if src, ok := in.src.(CountingSource); ok && s.counts() {
		n, ok, err := src.Count(ctx)
		if err != nil {
			return nil, err
		}
		if ok {
			return g, g.addTimes(n)
		}
	}
	for {
		d, err := in.next(ctx)
		if err == io.EOF {
			return g.finish()
		}
		if err == nil {
			in.bind(d)
			err = g.add()
		}
		if err != nil {
			g.Close()
			return nil, err
		}
	}
}

// counts says whether there is nothing to know of the documents but how many there are.
func (s *groupStage) counts() bool {
	if _, ok := expr.ConstantValue(s.id); !ok {
		return false
	}
	return !slices.ContainsFunc(s.accs, func(f *accumulator.Factory) bool { return !f.Counts() })
}

// grouper collects the groups.
type grouper struct {
	s      *groupStage
	r      *run
	index  map[string]int32 // key of the group → its place in ids
	ids    []bsonval.Value
	states []*accumulator.State // len(s.accs) for each group
	held   int64
	key    []byte
	file   *spillFile
	out    []byte
	at     int
	merge  *runMerge
}

// groupOverhead is about what a group takes beside its key and states.
const groupOverhead = 96

// add adds the context's document.
func (g *grouper) add() error {
	c := g.r.c
	id, err := g.s.id.Eval(c)
	if err != nil {
		return err
	}
	if id.IsMissing() {
		id = bsonval.Null
	}
	g.key = keystring.Append(g.key[:0], id, false, g.r.collator())
	at, ok := g.index[string(g.key)]
	if !ok {
		if at, err = g.begin(id); err != nil {
			return err
		}
	}
	k := len(g.s.accs)
	for _, st := range g.states[int(at)*k : int(at)*k+k] {
		before := st.SizeBytes()
		if err := st.Add(c); err != nil {
			return groupError(err)
		}
		g.held += int64(st.SizeBytes() - before)
	}
	if g.held > g.r.env.memoryLimit() {
		return g.spill()
	}
	return nil
}

// addTimes adds documents to the only group, whatever they are.
func (g *grouper) addTimes(n int64) error {
	if n == 0 {
		return nil
	}
	id, _ := expr.ConstantValue(g.s.id)
	if id.IsMissing() {
		id = bsonval.Null
	}
	if _, err := g.begin(id); err != nil {
		return err
	}
	for _, st := range g.states {
		st.AddTimes(n)
	}
	return nil
}

// groupError gives the errors of arithmetic the codes that they have inside
// $group in MongoDB, which runs it by another engine than other stages.
func groupError(err error) error {
	e := mongoerr.As(err)
	if e == nil {
		return err
	}
	switch {
	case e.Code == mongoerr.BadValue && strings.HasPrefix(e.Message, "can't $divide by zero"):
		return mongoerr.New(4848401, "%s", e.Message)
	case e.Code == 16610:
		return mongoerr.New(4848403, "%s", e.Message)
	}
	return err
}

// begin makes the group of g.key.
func (g *grouper) begin(id bsonval.Value) (int32, error) {
	at := int32(len(g.ids))
	g.index[string(g.key)] = at
	id = id.Clone()
	g.ids = append(g.ids, id)
	g.held += int64(len(g.key)+len(id.Bytes())) + groupOverhead
	for _, f := range g.s.accs {
		st, err := f.New(g.r.c, id)
		if err != nil {
			return 0, err
		}
		g.held += int64(st.SizeBytes())
		g.states = append(g.states, st)
	}
	return at, nil
}

// spill writes the groups as a run in the order of their keys; the body of a
// record is {_id: value, states: [partial states]}.
func (g *grouper) spill() error {
	if !g.r.env.AllowDiskUse {
		return errDiskUse("$group", g.r.env.memoryLimit())
	}
	if g.file == nil {
		f, err := newSpillFile(g.r.env)
		if err != nil {
			return err
		}
		g.file = f
	}
	keys := make([]string, 0, len(g.index))
	for k := range g.index {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	g.file.begin()
	n := len(g.s.accs)
	var body []byte
	for _, k := range keys {
		at := int(g.index[k])
		b := bsonval.NewBuilderIn(body[:0]).Value("_id", g.ids[at]).StartArray("states")
		for _, st := range g.states[at*n : at*n+n] {
			b.Add(st.Partial())
		}
		body = b.Build()
		if err := g.file.write([]byte(k), body); err != nil {
			return err
		}
	}
	clear(g.index)
	clear(g.ids)
	clear(g.states)
	g.ids, g.states, g.held = g.ids[:0], g.states[:0], 0
	return g.file.end()
}

// finish turns the grouper into the source of the groups.
func (g *grouper) finish() (Source, error) {
	if g.file == nil {
		return g, nil
	}
	if err := g.spill(); err != nil {
		return nil, err
	}
	m, err := g.file.merge()
	if err != nil {
		return nil, err
	}
	g.merge = m
	key, body, err := m.next()
	if err != nil {
		return nil, err
	}
	g.key = append(g.key[:0], key...)
	return g, g.load(body)
}

// load starts the group of a spilled record, or merges it into the one begun.
func (g *grouper) load(body []byte) error {
	d := bsonval.Doc(body)
	if len(g.ids) == 0 {
		id := d.Lookup("_id").Clone()
		g.ids = append(g.ids, id)
		for _, f := range g.s.accs {
			st, err := f.New(g.r.c, id)
			if err != nil {
				return err
			}
			g.states = append(g.states, st)
		}
	}
	it := d.Lookup("states").Doc().Iter()
	for _, st := range g.states {
		it.Next()
		if err := st.Merge(it.Value()); err != nil {
			return err
		}
	}
	return nil
}

// Next implements Source.
func (g *grouper) Next(context.Context) (bsonval.Doc, error) {
	if g.merge != nil {
		return g.nextMerged()
	}
	if g.at >= len(g.ids) {
		return nil, io.EOF
	}
	n := len(g.s.accs)
	d, err := g.document(g.ids[g.at], g.states[g.at*n:g.at*n+n])
	clear(g.states[g.at*n : g.at*n+n])
	g.at++
	return d, err
}

func (g *grouper) nextMerged() (bsonval.Doc, error) {
	if len(g.ids) == 0 {
		return nil, io.EOF
	}
	for {
		key, body, err := g.merge.next()
		switch {
		case err == io.EOF:
			d, err := g.document(g.ids[0], g.states)
			g.ids = nil
			return d, err
		case err != nil:
			return nil, err
		case string(key) == string(g.key):
			if err := g.load(body); err != nil {
				return nil, err
			}
		default:
			d, err := g.document(g.ids[0], g.states)
			if err != nil {
				return nil, err
			}
			g.key = append(g.key[:0], key...)
			g.ids, g.states = g.ids[:0], g.states[:0]
			return d, g.load(body)
		}
	}
}

func (g *grouper) document(id bsonval.Value, states []*accumulator.State) (bsonval.Doc, error) {
	dst, at := bsonval.BeginDoc(g.out[:0])
	dst = bsonval.AppendElement(dst, "_id", accumulator.GroupOutput(id))
	for i, st := range states {
		v, err := st.Result()
		if err != nil {
			return nil, err
		}
		dst = bsonval.AppendElement(dst, g.s.fields[i], v)
	}
	g.out = bsonval.EndDoc(dst, at)
	if len(g.out) > maxInternalDocument {
		return nil, mongoerr.New(mongoerr.BSONObjectTooLarge, "BSONObj size: %d is invalid. Size must be between 0 and %d", len(g.out), maxInternalDocument)
	}
	return g.out, nil
}

// Close implements Source.
func (g *grouper) Close() error {
	if g.file == nil {
		return nil
	}
	f := g.file
	g.file = nil
	return f.Close()
}
