package keystring

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
)

func enc(v bsonval.Value) []byte { return Append(nil, v, false, nil) }

// foldCollator orders ASCII text regardless of case, with keys that need
// escapes.
type foldCollator struct{}

func (foldCollator) AppendKey(dst, s []byte) []byte {
	for _, b := range bytes.ToLower(s) {
		dst = append(dst, b&1, b)
	}
	return dst
}

func (c foldCollator) CompareStrings(a, b []byte) int {
	return bytes.Compare(c.AppendKey(nil, a), c.AppendKey(nil, b))
}

func TestAllAwkwardNumbersOrder(t *testing.T) {
	var vs []bsonval.Value
	for _, f := range awkwardDoubles {
		vs = append(vs, bsonval.Double(f), bsonval.Double(-f))
	}
	for _, s := range awkwardDecimals {
		d := mustDecimal(s)
		vs = append(vs, d, bsonval.DecimalValue(d.Decimal().Neg()))
	}
	for _, n := range []int64{0, 1, 2, 127, 128, 255, 256, 1 << 31, 1<<53 - 1, 1 << 53, 1<<53 + 1, math.MaxInt64 - 1, math.MaxInt64} {
		vs = append(vs, bsonval.Int64(n), bsonval.Int64(-n), bsonval.Int32(int32(n)))
	}
	vs = append(vs, bsonval.Int64(math.MinInt64), bsonval.Int64(math.MinInt64+1))
	for _, a := range vs {
		for _, b := range vs {
			checkOrder(t, a, b, nil)
		}
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func checkOrder(t fataler, a, b bsonval.Value, c bsonval.Collator) {
	t.Helper()
	want := bsonval.CompareCollated(a, b, c)
	ka, kb := Append(nil, a, false, c), Append(nil, b, false, c)
	if got := bytes.Compare(ka, kb); got != want {
		t.Fatalf("%s %v / %s %v: keys compare %d, values %d\n%x\n%x", a.Type(), show(a), b.Type(), show(b), got, want, ka, kb)
	}
	da, db := Append(nil, a, true, c), Append(nil, b, true, c)
	if got := bytes.Compare(da, db); got != -want {
		t.Fatalf("%s / %s: descending keys compare %d, values %d", a.Type(), b.Type(), got, want)
	}
	if want != 0 && (bytes.HasPrefix(ka, kb) || bytes.HasPrefix(kb, ka)) {
		t.Fatalf("%s / %s: one key is a prefix of the other: %x %x", a.Type(), b.Type(), ka, kb)
	}
}

func show(v bsonval.Value) any {
	switch v.Type() {
	case bsonval.TypeDouble:
		return v.Double()
	case bsonval.TypeDecimal128:
		return v.Decimal().String()
	case bsonval.TypeInt32, bsonval.TypeInt64:
		return v.Int64()
	}
	return hex.EncodeToString(v.Bytes())
}

func TestOrderOfRandomValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkOrder(t, genValue(2).Draw(t, "a"), genValue(2).Draw(t, "b"), nil)
	})
	rapid.Check(t, func(t *rapid.T) {
		checkOrder(t, genNumber().Draw(t, "a"), genNumber().Draw(t, "b"), nil)
	})
	rapid.Check(t, func(t *rapid.T) {
		checkOrder(t, genValue(1).Draw(t, "a"), genValue(1).Draw(t, "b"), foldCollator{})
	})
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(genValue(2), 1, 4).Draw(t, "values")
		desc := rapid.SliceOfN(rapid.Bool(), len(values), len(values)).Draw(t, "desc")
		var e Encoder
		e.Reset(nil)
		var plain []byte
		for i, v := range values {
			e.Append(v, desc[i])
			plain = Append(plain, v, desc[i], nil)
		}
		if !bytes.Equal(plain, e.Key()) {
			t.Fatalf("Encoder %x, Append %x", e.Key(), plain)
		}
		got, err := Decode(nil, e.Key(), e.TypeBits(), desc, len(values))
		if err != nil {
			t.Fatalf("%v: %x", err, e.Key())
		}
		rest := e.Key()
		for i, v := range values {
			if !identical(got[i], v) {
				t.Fatalf("value %d: %s %v, want %s %v", i, got[i].Type(), show(got[i]), v.Type(), show(v))
			}
			n, err := ComponentLen(rest, desc[i])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if len(rest) != 0 {
			t.Fatalf("components leave %x", rest)
		}
	})
}

