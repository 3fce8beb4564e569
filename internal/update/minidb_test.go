package update_test

import (
	"cmp"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/projection"
	"github.com/archelon-db/archelon/internal/sortkey"
	"github.com/archelon-db/archelon/internal/update"
)

// miniDB is the least database that the corpus of filters, projections and
// updates needs: collections are slices, and commands know no option that is not
// about the query language.
type miniDB struct {
	collections map[string][]bsonval.Doc
	geoIndexes  map[string]string // collection and field: 2d or 2dsphere
	nextID      uint64
}

func newMiniDB() *miniDB {
	return &miniDB{collections: map[string][]bsonval.Doc{}, geoIndexes: map[string]string{}}
}

func (m *miniDB) answer(_ string, command []byte) ([]byte, error) {
	cmd := bsonval.Doc(command)
	name, coll, _ := cmd.First()
	var reply bsonval.Doc
	var err error
	switch name {
	case "insert":
		reply, err = m.insert(coll.Str(), cmd)
	case "find":
		reply, err = m.find(coll.Str(), cmd)
	case "update":
		reply, err = m.update(coll.Str(), cmd)
	case "findAndModify":
		reply, err = m.findAndModify(coll.Str(), cmd)
	case "aggregate":
		reply, err = m.aggregate(coll.Str(), cmd)
	case "createIndexes":
		for _, x := range docs(cmd.Lookup("indexes")) {
			it := x.Lookup("key").Doc().Iter()
			for it.Next() {
				if it.Value().Type() == bsonval.TypeString {
					m.geoIndexes[coll.Str()+"."+it.KeyStr()] = it.Value().Str()
				}
			}
		}
		reply = bsonval.NewBuilder().Double("ok", 1).Build()
	case "create", "drop":
		reply = bsonval.NewBuilder().Double("ok", 1).Build()
	default:
		err = mongoerr.New(mongoerr.CommandNotFound, "no such command: '%s'", name)
	}
	if err != nil {
		return failure(err), nil
	}
	return reply, nil
}

func failure(err error) bsonval.Doc {
	e := mongoerr.As(err)
	if e == nil {
		e = mongoerr.New(mongoerr.InternalError, "%s", err.Error())
	}
	return bsonval.NewBuilder().Double("ok", 0).Str("errmsg", e.Message).Int32("code", int32(e.Code)).Build()
}

func (m *miniDB) newID() bsonval.Value {
	m.nextID++
	b := make([]byte, 12)
	b[11], b[10] = byte(m.nextID), byte(m.nextID>>8)
	return bsonval.ObjectID(b)
}

// engine runs $where.
var engine = js.New(js.Limits{})

func compiler() *expr.Compiler {
	n := 0.0
	return expr.NewCompiler(&expr.Env{NowMS: 1700000000000, JS: engine.NewSession(), Rand: func() float64 { n += 0.37; return n - float64(int(n)) }})
}

func (m *miniDB) insert(coll string, cmd bsonval.Doc) (bsonval.Doc, error) {
	docs := cmd.Lookup("documents").Doc().Values(nil)
	for _, v := range docs {
		d := v.Doc()
		if d.Lookup("_id").IsMissing() {
			b := bsonval.NewBuilder().Value("_id", m.newID())
			it := d.Iter()
			for it.Next() {
				b.Value(it.KeyStr(), it.Value())
			}
			d = b.Build()
		}
		m.collections[coll] = append(m.collections[coll], d.Clone())
	}
	return bsonval.NewBuilder().Int32("n", int32(len(docs))).Double("ok", 1).Build(), nil
}

// let declares the command's variables and returns a context.
func let(c *expr.Compiler, vars bsonval.Value) (func() (*expr.Context, error), error) {
	type variable struct {
		slot int
		e    expr.Expr
	}
	var list []variable
	if vars.Type() == bsonval.TypeDocument {
		it := vars.Doc().Iter()
		for it.Next() {
			e, err := c.Compile(it.Value())
			if err != nil {
				return nil, err
			}
			list = append(list, variable{c.Declare(it.KeyStr()), e})
		}
	}
	return func() (*expr.Context, error) {
		ctx := c.NewContext()
		for _, v := range list {
			x, err := v.e.Eval(ctx)
			if err != nil {
				return nil, err
			}
			ctx.Vars[v.slot] = x
		}
		return ctx, nil
	}, nil
}

