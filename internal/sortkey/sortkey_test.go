package sortkey

import (
	"bytes"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func doc(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(json), false, &d); err != nil {
		t.Fatal(err)
	}
	b, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCompileErrors(t *testing.T) {
	for _, tc := range []struct {
		spec string
		code mongoerr.Code
	}{
		{`{}`, 15976},
		{`{"a": "x"}`, 15974},
		{`{"a": 2}`, 15975},
		{`{"a": 0}`, 15975},
		{`{"": 1}`, 40352},
		{`{"a.": 1}`, 40353},
		{`{".a": 1}`, 15998},
		{`{"a..b": 1}`, 15998},
		{`{"$a": 1}`, 16410},
		{`{"a": {"$slice": 1}}`, 17312},
		{`{"a": {"$meta": "nonsense"}}`, 31138},
		{`{"a": {"$meta": 1}}`, 17307},
	} {
		if _, err := Compile(doc(t, tc.spec)); !mongoerr.Is(err, tc.code) {
			t.Errorf("Compile(%s): %v, want code %d", tc.spec, err, tc.code)
		}
	}
}

func TestOrder(t *testing.T) {
	// Each list is in order under its pattern.
	for _, tc := range []struct {
		spec string
		docs []string
	}{
		{`{"a": 1}`, []string{`{"a": []}`, `{}`, `{"a": [1, 9]}`, `{"a": 2}`, `{"a": [3, 4]}`, `{"a": "x"}`, `{"a": {}}`}},
		{`{"a": -1}`, []string{`{"a": {}}`, `{"a": [1, 9]}`, `{"a": 5}`, `{"a": null}`, `{"a": []}`}},
		{`{"a.b": 1}`, []string{`{"a": []}`, `{"a": [{"b": 1}, {"b": 7}]}`, `{"a": {"b": 2}}`, `{"a": [{"b": [3, 8]}]}`}},
		{`{"a.0": 1}`, []string{`{"a": [1, 0]}`, `{"a": [2, 0]}`, `{"a": {"0": 3}}`}},
		{`{"a.x": 1, "a.y": 1}`, []string{`{"a": {"x": 1, "y": 4}}`, `{"a": [{"x": 1, "y": 5}, {"x": 2, "y": 0}]}`}},
		{`{"a": 1, "b": -1}`, []string{`{"a": 1, "b": 2}`, `{"a": 1, "b": 1}`, `{"a": 2, "b": 9}`}},
	} {
		p, err := Compile(doc(t, tc.spec))
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(tc.docs); i++ {
			r, err := p.Compare(doc(t, tc.docs[i-1]), doc(t, tc.docs[i]), nil)
			if err != nil || r != -1 {
				t.Errorf("%s: compare(%s, %s) = %d, %v", tc.spec, tc.docs[i-1], tc.docs[i], r, err)
			}
		}
	}
}

func TestParallelArrays(t *testing.T) {
	p, _ := Compile(doc(t, `{"a": 1, "b": 1}`))
	if _, err := p.Append(nil, doc(t, `{"a": [1], "b": [2]}`), nil); !mongoerr.Is(err, mongoerr.BadValue) {
		t.Errorf("parallel arrays: %v", err)
	}
}

func TestCompareElements(t *testing.T) {
	p, _ := Compile(doc(t, `{"a.b": -1}`))
	v := func(s string) bsonval.Value { return bsonval.Document(doc(t, s)) }
	if r := p.CompareElements(v(`{"a": {"b": 2}}`), v(`{"a": {"b": 1}}`), nil); r != -1 {
		t.Errorf("descending: %d", r)
	}
	if r := p.CompareElements(bsonval.Int32(1), v(`{}`), nil); r != 0 {
		t.Errorf("scalar against empty document: %d", r)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	p, _ := Compile(doc(t, `{"a": 1, "b.c": -1}`))
	d := doc(t, `{"a": 5, "b": {"c": "text"}}`)
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf, _ = p.Append(buf[:0], d, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSortKey(f *testing.F) {
	f.Add([]byte(doc(f, `{"a.b": 1, "a.0": -1}`)), []byte(doc(f, `{"a": [{"b": [1, 2]}, 3]}`)))
	f.Fuzz(func(t *testing.T, spec, d []byte) {
		if bsonval.Validate(spec) != nil || bsonval.Validate(d) != nil {
			return
		}
		p, err := Compile(spec)
		if err != nil {
			return
		}
		k1, err1 := p.Append(nil, d, nil)
		k2, err2 := p.Append(nil, d, nil)
		if (err1 == nil) != (err2 == nil) || !bytes.Equal(k1, k2) {
			t.Fatal("not deterministic")
		}
	})
}

func TestElementOrder(t *testing.T) {
	order, err := CompileElementOrder(bsonval.Int32(-1))
	if err != nil || order.Compare(bsonval.Int32(2), bsonval.Int32(1), nil) != -1 {
		t.Errorf("whole values, descending: %v", err)
	}
	for _, v := range []bsonval.Value{
		bsonval.Int32(2), bsonval.String("a"), bsonval.Document(doc(t, `{}`)),
		bsonval.Document(doc(t, `{"a": 0}`)), bsonval.Document(doc(t, `{"a..b": 1}`)), bsonval.Document(doc(t, `{"": 1}`)),
	} {
		if _, err := CompileElementOrder(v); !mongoerr.Is(err, mongoerr.BadValue) {
			t.Errorf("%s: %v", bsonval.Format(v), err)
		}
	}
}
