package copier

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/oplog"
)

// js reads relaxed extended JSON.
func js(t testing.TB, s string) Doc {
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

func TestApplyDelta(t *testing.T) {
	for _, c := range []struct{ name, doc, delta, want string }{
		{"set", `{"_id":1,"a":1}`, `{"updatedFields":{"a":2,"b":3}}`, `{"_id":1,"a":2,"b":3}`},
		{"inside", `{"_id":1,"a":{"b":{"c":1}}}`, `{"updatedFields":{"a.b.c":2,"a.b.d":3}}`, `{"_id":1,"a":{"b":{"c":2,"d":3}}}`},
		{"remove", `{"_id":1,"a":{"b":1,"c":2},"d":3}`, `{"removedFields":["a.b","d"]}`, `{"_id":1,"a":{"c":2}}`},
		{"array", `{"a":[1,{"x":1}]}`, `{"updatedFields":{"a.0":5,"a.1.x":6,"a.2":7}}`, `{"a":[5,{"x":6},7]}`},
		{"gap", `{"a":[1]}`, `{"updatedFields":{"a.3":5}}`, `{"a":[1,null,null,5]}`},
		{"truncate", `{"a":[1,2,3,4]}`, `{"truncatedArrays":[{"field":"a","newSize":2}],"updatedFields":{"a.0":9}}`, `{"a":[9,2]}`},
		{"dots", `{"a.b":1,"a":{"b":1}}`, `{"updatedFields":{"a.b":2},"disambiguatedPaths":{"a.b":["a.b"]}}`, `{"a.b":2,"a":{"b":1}}`},
		{"digits", `{"a":{"0":1}}`, `{"updatedFields":{"a.0":2},"disambiguatedPaths":{"a.0":["a","0"]}}`, `{"a":{"0":2}}`},
		{"no way through a number", `{"a":1,"c":1}`, `{"updatedFields":{"a.b":2,"c":5}}`, `{"a":1,"c":5}`},
		{"no way through nothing", `{"c":1}`, `{"updatedFields":{"a.b":2},"removedFields":["d.e"]}`, `{"c":1}`},
		{"field of an array", `{"a":[1]}`, `{"updatedFields":{"a.b":2}}`, `{"a":[1]}`},
		{"far", `{"a":[1]}`, `{"updatedFields":{"a.99999999":2}}`, `{"a":[1]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := applyDelta(js(t, c.doc), js(t, c.delta)); !bytes.Equal(got, js(t, c.want)) {
				t.Errorf("got %s, want %s", bsonval.FormatDoc(got), c.want)
			}
		})
	}
}

// genDoc makes documents whose fields are often the same.
func genDoc(t *rapid.T, depth int) Doc {
	b := bsonval.NewBuilder()
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "0", "1", "d.d"}), 0, 4, rapid.ID).Draw(t, "names") {
		b.Value(name, genValue(t, depth))
	}
	return b.Build()
}

func genValue(t *rapid.T, depth int) bsonval.Value {
	switch kind := rapid.IntRange(0, 6).Draw(t, "kind"); {
	case kind == 0 && depth > 0:
		return bsonval.Document(genDoc(t, depth-1))
	case kind == 1 && depth > 0:
		var vs []bsonval.Value
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			vs = append(vs, genValue(t, depth-1))
		}
		return bsonval.ArrayOf(vs...)
	case kind == 2:
		return bsonval.String("some text that makes diffs worth while")
	}
	return bsonval.Int32(rapid.Int32Range(0, 3).Draw(t, "int"))
}

// description is what an event tells of an update, nil if it tells the whole document.
func description(t *rapid.T, before, after Doc) Doc {
	diff, ok := oplog.Diff(before, after)
	if !ok {
		return nil
	}
	d, err := oplog.UpdateDescription(diff, true)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sorted is a document with its fields in the order of their names, at every depth.
func sorted(v bsonval.Value) bsonval.Value {
	switch v.Type() {
	case bsonval.TypeArray:
		var vs []bsonval.Value
		for it := v.Doc().Iter(); it.Next(); {
			vs = append(vs, sorted(it.Value()))
		}
		return bsonval.ArrayOf(vs...)
	case bsonval.TypeDocument:
		b := bsonval.NewBuilder()
		for _, name := range []string{"0", "1", "a", "b", "d.d"} {
			if x := v.Doc().Lookup(name); !x.IsMissing() {
				b.Value(name, sorted(x))
			}
		}
		return bsonval.Document(b.Build())
	}
	return v
}

// TestDeltasConverge applies the events of a document to any later state of it: in the end it is what it is on the
// source, but for the order of fields; from the state before them it is that exactly, where no field moves.
func TestDeltasConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		states := []Doc{genDoc(t, 3)}
		for range rapid.IntRange(1, 6).Draw(t, "updates") {
			states = append(states, genDoc(t, 3))
		}
		last := states[len(states)-1]
		from := rapid.IntRange(0, len(states)-1).Draw(t, "from")
		d := states[from]
		for i, after := range states[1:] {
			if delta := description(t, states[i], after); delta != nil {
				if after := applyDelta(d, delta); bsonval.Validate(after) != nil {
					t.Fatalf("malformed: %x", after)
				}
				d = applyDelta(d, delta)
			} else {
				d = after
			}
		}
		if got, want := sorted(bsonval.Document(d)), sorted(bsonval.Document(last)); !bsonval.Identical(got, want) {
			t.Fatalf("from state %d: got %s, want %s", from, bsonval.Format(got), bsonval.Format(want))
		}
	})
}

func FuzzApplyDelta(f *testing.F) {
	f.Add([]byte(js(f, `{"a":[1,{"b":2}]}`)), []byte(js(f, `{"updatedFields":{"a.1.b":3,"a.7":1},"removedFields":["a.0"]}`)))
	f.Fuzz(func(t *testing.T, d, delta []byte) {
		if bsonval.Validate(d) != nil || bsonval.Validate(delta) != nil {
			return
		}
		if out := applyDelta(d, delta); bsonval.DeeperThan(out, bsonval.MaxDepth*2) {
			t.Error("deeper than both together")
		}
	})
}
