package match_test

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// parse reads Extended JSON.
func parse(t testing.TB, s string) bsonval.Doc {
	t.Helper()
	var d bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(s), false, &d); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return bsonval.Doc(d)
}

func compile(t testing.TB, s string) *match.Matcher {
	t.Helper()
	m, err := match.Compile(parse(t, s), match.Options{})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return m
}

func TestPaths(t *testing.T) {
	tests := []struct {
		filter, doc string
		want        bool
	}{
		{`{"a":1}`, `{"a":1.0}`, true},
		{`{"a":1}`, `{"a":[3,1]}`, true},
		{`{"a":1}`, `{"a":[[1]]}`, false},
		{`{"a":[1]}`, `{"a":[[1]]}`, true},
		{`{"a":[1]}`, `{"a":[1]}`, true},
		{`{"a.b":1}`, `{"a":{"b":1}}`, true},
		{`{"a.b":1}`, `{"a":[{"c":1},{"b":[2,1]}]}`, true},
		{`{"a.b":1}`, `{"a":[[{"b":1}]]}`, false},
		{`{"a.0":1}`, `{"a":[1,2]}`, true},
		{`{"a.0":1}`, `{"a":{"0":1}}`, true},
		{`{"a.0":1}`, `{"a":[[1]]}`, false},
		{`{"a.0":[1]}`, `{"a":[[1]]}`, true},
		{`{"a.0.0":1}`, `{"a":[[1]]}`, true},
		{`{"a.00":1}`, `{"a":[1]}`, false},
		{`{"a.1.b":1}`, `{"a":[0,{"b":1}]}`, true},
		{`{"a.b":null}`, `{"a":5}`, true},
		{`{"a.b":null}`, `{"a":[5]}`, false},
		{`{"a.b":null}`, `{"a":[{}]}`, true},
		{`{"a.b":null}`, `{"a":[]}`, false},
		{`{"a":null}`, `{}`, true},
		{`{"a":{"$exists":false}}`, `{"a":[]}`, false},
		{`{"a.b":{"$exists":true}}`, `{"a":[1,{"b":null}]}`, true},
		{`{"a":{"$gt":1}}`, `{"a":"x"}`, false},
		{`{"a":{"$gt":1,"$lt":3}}`, `{"a":[0,5]}`, true},
		{`{"a":{"$elemMatch":{"$gt":1,"$lt":3}}}`, `{"a":[0,5]}`, false},
		{`{"a":{"$gt":{"$minKey":1}}}`, `{}`, true},
		{`{"a":{"$size":2}}`, `{"a":[[1,2]]}`, false},
		{`{"a":{"$all":[1,2]}}`, `{"a":[2,3,1]}`, true},
		{`{"a":{"$in":[{"$regularExpression":{"pattern":"^x","options":""}},null]}}`, `{"a":"xy"}`, true},
		{`{"a":{"$in":[{"$regularExpression":{"pattern":"^x","options":""}},null]}}`, `{}`, true},
		{`{"a":{"$not":{"$regularExpression":{"pattern":"^x","options":""}}}}`, `{"a":"xy"}`, false},
		{`{"a":{"$elemMatch":{"0":1}}}`, `{"a":[[1]]}`, true},
		{`{"a":{"$type":"array"}}`, `{"a":[]}`, true},
		{`{"a":{"$type":["number",2]}}`, `{"a":[true,"x"]}`, true},
		{`{"a":1,"b":2,"c.d":3,"$or":[{"a":5},{"b":2}]}`, `{"b":2,"c":{"d":3},"a":1}`, true},
		{`{"a":1,"b":null,"c":null}`, `{"a":1,"b":null}`, true},
		{`{"a":1,"b":null,"c":null}`, `{"a":1,"b":null,"c":0}`, false},
	}
	for _, tt := range tests {
		m := compile(t, tt.filter)
		got, err := m.Match(nil, parse(t, tt.doc))
		if err != nil || got != tt.want {
			t.Errorf("%s on %s: got %v, %v", tt.filter, tt.doc, got, err)
		}
		if ok, _, err := m.MatchIndex(nil, parse(t, tt.doc)); err != nil || ok != tt.want {
			t.Errorf("MatchIndex %s on %s: got %v, %v", tt.filter, tt.doc, ok, err)
		}
	}
}

