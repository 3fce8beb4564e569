package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

// fakeData is Data over collections in memory.
type fakeData struct {
	colls   map[Namespace]*fakeColl
	env     *expr.Env
	opened  int
	asked   Query // by the last Open
	indexed bool  // each field has an index
	distant bool  // queries are journeys
	nextOID uint64
}

type fakeColl struct {
	docs   []bsonval.Doc
	unique [][]string
	geo    []GeoIndex
	viewOn string
	view   bsonval.Doc
}

func newFakeData(env *expr.Env) *fakeData {
	return &fakeData{colls: map[Namespace]*fakeColl{}, env: env}
}

func (f *fakeData) oid() []byte {
	f.nextOID++
	return append(binary.BigEndian.AppendUint64(nil, f.nextOID), 0, 0, 0, 1)
}

func (f *fakeData) coll(ns Namespace) *fakeColl {
	c := f.colls[ns]
	if c == nil {
		c = &fakeColl{}
		f.colls[ns] = c
	}
	return c
}

func withID(d bsonval.Doc, id []byte) bsonval.Doc {
	if !d.Lookup("_id").IsMissing() {
		return d.Clone()
	}
	b, at := bsonval.BeginDoc(nil)
	b = bsonval.AppendElement(b, "_id", bsonval.ObjectID(id))
	return bsonval.EndDoc(append(b, d[4:len(d)-1]...), at)
}

func (f *fakeData) insert(ns Namespace, d bsonval.Doc) error {
	c := f.coll(ns)
	d = withID(d, f.oid())
	for _, old := range c.docs {
		for _, u := range append([][]string{{"_id"}}, c.unique...) {
			same := true
			for _, name := range u {
				same = same && bsonval.Equal(old.Lookup(name), d.Lookup(name))
			}
			if same {
				return mongoerr.New(mongoerr.DuplicateKey, "E11000 duplicate key error")
			}
		}
	}
	c.docs = append(c.docs, d)
	return nil
}

func (f *fakeData) Open(ctx context.Context, ns Namespace, q Query) (Source, error) {
	f.opened++
	f.asked = q
	c := f.coll(ns)
	docs := append([]bsonval.Doc(nil), c.docs...)
	if c.viewOn != "" {
		comp := expr.NewCompiler(f.env)
		p, err := Parse(c.view, Options{Compiler: comp, NS: Namespace{ns.DB, c.viewOn}})
		if err != nil {
			return nil, err
		}
		src, err := p.Open(ctx, &Env{Expr: f.env, Data: f}, NewList(f.coll(Namespace{ns.DB, c.viewOn}).docs))
		if err != nil {
			return nil, err
		}
		docs = nil
		if err := drain(ctx, src, func(d bsonval.Doc) error { docs = append(docs, d.Clone()); return nil }); err != nil {
			return nil, err
		}
	}
	return f.query(docs, q)
}

func (f *fakeData) query(docs []bsonval.Doc, q Query) (Source, error) {
	ec := &expr.Context{Env: f.env, Vars: append([]bsonval.Value(nil), q.Vars...)}
	ec.Vars = append(ec.Vars, make([]bsonval.Value, 64)...)
	var kept []bsonval.Doc
	for _, d := range docs {
		if q.Matcher != nil {
			ec.Root = d
			ok, err := q.Matcher.Match(ec, d)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
		}
		kept = append(kept, d)
	}
	if q.Sort != nil {
		p, err := sortkey.Compile(q.Sort)
		if err != nil {
			return nil, err
		}
		s := NewSorter(p, 0, &Env{Expr: f.env})
		for _, d := range kept {
			if err := s.Add(d, nil); err != nil {
				return nil, err
			}
		}
		src, err := s.Sorted()
		if err != nil {
			return nil, err
		}
		kept = nil
		_ = drain(context.Background(), src, func(d bsonval.Doc) error { kept = append(kept, d.Clone()); return nil })
	}
	kept = kept[min(int64(len(kept)), q.Skip):]
	if q.Limit > 0 {
		kept = kept[:min(int64(len(kept)), q.Limit)]
	}
	return NewList(kept), nil
}

func (f *fakeData) HasIndex(context.Context, Namespace, string) bool { return f.indexed }

func (f *fakeData) Gathers(context.Context, Namespace, string) bool { return f.indexed && f.distant }

