package importer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func canonical(t testing.TB, raw bson.Raw) string {
	t.Helper()
	if err := raw.Validate(); err != nil {
		t.Fatal(err)
	}
	b, err := bson.MarshalExtJSON(raw, true, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDecodeJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,"b":5000000000,"c":1.5}`:                          `{"a":{"$numberInt":"1"},"b":{"$numberLong":"5000000000"},"c":{"$numberDouble":"1.5"}}`,
		`{"a":{"$date":"2020-01-01T00:00:00Z"}}`:                  `{"a":{"$date":{"$numberLong":"1577836800000"}}}`,
		`{"a":{"$numberDecimal":"1.50"},"z":null,"a2":[true,{}]}`: `{"a":{"$numberDecimal":"1.50"},"z":null,"a2":[true,{}]}`,
		`{"_id":{"$oid":"0123456789abcdef01234567"}}`:             `{"_id":{"$oid":"0123456789abcdef01234567"}}`,
		`{} `: `{}`,
	} {
		raw, err := decodeJSON([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := canonical(t, raw); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for in, reason := range map[string]string{
		`1`: "expected a document", `[1]`: "expected a document", `{"a":1`: "not closed", `{"a":1}}`: "text after", `{"a":1} {}`: "text after",
		`{"a":}`: "invalid character", `{a:1}`: "invalid character", `{"a":1,}`: "invalid character", `{"a":{"$oid":"zz"}}`: "ObjectID", ``: "expected",
		`{"a":[1}`: "closes nothing", `{'a':1}`: "invalid character", `{"a":NaN}`: "invalid character",
	} {
		if raw, err := decodeJSON([]byte(in)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, %v", in, raw, err)
		}
	}
}

func TestRetype(t *testing.T) {
	decode := retyped(decodeJSON, map[string]string{"lat": "double", "n": "long", "s": "string", "d": "date"})
	raw, err := decode([]byte(`{"lat":"42.5","n":7,"s":12,"x":"1","d":"2020-01-01"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"lat":{"$numberDouble":"42.5"},"n":{"$numberLong":"7"},"s":"12","x":"1","d":{"$date":{"$numberLong":"1577836800000"}}}`
	if got := canonical(t, raw); got != want {
		t.Errorf("got %s", got)
	}
	raw, err = decode([]byte(`{"lat":"","s":"","n":null}`))
	if err != nil || canonical(t, raw) != `{"s":"","n":null}` {
		t.Errorf("empty: %v, %v", raw, err)
	}
	if _, err = decode([]byte(`{"lat":"north"}`)); err == nil || !strings.Contains(err.Error(), `field "lat"`) {
		t.Errorf("got %v", err)
	}
}

func TestAutoValue(t *testing.T) {
	date, _ := toDate("2021-03-04")
	instant, _ := toDate("2021-03-04T05:06:07Z")
	for in, want := range map[string]any{
		"": "", "1": int32(1), "-5": int32(-5), "0": int32(0), "-0": "-0", "007": "007", "+1": "+1", "2147483648": int64(2147483648),
		"1.5": 1.5, "-0.25": -0.25, "1e3": 1000.0, "0.5": 0.5, "true": true, "False": false, "tRUE": "tRUE", "NaN": "NaN",
		"2021-03-04": date, "2021-03-04T05:06:07Z": instant, "2021-13-04": "2021-13-04", "1-2": "1-2", "12abc": "12abc", "1_000": "1_000",
		"0x10": "0x10", "99999999999999999999": "99999999999999999999", "1.2.3": "1.2.3", "1e999": "1e999", "-": "-", " 1": " 1",
	} {
		if got := autoValue(in); got != want {
			t.Errorf("%q: got %T %v, want %T %v", in, got, got, want, want)
		}
	}
}

func TestCSVDecode(t *testing.T) {
	names := []string{"name", "address.city", "address.zip", "age", "since"}
	types := map[string]string{"address.zip": "string", "age": "long", "since": "date"}
	d, err := newCSVDecoder(names, types, ',', false)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`Ann,Rome,00184,30,2020-01-01`: `{"name":"Ann","address":{"city":"Rome","zip":"00184"},"age":{"$numberLong":"30"},"since":{"$date":{"$numberLong":"1577836800000"}}}`,
		`"B, C",,,,`:                   `{"name":"B, C","address":{"city":"","zip":""}}`,
	} {
		raw, err := d.decode([]byte(in))
		if err != nil || canonical(t, raw) != want {
			t.Errorf("%s: %v, %v", in, raw, err)
		}
	}
	for in, reason := range map[string]string{
		`a,b,c,x,`: `column "age"`, `a,b`: "only 2 cells", `a,b,c,1,,6`: "6 cells", `a"b,,,,`: "cell 1",
	} {
		if raw, err := d.decode([]byte(in)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, %v", in, raw, err)
		}
	}
	blanks, _ := newCSVDecoder([]string{"a", "b.c"}, nil, ',', true)
	if raw, err := blanks.decode([]byte(`"",`)); err != nil || canonical(t, raw) != `{"a":""}` {
		t.Errorf("blanks: %v, %v", raw, err)
	}
	for _, bad := range [][]string{{"a", "a"}, {"a", "a.b"}, {"a.b", "a"}, {""}, {"a..b"}} {
		if _, err := newCSVDecoder(bad, nil, ',', false); err == nil {
			t.Errorf("header %q was accepted", bad)
		}
	}
	if _, err := newCSVDecoder([]string{"a"}, map[string]string{"b": "int"}, ',', false); err == nil {
		t.Error("a type for an unknown column was accepted")
	}
}