func TestMatchIndex(t *testing.T) {
	tests := []struct {
		filter, doc string
		want        int
	}{
		{`{"a":2}`, `{"a":[1,2]}`, 1},
		{`{"a.b":2}`, `{"a":[{"b":[0,0,2]}]}`, 0},
		{`{"a":{"$elemMatch":{"b":2}}}`, `{"a":[{"b":1},{"b":2}]}`, 1},
		{`{"a":2,"b":3}`, `{"a":[1,2],"b":[3]}`, 0},
		{`{"$or":[{"a":2}]}`, `{"a":[1,2]}`, 1},
		{`{"$or":[{"a":2},{"b":1}]}`, `{"a":[1,2]}`, -1},
		{`{"a.1":2}`, `{"a":[1,2]}`, -1},
		{`{"a":[1,2]}`, `{"a":[1,2]}`, -1},
	}
	for _, tt := range tests {
		ok, got, err := compile(t, tt.filter).MatchIndex(nil, parse(t, tt.doc))
		if err != nil || !ok || got != tt.want {
			t.Errorf("%s on %s: got %v %d, %v", tt.filter, tt.doc, ok, got, err)
		}
	}
}

func TestNormalForm(t *testing.T) {
	tests := []struct{ filter, want string }{
		{`{}`, "match.AlwaysTrue"},
		{`{"a":1}`, "*match.Compare"},
		{`{"a":{"$in":[1,1]}}`, "*match.Compare"},
		{`{"a":{"$in":[]}}`, "match.AlwaysFalse"},
		{`{"a":{"$nin":[]}}`, "match.AlwaysTrue"},
		{`{"$and":[{"$and":[{"a":1}]}]}`, "*match.Compare"},
		{`{"$or":[{"a":1}]}`, "*match.Compare"},
		{`{"$or":[{"a":1},{}]}`, "match.AlwaysTrue"},
		{`{"$nor":[{"a":1}]}`, "*match.Not"},
		{`{"a":{"$not":{"$ne":1}}}`, "*match.Compare"},
		{`{"a":{"$all":[1]}}`, "*match.Compare"},
		{`{"$expr":true}`, "match.AlwaysTrue"},
		{`{"a":1,"$comment":"x"}`, "*match.Compare"},
	}
	for _, tt := range tests {
		if got := fmt.Sprintf("%T", compile(t, tt.filter).Root()); got != tt.want {
			t.Errorf("%s: got %s", tt.filter, got)
		}
	}
	and := compile(t, `{"a":1,"$and":[{"b":1},{"$and":[{"c":1},{"d":1}]}]}`).Root().(*match.And)
	if len(and.Nodes) != 4 {
		t.Errorf("nested $and not flattened: %d nodes", len(and.Nodes))
	}
}

