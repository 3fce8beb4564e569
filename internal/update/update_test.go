package update_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/update"
)

func parse(t testing.TB, s string) bsonval.Doc {
	t.Helper()
	var d bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(s), false, &d); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return bsonval.Doc(d)
}

func compile(t testing.TB, s string) *update.Program {
	t.Helper()
	p, err := update.Compile(bsonval.Document(parse(t, s)), update.Options{})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return p
}

// TestResults checks results with the order of fields; an empty want is no
// change.
func TestResults(t *testing.T) {
	tests := []struct{ update, doc, want string }{
		{`{"$set":{"z":1,"b":1,"a":1}}`, `{"_id":1,"b":0}`, `{"_id":1,"b":1,"a":1,"z":1}`},
		{`{"$set":{"a.10":1,"a.9":1}}`, `{"_id":1}`, `{"_id":1,"a":{"9":1,"10":1}}`},
		{`{"$set":{"a.3":1}}`, `{"a":[0]}`, `{"a":[0,null,null,1]}`},
		{`{"$set":{"a.1.b":1}}`, `{"a":[0]}`, `{"a":[0,{"b":1}]}`},
		{`{"$set":{"a":1}}`, `{"a":1}`, ``},
		{`{"$set":{"a":1}}`, `{"a":1.0}`, `{"a":1}`},
		{`{"$set":{}}`, `{"a":1}`, ``},
		{`{"$unset":{"a":1,"b.c":1}}`, `{"a":1,"b":{"c":1}}`, `{"b":{}}`},
		{`{"$unset":{"a.0":1}}`, `{"a":[1,2]}`, `{"a":[null,2]}`},
		{`{"$unset":{"a.b":1}}`, `{"a":5}`, ``},
		{`{"$inc":{"a":1}}`, `{"a":2147483647}`, `{"a":{"$numberLong":"2147483648"}}`},
		{`{"$inc":{"a":0}}`, `{"a":1}`, ``},
		{`{"$mul":{"b":3}}`, `{"a":1}`, `{"a":1,"b":0}`},
		{`{"$min":{"a":1},"$max":{"b":1}}`, `{"a":2,"b":2}`, `{"a":1,"b":2}`},
		{`{"$rename":{"a":"b"}}`, `{"a":1,"b":2,"c":3}`, `{"b":1,"c":3}`},
		{`{"$rename":{"a":"x.y"}}`, `{"a":1,"c":3}`, `{"c":3,"x":{"y":1}}`},
		{`{"$rename":{"q":"x.y"}}`, `{"a":1}`, ``},
		{`{"$push":{"a":{"$each":[5,1],"$sort":1,"$slice":-2}}}`, `{"a":[3]}`, `{"a":[3,5]}`},
		{`{"$push":{"a":{"$each":[9],"$position":-1}}}`, `{"a":[1,2]}`, `{"a":[1,9,2]}`},
		{`{"$push":{"a":7}}`, `{"a":[1],"b":1}`, `{"a":[1,7],"b":1}`},
		{`{"$addToSet":{"a":{"$each":[1,2,2]}}}`, `{"a":[1]}`, `{"a":[1,2]}`},
		{`{"$pull":{"a":{"$gt":1}}}`, `{"a":[1,2,3]}`, `{"a":[1]}`},
		{`{"$pull":{"a":{"x":1}}}`, `{"a":[{"x":1,"y":1},{"x":2},1]}`, `{"a":[{"x":2},1]}`},
		{`{"$pullAll":{"a":[1,2]}}`, `{"a":[1,2,3,1]}`, `{"a":[3]}`},
		{`{"$pop":{"a":-1}}`, `{"a":[1,2]}`, `{"a":[2]}`},
		{`{"$bit":{"a":{"and":6,"or":1}}}`, `{"a":5}`, ``},
		{`{"$set":{"a.$[]":0}}`, `{"a":[1,2]}`, `{"a":[0,0]}`},
		{`{"$inc":{"a.$[].b":1}}`, `{"a":[{"b":1},{}]}`, `{"a":[{"b":2},{"b":1}]}`},
		{`{"$setOnInsert":{"x":1}}`, `{"a":1}`, ``},
		{`{"b":1}`, `{"_id":7,"a":1}`, `{"_id":7,"b":1}`},
		{`{"b":1,"_id":7}`, `{"_id":7,"a":1}`, `{"_id":7,"b":1}`},
	}
	for _, tt := range tests {
		d := parse(t, tt.doc)
		before := d.Clone()
		got, changed, err := compile(t, tt.update).Apply(nil, d, update.Input{ArrayIndex: -1})
		if err != nil {
			t.Errorf("%s: %v", tt.update, err)
			continue
		}
		want := d
		if tt.want != "" {
			want = parse(t, tt.want)
		}
		if string(got) != string(want) || changed != (tt.want != "") {
			t.Errorf("%s on %s:\n got %s, %v\nwant %s", tt.update, tt.doc, bsonval.FormatDoc(got), changed, tt.want)
		}
		if string(before) != string(d) {
			t.Errorf("%s wrote to its document", tt.update)
		}
	}
}

