package shape

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

type size struct {
	Width  int  `bson:"width" doc:"in pixels"`
	Height *int `bson:"height"`
}

type Base struct {
	ID bson.ObjectID `bson:"_id"`
}

type everything struct {
	Base   `bson:",inline"`
	Flag   bool
	Small  int8
	Short  int32
	Int    int
	Wide   int64
	Min    int64 `bson:"min,minsize"`
	Byte   uint8
	Uint   uint32
	Float  float64
	Text   string `bson:"text"`
	Blob   []byte
	When   time.Time
	Size   size
	Sizes  []size
	Grid   [2]int32
	Tags   map[string]string
	Maybe  *string
	Any    any
	Raw    bson.Raw
	D      bson.D
	M      bson.M
	A      bson.A
	Dec    bson.Decimal128
	Regex  bson.Regex
	TS     bson.Timestamp
	Wait   time.Duration
	Left   string `bson:"left,omitempty"`
	Hidden string `bson:"-"`
}

func full() everything {
	h, m := 7, "x"
	e := everything{
		Flag: true, Small: -3, Short: 5, Int: 1 << 40, Wide: 6, Min: 8, Byte: 200, Uint: 9, Float: 1.5, Text: "é", Blob: []byte{1, 2},
		When: time.UnixMilli(1_700_000_000_123).UTC(), Size: size{Width: 1, Height: &h}, Sizes: []size{{Width: 2}, {Width: 3, Height: &h}},
		Grid: [2]int32{4, 5}, Tags: map[string]string{"a": "b"}, Maybe: &m, Any: bson.D{{Key: "k", Value: int32(1)}},
		Raw: bson.Raw{5, 0, 0, 0, 0}, D: bson.D{{Key: "d", Value: "e"}}, M: bson.M{"m": int64(1)}, A: bson.A{"a", 1.5},
		Regex: bson.Regex{Pattern: "a", Options: "i"}, TS: bson.Timestamp{T: 1, I: 2}, Wait: time.Second,
	}
	e.ID = bson.ObjectID{1, 2, 3}
	return e
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSameBytesAsTheDriver: whatever reads a service's replies sees what the driver would have written.
func TestSameBytesAsTheDriver(t *testing.T) {
	s := must(Of(reflect.TypeFor[everything]()))
	for name, e := range map[string]everything{"full": full(), "zero": {Any: nil, Raw: bson.Raw{5, 0, 0, 0, 0}}} {
		got := must(s.AppendDoc(nil, reflect.ValueOf(&e).Elem()))
		if want := must(bson.Marshal(e)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%s\n%s", name, bson.Raw(got), bson.Raw(want))
		}
	}
	e := full()
	doc := must(s.AppendDoc(nil, reflect.ValueOf(&e).Elem()))
	var back everything
	if err := s.Decode("echo", doc, reflect.ValueOf(&back).Elem()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back, cmp.AllowUnexported(everything{}, Base{}), cmp.Comparer(func(a, b bson.Decimal128) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestRoundTrip(t *testing.T) {
	type inner struct {
		N int64
		S string `bson:",omitempty"`
	}
	type outer struct {
		F  float64
		I  int
		U  uint16
		B  []byte
		L  []inner
		M  map[string]inner
		P  *inner
		OK bool
	}
	s := must(Of(reflect.TypeFor[outer]()))
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.Make[outer]().Draw(t, "value")
		if in.F != in.F {
			in.F = 0
		}
		for k := range in.M {
			if strings.IndexByte(k, 0) >= 0 {
				in.M = nil
				break
			}
		}
		doc := must(s.AppendDoc(nil, reflect.ValueOf(&in).Elem()))
		if err := bsonval.Validate(doc); err != nil {
			t.Fatal(err)
		}
		if len(in.M) < 2 { // the driver writes maps in any order
			if want := must(bson.Marshal(in)); string(want) != string(doc) {
				t.Fatalf("%s\n%s", bson.Raw(doc), bson.Raw(want))
			}
		}
		if in.B == nil || in.L == nil || in.M == nil {
			return // written as null, which a required field does not take
		}
		var out outer
		if err := s.Decode("c", doc, reflect.ValueOf(&out).Elem()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(in, out); diff != "" {
			t.Fatal(diff)
		}
	})
}

type request struct {
	Name  string         `bson:"name"`
	Count int32          `bson:"count"`
	Big   uint64         `bson:"big,omitempty"`
	Size  size           `bson:"size,omitempty"`
	Sizes []size         `bson:"sizes,omitempty"`
	Maybe *float32       `bson:"maybe"`
	Grid  [2]int         `bson:"grid,omitempty"`
	Opts  map[string]int `bson:"opts,omitempty"`
	Any   any            `bson:"any,omitempty"`
}

func TestFaults(t *testing.T) {
	s := must(Of(reflect.TypeFor[request]()))
	const ok = `"name": "n", "count": 1`
	for _, c := range []struct {
		doc  string
		code mongoerr.Code
		text string
	}{
		{`{` + ok + `}`, 0, ""},
		{`{` + ok + `, "size": null, "maybe": null, "any": null}`, 0, ""},
		{`{"count": {"$numberLong": "5"}, "name": "n", "big": 5.0}`, 0, ""},
		{`{"name": "n"}`, 40414, "BSON field 'do.count' is missing but a required field"},
		{`{"name": null, "count": 1}`, 40414, "BSON field 'do.name' is missing but a required field"},
		{`{` + ok + `, "color": 1}`, 40415, "BSON field 'do.color' is an unknown field."},
		{`{` + ok + `, "name": "x"}`, 40413, "BSON field 'do.name' is a duplicate field"},
		{`{"name": 5, "count": 1}`, 14, "BSON field 'do.name' is the wrong type 'int', expected type 'string'"},
		{`{"name": "n", "count": "1"}`, 14, "BSON field 'do.count' is the wrong type 'string', expected types '[long, int, decimal, double]'"},
		{`{"name": "n", "count": 1.5}`, 2, "BSON field 'do.count' must be a whole number of 64 bits, actual value '1.5'"},
		{`{"name": "n", "count": 3000000000}`, 2, "BSON field 'do.count' value must be <= 2147483647, actual value '3000000000'"},
		{`{"name": "n", "count": -3000000000}`, 2, "BSON field 'do.count' value must be >= -2147483648, actual value '-3000000000'"},
		{`{` + ok + `, "big": -1}`, 2, "BSON field 'do.big' value must be >= 0, actual value '-1'"},
		{`{` + ok + `, "size": {"width": "w"}}`, 14, "BSON field 'do.size.width' is the wrong type 'string', expected types '[long, int, decimal, double]'"},
		{`{` + ok + `, "size": {"width": 1, "depth": 1}}`, 40415, "BSON field 'do.size.depth' is an unknown field."},
		{`{` + ok + `, "sizes": [{"width": 1}, {"height": 1}]}`, 40414, "BSON field 'do.sizes.1.width' is missing but a required field"},
		{`{` + ok + `, "sizes": {"width": 1}}`, 14, "BSON field 'do.sizes' is the wrong type 'object', expected type 'array'"},
		{`{` + ok + `, "opts": {"a": true}}`, 14, "BSON field 'do.opts.a' is the wrong type 'bool', expected types '[long, int, decimal, double]'"},
		{`{` + ok + `, "grid": [1]}`, 2, "BSON field 'do.grid' must be an array of 2 elements"},
		{`{` + ok + `, "maybe": 1e300}`, 2, "BSON field 'do.maybe' value must be <= 3.4028234663852886e+38, actual value '1e+300'"},
	} {
		var raw bson.D
		if err := bson.UnmarshalExtJSON([]byte(c.doc), false, &raw); err != nil {
			t.Fatal(c.doc, err)
		}
		var r request
		err := s.Decode("do", must(bson.Marshal(raw)), reflect.ValueOf(&r).Elem())
		if c.code == 0 {
			if err != nil {
				t.Errorf("%s: %v", c.doc, err)
			}
			continue
		}
		if !mongoerr.Is(err, c.code) || err.Error() != c.text {
			t.Errorf("%s:\n%v\n%s", c.doc, err, c.text)
		}
	}
}

func TestInlineMap(t *testing.T) {
	type loose struct {
		Ping int
		Rest map[string]any `bson:",inline"`
	}
	s := must(Of(reflect.TypeFor[loose]()))
	doc := must(bson.Marshal(bson.D{{Key: "ping", Value: 1}, {Key: "a", Value: "b"}, {Key: "c", Value: nil}}))
	var l loose
	if err := s.Decode("ping", doc, reflect.ValueOf(&l).Elem()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(loose{1, map[string]any{"a": "b", "c": nil}}, l); diff != "" {
		t.Error(diff)
	}
	if got := must(s.AppendDoc(nil, reflect.ValueOf(&l).Elem())); string(got) != string(doc) {
		t.Errorf("%s", bson.Raw(got))
	}
}

func TestTypesThatNoDocumentCanBe(t *testing.T) {
	type again struct {
		A int `bson:"x"`
		B int `bson:"x"`
	}
	for _, v := range []any{1, "x", []int{1}, struct{ C chan int }{}, struct{ F func() }{}, map[int]string{}, again{},
		struct {
			A int `bson:"a,ommitempty"`
		}{}} {
		if _, err := Of(reflect.TypeOf(v)); err == nil {
			t.Errorf("%T must not be a shape", v)
		}
	}
}

type tree struct {
	Name     string `bson:"name"`
	Children []tree `bson:"children,omitempty"`
}

func TestSchema(t *testing.T) {
	for _, c := range []struct {
		of   reflect.Type
		to   Direction
		want string
	}{
		{reflect.TypeFor[size](), Request, `{"$jsonSchema": {"bsonType": "object", "required": ["width"], "properties": {"width": {"description": "in pixels", "bsonType": "number"}, "height": {"bsonType": "number"}}, "additionalProperties": false}}`},
		{reflect.TypeFor[size](), Reply, `{"$jsonSchema": {"bsonType": "object", "required": ["width", "height"], "properties": {"width": {"description": "in pixels", "bsonType": ["int", "long"]}, "height": {"bsonType": ["int", "long", "null"]}}, "additionalProperties": false}}`},
		{reflect.TypeFor[tree](), Request, `{"$jsonSchema": {"bsonType": "object", "required": ["name"], "properties": {"name": {"bsonType": "string"}, "children": {"bsonType": "array", "items": {"bsonType": "object"}}}, "additionalProperties": false}}`},
		{reflect.TypeFor[map[string]bson.ObjectID](), Request, `{"$jsonSchema": {"bsonType": "object", "additionalProperties": {"bsonType": "objectId"}}}`},
		{reflect.TypeFor[bson.D](), Request, `{"$jsonSchema": {"bsonType": "object"}}`},
	} {
		var want bson.D
		if err := bson.UnmarshalExtJSON([]byte(c.want), false, &want); err != nil {
			t.Fatal(err)
		}
		got := must(Of(c.of)).Schema(c.to)
		if w := must(bson.Marshal(want)); string(w) != string(got) {
			t.Errorf("%s:\n%s\n%s", c.of, bson.Raw(got), bson.Raw(w))
		}
	}
}

// FuzzDecode: no document crashes the decoder, and what it takes, the encoder can write.
func FuzzDecode(f *testing.F) {
	s, all := must(Of(reflect.TypeFor[request]())), must(Of(reflect.TypeFor[everything]()))
	e := full()
	f.Add(must(all.AppendDoc(nil, reflect.ValueOf(&e).Elem())))
	f.Add(must(bson.Marshal(bson.D{{Key: "name", Value: "n"}, {Key: "count", Value: 1}, {Key: "any", Value: bson.A{1, bson.D{}}}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bsonval.Validate(b) != nil {
			return
		}
		var r request
		if s.Decode("do", b, reflect.ValueOf(&r).Elem()) == nil {
			if _, err := s.AppendDoc(nil, reflect.ValueOf(&r).Elem()); err != nil {
				t.Fatal(err)
			}
		}
		var e everything
		_ = all.Decode("do", b, reflect.ValueOf(&e).Elem())
	})
}

func BenchmarkDecode(b *testing.B) {
	s := must(Of(reflect.TypeFor[size]()))
	doc := must(bson.Marshal(bson.D{{Key: "width", Value: 5}, {Key: "height", Value: 6}}))
	b.ReportAllocs()
	for b.Loop() {
		var v size
		if err := s.Decode("x", doc, reflect.ValueOf(&v).Elem()); err != nil {
			b.Fatal(err)
		}
	}
}