func TestErrors(t *testing.T) {
	deep := `{"a":1}`
	for range 120 {
		deep = `{"$and":[` + deep + `]}`
	}
	tests := []struct {
		filter string
		ban    match.Features
		code   mongoerr.Code
	}{
		{`{"$foo":1}`, 0, mongoerr.BadValue},
		{`{"a":{"$foo":1}}`, 0, mongoerr.BadValue},
		{`{"a":{"$in":1}}`, 0, mongoerr.BadValue},
		{`{"a":{"$type":[]}}`, 0, mongoerr.FailedToParse},
		{`{"a":{"$bitsAllSet":-1}}`, 0, mongoerr.FailedToParse},
		{`{"$expr":true}`, match.AllFeatures, mongoerr.QueryFeatureNotAllowed},
		{`{"$where":"true"}`, match.AllFeatures, mongoerr.BadValue},
		{`{"a":{"$near":[0,0]}}`, match.AllFeatures, 5626500},
		{`{"$text":{"$search":"x"}}`, 0, mongoerr.IndexNotFound},
		{`{"$or":[{"a":{"$near":[0,0]}},{"b":1}]}`, 0, mongoerr.BadValue},
		{deep, 0, mongoerr.BadValue},
	}
	for _, tt := range tests {
		_, err := match.Compile(parse(t, tt.filter), match.Options{Ban: tt.ban})
		if !mongoerr.Is(err, tt.code) {
			t.Errorf("%.80s: got %v, want code %d", tt.filter, err, tt.code)
		}
	}
}

// TestConjunction checks that evaluating an And in one walk gives what its parts
// give.
func TestConjunction(t *testing.T) {
	value := rapid.SampledFrom([]string{`1`, `2`, `null`, `"x"`, `[1,2]`, `{"b":1}`, `[{"b":1},{"b":2}]`, `[]`})
	condition := rapid.SampledFrom([]string{`1`, `null`, `{"$gt":1}`, `{"$in":[1,"x",null]}`, `{"$exists":true}`,
		`{"$exists":false}`, `{"$type":"number"}`, `{"$ne":1}`, `{"$size":2}`})
	name := rapid.SampledFrom([]string{"a", "b", "c", "a.b", "b.0", "c.b"})
	rapid.Check(t, func(r *rapid.T) {
		doc := "{"
		for i, n := range []string{"a", "b", "c"} {
			if rapid.Bool().Draw(r, "there") {
				if i > 0 && len(doc) > 1 {
					doc += ","
				}
				doc += fmt.Sprintf("%q:%s", n, value.Draw(r, "value"))
			}
		}
		d := parse(t, doc+"}")
		want, filter := true, ""
		for i := range rapid.IntRange(2, 5).Draw(r, "n") {
			one := fmt.Sprintf("{%q:%s}", name.Draw(r, "name"), condition.Draw(r, "condition"))
			ok, err := compile(t, one).Match(nil, d)
			if err != nil {
				r.Fatal(err)
			}
			want = want && ok
			if i > 0 {
				filter += ","
			}
			filter += one
		}
		got, err := compile(t, `{"$and":[`+filter+`]}`).Match(nil, d)
		if err != nil || got != want {
			r.Fatalf("%s on %s: got %v, %v, want %v", filter, doc, got, err, want)
		}
	})
}

