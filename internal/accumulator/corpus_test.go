package accumulator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

var corpusAreas = []string{"core.operator.accumulators", "core.operator.window", "core.operator.stages"}

// TestCorpus runs the conformance cases whose pipelines consist of $group,
// $setWindowFields, $sort and computed fields, without a server around. Cases
// with other stages or commands are left to the conformance runner.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("ARCHELON_CONFORMANCE_DIR")
	if dir == "" {
		dir = "../../../shared/conformance/functional"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no conformance corpus: set ARCHELON_CONFORMANCE_DIR (%v)", err)
	}
	for _, area := range corpusAreas {
		t.Run(area, func(t *testing.T) {
			f, err := os.Open(filepath.Join(dir, area+".jsonl"))
			if err != nil {
				t.Skip(err)
			}
			defer f.Close()
			run, skipped, failed := 0, 0, 0
			lines := bufio.NewScanner(f)
			lines.Buffer(nil, 64<<20)
			for lines.Scan() {
				var c corpusCase
				if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
					t.Fatal(err)
				}
				switch ok, err := c.run(); {
				case !ok:
					skipped++
				case err != nil:
					failed++
					run++
					t.Errorf("%s: %v", c.ID, err)
				default:
					run++
				}
			}
			t.Logf("%d run, %d failed, %d need more", run, failed, skipped)
		})
	}
}

// stageErrors are the codes of errors that the stages find, not the
// accumulators.
var stageErrors = map[int]bool{15947: true, 17390: true, 10071200: true, 40415: true}

type corpusCase struct {
	ID    string
	Setup []struct{ Command json.RawMessage }
	Steps []struct {
		Command json.RawMessage
		Expect  []struct {
			FirstBatch     json.RawMessage
			ErrorCode      int
			IgnoreDocOrder bool
			IgnoreOrderIn  []string
			NaN            bool
		}
	}
}

func parse(text []byte) (bsonval.Doc, bool) {
	var d bson.D
	if bson.UnmarshalExtJSON(text, false, &d) != nil {
		return nil, false
	}
	b, err := bson.Marshal(d)
	return b, err == nil
}

func (c *corpusCase) run() (ok bool, err error) {
	if len(c.Steps) != 1 || len(c.Steps[0].Expect) != 1 {
		return false, nil
	}
	var docs []bsonval.Doc
	for _, s := range c.Setup {
		cmd, ok := parse(s.Command)
		if !ok {
			return false, nil
		}
		if k, _, _ := cmd.First(); k != "insert" && k != "create" {
			return false, nil
		}
		for _, v := range cmd.Lookup("documents").Doc().Values(nil) {
			docs = append(docs, v.Doc())
		}
	}
	cmd, ok := parse(c.Steps[0].Command)
	if !ok || cmd.Lookup("aggregate").Type() != bsonval.TypeString || !cmd.Lookup("let").IsMissing() ||
		!cmd.Lookup("collation").IsMissing() {
		return false, nil
	}
	relevant := false
	stages := cmd.Lookup("pipeline").Doc().Values(nil)
	for _, s := range stages {
		name, _, _ := s.Doc().First()
		relevant = relevant || name == "$group" || name == "$setWindowFields"
	}
	if !relevant {
		return false, nil
	}
	var failure error
	for _, s := range stages {
		name, arg, _ := s.Doc().First()
		if docs, ok, failure = runStage(name, arg, docs); !ok {
			return false, nil
		}
		if failure != nil {
			break
		}
	}
	want := c.Steps[0].Expect[0]
	if stageErrors[want.ErrorCode] {
		return false, nil
	}
	if want.ErrorCode != 0 {
		if !mongoerr.Is(failure, mongoerr.Code(want.ErrorCode)) {
			return true, fmt.Errorf("error %d wanted, got %v %s in %s", want.ErrorCode, failure, show(docs), c.Steps[0].Command)
		}
		return true, nil
	}
	if failure != nil {
		return true, fmt.Errorf("%v in %s", failure, c.Steps[0].Command)
	}
	wrapped, ok := parse([]byte(`{"b":` + string(want.FirstBatch) + `}`))
	if want.FirstBatch == nil || !ok {
		return false, nil
	}
	m := matcher{nan: want.NaN, anyOrder: want.IgnoreOrderIn}
	got := bsonval.NewArrayBuilder()
	for _, d := range docs {
		got.Add(bsonval.Document(d))
	}
	if !m.array(got.Build(), wrapped.Lookup("b").Doc(), want.IgnoreDocOrder) {
		return true, fmt.Errorf("got %s want %s in %s", show(docs), want.FirstBatch, c.Steps[0].Command)
	}
	return true, nil
}

func show(docs []bsonval.Doc) string {
	var b strings.Builder
	for _, d := range docs {
		b.WriteString(bsonval.FormatDoc(d))
	}
	return b.String()
}

