package keystring

import (
	"math"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// mustDecimal parses a decimal constant of the tests.
func mustDecimal(s string) bsonval.Value {
	d, _, err := bsonval.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return bsonval.DecimalValue(d)
}

// awkwardDoubles and awkwardDecimals sit at the edges of the number encoding.
var awkwardDoubles = []float64{
	0, math.Copysign(0, -1), 1, 0.5, 0.1, 0.9999999999999999, 1.0000000000000002, 1.5, 127, 128, 255, 256,
	1<<53 - 1, 1 << 53, 1<<53 + 2, 1<<62 + 1024, 1 << 63, 1<<63 - 1024, 1<<63 + 2048, 1 << 64, 1e22, 1e23, 1e300,
	math.MaxFloat64, math.SmallestNonzeroFloat64, 2.2250738585072014e-308, 2.225073858507201e-308,
	math.Inf(1), math.NaN(), 9007199254740991.5 / 2, 4503599627370496.5, 1e-6176, 3.14, 19.99,
}

var awkwardDecimals = []string{
	"0", "-0", "0E+6111", "0E-6176", "1", "1.0", "1.00", "10E-1", "0.1", "0.10", "0.5", "0.50", "19.99", "0.1000000000000000055511151231257827",
	"1E-6176", "9.999999999999999999999999999999999E+6144", "1E+6144", "1E400", "1E-400", "1E308", "1.797693134862315708145274237317043E308",
	"1.797693134862315907729305190789025E308", "4.940656458412465441765687928682213E-324", "4.9E-324", "1E-324",
	"9007199254740992", "9007199254740993", "9007199254740993.0", "9223372036854775807", "9223372036854775808", "9223372036854775807.5",
	"9223372036854775808.5", "18446744073709551616", "18446744073709551615", "9999999999999999999999999999999999",
	"0.9999999999999999999999999999999999", "1.000000000000000000000000000000001", "123456789012345678.9012345678901234",
	"1E18", "1E19", "1E22", "1E23", "0.0009765625", "1.5", "1.50", "4503599627370496.5", "NaN", "Infinity", "127.99999999999999999",
}

func genNumber() *rapid.Generator[bsonval.Value] {
	sign := rapid.SampledFrom([]float64{1, -1})
	return rapid.OneOf(
		rapid.Map(rapid.Int32(), bsonval.Int32),
		rapid.Map(rapid.Int64(), bsonval.Int64),
		rapid.Map(rapid.Float64(), bsonval.Double),
		rapid.Map(rapid.Int32Range(-300, 300), bsonval.Int32),
		rapid.Map(rapid.Int64Range(-3, 3), func(n int64) bsonval.Value { return bsonval.Int64(1<<53 + n) }),
		rapid.Map(rapid.Int64Range(-3, 3), func(n int64) bsonval.Value { return bsonval.Int64(n - 1<<53) }),
		rapid.Map(rapid.Int64Range(0, 3), func(n int64) bsonval.Value { return bsonval.Int64(math.MinInt64 + n) }),
		rapid.Map(rapid.Int64Range(0, 3), func(n int64) bsonval.Value { return bsonval.Int64(math.MaxInt64 - n) }),
		rapid.Custom(func(t *rapid.T) bsonval.Value {
			return bsonval.Double(sign.Draw(t, "sign") * rapid.SampledFrom(awkwardDoubles).Draw(t, "double"))
		}),
		rapid.Custom(func(t *rapid.T) bsonval.Value {
			v := mustDecimal(rapid.SampledFrom(awkwardDecimals).Draw(t, "decimal"))
			if sign.Draw(t, "sign") < 0 {
				v = bsonval.DecimalValue(v.Decimal().Neg())
			}
			return v
		}),
		rapid.Custom(func(t *rapid.T) bsonval.Value { // any decimal bits, odd encodings too
			return bsonval.DecimalValue(bsonval.Decimal{H: rapid.Uint64().Draw(t, "high"), L: rapid.Uint64().Draw(t, "low")})
		}),
		rapid.Custom(func(t *rapid.T) bsonval.Value { // decimals near doubles
			d := bsonval.DecimalFromDouble(rapid.Float64Range(-1e20, 1e20).Draw(t, "near"))
			d.L += rapid.Uint64Range(0, 2).Draw(t, "step")
			return bsonval.DecimalValue(d)
		}),
		rapid.Custom(func(t *rapid.T) bsonval.Value { // small coefficients: money
			d := bsonval.Decimal{
				H: uint64(rapid.IntRange(6170, 6180).Draw(t, "exponent")) << 49,
				L: rapid.Uint64Range(0, 100000).Draw(t, "coefficient"),
			}
			return bsonval.DecimalValue(d)
		}),
	)
}

func genText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "a", "A", "ab", "b", "\x00", "\x00\x00", "\x01", "a\x00", "a\x01", "a\x00b", "\xff", "\xff\xff", "é", "é"}),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 'A', 'b', 0xfe, 0xff}), 0, 6), func(b []byte) string { return string(b) }),
		rapid.String(),
	)
}

func genName() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "a", "b", "ab", "é", "\xff", "\x01"})
}

func genBytes(n int) *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), n, n) }

// genValue generates values of all types, nested to depth.
func genValue(depth int) *rapid.Generator[bsonval.Value] {
	gens := []*rapid.Generator[bsonval.Value]{
		genNumber(), genNumber(), genNumber(),
		rapid.Map(genText(), bsonval.String), rapid.Map(genText(), bsonval.String), rapid.Map(genText(), bsonval.Symbol),
		rapid.SampledFrom([]bsonval.Value{bsonval.MinKey, bsonval.MaxKey, bsonval.Null, bsonval.Undefined, bsonval.True, bsonval.False}),
		rapid.Map(rapid.Int64(), bsonval.Date),
		rapid.Map(rapid.Uint64(), bsonval.TimestampBits),
		rapid.Map(genBytes(12), bsonval.ObjectID),
		rapid.Custom(func(t *rapid.T) bsonval.Value {
			return bsonval.Binary(rapid.SampledFrom([]byte{0, 2, 4, 128}).Draw(t, "subtype"), rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "bytes"))
		}),
		rapid.Custom(func(t *rapid.T) bsonval.Value {
			return bsonval.Regex(rapid.SampledFrom([]string{"", "a", "a\x01", "ab"}).Draw(t, "pattern"), rapid.SampledFrom([]string{"", "i", "ix"}).Draw(t, "options"))
		}),
		rapid.Custom(func(t *rapid.T) bsonval.Value {
			return bsonval.DBPointer(rapid.SampledFrom([]string{"", "a", "ab"}).Draw(t, "ns"), genBytes(12).Draw(t, "id"))
		}),
		rapid.Map(genText(), bsonval.Code),
	}
	if depth > 0 {
		document := rapid.Custom(func(t *rapid.T) bsonval.Value { return bsonval.Document(genDoc(t, depth-1)) })
		array := rapid.Custom(func(t *rapid.T) bsonval.Value {
			return bsonval.ArrayOf(rapid.SliceOfN(genValue(depth-1), 0, 3).Draw(t, "items")...)
		})
		gens = append(gens, document, array, document, array, rapid.Custom(func(t *rapid.T) bsonval.Value {
			return bsonval.CodeScope(genText().Draw(t, "code"), genDoc(t, depth-1))
		}))
	}
	return rapid.OneOf(gens...)
}

func genDoc(t *rapid.T, depth int) bsonval.Doc {
	b := bsonval.NewBuilder()
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		b.Value(genName().Draw(t, "name"), genValue(depth).Draw(t, "value"))
	}
	return b.Build()
}