func TestPositional(t *testing.T) {
	p := compile(t, `{"$set":{"a.$.b":1,"a.0.c":2}}`)
	if !p.Positional() {
		t.Error("not positional")
	}
	got, _, err := p.Apply(nil, parse(t, `{"a":[{},{}]}`), update.Input{ArrayIndex: 0})
	if err != nil || string(got) != string(parse(t, `{"a":[{"b":1,"c":2},{}]}`)) {
		t.Errorf("merge: %s, %v", bsonval.FormatDoc(got), err)
	}
	p = compile(t, `{"$set":{"a.$":1,"a.0":2}}`)
	if _, _, err = p.Apply(nil, parse(t, `{"a":[5]}`), update.Input{ArrayIndex: 0}); !mongoerr.Is(err, mongoerr.ConflictingUpdateOperators) {
		t.Errorf("conflict: %v", err)
	}
}

func TestArrayFilters(t *testing.T) {
	p, err := update.Compile(bsonval.Document(parse(t, `{"$set":{"a.$[x].n":1,"a.$[y].m":2}}`)),
		update.Options{ArrayFilters: []bsonval.Doc{parse(t, `{"x.k":{"$gt":1}}`), parse(t, `{"y.k":3}`)}})
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := p.Apply(nil, parse(t, `{"a":[{"k":1},{"k":2},{"k":3}]}`), update.Input{ArrayIndex: -1})
	want := parse(t, `{"a":[{"k":1},{"k":2,"n":1},{"k":3,"m":2,"n":1}]}`)
	if err != nil || string(got) != string(want) {
		t.Errorf("got %s, %v", bsonval.FormatDoc(got), err)
	}
}