func TestMatchAllocatesNothing(t *testing.T) {
	d := parse(t, `{"_id":1,"a":5,"b":"text","c":{"d":[1,2,3]},"e":{"$date":"2024-01-01T00:00:00Z"}}`)
	for _, filter := range []string{
		`{"a":5}`, `{"a":{"$gt":1,"$lt":9},"b":"text"}`, `{"c.d":3}`, `{"a":{"$in":[1,5,9]}}`,
		`{"a":{"$exists":true},"b":{"$type":"string"}}`, `{"$or":[{"a":1},{"b":"text"}]}`,
	} {
		m := compile(t, filter)
		n := testing.AllocsPerRun(100, func() {
			if ok, err := m.Match(nil, d); !ok || err != nil {
				t.Fatalf("%s does not match: %v", filter, err)
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations", filter, n)
		}
	}
}

func TestDeps(t *testing.T) {
	var deps expr.Deps
	compile(t, `{"a":1,"$or":[{"b.c":1},{"d":{"$elemMatch":{"x":1}}}]}`).Deps(&deps)
	if got := fmt.Sprint(deps.Fields, deps.All); got != "[a b.c d] false" {
		t.Errorf("got %s", got)
	}
}

func BenchmarkMatch(b *testing.B) {
	d := parse(b, `{"_id":1,"name":"abc","age":30,"tags":["x","y"],"address":{"city":"B","zip":"1"},"score":3.5,"active":true}`)
	for _, filter := range []string{`{"age":30}`, `{"age":{"$gte":18},"active":true,"address.city":"B"}`} {
		m := compile(b, filter)
		b.Run(filter, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, _ := m.Match(nil, d); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}

// FuzzCompile checks that no filter and no document make the package panic.
func FuzzCompile(f *testing.F) {
	doc := parse(f, `{"a":[1,{"b":"x"}],"c":{"type":"Point","coordinates":[1,2]}}`)
	for _, s := range []string{
		`{"a.b":{"$in":["x",1]}}`, `{"a":{"$elemMatch":{"b":{"$regex":"x"}}}}`, `{"$jsonSchema":{"required":["a"]}}`,
		`{"c":{"$geoWithin":{"$box":[[0,0],[3,3]]}}}`, `{"$expr":{"$gt":["$a",1]}}`, `{"a":{"$mod":[4,1]}}`,
	} {
		f.Add([]byte(parse(f, s)), []byte(doc))
	}
	f.Fuzz(func(t *testing.T, filter, doc []byte) {
		if bsonval.Validate(filter) != nil || bsonval.Validate(doc) != nil {
			return
		}
		c := expr.NewCompiler(&expr.Env{Rand: func() float64 { return 0.5 }})
		m, err := match.Compile(filter, match.Options{Compiler: c})
		if err != nil {
			if mongoerr.As(err) == nil {
				t.Fatalf("error without code: %v", err)
			}
			return
		}
		ctx := c.NewContext()
		ok, err := m.Match(ctx, doc)
		ok2, _, err2 := m.MatchIndex(ctx, doc)
		if err == nil && err2 == nil && ok != ok2 {
			t.Fatalf("Match %v, MatchIndex %v", ok, ok2)
		}
	})
}

func TestOnePath(t *testing.T) {
	tests := []struct{ filter, want string }{
		{`{"$or": [{"a": 5}, {"a": 7}]}`, `{"a": {"$in": [5, 7]}}`},
		{`{"$or": [{"a": 7}, {"a": {"$in": [5, null]}}, {"a": {"$in": ["x", {"$regularExpression": {"pattern": "^y", "options": ""}}]}}]}`,
			`{"a": {"$in": [null, 5, 7, "x", {"$regularExpression": {"pattern": "^y", "options": ""}}]}}`},
		{`{"$or": [{"a": 5}, {"a": 5.0}]}`, `{"a": {"$eq": 5}}`},
		{`{"$or": [{"a": 5}, {"$or": [{"a": 6}, {"a": [1]}]}]}`, `{"a": {"$in": [5, 6, [1]]}}`},
		{`{"$or": [{"a": 5}, {"b": 7}]}`, ``},
		{`{"$or": [{"a": 5}, {"a": {"$gt": 7}}]}`, ``},
		{`{"$or": [{"a": 5}, {"a": 7, "b": 1}]}`, ``},
		{`{"$or": [{"a": 5}, {"a": {"$not": {"$eq": 7}}}]}`, ``},
	}
	for _, tt := range tests {
		or, ok := compile(t, tt.filter).Root().(*match.Or)
		if !ok {
			t.Fatalf("%s is no disjunction", tt.filter)
		}
		n := or.OnePath()
		if n == nil {
			if tt.want != "" {
				t.Errorf("%s: not one path", tt.filter)
			}
			continue
		}
		if tt.want == "" {
			t.Errorf("%s: one path", tt.filter)
			continue
		}
		got, want := match.ToBSON(n), match.ToBSON(compile(t, tt.want).Root())
		if bsonval.FormatDoc(got) != bsonval.FormatDoc(want) {
			t.Errorf("%s: got %s, want %s", tt.filter, bsonval.FormatDoc(got), bsonval.FormatDoc(want))
		}
	}
}
