package conformance

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func dec(t testing.TB, s string) bson.Decimal128 {
	t.Helper()
	d, err := bson.ParseDecimal128(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParseValue(t *testing.T) {
	oid, _ := bson.ObjectIDFromHex("0123456789abcdef01234567")
	doc := func(k string, v any) bson.D { return bson.D{{Key: k, Value: v}} }
	for _, tc := range []struct {
		in   string
		want any
	}{
		{`{"$numberInt":"1"}`, int32(1)},
		{`{"$numberLong":"-9223372036854775808"}`, int64(math.MinInt64)},
		{`{"$numberDouble":"1.5"}`, 1.5},
		{`{"$numberDouble":"-0.0"}`, math.Copysign(0, -1)},
		{`{"$numberDouble":"-Infinity"}`, math.Inf(-1)},
		{`{"$numberDecimal":"1.50"}`, dec(t, "1.50")},
		{`{"$oid":"0123456789abcdef01234567"}`, oid},
		{`{"$date":{"$numberLong":"-5"}}`, bson.DateTime(-5)},
		{`{"$binary":{"base64":"AQI=","subType":"04"}}`, bson.Binary{Subtype: 4, Data: []byte{1, 2}}},
		{`{"$timestamp":{"t":1,"i":4294967295}}`, bson.Timestamp{T: 1, I: math.MaxUint32}},
		{`{"$regularExpression":{"pattern":"a","options":"i"}}`, bson.Regex{Pattern: "a", Options: "i"}},
		{`{"$code":"f"}`, bson.JavaScript("f")},
		{`{"$code":"f","$scope":{"x":{"$numberInt":"1"}}}`, bson.CodeWithScope{Code: "f", Scope: doc("x", int32(1))}},
		{`{"$minKey":1}`, bson.MinKey{}},
		{`{"$maxKey":1}`, bson.MaxKey{}},
		{`{"$cursorId":3}`, cursorRef(3)},
		{`{"$approx":{"value":{"$numberDouble":"3"},"tolerance":{"$numberDouble":"1e-6"}}}`, approx{3, 1e-6}},
		{` [ true , false , null , "a\u00e9\ud83d\ude00\n" ] `, bson.A{true, false, nil, "aé😀\n"}},
		// Plain documents, whatever they look like elsewhere.
		{`{"$regex":"a","$options":"i"}`, bson.D{{Key: "$regex", Value: "a"}, {Key: "$options", Value: "i"}}},
		{`{"$type":"int"}`, doc("$type", "int")},
		{`{"$uuid":"x"}`, doc("$uuid", "x")},
		{`{"$date":"2020-01-01T00:00:00Z"}`, doc("$date", "2020-01-01T00:00:00Z")},
		{`{"$oid":"short"}`, doc("$oid", "short")},
		{`{"$numberInt":"1","x":true}`, bson.D{{Key: "$numberInt", Value: "1"}, {Key: "x", Value: true}}},
		{`{"$numberInt":"3000000000"}`, doc("$numberInt", "3000000000")},
		{`{"$numberInt":{"$numberInt":"1"}}`, doc("$numberInt", int32(1))},
		{`{"b":true,"a":null}`, bson.D{{Key: "b", Value: true}, {Key: "a", Value: nil}}},
		{`{"a":true,"a":false}`, bson.D{{Key: "a", Value: true}, {Key: "a", Value: false}}},
		{`{}`, bson.D{}},
	} {
		got, err := parseValue([]byte(tc.in))
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %#v, want %#v", tc.in, got, tc.want)
		}
	}
	if v, err := parseValue([]byte(`{"$numberDouble":"NaN"}`)); err != nil || !isNaN(v) {
		t.Errorf("NaN: %v, %v", v, err)
	}
}

func TestParseValueRefuses(t *testing.T) {
	for _, in := range []string{
		``, `1`, `[1]`, `{"a":1}`, `{"a":`, `{"a"}`, `{"a":true,}`, `{a:true}`, `[true`, `[true,]`, `"abc`, `"a\q"`,
		`"\u12"`, "\"a\nb\"", `tru`, `nul`, `-`, `{} {}`, `{"x":{"t":1,"i":2}}`, `{"$minKey":2}`,
		strings.Repeat("[", maxDepth+2),
	} {
		if v, err := parseValue([]byte(in)); err == nil {
			t.Errorf("%s: parsed as %s", in, show(v, 100))
		}
	}
}

func TestEncodeDecode(t *testing.T) {
	oid, _ := bson.ObjectIDFromHex("0123456789abcdef01234567")
	d := bson.D{
		{Key: "", Value: int32(-1)}, {Key: "a", Value: 1.5}, {Key: "a", Value: "twice\x00"}, {Key: "l", Value: int64(1) << 40},
		{Key: "d", Value: bson.D{{Key: "x", Value: bson.A{nil, true, false, bson.D{}}}}},
		{Key: "dec", Value: dec(t, "-1.500E+10")}, {Key: "o", Value: oid}, {Key: "t", Value: bson.DateTime(-1)},
		{Key: "ts", Value: bson.Timestamp{T: 7, I: 9}}, {Key: "b", Value: bson.Binary{Subtype: 2, Data: []byte{1, 2, 3}}},
		{Key: "b0", Value: bson.Binary{Data: []byte{9}}}, {Key: "r", Value: bson.Regex{Pattern: "^a", Options: "im"}},
		{Key: "c", Value: bson.JavaScript("f()")}, {Key: "cs", Value: bson.CodeWithScope{Code: "g", Scope: bson.D{{Key: "q", Value: nil}}}},
		{Key: "s", Value: bson.Symbol("y")}, {Key: "u", Value: bson.Undefined{}}, {Key: "p", Value: bson.DBPointer{DB: "n", Pointer: oid}},
		{Key: "min", Value: bson.MinKey{}}, {Key: "max", Value: bson.MaxKey{}},
	}
	b, err := appendDocument(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := bson.Raw(b).Validate(); err != nil {
		t.Fatalf("the driver refuses our BSON: %v", err)
	}
	got, rest, err := decodeDocument(append(b, 0xAA))
	if err != nil || len(rest) != 1 {
		t.Fatalf("decode: %v, %d bytes left", err, len(rest))
	}
	if !reflect.DeepEqual(got, d) {
		t.Errorf("got  %#v\nwant %#v", got, d)
	}
	for n := range len(b) {
		if _, _, err := decodeDocument(b[:n]); err == nil {
			t.Fatalf("decoded %d of %d bytes", n, len(b))
		}
	}
	if _, err := appendDocument(nil, bson.D{{Key: "a\x00b"}}); err == nil {
		t.Error("key with a zero byte was written")
	}
	if _, err := appendDocument(nil, bson.D{{Key: "a", Value: cursorRef(1)}}); err == nil {
		t.Error("cursor reference was written")
	}
}

func FuzzParseValue(f *testing.F) {
	for _, s := range []string{
		`{"a":{"$numberInt":"1"},"b":[{"$timestamp":{"t":1,"i":2}}]}`, `{"$code":"","$scope":{}}`, `"\ud83d\ude00"`,
		`{"$binary":{"base64":"AQI=","subType":"04"}}`, `{"$date":{"$numberLong":"1"}}`, `[[[[`, `{"$numberDecimal":"1E+6144"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := parseValue(in)
		if err != nil {
			return
		}
		if _, err := resolveCursors(v, nil); err != nil {
			return
		}
		b, err := appendDocument(nil, bson.D{{Key: "v", Value: v}})
		if err != nil {
			return // a value for expectations only, or a zero byte where BSON has none
		}
		back, _, err := decodeDocument(b)
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if m := (rules{nan: true}).compare(v, back[0].Value); m != nil && !hasRepeatedKeys(v) {
			t.Fatalf("%q: %s", in, m)
		}
	})
}

func hasRepeatedKeys(v any) bool {
	switch v := v.(type) {
	case bson.CodeWithScope:
		return hasRepeatedKeys(v.Scope)
	case bson.D:
		seen := map[string]bool{}
		for _, e := range v {
			if seen[e.Key] || hasRepeatedKeys(e.Value) || isNaN(e.Value) {
				return true
			}
			seen[e.Key] = true
		}
	case bson.A:
		for _, e := range v {
			if hasRepeatedKeys(e) {
				return true
			}
		}
	}
	return false
}

func FuzzDecodeDocument(f *testing.F) {
	b, _ := appendDocument(nil, bson.D{{Key: "a", Value: bson.A{int32(1), "x", bson.CodeWithScope{Code: "f", Scope: bson.D{}}}}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		d, rest, err := decodeDocument(in)
		if err != nil {
			return
		}
		again, err := appendDocument(nil, d)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := decodeDocument(again); err != nil || len(rest) >= len(in) {
			t.Fatalf("%x: %v", in, err)
		}
	})
}