// identical also takes arrays rebuilt with other element names for the same.
func identical(a, b bsonval.Value) bool {
	return a.Type() == b.Type() && bytes.Equal(bsonval.AppendValue(nil, a), bsonval.AppendValue(nil, b))
}

func TestDefaultTypesNeedNoBits(t *testing.T) {
	for _, v := range []bsonval.Value{
		bsonval.Int32(0), bsonval.Int32(-5), bsonval.Int64(1 << 40), bsonval.Double(1.5), bsonval.Double(1e300),
		bsonval.String("x"), bsonval.Double(math.Float64frombits(defaultNaN)), bsonval.True,
		bsonval.Document(bsonval.NewBuilder().Int32("a", 1).Str("b", "c").Build()),
	} {
		var e Encoder
		e.Append(v, false)
		if len(e.TypeBits()) != 0 {
			t.Errorf("%s %v: type bits %x", v.Type(), show(v), e.TypeBits())
		}
	}
}

func TestGolden(t *testing.T) {
	doc := bsonval.NewBuilder().Int32("a", 1).Bool("b", true).Str("c", "x").Build()
	oid := bsonval.ObjectID([]byte("abcdefghijkl"))
	for _, c := range []struct {
		v         bsonval.Value
		key, bits string
	}{
		{bsonval.MinKey, "08", ""},
		{bsonval.Undefined, "10", ""},
		{bsonval.Missing, "10", ""},
		{bsonval.Null, "18", ""},
		{bsonval.Double(math.NaN()), "20", "06010000000000f87f"},
		{bsonval.Double(math.Inf(-1)), "21001fffffffffffff", ""},
		{bsonval.Int64(math.MinInt64), "21783fffffffffffff", ""},
		{bsonval.Int32(-1), "29fd", ""},
		{bsonval.Double(-0.5), "2a803fffffffffffff", ""},
		{bsonval.Int32(0), "2b", ""},
		{bsonval.Double(math.Copysign(0, -1)), "2b", "03"},
		{bsonval.Double(0.5), "2c7fc0000000000000", ""},
		{mustDecimal("0.1"), "2c7f73333333333333" + "1fde" + "00314dc6448d9338c15b0a00000000", "04181f"},
		{bsonval.Int32(1), "2d02", ""},
		{bsonval.Int64(1), "2d02", "01"},
		{bsonval.Double(1), "2d02", "02"},
		{mustDecimal("1.00"), "2d02", "04181e"},
		{bsonval.Double(1.5), "2d0380000000000000", ""},
		{bsonval.Int32(128), "2e0100", ""},
		{bsonval.Int64(math.MaxInt64), "34fffffffffffffffe", ""},
		{bsonval.Double(1 << 63), "3587c0000000000000", ""},
		{bsonval.String("a\x00\x01"), "406101010102" + "00", ""},
		{bsonval.Symbol("a"), "406100", "01"},
		{bsonval.Document(doc), "48" + "2061002d02" + "68620069" + "4063007800" + "00", ""},
		{bsonval.ArrayOf(bsonval.Int32(1), bsonval.Null), "502d021800", ""},
		{bsonval.Binary(4, []byte{9}), "58000000010409", ""},
		{oid, "606162636465666768696a6b6c", ""},
		{bsonval.False, "68", ""},
		{bsonval.True, "69", ""},
		{bsonval.Date(-1), "707fffffffffffffff", ""},
		{bsonval.Timestamp(1, 2), "780000000100000002", ""},
		{bsonval.Regex("a", "i"), "8061006900", ""},
		{bsonval.DBPointer("n", oid.Bytes()), "8800000012020000006e00" + "6162636465666768696a6b6c", ""},
		{bsonval.Code("f"), "906600", ""},
		{bsonval.CodeScope("f", bsonval.EmptyDoc), "98660000", ""},
		{bsonval.MaxKey, "f0", ""},
	} {
		var e Encoder
		e.Append(c.v, false)
		if got := hex.EncodeToString(e.Key()); got != c.key {
			t.Errorf("%s %v: key %s, want %s", c.v.Type(), show(c.v), got, c.key)
		}
		if got := hex.EncodeToString(e.TypeBits()); got != c.bits {
			t.Errorf("%s %v: type bits %s, want %s", c.v.Type(), show(c.v), got, c.bits)
		}
	}
}

