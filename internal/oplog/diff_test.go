package oplog

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// js reads relaxed extended JSON.
func js(t testing.TB, s string) bsonval.Doc {
	t.Helper()
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(s), false, &d); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	b, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func show(d bsonval.Doc) string { return bsonval.FormatDoc(d) }

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name, old, new, diff string
		paths                []string // of operators; nil: a pipeline
	}{
		{"update", `{"_id":1,"a":1,"b":2}`, `{"_id":1,"a":1,"b":3}`, `{"u":{"b":3}}`, nil},
		{"type alone", `{"a":1}`, `{"a":1.0}`, `{"u":{"a":1.0}}`, nil},
		{"insert", `{"_id":1,"a":1}`, `{"_id":1,"a":1,"b":3}`, `{"i":{"b":3}}`, nil},
		{"remove", `{"_id":1,"a":1,"b":2}`, `{"_id":1,"b":2}`, `{"d":{"a":false}}`, nil},
		{"all sections", `{"a":1,"b":2,"c":{"x":1,"y":"long enough to be kept"}}`, `{"b":3,"c":{"x":2,"y":"long enough to be kept"},"d":4}`,
			`{"d":{"a":false},"u":{"b":3},"i":{"d":4},"sc":{"u":{"x":2}}}`, nil},
		{"swap", `{"a":1,"b":2}`, `{"b":2,"a":1}`, `{"i":{"a":1}}`, nil},
		{"moves and stays", `{"a":1,"b":2,"c":3}`, `{"b":2,"a":1,"c":3}`, `{"i":{"a":1,"c":3}}`, nil},
		{"array element", `{"a":[1,2,"something that is longer"]}`, `{"a":[1,5,"something that is longer"]}`, `{"sa":{"a":true,"u1":5}}`, nil},
		{"array grows", `{"a":[1,2,3,4,5,6]}`, `{"a":[1,2,3,4,5,6,7]}`, `{"sa":{"a":true,"u6":7}}`, nil},
		{"array shrinks", `{"a":[1,2,3,4,5]}`, `{"a":[1,2,3,4]}`, `{"sa":{"a":true,"l":4}}`, nil},
		{"array shrinks and changes", `{"a":[{"x":1,"y":"aaaaaaaaaaaaaaaaaaaaaa"},2,3]}`, `{"a":[{"x":2,"y":"aaaaaaaaaaaaaaaaaaaaaa"},2]}`,
			`{"sa":{"a":true,"l":2,"s0":{"u":{"x":2}}}}`, nil},
		{"array to document", `{"a":[1]}`, `{"a":{"0":1}}`, `{"u":{"a":{"0":1}}}`, nil},
		{"larger inside", `{"a":{"b":1}}`, `{"a":{"c":2}}`, `{"u":{"a":{"c":2}}}`, nil},
		{"operator is never logged whole for its size", `{"a":{"b":1}}`, `{"a":{"c":2}}`, `{"sa":{"d":{"b":false},"i":{"c":2}}}`, []string{"a.b", "a.c"}},
		{"$set of a document", `{"a":{"b":1,"c":"something long enough"}}`, `{"a":{"b":2,"c":"something long enough"}}`,
			`{"u":{"a":{"b":2,"c":"something long enough"}}}`, []string{"a"}},
		{"$set behind", `{"a":{"b":{"x":1}}}`, `{"a":{"b":{"x":2}}}`, `{"sa":{"u":{"b":{"x":2}}}}`, []string{"a.b"}},
		{"$push", `{"a":[1]}`, `{"a":[1,2]}`, `{"sa":{"a":true,"u1":2}}`, []string{}},
		{"$push on an empty array", `{"a":[]}`, `{"a":[2]}`, `{"u":{"a":[2]}}`, []string{}},
		{"$set of an element of an empty array", `{"a":[]}`, `{"a":[2]}`, `{"sa":{"a":true,"u0":2}}`, []string{"a.0"}},
		{"$push null", `{"a":[1]}`, `{"a":[1,null,2]}`, `{"sa":{"a":true,"u1":null,"u2":2}}`, []string{}},
		{"$set past the end", `{"a":[1]}`, `{"a":[1,null,2]}`, `{"sa":{"a":true,"u2":2}}`, []string{"a.2"}},
		{"$pull", `{"a":[1,2,3,4]}`, `{"a":[1,2,3]}`, `{"u":{"a":[1,2,3]}}`, []string{"a"}},
		{"every element", `{"a":[{"x":{"y":1}},{"x":{"y":1}}]}`, `{"a":[{"x":{"y":2}},{"x":{"y":2}}]}`,
			`{"sa":{"a":true,"s0":{"u":{"x":{"y":2}}},"s1":{"u":{"x":{"y":2}}}}}`, []string{"a.$[].x"}},
		{"two array filters", `{"a":[{"x":{"y":1},"z":[1]}]}`, `{"a":[{"x":{"y":2},"z":[2]}]}`,
			`{"sa":{"a":true,"s0":{"u":{"x":{"y":2},"z":[2]}}}}`, []string{"a.$[e].x", "a.0.z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f Differ
			var targets *Targets
			if c.paths != nil {
				targets = NewTargets(c.paths...)
			}
			old, new := js(t, c.old), js(t, c.new)
			got, ok := f.Diff(nil, old, new, targets)
			if want := js(t, c.diff); !ok || !bytes.Equal(got, want) {
				t.Fatalf("got %s %v, want %s", show(got), ok, show(want))
			}
			back, err := Apply(old, got)
			if err != nil || !bytes.Equal(back, new) {
				t.Fatalf("applied: %s %v", show(back), err)
			}
		})
	}
}

