package projection_test

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/projection"
)

func parse(t testing.TB, s string) bsonval.Doc {
	t.Helper()
	var d bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(s), false, &d); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return bsonval.Doc(d)
}

func compile(t testing.TB, mode projection.Mode, s string) (*projection.Projection, *expr.Context) {
	t.Helper()
	c := expr.NewCompiler(&expr.Env{})
	p, err := projection.Compile(parse(t, s), projection.Options{Mode: mode, Compiler: c})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return p, c.NewContext()
}

const (
	find = projection.Find
	agg  = projection.Aggregate
	add  = projection.AddFields
)

// TestResults checks results with the order of fields.
func TestResults(t *testing.T) {
	tests := []struct {
		mode            projection.Mode
		spec, doc, want string
	}{
		{find, `{}`, `{"_id":1,"a":2}`, `{"_id":1,"a":2}`},
		{find, `{"b":1,"a":1}`, `{"_id":1,"a":2,"b":3,"c":4}`, `{"_id":1,"a":2,"b":3}`},
		{find, `{"_id":0,"a":1}`, `{"_id":1,"a":2,"b":3}`, `{"a":2}`},
		{find, `{"_id":0}`, `{"_id":1,"a":2}`, `{"a":2}`},
		{find, `{"_id":1}`, `{"_id":1,"a":2}`, `{"_id":1}`},
		{find, `{"a":0}`, `{"_id":1,"a":2,"b":3}`, `{"_id":1,"b":3}`},
		{find, `{"a":0,"_id":1}`, `{"_id":1,"a":2,"b":3}`, `{"_id":1,"b":3}`},
		{find, `{"a.b":1}`, `{"a":[1,{"b":2,"c":3},[{"b":4}],{}]}`, `{"a":[{"b":2},[{"b":4}],{}]}`},
		{find, `{"a.b":0}`, `{"a":[1,{"b":2,"c":3}]}`, `{"a":[1,{"c":3}]}`},
		{find, `{"a.b":1}`, `{"_id":1,"a":5}`, `{"_id":1}`},
		{find, `{"a":{"b":1}}`, `{"a":{"b":1,"c":2}}`, `{"a":{"b":1}}`},
		{find, `{"x":"$a"}`, `{"_id":1,"a":2}`, `{"_id":1,"x":2}`},
		{find, `{"a":{"$slice":1}}`, `{"_id":1,"a":[1,2],"b":1}`, `{"_id":1,"a":[1],"b":1}`},
		{find, `{"a":{"$slice":[-2,1]}}`, `{"a":[1,2,3]}`, `{"a":[2]}`},
		{find, `{"a":{"$elemMatch":{"$gt":1}}}`, `{"_id":1,"a":[1,2,3],"b":1}`, `{"_id":1,"a":[2]}`},
		{agg, `{"a.b":"$c"}`, `{"_id":1,"a":[1,{"x":1}],"c":7}`, `{"_id":1,"a":[{"b":7}]}`},
		{agg, `{"b":1,"x":"$a"}`, `{"_id":1,"x":0,"b":2,"a":3}`, `{"_id":1,"b":2,"x":3}`},
		{agg, `{"_id":"$a"}`, `{"_id":1,"a":3}`, `{"_id":3}`},
		{agg, `{"_id.x":1}`, `{"_id":{"x":1,"y":2},"a":3}`, `{"_id":{"x":1}}`},
		{add, `{"a":"$b"}`, `{"_id":1,"a":1,"b":2}`, `{"_id":1,"a":2,"b":2}`},
		{add, `{"a.b":"$c"}`, `{"a":[1,{"x":1}],"c":7}`, `{"a":[{"b":7},{"x":1,"b":7}],"c":7}`},
		{add, `{"a.b":1}`, `{"a":5}`, `{"a":{"b":1}}`},
		{add, `{"a":"$$REMOVE","d":1}`, `{"a":5,"b":1}`, `{"b":1,"d":1}`},
		{add, `{"n":{"x":1,"y":"$a"}}`, `{"a":1}`, `{"a":1,"n":{"x":1,"y":1}}`},
	}
	for _, tt := range tests {
		p, c := compile(t, tt.mode, tt.spec)
		got, err := p.Apply(c, parse(t, tt.doc), -1)
		if err != nil {
			t.Errorf("%s: %v", tt.spec, err)
			continue
		}
		if bsonval.Validate(got) != nil || string(got) != string(parse(t, tt.want)) {
			t.Errorf("%s on %s:\n got %s\nwant %s", tt.spec, tt.doc, bsonval.FormatDoc(got), tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		mode projection.Mode
		spec string
		code mongoerr.Code
	}{
		{find, `{"a":1,"b":0}`, 31254}, {find, `{"a":0,"b":1}`, 31253}, {find, `{"a":1,"a.b":1}`, 31249},
		{find, `{"a.b":1,"a":1}`, 31250}, {find, `{"a":{}}`, 51270}, {find, `{"a.$.b":1}`, 31394},
		{find, `{"a.$":0}`, 31395}, {find, `{"a":{"$foo":1}}`, 31325}, {find, `{"":1}`, 40352},
		{agg, `{}`, 51272}, {agg, `{"a.$":1}`, 31324}, {agg, `{"a":0,"b":"$c"}`, 31310},
		{agg, `{"a":0,"b":{"$literal":1}}`, 31252}, {add, `{}`, 40177}, {add, `{"a":{}}`, 40180},
		{add, `{"a":1,"a.b":1}`, 40176},
	}
	for _, tt := range tests {
		_, err := projection.Compile(parse(t, tt.spec), projection.Options{Mode: tt.mode})
		if !mongoerr.Is(err, tt.code) {
			t.Errorf("%s: got %v, want code %d", tt.spec, err, tt.code)
		}
	}
}

func TestFacts(t *testing.T) {
	p, _ := compile(t, find, `{"a":1,"b.c":1,"_id":0}`)
	if paths, noID, ok := p.IsSimpleInclusion(); !ok || !noID || fmt.Sprint(paths) != "[a b.c]" {
		t.Errorf("simple inclusion: %v %v %v", paths, noID, ok)
	}
	p, _ = compile(t, agg, `{"a":1,"x":"$b.c"}`)
	if d := p.Deps(); d.All || fmt.Sprint(d.Fields) != "[b.c a _id]" {
		t.Errorf("deps: %+v", d)
	}
	if p.EffectOn("a.z") != projection.Keeps || p.EffectOn("q") != projection.Drops || p.EffectOn("x") != projection.Changes {
		t.Error("wrong effects")
	}
	if r := p.Renames(); len(r) != 1 || r[0] != (projection.Rename{From: "b.c", To: "x"}) {
		t.Errorf("renames: %v", r)
	}
	p, _ = compile(t, add, `{"a.b":1}`)
	if p.EffectOn("a.c") != projection.Keeps || p.EffectOn("a") != projection.Changes || p.EffectOn("z") != projection.Keeps {
		t.Error("wrong effects of $addFields")
	}
}

func TestInclusionAllocatesNothing(t *testing.T) {
	p, _ := compile(t, find, `{"a":1,"c.d":1}`)
	d := parse(t, `{"_id":1,"a":5,"b":"text","c":{"d":[1,2,3],"e":1}}`)
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := p.Append(buf, nil, d, -1); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCompile checks that no specification and no document make the package
// panic or write malformed documents.
func FuzzCompile(f *testing.F) {
	doc := parse(f, `{"_id":1,"a":[1,{"b":"x"}],"c":{"d":1}}`)
	for _, s := range []string{`{"a.b":1}`, `{"a":0}`, `{"a.$":1}`, `{"a":{"$slice":[1,2]}}`, `{"a":{"$elemMatch":{"b":"x"}}}`, `{"x.y":"$c.d"}`} {
		for mode := range byte(3) {
			f.Add(mode, []byte(parse(f, s)), []byte(doc))
		}
	}
	f.Fuzz(func(t *testing.T, mode byte, spec, doc []byte) {
		if bsonval.Validate(spec) != nil || bsonval.Validate(doc) != nil {
			return
		}
		c := expr.NewCompiler(&expr.Env{Rand: func() float64 { return 0.5 }})
		p, err := projection.Compile(spec, projection.Options{Mode: projection.Mode(mode % 3), Compiler: c})
		if err != nil {
			if mongoerr.As(err) == nil {
				t.Fatalf("error without code: %v", err)
			}
			return
		}
		out, err := p.Apply(c.NewContext(), doc, 0)
		if err != nil {
			return
		}
		if err := bsonval.Validate(out); err != nil && err != bsonval.ErrTooDeep {
			t.Fatalf("malformed result: %v", err)
		}
	})
}
