package indexkey

import (
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func document(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(json), false, &raw); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return bsonval.Doc(raw)
}

// fieldsOf reads "a b.c -d": paths, descending ones with a minus.
func fieldsOf(s string) []Field {
	var fields []Field
	for part := range strings.FieldsSeq(s) {
		path, desc := strings.CutPrefix(part, "-")
		fields = append(fields, Field{Path: path, Desc: desc})
	}
	return fields
}

// show prints keys as "1,x 2,y".
func show(t testing.TB, k *Keys, fields []Field) string {
	t.Helper()
	desc := make([]bool, len(fields))
	for i, f := range fields {
		desc[i] = f.Desc
	}
	var keys []string
	for _, key := range k.List {
		vals, err := keystring.Decode(nil, key.Bytes, key.TypeBits, desc, len(fields))
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, v := range vals {
			parts = append(parts, strings.ReplaceAll(bsonval.Format(v), " ", ""))
		}
		keys = append(keys, strings.Join(parts, ","))
	}
	return strings.Join(keys, " ")
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		fields, doc, want string
		multikey          uint32
		sparse            bool
	}{
		{fields: "a", doc: `{"a": 5}`, want: "5"},
		{fields: "a", doc: `{"b": 5}`, want: "null"},
		{fields: "a", doc: `{"a": null}`, want: "null"},
		{fields: "a", doc: `{"a": {"b": 1}}`, want: "{b:1}"},
		{fields: "a", doc: `{"a": 1.5}`, want: "1.5"},
		{fields: "a", doc: `{"a": [3, 1, 2, 1]}`, want: "1 2 3", multikey: 1},
		{fields: "-a", doc: `{"a": [3, 1, 2]}`, want: "3 2 1", multikey: 1},
		{fields: "a", doc: `{"a": []}`, want: "undefined", multikey: 1},
		{fields: "a", doc: `{"a": [[]]}`, want: "[]", multikey: 1},
		{fields: "a", doc: `{"a": [[1, 2], 3]}`, want: "3 [1,2]", multikey: 1},
		{fields: "a", doc: `{"a": [null]}`, want: "null", multikey: 1},
		{fields: "a.b", doc: `{"a": {"b": 7}}`, want: "7"},
		{fields: "a.b", doc: `{"a": {"b": [7, 8]}}`, want: "7 8", multikey: 1},
		{fields: "a.b", doc: `{"a": [{"b": 7}, {"b": 8}]}`, want: "7 8", multikey: 1},
		{fields: "a.b", doc: `{"a": [{"b": [7, 9]}, {"b": 8}]}`, want: "7 8 9", multikey: 1},
		{fields: "a.b", doc: `{"a": [{"b": 7}, {"c": 8}, 5]}`, want: "null 7", multikey: 1},
		{fields: "a.b", doc: `{"a": []}`, want: "null", multikey: 1},
		{fields: "a.b", doc: `{"a": [{"b": []}]}`, want: "undefined", multikey: 1},
		{fields: "a.b", doc: `{"a": 5}`, want: "null"},
		{fields: "a.b", doc: `{"a": [[{"b": 1}]]}`, want: "null", multikey: 1},
		{fields: "a.0", doc: `{"a": [7, 8]}`, want: "7"},
		{fields: "a.1", doc: `{"a": [7, [8, 9]]}`, want: "8 9", multikey: 1},
		{fields: "a.0.b", doc: `{"a": [{"b": 5}, {"b": 6}]}`, want: "5"},
		{fields: "a.5", doc: `{"a": [7, 8]}`, want: "null", multikey: 1},
		{fields: "a.0", doc: `{"a": {"0": 7}}`, want: "7"},
		{fields: "a b", doc: `{"a": 1, "b": "x"}`, want: `1,"x"`},
		{fields: "a b", doc: `{"a": [1, 2], "b": "x"}`, want: `1,"x" 2,"x"`, multikey: 1},
		{fields: "a -b", doc: `{"a": 1, "b": [2, 3]}`, want: `1,3 1,2`, multikey: 2},
		{fields: "a.b a.c", doc: `{"a": [{"b": 1, "c": 2}, {"b": 3}]}`, want: "1,2 3,null", multikey: 3},
		{fields: "a.b a.c", doc: `{"a": [{"b": [1, 2], "c": 3}]}`, want: "1,3 2,3", multikey: 3},
		{fields: "a a.b", doc: `{"a": [{"b": 1}, 2]}`, want: "2,null {b:1},1", multikey: 3},
		{fields: "a b", doc: `{}`, want: "null,null"},
		{fields: "a", doc: `{}`, sparse: true, want: ""},
		{fields: "a", doc: `{"a": null}`, sparse: true, want: "null"},
		{fields: "a b", doc: `{"b": 1}`, sparse: true, want: "null,1"},
		{fields: "a b", doc: `{"c": 1}`, sparse: true, want: ""},
		{fields: "a.b", doc: `{"a": [{"c": 1}, {"b": 2}]}`, sparse: true, want: "2", multikey: 1},
	} {
		var k Keys
		fields := fieldsOf(c.fields)
		if err := k.Of(New(fields, c.sparse), document(t, c.doc), nil); err != nil {
			t.Errorf("{%s} %s: %v", c.fields, c.doc, err)
			continue
		}
		if got := show(t, &k, fields); got != c.want || k.Multikey != c.multikey {
			t.Errorf("{%s} %s sparse %v: got %s (mask %b), want %s (mask %b)", c.fields, c.doc, c.sparse, got, k.Multikey, c.want, c.multikey)
		}
	}
}