func orEmpty(v bsonval.Value) bsonval.Doc {
	if v.Type() != bsonval.TypeDocument {
		return bsonval.EmptyDoc
	}
	return v.Doc()
}

// selectDocs returns the positions of the matching documents, sorted.
func (m *miniDB) selectDocs(c *expr.Context, coll string, f *match.Matcher, sort bsonval.Doc) ([]int, error) {
	var found []int
	docs := m.collections[coll]
	for i, d := range docs {
		ok, err := f.Match(c, d)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, i)
		}
	}
	near, err := m.near(coll, f)
	if err != nil {
		return nil, err
	}
	if near != nil && sort.IsEmpty() {
		slices.SortStableFunc(found, func(a, b int) int {
			x, _ := near.Distance(docs[a])
			y, _ := near.Distance(docs[b])
			return cmp.Compare(x, y)
		})
	}
	if sort.IsEmpty() {
		return found, nil
	}
	p, err := sortkey.Compile(sort)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b int) int {
		r, _ := p.Compare(docs[a], docs[b], nil)
		return r
	})
	return found, nil
}

// near finds a $near and checks that it has an index.
func (m *miniDB) near(coll string, f *match.Matcher) (*match.GeoNear, error) {
	var near *match.GeoNear
	match.Walk(f.Root(), func(n match.Node) bool {
		if g, ok := n.(*match.GeoNear); ok {
			near = g
		}
		return true
	})
	if near == nil {
		return nil, nil
	}
	kind := m.geoIndexes[coll+"."+near.Path]
	if kind == "" || near.Meters && kind == "2d" || !near.Spherical && kind == "2dsphere" {
		return nil, mongoerr.New(mongoerr.NoQueryExecutionPlans, "unable to find index for $geoNear query")
	}
	return near, nil
}

func (m *miniDB) find(coll string, cmd bsonval.Doc) (bsonval.Doc, error) {
	comp := compiler()
	context, err := let(comp, cmd.Lookup("let"))
	if err != nil {
		return nil, err
	}
	f, err := match.Compile(orEmpty(cmd.Lookup("filter")), match.Options{Compiler: comp})
	if err != nil {
		return nil, err
	}
	p, err := projection.Compile(orEmpty(cmd.Lookup("projection")), projection.Options{Compiler: comp, Filter: f})
	if err != nil {
		return nil, err
	}
	c, err := context()
	if err != nil {
		return nil, err
	}
	found, err := m.selectDocs(c, coll, f, orEmpty(cmd.Lookup("sort")))
	if err != nil {
		return nil, err
	}
	found = found[min(int(cmd.Lookup("skip").TruncInt64()), len(found)):]
	if limit := int(cmd.Lookup("limit").TruncInt64()); limit > 0 {
		found = found[:min(limit, len(found))]
	}
	b := bsonval.NewBuilder().StartDoc("cursor").StartArray("firstBatch")
	for _, i := range found {
		d, err := project(c, f, p, m.collections[coll][i])
		if err != nil {
			return nil, err
		}
		b.Add(bsonval.Document(d))
	}
	return b.End().Int64("id", 0).Str("ns", "d."+coll).End().Double("ok", 1).Build(), nil
}

func project(c *expr.Context, f *match.Matcher, p *projection.Projection, d bsonval.Doc) (bsonval.Doc, error) {
	index := -1
	if p.Positional() {
		var err error
		if _, index, err = f.MatchIndex(c, d); err != nil {
			return nil, err
		}
	}
	return p.Apply(c, d, index)
}

