package bsonval

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// sample has an element of every type.
func sample() bson.D {
	id, _ := bson.ObjectIDFromHex("0102030405060708090a0b0c")
	dec, _ := bson.ParseDecimal128("1.50")
	return bson.D{
		{Key: "double", Value: 1.5}, {Key: "string", Value: "häh\x00"}, {Key: "doc", Value: bson.D{{Key: "a", Value: int32(1)}}},
		{Key: "array", Value: bson.A{int32(1), "x", nil}}, {Key: "binary", Value: bson.Binary{Subtype: 4, Data: []byte{1, 2}}},
		{Key: "old", Value: bson.Binary{Subtype: 2, Data: []byte{1, 2}}}, {Key: "undefined", Value: bson.Undefined{}},
		{Key: "id", Value: id}, {Key: "bool", Value: true}, {Key: "date", Value: bson.DateTime(-5)}, {Key: "null", Value: nil},
		{Key: "regex", Value: bson.Regex{Pattern: "a.b", Options: "im"}}, {Key: "pointer", Value: bson.DBPointer{DB: "d.c", Pointer: id}},
		{Key: "code", Value: bson.JavaScript("f()")}, {Key: "symbol", Value: bson.Symbol("s")},
		{Key: "scope", Value: bson.CodeWithScope{Code: "g()", Scope: bson.D{{Key: "x", Value: int32(2)}}}},
		{Key: "int", Value: int32(-3)}, {Key: "timestamp", Value: bson.Timestamp{T: 1, I: 2}}, {Key: "long", Value: int64(1 << 40)},
		{Key: "decimal", Value: dec}, {Key: "min", Value: bson.MinKey{}}, {Key: "max", Value: bson.MaxKey{}}, {Key: "", Value: "empty name"},
	}
}

// TestBuilderWritesWhatTheDriverWrites rebuilds a document of every type by
// hand and compares bytes.
func TestBuilderWritesWhatTheDriverWrites(t *testing.T) {
	want, err := bson.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	id := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	b := NewBuilder().Double("double", 1.5).Str("string", "häh\x00").StartDoc("doc").Int32("a", 1).End().
		StartArray("array").Add(Int32(1)).Add(String("x")).Add(Missing).End().
		Value("binary", Binary(4, []byte{1, 2})).Value("old", Binary(2, []byte{1, 2})).Value("undefined", Undefined).
		Value("skipped", Missing).Value("id", ObjectID(id)).Bool("bool", true).Date("date", -5).Null("null").
		Value("regex", Regex("a.b", "im")).Value("pointer", DBPointer("d.c", id)).Value("code", Code("f()")).
		Value("symbol", Symbol("s")).Value("scope", CodeScope("g()", NewBuilder().Int32("x", 2).Build())).
		Int32("int", -3).Value("timestamp", Timestamp(1, 2)).Int64("long", 1<<40).Value("decimal", mustDecimal("1.50")).
		Value("min", MinKey).Value("max", MaxKey).Str("", "empty name")
	if got := b.Build(); !bytes.Equal(got, want) {
		t.Errorf("built %s\ndriver %s", bson.Raw(got), bson.Raw(want))
	}
}