// runStage is a naive pipeline stage; ok is false for those it does not know.
func runStage(name string, arg bsonval.Value, docs []bsonval.Doc) (out []bsonval.Doc, ok bool, err error) {
	c := expr.NewCompiler(&expr.Env{})
	switch name {
	case "$sort":
		p, err := sortkey.Compile(arg.Doc())
		if err != nil {
			return nil, true, err
		}
		out = append(out, docs...)
		sort.SliceStable(out, func(i, j int) bool {
			r, _ := p.Compare(out[i], out[j], nil)
			return r < 0
		})
		return out, true, nil
	case "$group":
		return runGroup(c, arg, docs)
	case "$setWindowFields":
		return runWindow(c, arg, docs)
	case "$project", "$addFields", "$set":
		return runFields(c, name == "$project", arg, docs)
	}
	return nil, false, nil
}

func runFields(c *expr.Compiler, project bool, arg bsonval.Value, docs []bsonval.Doc) (out []bsonval.Doc, ok bool, err error) {
	type field struct {
		name string
		e    expr.Expr
	}
	var fields []field
	withID := true
	it := arg.Doc().Iter()
	for it.Next() {
		v, name := it.Value(), string(it.Key())
		if strings.Contains(name, ".") {
			return nil, false, nil
		}
		if project && (v.IsNumber() || v.Type() == bsonval.TypeBool) {
			if !v.Truthy() && name == "_id" {
				withID = false
				continue
			}
			if !v.Truthy() {
				return nil, false, nil
			}
			v = bsonval.String("$" + name)
		}
		e, err := c.Compile(v)
		if err != nil {
			return nil, true, err
		}
		fields = append(fields, field{name, e})
	}
	ctx := c.NewContext()
	for _, d := range docs {
		ctx.Root = d
		b := bsonval.NewBuilder()
		if project && withID {
			b.Value("_id", d.Lookup("_id"))
		}
		set := map[string]bool{"_id": project}
		for _, f := range fields {
			v, err := f.e.Eval(ctx)
			if err != nil {
				return nil, true, err
			}
			if f.name != "_id" || !project {
				b.Value(f.name, v)
				set[f.name] = true
			}
		}
		if !project {
			it := d.Iter()
			for it.Next() {
				if !set[it.KeyStr()] {
					b.Value(it.KeyStr(), it.Value())
				}
			}
		}
		out = append(out, b.Build())
	}
	return out, true, nil
}

func runGroup(c *expr.Compiler, arg bsonval.Value, docs []bsonval.Doc) (out []bsonval.Doc, ok bool, err error) {
	type group struct {
		id     bsonval.Value
		states []*State
	}
	var id expr.Expr
	var names []string
	var factories []*Factory
	it := arg.Doc().Iter()
	for it.Next() {
		name := string(it.Key())
		if name == "_id" {
			if id, err = c.Compile(it.Value()); err != nil {
				return nil, true, err
			}
			continue
		}
		f, err := CompileField(c, name, it.Value())
		if err != nil {
			return nil, true, err
		}
		names, factories = append(names, name), append(factories, f)
	}
	if id == nil {
		return nil, false, nil
	}
	ctx := c.NewContext()
	groups := map[string]*group{}
	var order []*group
	for i, d := range docs {
		ctx.Root = d
		v, err := id.Eval(ctx)
		if err != nil {
			return nil, true, err
		}
		if v.IsMissing() {
			v = bsonval.Null
		}
		key := string(keystring.Append(nil, v, false, nil))
		g := groups[key]
		if g == nil {
			g = &group{id: v}
			for _, f := range factories {
				s, err := f.New(ctx, v)
				if err != nil {
					return nil, true, err
				}
				g.states = append(g.states, s)
			}
			groups[key] = g
			order = append(order, g)
		}
		for j, s := range g.states {
			if i%2 == 1 {
				// Go through a spilled state every other time.
				fresh, err := factories[j].New(ctx, g.id)
				if err != nil {
					return nil, true, err
				}
				if factories[j].Name() != "$stdDevPop" && factories[j].Name() != "$stdDevSamp" {
					if err := fresh.Merge(s.Partial()); err != nil {
						return nil, true, err
					}
					g.states[j], s = fresh, fresh
				}
			}
			if err := s.Add(ctx); err != nil {
				return nil, true, err
			}
		}
	}
	for _, g := range order {
		b := bsonval.NewBuilder().Value("_id", GroupOutput(g.id))
		for i, s := range g.states {
			v, err := s.Result()
			if err != nil {
				return nil, true, err
			}
			b.Value(names[i], v)
		}
		out = append(out, b.Build())
	}
	return out, true, nil
}