// stages compiles the stages that updates may have.
func stages(c *expr.Compiler) func(bsonval.Doc) (update.Transform, error) {
	return func(list bsonval.Doc) (update.Transform, error) {
		var steps []*projection.Projection
		for _, s := range list.Values(nil) {
			name, arg, _ := s.Doc().First()
			o := projection.Options{Compiler: c, Mode: projection.AddFields}
			switch name {
			case "$set", "$addFields":
			case "$project":
				o.Mode = projection.Aggregate
			case "$unset":
				paths := []string{arg.Str()}
				if arg.Type() == bsonval.TypeArray {
					paths = nil
					for _, v := range arg.Doc().Values(nil) {
						paths = append(paths, v.Str())
					}
				}
				p, err := projection.CompileExclusion(paths)
				if err != nil {
					return nil, err
				}
				steps = append(steps, p)
				continue
			default:
				return nil, mongoerr.New(mongoerr.InvalidOptions, "%s is not allowed to be used within an update", name)
			}
			p, err := projection.Compile(arg.Doc(), o)
			if err != nil {
				return nil, err
			}
			steps = append(steps, p)
		}
		return func(c *expr.Context, d bsonval.Doc) (bsonval.Doc, error) {
			var err error
			for _, p := range steps {
				if d, err = p.Apply(c, d, -1); err != nil {
					return nil, err
				}
			}
			return d, nil
		}, nil
	}
}

// statement is one update.
type statement struct {
	q, sort       bsonval.Doc
	u             bsonval.Value
	filters       []bsonval.Doc
	multi, upsert bool
	let           bsonval.Value
}

type outcome struct {
	n, modified int
	upserted    bsonval.Value
	before      bsonval.Doc
	after       bsonval.Doc
	matcher     *match.Matcher
	context     *expr.Context
}

func (m *miniDB) run(coll string, s statement) (r outcome, err error) {
	comp := compiler()
	context, err := let(comp, s.let)
	if err != nil {
		return r, err
	}
	if r.matcher, err = match.Compile(s.q, match.Options{Compiler: comp}); err != nil {
		return r, err
	}
	p, err := update.Compile(s.u, update.Options{Compiler: comp, ArrayFilters: s.filters, Multi: s.multi, Pipeline: stages(comp)})
	if err != nil {
		return r, err
	}
	c, err := context()
	if err != nil {
		return r, err
	}
	r.context = c
	found, err := m.selectDocs(c, coll, r.matcher, s.sort)
	if err != nil {
		return r, err
	}
	if !s.multi && len(found) > 1 {
		found = found[:1]
	}
	for _, i := range found {
		d := m.collections[coll][i]
		_, index, err := r.matcher.MatchIndex(c, d)
		if err != nil {
			return r, err
		}
		out, changed, err := p.Apply(c, d, update.Input{ArrayIndex: index})
		if err != nil {
			return r, err
		}
		if err := bsonval.Validate(out); err != nil {
			return r, err
		}
		r.before, r.after = d, out
		m.collections[coll][i] = out
		r.n++
		if changed {
			r.modified++
		}
	}
	if r.n == 0 && s.upsert {
		d, err := p.UpsertDocument(c, r.matcher, m.newID)
		if err != nil {
			return r, err
		}
		m.collections[coll] = append(m.collections[coll], d)
		r.n, r.after, r.upserted = 1, d, d.Lookup("_id")
	}
	return r, nil
}

func docs(v bsonval.Value) []bsonval.Doc {
	var list []bsonval.Doc
	if v.Type() == bsonval.TypeArray {
		for _, e := range v.Doc().Values(nil) {
			list = append(list, e.Doc())
		}
	}
	return list
}

func (m *miniDB) update(coll string, cmd bsonval.Doc) (bsonval.Doc, error) {
	n, modified := 0, 0
	upserted := bsonval.NewArrayBuilder()
	count := 0
	var failed *mongoerr.Error
	at := 0
	for i, v := range cmd.Lookup("updates").Doc().Values(nil) {
		u := v.Doc()
		vars := cmd.Lookup("let")
		if c := u.Lookup("c"); !c.IsMissing() {
			vars = c
		}
		r, err := m.run(coll, statement{q: orEmpty(u.Lookup("q")), sort: orEmpty(u.Lookup("sort")), u: u.Lookup("u"),
			filters: docs(u.Lookup("arrayFilters")), multi: u.Lookup("multi").Truthy(), upsert: u.Lookup("upsert").Truthy(), let: vars})
		if err != nil {
			if failed = mongoerr.As(err); failed == nil {
				return nil, err
			}
			at = i
			break
		}
		n += r.n
		modified += r.modified
		if !r.upserted.IsMissing() {
			count++
			upserted.StartDoc("").Int32("index", int32(i)).Value("_id", r.upserted).End()
		}
	}
	b := bsonval.NewBuilder().Int32("n", int32(n)).Int32("nModified", int32(modified))
	if count > 0 {
		b.Array("upserted", upserted.Build())
	}
	if failed != nil {
		b.StartArray("writeErrors").StartDoc("").Int32("index", int32(at)).Int32("code", int32(failed.Code)).
			Str("errmsg", failed.Message).End().End()
	}
	return b.Double("ok", 1).Build(), nil
}