func TestValuesReadBack(t *testing.T) {
	raw, err := bson.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	if err := Validate(raw); err != nil {
		t.Fatal(err)
	}
	d := Doc(raw)
	if s := d.Lookup("string"); s.Str() != "häh\x00" || s.Type() != TypeString {
		t.Errorf("string %q", s.Str())
	}
	if p, o := d.Lookup("regex").RegexParts(); p != "a.b" || o != "im" {
		t.Errorf("regex %q %q", p, o)
	}
	if ns, id := d.Lookup("pointer").DBPointerParts(); ns != "d.c" || len(id) != 12 || id[0] != 1 {
		t.Errorf("pointer %q %x", ns, id)
	}
	if code, scope := d.Lookup("scope").CodeScopeParts(); code != "g()" || scope.Lookup("x").Int32() != 2 {
		t.Errorf("scope %q %x", code, scope)
	}
	if b := d.Lookup("old"); b.BinarySubtype() != 2 || !bytes.Equal(b.Bytes(), []byte{1, 2}) {
		t.Errorf("binary %x", b.Bytes())
	}
	if sec, inc := d.Lookup("timestamp").TimestampParts(); sec != 1 || inc != 2 {
		t.Errorf("timestamp %d %d", sec, inc)
	}
	if got := d.Lookup("date").Time(); !got.Equal(time.UnixMilli(-5)) {
		t.Errorf("date %v", got)
	}
	if d.Lookup("int").Int64() != -3 || d.Lookup("long").Int64() != 1<<40 || d.Lookup("decimal").Decimal().String() != "1.50" {
		t.Error("numbers")
	}
	if d.LookupPath("doc", "a").Int32() != 1 || !d.LookupPath("array", "0").IsMissing() || !d.Lookup("nope").IsMissing() {
		t.Error("paths")
	}
	if d.Lookup("array").Doc().Index(1).Str() != "x" || !d.Lookup("array").Doc().Index(3).IsMissing() {
		t.Error("array")
	}
	if d.Len() != len(sample()) || len(d.Values(nil)) != d.Len() || d.IsEmpty() || !EmptyDoc.IsEmpty() {
		t.Error("lengths")
	}
}

// TestRebuild walks random documents and writes them again.
func TestRebuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genDoc(t, 3)
		if err := Validate(d); err != nil {
			t.Fatal(err)
		}
		b := NewBuilderIn(make([]byte, 3))
		it := d.Iter()
		for it.Next() {
			b.Value(it.KeyStr(), it.Value())
		}
		if got := b.Build(); !bytes.Equal(got[3:], d) {
			t.Fatalf("%x rebuilt as %x", d, got[3:])
		}
		if err := bson.Raw(d).Validate(); err != nil {
			t.Fatalf("the driver finds it invalid: %v", err)
		}
	})
}

// deep nests n documents or arrays, the outermost included.
func deep(n int, kind Type) Doc {
	d := EmptyDoc
	for range n - 1 {
		buf, at := BeginDoc(nil)
		buf = AppendElement(buf, "0", Value{typ: kind, data: d})
		d = EndDoc(buf, at)
	}
	return d
}

func TestValidateDepth(t *testing.T) {
	for _, kind := range []Type{TypeDocument, TypeArray} {
		if err := Validate(deep(200, kind)); err != nil {
			t.Errorf("200 levels of %s: %v", kind, err)
		}
		if err := Validate(deep(201, kind)); !errors.Is(err, ErrTooDeep) {
			t.Errorf("201 levels of %s: %v", kind, err)
		}
	}
	scope := NewBuilder().Value("f", CodeScope("f", deep(200, TypeDocument))).Build()
	if err := Validate(scope); !errors.Is(err, ErrTooDeep) {
		t.Errorf("deep scope: %v", err)
	}
}