func TestIdentify(t *testing.T) {
	id := newIdentifier("", []byte("first"))
	doc, _ := bson.Marshal(bson.D{{Key: "a", Value: 1}})
	one, err := id.identify(doc, record{number: 1, data: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	again, _ := newIdentifier("", []byte("first")).identify(doc, record{number: 1, line: 9, data: []byte("x")})
	if !slices.Equal(one, again) || one.Validate() != nil {
		t.Error("the derived _id is not predictable")
	}
	for name, other := range map[string]record{"position": {number: 2, data: []byte("x")}, "content": {number: 1, data: []byte("y")}} {
		if o, _ := id.identify(doc, other); slices.Equal(one, o) {
			t.Errorf("another %s has the same _id", name)
		}
	}
	two, _ := id.identify(doc, record{number: 256, data: []byte("a")})
	a, b := one.Lookup("_id").ObjectID(), two.Lookup("_id").ObjectID()
	if a.Hex() >= b.Hex() {
		t.Error("derived ids are not in file order")
	}
	own, _ := bson.Marshal(bson.D{{Key: "x", Value: 1}, {Key: "_id", Value: "mine"}})
	if got, _ := id.identify(own, record{}); !slices.Equal(got, own) {
		t.Error("a document with an _id was changed")
	}
	byField := newIdentifier("a", nil)
	got, err := byField.identify(doc, record{})
	if err != nil || canonical(t, got) != `{"_id":{"$numberInt":"1"},"a":{"$numberInt":"1"}}` {
		t.Errorf("by field: %v, %v", got, err)
	}
	if _, err := newIdentifier("b", nil).identify(doc, record{}); err == nil {
		t.Error("a missing id field was accepted")
	}
}

func TestPrepareRefuses(t *testing.T) {
	write := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]Config{
		"empty CSV":         {File: write("a.csv", "")},
		"bad header":        {File: write("a.csv", "a,a\n1,2\n")},
		"missing file":      {File: "/does/not/exist.json"},
		"folder":            {File: t.TempDir()},
		"columns for JSON":  {File: write("a.json", "[]"), Fields: []string{"x"}},
		"broken gzip":       {File: write("a.gz", "\x1f\x8b\x00")},
		"header not closed": {File: write("a.csv", "\"a,b\n1,2\n")},
	} {
		c.DB = "d"
		c.ensureDefaults()
		if _, err := prepare(&c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestValidate(t *testing.T) {
	c := Config{Format: "xml", Types: map[string]string{"a": "colour"}, Delimiter: "::", BatchSize: 1_000_000}
	err := c.validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"no file", "no database", "xml", "colour", "delimiter", "batch size"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"a":{"$numberDecimal":"1.5"},"b":[{"$date":"2020-01-01T00:00:00Z"},{"$binary":{"base64":"AA==","subType":"00"}}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		raw, err := decodeJSON(in)
		if err != nil {
			return
		}
		if err := raw.Validate(); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if _, err := newIdentifier("", in).identify(raw, record{number: 1, data: in}); err != nil {
			t.Fatal(err)
		}
	})
}