func TestParallelArrays(t *testing.T) {
	for _, c := range []struct{ fields, doc, want string }{
		{"a b", `{"a": [1], "b": [2]}`, "cannot index parallel arrays [b] [a]"},
		{"a b", `{"a": [], "b": []}`, "cannot index parallel arrays [b] [a]"},
		{"a.b a.c", `{"a": [{"b": [1], "c": [2]}]}`, "cannot index parallel arrays [c] [b]"},
		{"a.b c.d", `{"a": [{"b": 1}], "c": [{"d": 2}]}`, "cannot index parallel arrays [c] [a]"},
	} {
		var k Keys
		err := k.Of(New(fieldsOf(c.fields), false), document(t, c.doc), nil)
		if e := mongoerr.As(err); e == nil || e.Code != mongoerr.CannotIndexParallelArrays || e.Message != c.want {
			t.Errorf("{%s} %s: got %v, want %s", c.fields, c.doc, err, c.want)
		}
	}
}

func TestAmbiguousName(t *testing.T) {
	var k Keys
	err := k.Of(New(fieldsOf("a.0"), false), document(t, `{"a": [{"0": 1}]}`), nil)
	if e := mongoerr.As(err); e == nil || e.Code != 16746 {
		t.Errorf("got %v", err)
	}
}

// TestReuse computes keys of several documents with one Keys.
func TestReuse(t *testing.T) {
	g := New(fieldsOf("a"), false)
	var k Keys
	for _, c := range []struct{ doc, want string }{
		{`{"a": [1, 2, 3]}`, "1 2 3"}, {`{"a": 9}`, "9"}, {`{"a": []}`, "undefined"}, {`{}`, "null"},
	} {
		if err := k.Of(g, document(t, c.doc), nil); err != nil || show(t, &k, fieldsOf("a")) != c.want {
			t.Errorf("%s: %v %v", c.doc, show(t, &k, fieldsOf("a")), err)
		}
	}
}

func TestDiff(t *testing.T) {
	g := New(fieldsOf("a"), false)
	for _, c := range []struct{ old, new, removed, added string }{
		{`{"a": [1, 2, 3]}`, `{"a": [2, 4]}`, "1 3", "4"},
		{`{"a": 1}`, `{"a": 1}`, "", ""},
		{`{"a": 1}`, `{"a": 1.0}`, "1", "1.0"}, // the key is equal, the type bits differ
		{`{}`, `{"a": 5}`, "null", "5"},
	} {
		var before, after, removed, added Keys
		if err := before.Of(g, document(t, c.old), nil); err != nil {
			t.Fatal(err)
		}
		if err := after.Of(g, document(t, c.new), nil); err != nil {
			t.Fatal(err)
		}
		err := Diff(&before, &after,
			func(k Key) error { removed.List = append(removed.List, k); return nil },
			func(k Key) error { added.List = append(added.List, k); return nil })
		if r, a := show(t, &removed, g.fields), show(t, &added, g.fields); err != nil || r != c.removed || a != c.added {
			t.Errorf("%s to %s: removed %s, added %s, %v", c.old, c.new, r, a, err)
		}
	}
}

