package indexkey

import (
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func doc(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(json), false, &raw); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return bsonval.Doc(raw)
}

// generator makes the generator of an index's specification.
func generator(t testing.TB, spec string) Generator {
	t.Helper()
	s := Spec{Options: doc(t, spec)}
	key := s.Options.Lookup("key").Doc()
	it := key.Iter()
	for it.Next() {
		s.Fields = append(s.Fields, Field{Path: string(it.Key()), Desc: it.Value().IsNumber() && it.Value().AsDouble() < 0})
	}
	s.Kind, s.Sparse = KindOf(key), s.Options.Lookup("sparse").Truthy()
	g, err := Make(s)
	if err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return g
}

func TestKindsOfKeys(t *testing.T) {
	hash := func(v bsonval.Value) string { return bsonval.Format(bsonval.Int64(bsonval.HashedKey(v))) }
	for _, tc := range []struct {
		spec, doc string
		desc      []bool
		n         int
		want      []string // components joined by " | "
		multikey  uint32
	}{
		{`{"key": {"a": "hashed"}}`, `{"a": 5}`, nil, 1, []string{hash(bsonval.Int32(5))}, 0},
		{`{"key": {"a": "hashed"}}`, `{}`, nil, 1, []string{hash(bsonval.Null)}, 0},
		{`{"key": {"a": "hashed"}, "sparse": true}`, `{"b": 1}`, nil, 1, nil, 0},
		{`{"key": {"b": -1, "a.c": "hashed"}}`, `{"b": 2, "a": {"c": "x"}}`, []bool{true, false}, 2,
			[]string{"2 | " + hash(bsonval.String("x"))}, 0},
		{`{"key": {"$**": 1}}`, `{"_id": 1, "a": {"b": 1, "c": {}}, "d": [1, {"e": 2}, [3], []]}`, nil, 2,
			[]string{`"a.b" | 1`, `"a.c" | {}`, `"d" | 1`, `"d" | []`, `"d" | [ 3 ]`, `"d.e" | 2`}, 2},
		{`{"key": {"$**": 1}}`, `{"a": []}`, nil, 2, []string{`"a" | undefined`}, 2},
		{`{"key": {"a.$**": 1}}`, `{"a": {"b": 1}, "ab": 2, "b": {"a": 1}}`, nil, 2, []string{`"a.b" | 1`}, 0},
		{`{"key": {"$**": 1}, "wildcardProjection": {"a": 0, "b.c": 0}}`, `{"_id": 1, "a": 1, "b": {"c": 1, "d": 2}, "e": 3}`,
			nil, 2, []string{`"b.d" | 2`, `"e" | 3`}, 0},
		{`{"key": {"$**": 1}, "wildcardProjection": {"_id": 1, "b": {"c": 1}}}`, `{"_id": 1, "a": 1, "b": {"c": {"x": 1}, "d": 2}}`,
			nil, 2, []string{`"_id" | 1`, `"b.c.x" | 1`}, 0},
		{`{"key": {"$**": 1}, "wildcardProjection": {"_id": 1}}`, `{"_id": 7, "a": 1}`, nil, 2, []string{`"_id" | 7`}, 0},
		{`{"key": {"x": 1, "a.$**": -1, "y": 1}}`, `{"x": 9, "a": {"b": 1}, "y": 8}`, []bool{false, false, true, false}, 4,
			[]string{`9 | "a.b" | 1 | 8`}, 0},
		{`{"key": {"x": 1, "a.$**": 1}}`, `{"x": 9}`, nil, 3, []string{`9 | MinKey | MinKey`}, 0},
		{`{"key": {"p": 1, "_fts": "text", "_ftsx": 1, "s": 1}, "weights": {"t": 2}}`, `{"p": 1, "t": "tea time", "s": 3}`, nil, 4,
			[]string{`1 | "tea" | 1.5 | 3`, `1 | "time" | 1.5 | 3`}, 2},
		{`{"key": {"_fts": "text", "_ftsx": 1}, "weights": {"t": 2}}`, `{"t": 5}`, nil, 2, nil, 0},
	} {
		var k Keys
		if err := k.Of(generator(t, tc.spec), doc(t, tc.doc), nil); err != nil {
			t.Errorf("%s %s: %v", tc.spec, tc.doc, err)
			continue
		}
		var got []string
		for _, key := range k.List {
			vals, err := keystring.Decode(nil, key.Bytes, key.TypeBits, tc.desc, tc.n)
			if err != nil {
				t.Fatal(err)
			}
			s := ""
			for i, v := range vals {
				if i > 0 {
					s += " | "
				}
				s += bsonval.Format(v)
			}
			got = append(got, s)
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(tc.want))
		if !slices.Equal(got, want) || k.Multikey != tc.multikey {
			t.Errorf("%s %s: %q multikey %b, want %q %b", tc.spec, tc.doc, got, k.Multikey, want, tc.multikey)
		}
	}
}

func TestKeysRefused(t *testing.T) {
	for _, tc := range []struct {
		spec, doc string
		code      mongoerr.Code
	}{
		{`{"key": {"a": "hashed"}}`, `{"a": [1]}`, 16766},
		{`{"key": {"a.b": "hashed"}}`, `{"a": [{"b": 1}]}`, 16766},
		{`{"key": {"a": "hashed", "b": 1}}`, `{"a": 1, "b": []}`, 16766},
		{`{"key": {"x": 1, "a.$**": 1}}`, `{"x": [1, 2], "a": {"b": 1}}`, 7246301},
		{`{"key": {"p": 1, "_fts": "text", "_ftsx": 1}, "weights": {"t": 1}}`, `{"p": [1, 2], "t": "tea"}`, 16675},
		{`{"key": {"_fts": "text", "_ftsx": 1}, "weights": {"t": 1}}`, `{"t": "tea", "language": 1}`, 17261},
	} {
		var k Keys
		if err := k.Of(generator(t, tc.spec), doc(t, tc.doc), nil); !mongoerr.Is(err, tc.code) {
			t.Errorf("%s %s: %v, want code %d", tc.spec, tc.doc, err, tc.code)
		}
	}
}

func TestWildcardCovers(t *testing.T) {
	for _, tc := range []struct {
		spec, path string
		want       bool
	}{
		{`{"key": {"$**": 1}}`, "a.b", true},
		{`{"key": {"$**": 1}}`, "_id", false},
		{`{"key": {"a.$**": 1}}`, "a", true},
		{`{"key": {"a.$**": 1}}`, "ab", false},
		{`{"key": {"$**": 1}, "wildcardProjection": {"a.b": 0}}`, "a", false},
		{`{"key": {"$**": 1}, "wildcardProjection": {"a.b": 0}}`, "a.c", true},
		{`{"key": {"$**": 1}, "wildcardProjection": {"a.b": 1}}`, "a.b.c", true},
		{`{"key": {"$**": 1}, "wildcardProjection": {"a.b": 1}}`, "a", false},
	} {
		if got := generator(t, tc.spec).(*Wildcard).Covers(tc.path); got != tc.want {
			t.Errorf("%s %s: %v", tc.spec, tc.path, got)
		}
	}
}