func runWindow(c *expr.Compiler, arg bsonval.Value, docs []bsonval.Doc) (out []bsonval.Doc, ok bool, err error) {
	var by expr.Expr = expr.Constant(bsonval.Null)
	if v := arg.Doc().Lookup("partitionBy"); !v.IsMissing() {
		if by, err = c.Compile(v); err != nil {
			return nil, true, err
		}
	}
	var sortBy *sortkey.Pattern
	switch v := arg.Doc().Lookup("sortBy"); {
	case v.Type() == bsonval.TypeDocument && v.Doc().IsEmpty():
		sortBy = &sortkey.Pattern{}
	case v.Type() == bsonval.TypeDocument:
		if sortBy, err = sortkey.Compile(v.Doc()); err != nil {
			return nil, true, err
		}
	case !v.IsMissing() && v.Type() != bsonval.TypeDocument:
		return nil, false, nil
	}
	if arg.Doc().Lookup("output").Type() != bsonval.TypeDocument {
		return nil, false, nil
	}
	var windows []*Window
	var names []string
	it := arg.Doc().Lookup("output").Doc().Iter()
	for it.Next() {
		w, err := CompileWindow(c, it.Value(), sortBy)
		if err != nil {
			return nil, true, err
		}
		if strings.Contains(it.KeyStr(), ".") || it.KeyStr() == "_id" {
			return nil, false, nil
		}
		windows, names = append(windows, w), append(names, string(it.Key()))
	}
	ctx := c.NewContext()
	var keyErr error
	key := func(d bsonval.Doc) []byte {
		ctx.Root = d
		v, err := by.Eval(ctx)
		if err != nil {
			keyErr = err
		}
		if v.IsMissing() {
			v = bsonval.Null
		}
		return keystring.Append(nil, v, false, nil)
	}
	docs = append([]bsonval.Doc(nil), docs...)
	sort.SliceStable(docs, func(i, j int) bool {
		a, b := key(docs[i]), key(docs[j])
		if sortBy != nil {
			a, _ = sortBy.Append(a, docs[i], nil)
			b, _ = sortBy.Append(b, docs[j], nil)
		}
		return string(a) < string(b)
	})
	if keyErr != nil {
		return nil, true, keyErr
	}
	for start := 0; start < len(docs); {
		end := start + 1
		for end < len(docs) && string(key(docs[end])) == string(key(docs[start])) {
			end++
		}
		part := docs[start:end]
		builders := make([]*bsonval.Builder, len(part))
		for i, d := range part {
			builders[i] = bsonval.NewBuilder()
			it := d.Iter()
			for it.Next() {
				builders[i].Value(it.KeyStr(), it.Value())
			}
		}
		for i, w := range windows {
			results, err := w.Run(ctx, part)
			if err != nil {
				return nil, true, err
			}
			for j, v := range results {
				builders[j].Value(names[i], v)
			}
		}
		for _, b := range builders {
			out = append(out, b.Build())
		}
		start = end
	}
	return out, true, nil
}

// matcher compares by the corpus's rules.
type matcher struct {
	nan      bool
	anyOrder []string
}

func (m *matcher) array(got, want bsonval.Doc, anyOrder bool) bool {
	g, w := got.Values(nil), want.Values(nil)
	if len(g) != len(w) {
		return false
	}
	for i := range w {
		if !anyOrder {
			if !m.equal(g[i], w[i]) {
				return false
			}
			continue
		}
		found := false
		for j := range g {
			if m.equal(g[j], w[i]) {
				g = append(g[:j], g[j+1:]...)
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func (m *matcher) equal(got, want bsonval.Value) bool {
	if want.Type() == bsonval.TypeDocument {
		if approx := want.Doc().Lookup("$approx"); !approx.IsMissing() {
			value, tolerance := approx.Doc().Lookup("value").Double(), approx.Doc().Lookup("tolerance").Double()
			return got.IsNumber() && math.Abs(got.AsDouble()-value) <= tolerance || got.IsNaN() && math.IsNaN(value)
		}
	}
	if m.nan && got.IsNaN() && want.IsNaN() {
		return true
	}
	if got.Type() != want.Type() {
		return false
	}
	switch got.Type() {
	case bsonval.TypeDocument:
		if got.Doc().Len() != want.Doc().Len() {
			return false
		}
		it := want.Doc().Iter()
		for it.Next() {
			v := got.Doc().Lookup(it.KeyStr())
			anyOrder := false
			for _, n := range m.anyOrder {
				anyOrder = anyOrder || n == it.KeyStr()
			}
			if anyOrder && v.Type() == bsonval.TypeArray && it.Value().Type() == bsonval.TypeArray {
				if !m.array(v.Doc(), it.Value().Doc(), true) {
					return false
				}
			} else if v.IsMissing() || !m.equal(v, it.Value()) {
				return false
			}
		}
		return true
	case bsonval.TypeArray:
		return m.array(got.Doc(), want.Doc(), false)
	case bsonval.TypeDouble:
		return math.Float64bits(got.Double()) == math.Float64bits(want.Double()) && !got.IsNaN()
	}
	return bsonval.Identical(got, want)
}