func TestTwinsHaveNoDiff(t *testing.T) {
	one := bsonval.Int32(1)
	twins := bsonval.NewBuilder().Value("a", one).Value("a", one).Build()
	single := bsonval.NewBuilder().Value("a", one).Build()
	wrap := func(d bsonval.Doc) bsonval.Doc { return bsonval.NewBuilder().Doc("x", d).Build() }
	if _, ok := Diff(twins, single); ok {
		t.Error("old has twins")
	}
	if _, ok := Diff(single, twins); ok {
		t.Error("new has twins")
	}
	var f Differ
	d, ok := f.Diff(nil, wrap(single), wrap(twins), nil)
	if back, _ := Apply(wrap(single), d); !ok || !bytes.Equal(back, wrap(twins)) {
		t.Errorf("a value with twins is logged whole: %s %v", show(d), ok)
	}
}

func TestSmaller(t *testing.T) {
	if _, ok := Diff(js(t, `{"_id":1,"a":1}`), js(t, `{"_id":1,"a":2}`)); ok {
		t.Error("the new document is shorter than its diff")
	}
	if _, ok := Diff(js(t, `{"_id":1,"a":1,"b":"a rather long string in this document"}`), js(t, `{"_id":1,"a":2,"b":"a rather long string in this document"}`)); !ok {
		t.Error("the diff is shorter than the new document")
	}
}

func genDoc(t *rapid.T, depth int, twins bool) bsonval.Doc {
	b := bsonval.NewBuilder()
	names := []string{"a", "b", "c", "d", "ab", "", "0", "1", "x.y", "longer name"}
	if !twins {
		names = rapid.Permutation(names).Draw(t, "names")
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "fields") {
		name := names[i]
		if twins {
			name = rapid.SampledFrom(names).Draw(t, "name")
		}
		b.Value(name, genValue(t, depth))
	}
	return b.Build()
}

func genValue(t *rapid.T, depth int) bsonval.Value {
	kind := rapid.IntRange(0, 8).Draw(t, "kind")
	switch {
	case kind < 2 && depth > 0:
		return bsonval.Document(genDoc(t, depth-1, false))
	case kind < 4 && depth > 0:
		b := bsonval.NewArrayBuilder()
		for range rapid.IntRange(0, 12).Draw(t, "elements") {
			b.Add(genValue(t, depth-1))
		}
		return bsonval.Array(b.Build())
	case kind == 4:
		return bsonval.Null
	case kind == 5:
		return bsonval.String(rapid.SampledFrom([]string{"", "x", "a string of some length"}).Draw(t, "string"))
	case kind == 6:
		return bsonval.Double(1)
	}
	return bsonval.Int32(rapid.Int32Range(0, 2).Draw(t, "int"))
}

// mutate makes a document like d, as an update would.
func mutate(t *rapid.T, d bsonval.Doc, array bool, depth int) bsonval.Doc {
	b := bsonval.NewBuilder()
	if array {
		b = bsonval.NewArrayBuilder()
	}
	used := map[string]bool{}
	it := d.Iter()
	for it.Next() {
		name, v := it.KeyStr(), it.Value()
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			continue
		case 1:
			v = genValue(t, 1)
		case 2, 3, 4:
			if v.Type() == bsonval.TypeDocument {
				v = bsonval.Document(mutate(t, v.Doc(), false, depth-1))
			} else if v.Type() == bsonval.TypeArray {
				v = bsonval.Array(mutate(t, v.Doc(), true, depth-1))
			}
		}
		used[name] = true
		b.Value(name, v)
	}
	for range rapid.IntRange(0, 2).Draw(t, "more") {
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name")
		if array || !used[name] {
			b.Value(name, genValue(t, 1))
			used[name] = true
		}
	}
	return b.Build()
}

