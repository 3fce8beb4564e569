package bsonval

import (
	"math"

	"pgregory.net/rapid"
)

func mustDecimal(s string) Value {
	d, _, err := ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return DecimalValue(d)
}

// awkwardNumbers tie with, or lie just beside, numbers of other types.
func awkwardNumbers() []Value {
	vs := []Value{
		Int32(0), Int32(1), Int32(-1), Int32(math.MaxInt32), Int32(math.MinInt32),
		Int64(0), Int64(1), Int64(1 << 53), Int64(1<<53 + 1), Int64(1<<53 - 1), Int64(-1<<53 - 1),
		Int64(math.MaxInt64), Int64(math.MaxInt64 - 1), Int64(math.MinInt64), Int64(math.MinInt64 + 1),
	}
	for _, f := range []float64{
		0, math.Copysign(0, -1), 1, 0.1, 0.5, 1.5, -1, -0.5, 1 << 53, 1<<53 + 2, 1 << 63, -1 << 63, 1<<63 - 1024, 1e22, 1e23, 1e300,
		math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 2.2250738585072014e-308, math.NaN(), math.Inf(1), math.Inf(-1),
	} {
		vs = append(vs, Double(f))
	}
	for _, s := range []string{
		"0", "-0", "0E+6111", "1", "1.00", "0.1", "0.10", "-0.5", "1.5", "9007199254740993", "9223372036854775807", "9223372036854775808",
		"-9223372036854775808", "-9223372036854775808.1", "1E22", "1E23", "1E400", "-1E400", "1E-400", "-1E-400", "1E-6176",
		"9.999999999999999999999999999999999E+6144", "0.1000000000000000055511151231257827", "1.797693134862315708145274237317044E308",
		"4.940656458412465441765687928682214E-324", "4.940656458412465441765687928682213E-324", "NaN", "Infinity", "-Infinity",
	} {
		vs = append(vs, mustDecimal(s))
	}
	return vs
}

func genNumber() *rapid.Generator[Value] {
	return rapid.OneOf(
		rapid.SampledFrom(awkwardNumbers()),
		rapid.Map(rapid.Int32(), Int32), rapid.Map(rapid.Int64(), Int64), rapid.Map(rapid.Float64(), Double),
		rapid.Custom(func(t *rapid.T) Value {
			return DecimalValue(Decimal{H: rapid.Uint64().Draw(t, "high"), L: rapid.Uint64().Draw(t, "low")})
		}),
		rapid.Map(rapid.Float64(), func(f float64) Value { return DecimalValue(DecimalFromDouble(f)) }),
	)
}

// genValue generates values of all types, nested to depth.
func genValue(depth int) *rapid.Generator[Value] {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "a\x00", "é"}), rapid.String())
	bytes12 := rapid.SliceOfN(rapid.Byte(), 12, 12)
	gens := []*rapid.Generator[Value]{
		genNumber(), genNumber(), rapid.Map(text, String), rapid.Map(text, Symbol), rapid.Map(text, Code),
		rapid.SampledFrom([]Value{MinKey, MaxKey, Null, Undefined, True, False}),
		rapid.Map(rapid.Int64(), Date), rapid.Map(rapid.Uint64(), TimestampBits), rapid.Map(bytes12, ObjectID),
		rapid.Custom(func(t *rapid.T) Value {
			return Binary(rapid.SampledFrom([]byte{0, 2, 4}).Draw(t, "subtype"), rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "bytes"))
		}),
		rapid.Custom(func(t *rapid.T) Value {
			return Regex(rapid.SampledFrom([]string{"", "a", "ab"}).Draw(t, "pattern"), rapid.SampledFrom([]string{"", "i"}).Draw(t, "options"))
		}),
		rapid.Custom(func(t *rapid.T) Value {
			return DBPointer(rapid.SampledFrom([]string{"", "a.b"}).Draw(t, "ns"), bytes12.Draw(t, "id"))
		}),
	}
	if depth > 0 {
		doc := rapid.Custom(func(t *rapid.T) Value { return Document(genDoc(t, depth-1)) })
		array := rapid.Map(rapid.SliceOfN(genValue(depth-1), 0, 3), func(vs []Value) Value { return ArrayOf(vs...) })
		gens = append(gens, doc, doc, array, array, rapid.Custom(func(t *rapid.T) Value {
			return CodeScope(text.Draw(t, "code"), genDoc(t, depth-1))
		}))
	}
	return rapid.OneOf(gens...)
}

func genDoc(t *rapid.T, depth int) Doc {
	b := NewBuilder()
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		b.Value(rapid.SampledFrom([]string{"", "a", "b", "ab", "é"}).Draw(t, "name"), genValue(depth).Draw(t, "value"))
	}
	return b.Build()
}