func TestDeeperThan(t *testing.T) {
	nest := func(levels int, key string) Doc {
		d := EmptyDoc
		for range levels - 1 {
			d = NewBuilder().Doc(key, d).Build()
		}
		return d
	}
	for _, key := range []string{"", "a", "a long name"} {
		for levels := 1; levels < 20; levels++ {
			d := NewBuilder().Str("before", "text").Doc("x", nest(levels-1, key)).Str("after", "text").Build()
			if levels == 1 {
				d = EmptyDoc
			}
			for limit := range 22 {
				if got := DeeperThan(d, limit); got != (levels > limit) {
					t.Errorf("%d levels of %q, limit %d: %t", levels, key, limit, got)
				}
			}
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	good := NewBuilder().Str("s", "x").Bool("b", true).Value("bin", Binary(0, []byte{1})).Build()
	if err := Validate(good); err != nil {
		t.Fatal(err)
	}
	damage := func(at int, b byte) Doc {
		d := good.Clone()
		d[at] = b
		return d
	}
	for name, d := range map[string]Doc{
		"empty": {}, "short": good[:4], "cut": good[:len(good)-1], "trailing": append(good.Clone(), 0),
		"length too large": damage(0, byte(len(good)+1)), "length negative": damage(3, 0x80), "no terminator": damage(len(good)-1, 1),
		"unknown type": damage(4, 0x20), "string length 0": damage(7, 0), "string unterminated": damage(12, 'x'),
		"bool 2": damage(16, 2), "missing type": damage(4, 0),
	} {
		if err := Validate(d); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidUTF8(t *testing.T) {
	for name, c := range map[string]struct {
		d    Doc
		want bool
	}{
		"good":    {NewBuilder().Str("é", "é").Build(), true},
		"value":   {NewBuilder().Str("a", "\xff").Build(), false},
		"name":    {NewBuilder().Str("\xff", "a").Build(), false},
		"nested":  {NewBuilder().StartArray("a").Add(String("\xff")).Build(), false},
		"binary":  {NewBuilder().Value("a", Binary(0, []byte{0xff})).Build(), true},
		"symbols": {NewBuilder().Value("a", Symbol("\xff")).Build(), false},
	} {
		if got := ValidUTF8(c.d); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzIter reads random bytes every way there is: nothing may panic, and
// nothing may lie outside the bytes.
func FuzzIter(f *testing.F) {
	raw, err := bson.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(deep(5, TypeArray)))
	f.Add([]byte{5, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		// Reading past the end would read the guard, and then the walk differ.
		guarded := append(append(make([]byte, 0, len(data)+16), data...), bytes.Repeat([]byte{0xEE}, 16)...)
		d := Doc(guarded[:len(data):len(data)])
		walk(t, d, 0)
		if Validate(d) != nil {
			return
		}
		v := Document(d)
		if Compare(v, v) != 0 {
			t.Fatal("not equal to itself")
		}
		b := NewBuilder()
		it := d.Iter()
		for it.Next() {
			b.Value(it.KeyStr(), it.Value())
		}
		if it.Err() != nil || !bytes.Equal(b.Build(), d) {
			t.Fatalf("valid, but rebuilt otherwise (%v)", it.Err())
		}
		_ = Format(v)
	})
}

func walk(t *testing.T, d Doc, depth int) {
	if depth > 20 {
		return
	}
	it := d.Iter()
	for it.Next() {
		v := it.Value()
		if len(it.Key())+len(v.Bytes()) > len(d) {
			t.Fatal("an element larger than its document")
		}
		v.Truthy()
		switch v.Type() {
		case TypeDocument, TypeArray:
			walk(t, v.Doc(), depth+1)
		case TypeCodeScope:
			_, scope := v.CodeScopeParts()
			walk(t, scope, depth+1)
		case TypeRegex:
			v.RegexParts()
		case TypeDBPointer:
			v.DBPointerParts()
		case TypeDecimal128:
			_ = v.Decimal().String()
		}
	}
	d.Lookup("a")
	d.Len()
}

func benchDoc() Doc {
	b := NewBuilder().Value("_id", ObjectID(make([]byte, 12)))
	for _, name := range []string{"firstName", "lastName", "email", "city", "country"} {
		b.Str(name, "some text of a field")
	}
	b.Int32("age", 42).Double("score", 1.5).StartDoc("address").Str("street", "x").Int32("number", 5).End()
	b.StartArray("tags").Add(String("a")).Add(String("b")).End().Bool("active", true).Int64("last", 7)
	return b.Build()
}

func BenchmarkIter(b *testing.B) {
	d := benchDoc()
	b.ReportAllocs()
	for b.Loop() {
		it := d.Iter()
		for it.Next() {
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	d := benchDoc()
	for _, name := range []string{"_id", "age", "last", "absent"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d.Lookup(name)
			}
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	d := benchDoc()
	b.ReportAllocs()
	for b.Loop() {
		if Validate(d) != nil {
			b.Fatal("invalid")
		}
	}
}

func TestIterFrom(t *testing.T) {
	d := NewBuilder().Int32("a", 1).Str("b", "text").Bool("c", true).Build()
	at := 4
	for it := d.Iter(); it.Next(); at += len(it.Raw()) {
		from := d.IterFrom(at)
		if !from.Next() || from.KeyStr() != it.KeyStr() || !Identical(from.Value(), it.Value()) {
			t.Errorf("at %d: %s instead of %s", at, from.Key(), it.Key())
		}
	}
	if it := d.IterFrom(at); it.Next() || it.Err() != nil {
		t.Error("an element behind the last one", it.Err())
	}
}
