package bsonval

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestArithmeticTypes(t *testing.T) {
	for _, c := range []struct {
		name     string
		got      Value
		overflow bool
		want     Value
	}{
		{"int32", first(Add(Int32(1), Int32(2))), false, Int32(3)},
		{"int32 grows", first(Add(Int32(math.MaxInt32), Int32(1))), false, Int64(1 << 31)},
		{"int32 product grows", first(Mul(Int32(math.MinInt32), Int32(math.MinInt32))), false, Int64(1 << 62)},
		{"int64 stays", first(Add(Int64(1), Int32(2))), false, Int64(3)},
		{"double wins", first(Sub(Double(1.5), Int64(1))), false, Double(0.5)},
		{"decimal wins", first(Mul(mustDecimal("1.5"), Double(2))), false, mustDecimal("3.000000000000000")},
	} {
		if !Identical(c.got, c.want) {
			t.Errorf("%s: %s %s, want %s %s", c.name, c.got.Type(), Format(c.got), c.want.Type(), Format(c.want))
		}
	}
}

func first(v Value, _ bool) Value { return v }

func TestInt64Overflow(t *testing.T) {
	edge := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1 << 32, -1 << 32, 1<<62 + 1}))
	ops := []struct {
		name string
		ours func(a, b Value) (Value, bool)
		big  func(z, x, y *big.Int) *big.Int
	}{{"+", Add, (*big.Int).Add}, {"-", Sub, (*big.Int).Sub}, {"*", Mul, (*big.Int).Mul}}
	rapid.Check(t, func(t *rapid.T) {
		x, y := edge.Draw(t, "x"), edge.Draw(t, "y")
		for _, op := range ops {
			got, overflow := op.ours(Int64(x), Int64(y))
			want := op.big(new(big.Int), big.NewInt(x), big.NewInt(y))
			switch {
			case overflow == want.IsInt64():
				t.Fatalf("%d %s %d: overflow %v", x, op.name, y, overflow)
			case overflow && got.Type() != TypeDouble:
				t.Fatalf("%d %s %d overflows to a %s", x, op.name, y, got.Type())
			case !overflow && (got.Type() != TypeInt64 || got.Int64() != want.Int64()):
				t.Fatalf("%d %s %d = %d", x, op.name, y, got.Int64())
			}
		}
	})
}

func TestIntegerConversions(t *testing.T) {
	for _, c := range []struct {
		v     Value
		n     int64
		exact bool
		cut   int64
	}{
		{Int32(-7), -7, true, -7},
		{Int64(math.MaxInt64), math.MaxInt64, true, math.MaxInt64},
		{Double(3), 3, true, 3},
		{Double(3.9), 0, false, 3},
		{Double(-3.9), 0, false, -3},
		{Double(1 << 63), 0, false, math.MaxInt64},
		{Double(-1 << 63), math.MinInt64, true, math.MinInt64},
		{Double(math.Inf(-1)), 0, false, math.MinInt64},
		{Double(math.NaN()), 0, false, 0},
		{mustDecimal("3.0"), 3, true, 3},
		{mustDecimal("3.5"), 0, false, 3},
		{mustDecimal("1E400"), 0, false, math.MaxInt64},
		{mustDecimal("-Infinity"), 0, false, math.MinInt64},
		{mustDecimal("NaN"), 0, false, 0},
		{mustDecimal("9223372036854775807"), math.MaxInt64, true, math.MaxInt64},
	} {
		n, ok := c.v.AsInt64()
		if ok != c.exact || ok && n != c.n {
			t.Errorf("%s: %d %v, want %d %v", Format(c.v), n, ok, c.n, c.exact)
		}
		if got := c.v.TruncInt64(); got != c.cut {
			t.Errorf("%s: cut to %d, want %d", Format(c.v), got, c.cut)
		}
	}
}