func (m *miniDB) findAndModify(coll string, cmd bsonval.Doc) (bsonval.Doc, error) {
	isNew := cmd.Lookup("new").Truthy()
	s := statement{q: orEmpty(cmd.Lookup("query")), sort: orEmpty(cmd.Lookup("sort")), u: cmd.Lookup("update"),
		filters: docs(cmd.Lookup("arrayFilters")), upsert: cmd.Lookup("upsert").Truthy(), let: cmd.Lookup("let")}
	if cmd.Lookup("remove").Truthy() {
		f, err := match.Compile(s.q, match.Options{})
		if err != nil {
			return nil, err
		}
		found, err := m.selectDocs(expr.NewCompiler(&expr.Env{}).NewContext(), coll, f, s.sort)
		if err != nil {
			return nil, err
		}
		b := bsonval.NewBuilder().StartDoc("lastErrorObject").Int32("n", int32(min(1, len(found)))).End()
		if len(found) == 0 {
			return b.Null("value").Double("ok", 1).Build(), nil
		}
		d, err := m.project(cmd, f, m.collections[coll][found[0]])
		if err != nil {
			return nil, err
		}
		b.Doc("value", d)
		m.collections[coll] = slices.Delete(m.collections[coll], found[0], found[0]+1)
		return b.Double("ok", 1).Build(), nil
	}
	r, err := m.run(coll, s)
	if err != nil {
		return nil, err
	}
	d := r.before
	if isNew {
		d = r.after
	}
	b := bsonval.NewBuilder().StartDoc("lastErrorObject").Int32("n", int32(r.n)).
		Bool("updatedExisting", r.before != nil).Value("upserted", r.upserted).End()
	if d == nil {
		return b.Null("value").Double("ok", 1).Build(), nil
	}
	if d, err = m.project(cmd, r.matcher, d); err != nil {
		return nil, err
	}
	return b.Doc("value", d).Double("ok", 1).Build(), nil
}

// project applies findAndModify's fields.
func (m *miniDB) project(cmd bsonval.Doc, f *match.Matcher, d bsonval.Doc) (bsonval.Doc, error) {
	comp := compiler()
	p, err := projection.Compile(orEmpty(cmd.Lookup("fields")), projection.Options{Compiler: comp, Filter: f})
	if err != nil {
		return nil, err
	}
	return project(comp.NewContext(), f, p, d)
}

func (m *miniDB) aggregate(coll string, cmd bsonval.Doc) (bsonval.Doc, error) {
	comp := compiler()
	list := append([]bsonval.Doc(nil), m.collections[coll]...)
	for _, s := range cmd.Lookup("pipeline").Doc().Values(nil) {
		name, arg, _ := s.Doc().First()
		if name == "$match" {
			f, err := match.Compile(arg.Doc(), match.Options{Compiler: comp})
			if err != nil {
				return nil, err
			}
			var kept []bsonval.Doc
			for _, d := range list {
				ok, err := f.Match(comp.NewContext(), d)
				if err != nil {
					return nil, err
				}
				if ok {
					kept = append(kept, d)
				}
			}
			list = kept
			continue
		}
		step, err := stages(comp)(bsonval.ArrayOf(s).Doc())
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i], err = step(comp.NewContext(), list[i]); err != nil {
				return nil, err
			}
		}
	}
	b := bsonval.NewBuilder().StartDoc("cursor").StartArray("firstBatch")
	for _, d := range list {
		b.Add(bsonval.Document(d))
	}
	return b.End().Int64("id", 0).Str("ns", "d."+coll).End().Double("ok", 1).Build(), nil
}