func (f *fakeData) HasUniqueIndex(_ context.Context, ns Namespace, fields []string) (bool, error) {
	for _, u := range f.coll(ns).unique {
		if strings.Join(u, ",") == strings.Join(fields, ",") {
			return true, nil
		}
	}
	return false, nil
}

func (f *fakeData) System(_ context.Context, ns Namespace, stage string, arg bsonval.Doc) (Source, error) {
	return nil, errNoServer
}

var errNoServer = mongoerr.New(mongoerr.CommandNotFound, "needs a server")

func (f *fakeData) GeoIndexes(_ context.Context, ns Namespace) ([]GeoIndex, error) {
	c := f.colls[ns]
	if c == nil {
		return nil, mongoerr.New(mongoerr.NamespaceNotFound, "no collection %s", ns)
	}
	return c.geo, nil
}

type fakeWriter struct {
	f   *fakeData
	ns  Namespace
	tmp Namespace
}

func (f *fakeData) Out(_ context.Context, o OutSpec) (Writer, error) {
	if o.TimeSeries != nil {
		return nil, errNoServer
	}
	w := &fakeWriter{f: f, ns: o.NS, tmp: Namespace{o.NS.DB, "tmp." + o.NS.Coll}}
	f.coll(w.tmp).unique = f.coll(w.ns).unique
	return w, nil
}

func (w *fakeWriter) Write(_ context.Context, d bsonval.Doc) error { return w.f.insert(w.tmp, d) }
func (w *fakeWriter) Commit(context.Context) error {
	w.f.colls[w.ns] = w.f.colls[w.tmp]
	delete(w.f.colls, w.tmp)
	return nil
}
func (w *fakeWriter) Abort() { delete(w.f.colls, w.tmp) }

func (f *fakeData) Merged(context.Context) error { return nil }

func (f *fakeData) Merge(_ context.Context, ns Namespace, ops []MergeOp) error {
	var failed error
	for _, m := range ops {
		note(&failed, f.merge(ns, m))
	}
	return failed
}

func (f *fakeData) merge(ns Namespace, m MergeOp) error {
	if m.MustInsert {
		return f.insert(ns, m.Insert)
	}
	matcher, err := match.Compile(m.Filter, match.Options{})
	if err != nil {
		return err
	}
	c := f.coll(ns)
	for i, d := range c.docs {
		if ok, err := matcher.Match(nil, d); err != nil || !ok {
			continue
		}
		if m.Update == nil {
			return nil
		}
		out, err := m.Update(d)
		if err != nil {
			return err
		}
		if id := out.Lookup("_id"); !id.IsMissing() && !bsonval.Equal(id, d.Lookup("_id")) {
			return mongoerr.New(mongoerr.ImmutableField, "_id is immutable")
		}
		c.docs[i] = out.Clone()
		return nil
	}
	if m.MustMatch {
		return mongoerr.New(mongoerr.MergeStageNoMatchingDocument, "no match")
	}
	if m.Insert != nil {
		return f.insert(ns, m.Insert)
	}
	return nil
}

// memFile is a TempFile in memory.
type memFile struct{ bytes.Buffer }

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.Bytes()).ReadAt(p, off)
}
func (m *memFile) Close() error { return nil }

var _ io.ReaderAt = (*memFile)(nil)

// command answers the commands that the corpus needs, as a server would.
func (f *fakeData) command(db string, cmd bsonval.Doc) (bsonval.Doc, error) {
	name, arg, _ := cmd.First()
	ns := Namespace{DB: db}
	if arg.Type() == bsonval.TypeString {
		ns.Coll = strings.Clone(arg.Str())
	}
	switch name {
	case "create":
		if !cmd.Lookup("timeseries").IsMissing() || !cmd.Lookup("validator").IsMissing() {
			return nil, errNoServer
		}
		c := f.coll(ns)
		if v := cmd.Lookup("viewOn"); !v.IsMissing() {
			c.viewOn, c.view = strings.Clone(v.Str()), bsonval.EmptyDoc
			if p := cmd.Lookup("pipeline"); !p.IsMissing() {
				c.view = p.Doc().Clone()
			}
		}
	case "insert":
		it := cmd.Lookup("documents").Doc().Iter()
		for it.Next() {
			if err := f.insert(ns, it.Value().Doc()); err != nil {
				return nil, err
			}
		}
	case "createIndexes":
		it := cmd.Lookup("indexes").Doc().Iter()
		for it.Next() {
			f.index(f.coll(ns), it.Value().Doc())
		}
	case "drop":
		delete(f.colls, ns)
	case "dropDatabase":
	case "find":
		return f.find(ns, cmd)
	case "aggregate":
		return f.aggregate(ns, cmd)
	default:
		return nil, errNoServer
	}
	return bsonval.NewBuilder().Double("ok", 1).Build(), nil
}