func TestApplyUndoesDiff(t *testing.T) {
	targets := []*Targets{nil, NewTargets(), NewTargets("a", "b.c"), NewTargets("a.0", "a.$[].b", "c.2.a"), NewTargets("d.3", "b.1")}
	rapid.Check(t, func(t *rapid.T) {
		twins := rapid.IntRange(0, 9).Draw(t, "twins") == 0
		old := genDoc(t, 3, twins)
		var new bsonval.Doc
		if rapid.Bool().Draw(t, "unlike") {
			new = genDoc(t, 3, twins)
		} else {
			new = mutate(t, old, false, 3)
		}
		var f Differ
		at := rapid.IntRange(0, len(targets)-1).Draw(t, "targets")
		prefix := []byte("prefix")
		got, ok := f.Diff(prefix, old, new, targets[at])
		if !ok {
			if !hasTwins(old) && !hasTwins(new) {
				t.Fatalf("no diff of %s and %s", show(old), show(new))
			}
			return
		}
		diff := bsonval.Doc(got[len(prefix):])
		if err := bsonval.Validate(diff); err != nil {
			t.Fatal(err)
		}
		back, err := Apply(old, diff)
		if err != nil || !bytes.Equal(back, new) {
			t.Fatalf("%s and %s give %s, applied %s, %v", show(old), show(new), show(diff), show(back), err)
		}
		if _, err := UpdateDescription(diff, true); err != nil {
			t.Fatalf("%s: %v", show(diff), err)
		}
	})
}

// hasTwins is the naive model of Differ.hasTwins.
func hasTwins(d bsonval.Doc) bool {
	seen := map[string]bool{}
	it := d.Iter()
	for it.Next() {
		if seen[string(it.Key())] {
			return true
		}
		seen[string(it.Key())] = true
	}
	return false
}

func TestWideDocuments(t *testing.T) {
	const n = 40_000
	wide := func(from, step int, extra string) bsonval.Doc {
		b := bsonval.NewBuilder()
		for i := range n {
			b.Int32(string(bsonval.AppendIndexKey([]byte("f"), from+i*step)), 1)
		}
		if extra != "" {
			b.Int32(extra, 1)
		}
		return b.Build()
	}
	up, down, other := wide(0, 1, ""), wide(n-1, -1, ""), wide(n/2, 1, "")
	var f Differ
	for _, new := range []bsonval.Doc{down, other} { // must not take time in the square of n
		d, ok := f.Diff(nil, up, new, nil)
		back, err := Apply(up, d)
		if !ok || err != nil || !bytes.Equal(back, new) {
			t.Errorf("%v %v", ok, err)
		}
	}
	if f.hasTwins(up) || !f.hasTwins(wide(0, 1, "f7")) || !f.hasTwins(wide(0, 1, "f39999")) {
		t.Error("twins")
	}
	for i := range 600 {
		b := bsonval.NewBuilder()
		for j := range i {
			b.Int32(string(bsonval.AppendIndexKey(nil, j)), 1)
		}
		if d := b.Build(); f.hasTwins(d) {
			t.Errorf("twins among %d different names", i)
		}
	}
}

func FuzzApply(f *testing.F) {
	old := bsonval.NewBuilder().Int32("a", 1).StartDoc("d").Int32("x", 1).End().StartArray("l").Add(bsonval.Null).Add(bsonval.True).Build()
	f.Add([]byte(old), []byte(js(f, `{"d":{"a":false},"u":{"b":1},"i":{"c":1},"sd":{"u":{"x":2}},"sl":{"a":true,"l":1,"u0":1,"s3":{"u":{"x":1}}}}`)))
	f.Fuzz(func(t *testing.T, old, diff []byte) {
		if bsonval.Validate(old) != nil || len(diff) > 1<<10 {
			return
		}
		out, err := Apply(old, diff)
		if err == nil && !hasTwins(diff) && bsonval.Validate(out) != nil && !bsonval.DeeperThan(out, bsonval.MaxDepth) {
			t.Fatalf("%x", out)
		}
		if err == nil {
			_, _ = UpdateDescription(diff, true)
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	bd := bsonval.NewBuilder().Int32("_id", 1)
	for i := range 12 {
		bd.Str("field"+string(rune('a'+i)), "some text of a usual length")
	}
	base := bd.StartDoc("sub").Int32("n", 1).Str("s", "text").End().Build()
	new, err := Apply(base, js(b, `{"u":{"fieldc":"other"},"ssub":{"u":{"n":2}}}`))
	if err != nil {
		b.Fatal(err)
	}
	targets := NewTargets("fieldc", "sub.n")
	var f Differ
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = f.Diff(buf[:0], base, new, targets)
	}
}