func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound, v, next := genValue(1).Draw(t, "bound"), genValue(1).Draw(t, "v"), genValue(1).Draw(t, "next")
		desc, descNext, inclusive := rapid.Bool().Draw(t, "desc"), rapid.Bool().Draw(t, "descNext"), rapid.Bool().Draw(t, "inclusive")
		key := Append(Append(nil, v, desc, nil), next, descNext, nil)
		r := bsonval.Compare(v, bound)
		if desc {
			r = -r
		}
		start := AppendStart(nil, bound, inclusive, desc, nil)
		if got, want := bytes.Compare(key, start) >= 0, r > 0 || r == 0 && inclusive; got != want {
			t.Fatalf("start: in bounds %v, want %v", got, want)
		}
		end := AppendEnd(nil, bound, inclusive, desc, nil)
		if got, want := bytes.Compare(key, end) < 0, r < 0 || r == 0 && inclusive; got != want {
			t.Fatalf("end: in bounds %v, want %v", got, want)
		}
		in := bytes.Compare(key, AppendTypeStart(nil, bound.Type(), desc)) >= 0 &&
			bytes.Compare(key, AppendTypeEnd(nil, bound.Type(), desc)) < 0
		if want := cmp.Compare(v.Type().Order(), bound.Type().Order()) == 0; in != want {
			t.Fatalf("%s in the class of %s: %v", v.Type(), bound.Type(), in)
		}
	})
}

func TestPrefixBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix, s := genText().Draw(t, "prefix"), genText().Draw(t, "s")
		if rapid.Bool().Draw(t, "extend") {
			s = prefix + s
		}
		desc := rapid.Bool().Draw(t, "desc")
		start, end := AppendPrefixBounds(nil, nil, []byte(prefix), desc)
		key := Append(nil, bsonval.String(s), desc, nil)
		if rapid.Bool().Draw(t, "compound") {
			key = Append(key, genValue(0).Draw(t, "next"), true, nil)
		}
		in := bytes.Compare(key, start) >= 0 && bytes.Compare(key, end) < 0
		if want := bytes.HasPrefix([]byte(s), []byte(prefix)); in != want {
			t.Fatalf("%q prefix %q: in bounds %v", s, prefix, in)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(enc(bsonval.Int32(1)), []byte{2}, false)
	f.Add(enc(mustDecimal("0.1")), []byte{4, 0x18, 0x1f}, true)
	f.Add(enc(bsonval.ArrayOf(bsonval.String("a\x00"), bsonval.Double(1.5), bsonval.Regex("a", "i"))), []byte{}, false)
	f.Add(enc(bsonval.CodeScope("f", bsonval.NewBuilder().Int32("a", 1).Build())), []byte{}, false)
	f.Fuzz(func(t *testing.T, key, bits []byte, desc bool) {
		vs, err := Decode(nil, key, bits, []bool{desc, !desc}, 2)
		n, lenErr := ComponentLen(key, desc)
		if err == nil && (lenErr != nil || n > len(key)) {
			t.Fatalf("decodes, but has no component length: %v", lenErr)
		}
		if err != nil {
			return
		}
		for _, v := range vs {
			d := bsonval.AppendElement([]byte{0, 0, 0, 0}, "v", v)
			d = bsonval.EndDoc(d, 0)
			if err := bsonval.Validate(d); err != nil && err != bsonval.ErrTooDeep {
				t.Fatalf("decoded %s is no BSON: %v", v.Type(), err)
			}
		}
	})
}

func TestScalarsDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 256)
	vs := []bsonval.Value{
		bsonval.Int32(42), bsonval.Int64(1 << 40), bsonval.Double(1.25), bsonval.String("hello"),
		bsonval.ObjectID(make([]byte, 12)), mustDecimal("19.99"), bsonval.Date(1),
	}
	if n := testing.AllocsPerRun(100, func() {
		dst = dst[:0]
		for _, v := range vs {
			dst = Append(dst, v, true, nil)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name string
		v    bsonval.Value
	}{
		{"int32", bsonval.Int32(42)}, {"double", bsonval.Double(3.14)}, {"string", bsonval.String("hello, world")},
		{"objectId", bsonval.ObjectID(make([]byte, 12))}, {"decimal", mustDecimal("19.99")},
		{"document", bsonval.Document(bsonval.NewBuilder().Int32("a", 1).Str("b", "x").Build())},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 256)
			for b.Loop() {
				dst = Append(dst[:0], c.v, false, nil)
			}
		})
	}
}