// naive lists the values at a path the way the documentation tells it, for one
// field.
func naive(v bsonval.Value, path []string) []bsonval.Value {
	if v.Type() == bsonval.TypeArray {
		var out []bsonval.Value
		for _, e := range v.Doc().Values(nil) {
			switch {
			case len(path) == 0:
				out = append(out, e)
			case e.Type() == bsonval.TypeDocument:
				out = append(out, naive(e.Doc().Lookup(path[0]), path[1:])...)
			default:
				out = append(out, bsonval.Null)
			}
		}
		if len(out) == 0 {
			if len(path) == 0 {
				return []bsonval.Value{bsonval.Undefined}
			}
			return []bsonval.Value{bsonval.Null}
		}
		return out
	}
	switch {
	case len(path) == 0 && v.IsMissing(), len(path) > 0 && v.Type() != bsonval.TypeDocument:
		return []bsonval.Value{bsonval.Null}
	case len(path) == 0:
		return []bsonval.Value{v}
	}
	return naive(v.Doc().Lookup(path[0]), path[1:])
}

func drawValue(t *rapid.T, depth int) bsonval.Value {
	most := 7
	if depth == 0 {
		most = 4
	}
	switch rapid.IntRange(0, most).Draw(t, "kind") {
	case 0, 1:
		return bsonval.Int32(int32(rapid.IntRange(0, 3).Draw(t, "int")))
	case 2:
		return bsonval.String(rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "string"))
	case 3:
		return bsonval.Null
	case 4:
		return bsonval.Document(bsonval.EmptyDoc)
	case 5:
		b := bsonval.NewBuilder()
		for _, name := range []string{"a", "b"} {
			if rapid.Bool().Draw(t, name) {
				b.Value(name, drawValue(t, depth-1))
			}
		}
		return bsonval.Document(b.Build())
	}
	b := bsonval.NewArrayBuilder()
	for range rapid.IntRange(0, 3).Draw(t, "length") {
		b.Add(drawValue(t, depth-1))
	}
	return bsonval.Array(b.Build())
}

func TestKeysAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := bsonval.NewBuilder()
		if rapid.IntRange(0, 9).Draw(t, "present") > 0 {
			b.Value("a", drawValue(t, 3))
		}
		d := b.Build()
		path := rapid.SampledFrom([]string{"a", "a.b", "a.b.a", "a.a.b"}).Draw(t, "path")
		desc := rapid.Bool().Draw(t, "desc")
		var want []string
		for _, v := range naive(bsonval.Document(d), strings.Split(path, ".")) {
			want = append(want, string(keystring.Append(nil, v, desc, nil)))
		}
		slices.Sort(want)
		want = slices.Compact(want)
		var k Keys
		if err := k.Of(New([]Field{{Path: path, Desc: desc}}, false), d, nil); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, key := range k.List {
			got = append(got, string(key.Bytes))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s of %s: got %q, want %q", path, bsonval.FormatDoc(d), got, want)
		}
		if len(got) > 1 && k.Multikey == 0 {
			t.Fatal("several keys, but not multikey")
		}
	})
}

// FuzzKeys looks for documents that crash the generator.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(document(f, `{"a": [{"b": [1, 2]}, 3], "c": {"0": []}}`)))
	fields := fieldsOf("a.b -c.0 d")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bsonval.Validate(raw) != nil {
			return
		}
		var k Keys
		if err := k.Of(New(fields, true), bsonval.Doc(raw), nil); err != nil {
			return
		}
		for i := 1; i < len(k.List); i++ {
			if string(k.List[i-1].Bytes) >= string(k.List[i].Bytes) {
				t.Fatal("keys are not in order")
			}
		}
	})
}