func TestUpsert(t *testing.T) {
	newID := func() bsonval.Value { return bsonval.Int32(99) }
	tests := []struct{ filter, update, want string }{
		{`{"a":1,"b":{"$gt":1}}`, `{"$set":{"c":2}}`, `{"_id":99,"a":1,"c":2}`},
		{`{"a.b":1,"_id":5,"$and":[{"c":{"$eq":2}}]}`, `{"$setOnInsert":{"d":1}}`, `{"_id":5,"a":{"b":1},"c":2,"d":1}`},
		{`{"a":1,"_id":5}`, `{"x":1}`, `{"_id":5,"x":1}`},
		{`{"a":{"$in":[4]},"$or":[{"b":2}]}`, `{"$inc":{"n":1}}`, `{"_id":99,"a":4,"b":2,"n":1}`},
		{`{"n":1}`, `{"$inc":{"n":1}}`, `{"_id":99,"n":2}`},
		{`{}`, `{"$set":{"_id":3}}`, `{"_id":3}`},
	}
	for _, tt := range tests {
		m, err := match.Compile(parse(t, tt.filter), match.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := compile(t, tt.update).UpsertDocument(nil, m, newID)
		if err != nil || string(got) != string(parse(t, tt.want)) {
			t.Errorf("%s %s: got %s, %v, want %s", tt.filter, tt.update, bsonval.FormatDoc(got), err, tt.want)
		}
	}
	m, _ := match.Compile(parse(t, `{"a":1,"$and":[{"a":2}]}`), match.Options{})
	if _, err := compile(t, `{"$set":{"b":1}}`).UpsertDocument(nil, m, newID); !mongoerr.Is(err, mongoerr.NotSingleValueField) {
		t.Errorf("two values: %v", err)
	}
}

func TestTouches(t *testing.T) {
	tests := []struct {
		update, path string
		want         bool
	}{
		{`{"$set":{"a":1}}`, "a", true}, {`{"$set":{"a":1}}`, "a.b", true}, {`{"$set":{"a.b":1}}`, "a", true},
		{`{"$set":{"a.b":1}}`, "a.c", false}, {`{"$set":{"a":1}}`, "ab", false}, {`{"$set":{"a.$[].b":1}}`, "a.b", true},
		{`{"$set":{"a.0.b":1}}`, "a.b", true}, {`{"$set":{"a.$.b":1}}`, "a.c", false}, {`{"$rename":{"a":"b"}}`, "b", true},
		{`{"$rename":{"a":"b"}}`, "a", true}, {`{"x":1}`, "q", true}, {`{"$set":{"a.b":1}}`, "a.0.b", true},
	}
	for _, tt := range tests {
		if got := compile(t, tt.update).Touches(tt.path); got != tt.want {
			t.Errorf("%s touches %s: %v", tt.update, tt.path, got)
		}
	}
}

// hot is the document and updates of the hot path.
func hot(t testing.TB) bsonval.Doc {
	b := bsonval.NewBuilder().Int32("_id", 1).Int32("a", 0).Int64("n", 0)
	for _, name := range []string{"street", "city", "country", "phone", "mail", "notes"} {
		b.Str(name, "sixty characters of text that fill the document up to its size")
	}
	return b.Build()
}

func TestHotPathAllocatesOnce(t *testing.T) {
	d := hot(t)
	for _, s := range []string{`{"$set":{"a":1}}`, `{"$inc":{"n":1}}`} {
		p := compile(t, s)
		if n := testing.AllocsPerRun(100, func() {
			if _, changed, err := p.Apply(nil, d, update.Input{ArrayIndex: -1}); !changed || err != nil {
				t.Fatal(changed, err)
			}
		}); n > 1 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	d := hot(b)
	for _, s := range []string{`{"$set":{"a":1}}`, `{"$inc":{"n":1}}`} {
		p := compile(b, s)
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := p.Apply(nil, d, update.Input{ArrayIndex: -1}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzApply checks that no update and no document make the package panic, write
// to the document, write malformed ones, or change a field that Touches denies.
func FuzzApply(f *testing.F) {
	doc := parse(f, `{"_id":1,"a":[1,{"b":"x"}],"c":{"d":1},"n":5}`)
	for _, s := range []string{
		`{"$set":{"a.1.b":1}}`, `{"$push":{"a":{"$each":[1],"$sort":-1}}}`, `{"$pull":{"a":{"b":"x"}}}`, `{"$rename":{"n":"c.e"}}`,
		`{"$inc":{"n":1,"c.d":2}}`, `{"$unset":{"a.0":1}}`, `{"$set":{"a.$[].b":2}}`, `{"x":1}`, `{"$bit":{"n":{"xor":3}}}`, `{"$set":{"a.$":1}}`,
	} {
		f.Add([]byte(parse(f, s)), []byte(doc))
	}
	f.Fuzz(func(t *testing.T, u, doc []byte) {
		if bsonval.Validate(u) != nil || bsonval.Validate(doc) != nil {
			return
		}
		p, err := update.Compile(bsonval.Document(u), update.Options{})
		if err != nil {
			if mongoerr.As(err) == nil {
				t.Fatalf("error without code: %v", err)
			}
			return
		}
		d := bsonval.Doc(doc)
		before := string(d)
		out, _, err := p.Apply(nil, d, update.Input{ArrayIndex: 0})
		if string(d) != before {
			t.Fatal("the document was written to")
		}
		if err != nil {
			return
		}
		if err := bsonval.Validate(out); err != nil {
			t.Fatalf("malformed result: %v", err)
		}
		it := d.Iter()
		for it.Next() {
			if !bsonval.Identical(d.Lookup(it.KeyStr()), out.Lookup(it.KeyStr())) && !p.Touches(it.KeyStr()) {
				t.Fatalf("%q changed, but is said not to be touched", it.Key())
			}
		}
	})
}