func (f *fakeData) index(c *fakeColl, spec bsonval.Doc) {
	var names []string
	it := spec.Lookup("key").Doc().Iter()
	for it.Next() {
		names = append(names, strings.Clone(it.KeyStr()))
		if it.Value().Type() == bsonval.TypeString {
			c.geo = append(c.geo, GeoIndex{strings.Clone(it.KeyStr()), strings.Clone(it.Value().Str())})
		}
	}
	if spec.Lookup("unique").Truthy() {
		c.unique = append(c.unique, names)
	}
}

// find is a pipeline of its parts.
func (f *fakeData) find(ns Namespace, cmd bsonval.Doc) (bsonval.Doc, error) {
	b := bsonval.NewArrayBuilder()
	for _, p := range [][2]string{{"filter", "$match"}, {"sort", "$sort"}, {"skip", "$skip"}, {"limit", "$limit"}, {"projection", "$project"}} {
		v := cmd.Lookup(p[0])
		if v.IsMissing() || v.Type() == bsonval.TypeDocument && v.Doc().IsEmpty() || v.IsZero() {
			continue
		}
		b.StartDoc("").Value(p[1], v).End()
	}
	return f.runPipeline(ns, b.Build(), cmd)
}

func (f *fakeData) aggregate(ns Namespace, cmd bsonval.Doc) (bsonval.Doc, error) {
	p := cmd.Lookup("pipeline")
	if p.Type() != bsonval.TypeArray {
		return nil, errNoServer
	}
	return f.runPipeline(ns, p.Doc(), cmd)
}

func (f *fakeData) runPipeline(ns Namespace, stages, cmd bsonval.Doc) (bsonval.Doc, error) {
	ctx := context.Background()
	comp := expr.NewCompiler(f.env)
	ec := &expr.Context{Env: f.env, Root: bsonval.EmptyDoc, Vars: make([]bsonval.Value, 64)}
	var vars []bsonval.Value
	if let := cmd.Lookup("let"); !let.IsMissing() {
		it := let.Doc().Iter()
		for it.Next() {
			lv, err := compileLet(comp, bsonval.NewBuilder().Value(it.KeyStr(), it.Value()).Build())
			if err == nil {
				err = setLet(ec, lv)
			}
			if err != nil {
				return nil, err
			}
		}
		vars = ec.Vars[:comp.Slots()]
	}
	p, err := Parse(stages, Options{Compiler: comp, NS: ns})
	if err != nil {
		return nil, err
	}
	p.Optimize()
	if cmd.Lookup("explain").Truthy() {
		if err := p.Check(ctx, f); err != nil {
			return nil, err
		}
		return bsonval.NewBuilder().Array("stages", p.Explain()).Double("ok", 1).Build(), nil
	}
	env := &Env{Expr: f.env, Data: f, Vars: vars, NewObjectID: f.oid}
	var src Source
	if !p.HasSource() {
		q, rest := p.Leading()
		q.Vars = vars
		if src, err = f.Open(ctx, ns, q); err != nil {
			return nil, err
		}
		p = rest
	}
	if src, err = p.Open(ctx, env, src); err != nil {
		return nil, err
	}
	out := bsonval.NewArrayBuilder()
	n := int64(0)
	err = drain(ctx, src, func(d bsonval.Doc) error {
		if err := bsonval.Validate(d); err != nil {
			return fmt.Errorf("broken document: %w", err)
		}
		if n++; n <= 101 {
			out.Add(bsonval.Document(d))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return bsonval.NewBuilder().StartDoc("cursor").Array("firstBatch", out.Build()).Int64("id", 0).Str("ns", ns.String()).End().Double("ok", 1).Build(), nil
}
