package bsonval

import (
	"bytes"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// compareModel compares numbers as fractions.
func compareModel(a, b Value) int {
	ra, oa := fraction(a)
	rb, ob := fraction(b)
	if ra != nil && rb != nil {
		return ra.Cmp(rb)
	}
	switch { // NaN, -Infinity, finite, Infinity
	case oa < ob:
		return -1
	case oa > ob:
		return 1
	}
	return 0
}

func fraction(v Value) (r *big.Rat, class int) {
	switch v.Type() {
	case TypeDouble:
		switch f := v.Double(); {
		case math.IsNaN(f):
			return nil, 0
		case math.IsInf(f, -1):
			return nil, 1
		case math.IsInf(f, 1):
			return nil, 3
		default:
			return new(big.Rat).SetFloat64(f), 2
		}
	case TypeDecimal128:
		d := v.Decimal()
		switch {
		case d.IsNaN():
			return nil, 0
		case d.IsInf() && d.Negative():
			return nil, 1
		case d.IsInf():
			return nil, 3
		}
		exp, hi, lo := d.Coefficient()
		n := new(big.Int).SetUint64(hi)
		n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(lo))
		if d.Negative() {
			n.Neg(n)
		}
		p := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
		if exp < 0 {
			return new(big.Rat).SetFrac(n, p), 2
		}
		return new(big.Rat).SetInt(n.Mul(n, p)), 2
	}
	return new(big.Rat).SetInt64(v.Int64()), 2
}

func TestAwkwardNumbersCompareExactly(t *testing.T) {
	vs := awkwardNumbers()
	for _, a := range vs {
		for _, b := range vs {
			if got, want := CompareNumbers(a, b), compareModel(a, b); got != want {
				t.Errorf("%s %s / %s %s: %d, want %d", a.Type(), Format(a), b.Type(), Format(b), got, want)
			}
		}
	}
}

func TestNumbersCompareExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genNumber().Draw(t, "a"), genNumber().Draw(t, "b")
		if got, want := CompareNumbers(a, b), compareModel(a, b); got != want {
			t.Fatalf("%s %s / %s %s: %d, want %d", a.Type(), Format(a), b.Type(), Format(b), got, want)
		}
	})
}

func TestComparisonLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genValue(2).Draw(t, "a"), genValue(2).Draw(t, "b"), genValue(2).Draw(t, "c")
		ab, bc, ac := Compare(a, b), Compare(b, c), Compare(a, c)
		if Compare(a, a) != 0 || ab != -Compare(b, a) {
			t.Fatalf("not antisymmetric: %s, %s", Format(a), Format(b))
		}
		if ab <= 0 && bc <= 0 && ac > 0 || ab == 0 && bc == 0 && ac != 0 {
			t.Fatalf("not transitive: %s, %s, %s", Format(a), Format(b), Format(c))
		}
		if Identical(a, b) && ab != 0 {
			t.Fatalf("identical but not equal: %s", Format(a))
		}
		if a.Type().Order() < b.Type().Order() && ab != -1 {
			t.Fatalf("types out of order: %s, %s", Format(a), Format(b))
		}
	})
}

func TestTypeOrder(t *testing.T) {
	ordered := []Value{
		MinKey, Undefined, Null, Int32(5), String("a"), Document(EmptyDoc), Array(EmptyDoc), Binary(0, nil),
		ObjectID(make([]byte, 12)), False, True, Date(-1), Timestamp(0, 0), Regex("a", ""), DBPointer("a", make([]byte, 12)),
		Code("a"), CodeScope("a", EmptyDoc), MaxKey,
	}
	for i, a := range ordered {
		for j, b := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := Compare(a, b); got != want {
				t.Errorf("%s / %s: %d, want %d", a.Type(), b.Type(), got, want)
			}
		}
	}
	if Compare(Missing, Undefined) != 0 || Compare(Missing, Null) != -1 {
		t.Error("missing must equal undefined and sort before null")
	}
}

func TestCompareDocuments(t *testing.T) {
	doc := func(pairs ...any) Value {
		b := NewBuilder()
		for i := 0; i < len(pairs); i += 2 {
			b.Value(pairs[i].(string), pairs[i+1].(Value))
		}
		return Document(b.Build())
	}
	for _, c := range []struct {
		name string
		a, b Value
		want int
	}{
		{"prefix first", doc("a", Int32(1)), doc("a", Int32(1), "b", Int32(1)), -1},
		{"type before name", doc("b", Int32(1)), doc("a", String("")), -1},
		{"name before value", doc("a", Int32(2)), doc("b", Int32(1)), -1},
		{"numbers of all types", doc("a", Int32(1)), doc("a", Double(1)), 0},
		{"order of fields matters", doc("a", Int32(1), "b", Int32(1)), doc("b", Int32(1), "a", Int32(1)), -1},
		{"array prefix first", ArrayOf(Int32(1)), ArrayOf(Int32(1), Null), -1},
		{"array by elements", ArrayOf(Int32(2)), ArrayOf(Int32(1), Int32(9)), 1},
		{"array elements have no names", Array(doc("x", Int32(1)).Doc()), ArrayOf(Int32(1)), 0},
		{"binary by length", Binary(9, []byte{9}), Binary(0, []byte{0, 0}), -1},
		{"binary by subtype", Binary(0, []byte{9}), Binary(1, []byte{0}), -1},
		{"string with NUL", String("a"), String("a\x00"), -1},
		{"symbol is string", Symbol("a"), String("a"), 0},
		{"date before 1970", Date(-1), Date(1), -1},
		{"timestamp unsigned", TimestampBits(1 << 63), TimestampBits(1), 1},
		{"regex options last", Regex("a", "i"), Regex("ab", ""), -1},
	} {
		if got := Compare(c.a, c.b); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if got := Compare(c.b, c.a); got != -c.want {
			t.Errorf("%s, turned: %d, want %d", c.name, got, -c.want)
		}
	}
}

// lower orders strings regardless of ASCII case.
type lower struct{}

func (lower) AppendKey(dst, s []byte) []byte { return append(dst, bytes.ToLower(s)...) }
func (lower) CompareStrings(a, b []byte) int {
	return bytes.Compare(bytes.ToLower(a), bytes.ToLower(b))
}
func nested(s string) Value         { return ArrayOf(Document(NewBuilder().Str("k", s).Build())) }
func namedField(name string) Value  { return Document(NewBuilder().Int32(name, 1).Build()) }
func scope(s string) Value          { return CodeScope("f", NewBuilder().Str("k", s).Build()) }
func collatedEqual(a, b Value) bool { return CompareCollated(a, b, lower{}) == 0 }
func TestCollationReachesAllDepths(t *testing.T) {
	if !collatedEqual(String("A"), Symbol("a")) || !collatedEqual(nested("A"), nested("a")) || !collatedEqual(scope("A"), scope("a")) {
		t.Error("strings must compare by the collator at every depth")
	}
	if collatedEqual(namedField("A"), namedField("a")) || collatedEqual(Code("A"), Code("a")) {
		t.Error("names and code must not compare by the collator")
	}
}

func BenchmarkCompare(b *testing.B) {
	d := Document(NewBuilder().Int32("a", 1).Str("b", "hello").Double("c", 1.5).Build())
	for _, c := range []struct {
		name string
		a, b Value
	}{
		{"int32", Int32(1), Int32(2)}, {"int32-double", Int32(1), Double(1)}, {"string", String("hello"), String("help")},
		{"document", d, d}, {"decimal", mustDecimal("1.5"), mustDecimal("1.50")},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Compare(c.a, c.b)
			}
		})
	}
}
