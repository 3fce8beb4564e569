package bsonval

import (
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// TestDecimalStrings has examples of the BSON decimal128 specification
// (https://github.com/mongodb/specifications/blob/master/source/bson-decimal128/decimal128.md).
func TestDecimalStrings(t *testing.T) {
	for _, c := range []struct {
		in     string
		hi, lo uint64
		out    string
	}{
		{"0", 0x3040000000000000, 0, "0"},
		{"-0", 0xb040000000000000, 0, "-0"},
		{"0.0", 0x303e000000000000, 0, "0.0"},
		{"0E+3", 0x3046000000000000, 0, "0E+3"},
		{"-0E-5", 0xb036000000000000, 0, "-0.00000"},
		{"1", 0x3040000000000000, 1, "1"},
		{"-1.0", 0xb03e000000000000, 10, "-1.0"},
		{"12345678901234567", 0x3040000000000000, 0x2bdc545d6b4b87, "12345678901234567"},
		{"0.001234", 0x3034000000000000, 1234, "0.001234"},
		{"0.00000001", 0x3030000000000000, 1, "1E-8"},
		{"1.000000000000000000000000000000000", 0x2ffe314dc6448d93, 0x38c15b0a00000000, "1.000000000000000000000000000000000"},
		{"9.999999999999999999999999999999999E+6144", 0x5fffed09bead87c0, 0x378d8e63ffffffff, "9.999999999999999999999999999999999E+6144"},
		{"1E-6176", 0x0000000000000000, 1, "1E-6176"},
		{"1E+6144", 0x5ffe314dc6448d93, 0x38c15b0a00000000, "1.000000000000000000000000000000000E+6144"},
		{"1e5", 0x304a000000000000, 1, "1E+5"},
		{"+5", 0x3040000000000000, 5, "5"},
		{".5", 0x303e000000000000, 5, "0.5"},
		{"5.", 0x3040000000000000, 5, "5"},
		{"Infinity", 0x7800000000000000, 0, "Infinity"},
		{"-inf", 0xf800000000000000, 0, "-Infinity"},
		{"nan", 0x7c00000000000000, 0, "NaN"},
	} {
		d, exact, err := ParseDecimal(c.in)
		if err != nil || !exact || d.H != c.hi || d.L != c.lo {
			t.Errorf("%q: %016x %016x exact %v, %v", c.in, d.H, d.L, exact, err)
		}
		if got := d.String(); got != c.out {
			t.Errorf("%q prints %q, want %q", c.in, got, c.out)
		}
	}
}

func TestDecimalRounding(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"12345678901234567890123456789012345", "1.234567890123456789012345678901234E+34"},
		{"12345678901234567890123456789012355", "1.234567890123456789012345678901236E+34"},
		{"0.12345678901234567890123456789012345678", "0.1234567890123456789012345678901235"},
		{"1E-6177", "0E-6176"},
		{"6E-6177", "1E-6176"},
		{"1E+6145", "Infinity"},
		{"-9.9999999999999999999999999999999999E+6144", "-Infinity"},
	} {
		d, exact, err := ParseDecimal(c.in)
		if err != nil || exact || d.String() != c.out {
			t.Errorf("%q: %s exact %v, %v; want %s", c.in, d, exact, err, c.out)
		}
	}
}

func TestLongDecimals(t *testing.T) {
	zeros := strings.Repeat("0", 1<<20)
	for _, c := range []struct {
		in, out string
		exact   bool
	}{
		{"1" + zeros + "E-1048576", "1.000000000000000000000000000000000", true},
		{"1" + zeros + "1E-1048577", "1.000000000000000000000000000000000", false},
		{"0." + zeros + "1E+1048577", "1", true},
		{"1E-999999999", "0E-6176", false},
		{"1E+999999999", "Infinity", false},
		{"0E+999999999", "0E+6111", true},
		{"12345678901234567890123456789012345" + zeros + "E-1048576", "1.234567890123456789012345678901234E+34", false},
		{"12345678901234567890123456789012345" + zeros + "1E-1048577", "1.234567890123456789012345678901235E+34", false},
	} {
		d, exact, err := ParseDecimal(c.in)
		if err != nil || exact != c.exact || d.String() != c.out {
			t.Errorf("%.40s…: %s exact %v, %v; want %s", c.in, d, exact, err, c.out)
		}
	}
}

func TestDecimalSyntax(t *testing.T) {
	for _, s := range []string{"", "+", "-", ".", "e5", "1e", "1e+", "1.2.3", "1 ", " 1", "0x10", "1_0", "1e1_0", "-+inf", "--1", "+-nan", "infin", "E", "1,5"} {
		if d, _, err := ParseDecimal(s); err != ErrDecimalSyntax {
			t.Errorf("%q: %s, %v", s, d, err)
		}
	}
}

func TestDecimalAgreesWithDriver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genDecimal().Draw(t, "decimal")
		theirs := bson.NewDecimal128(d.H, d.L)
		canonical := d.IsFinite() && packDecimalOf(d) == d
		if !canonical {
			return
		}
		if d.String() != theirs.String() {
			t.Fatalf("%016x %016x: %s, the driver says %s", d.H, d.L, d, theirs)
		}
		again, exact, err := ParseDecimal(d.String())
		if err != nil || !exact || again != d {
			t.Fatalf("%s reads back as %s (%v, %v)", d, again, exact, err)
		}
	})
}

func genDecimal() *rapid.Generator[Decimal] {
	return rapid.Map(genNumber(), func(v Value) Decimal { return v.AsDecimal() })
}

func packDecimalOf(d Decimal) Decimal {
	exp, hi, lo := d.Coefficient()
	return packDecimal(d.Negative(), exp, hi, lo)
}

func TestDecimalArithmetic(t *testing.T) {
	for _, c := range []struct{ a, op, b, want string }{
		{"1.1", "+", "2.20", "3.30"},
		{"1", "-", "1.00", "0.00"},
		{"0.1", "*", "0.2", "0.02"},
		{"1", "/", "3", "0.3333333333333333333333333333333333"},
		{"2", "/", "3", "0.6666666666666666666666666666666667"},
		{"6", "/", "2", "3"},
		{"1", "/", "0", "Infinity"},
		{"-1", "/", "0", "-Infinity"},
		{"0", "/", "0", "NaN"},
		{"NaN", "+", "1", "NaN"},
		{"Infinity", "-", "Infinity", "NaN"},
		{"9E+6144", "*", "10", "Infinity"},
		{"1E-6176", "/", "10", "0E-6176"},
		{"5", "%", "3", "2"},
		{"-5", "%", "3", "-2"},
		{"5.5", "%", "-2", "1.5"},
		{"1E+30", "%", "7", "1"},
		{"5", "%", "0", "NaN"},
		{"Infinity", "%", "2", "NaN"},
		{"5", "%", "Infinity", "5"},
		{"9.999999999999999999999999999999999E+6144", "%", "1E-6176", "0E-6176"},
	} {
		a, b := mustDecimal(c.a).Decimal(), mustDecimal(c.b).Decimal()
		var got Decimal
		switch c.op {
		case "+":
			got = a.Add(b)
		case "-":
			got = a.Sub(b)
		case "*":
			got = a.Mul(b)
		case "/":
			got = a.Quo(b)
		case "%":
			got = a.Rem(b)
		}
		if got.String() != c.want {
			t.Errorf("%s %s %s = %s, want %s", c.a, c.op, c.b, got, c.want)
		}
	}
}

// TestDecimalArithmeticIsRounded checks sums and products against exact ones.
func TestDecimalArithmeticIsRounded(t *testing.T) {
	exact := apd.BaseContext.WithPrecision(13000)
	rapid.Check(t, func(t *rapid.T) {
		a, b := genDecimal().Draw(t, "a"), genDecimal().Draw(t, "b")
		if !a.IsFinite() || !b.IsFinite() {
			return
		}
		var sum, product apd.Decimal
		if _, err := exact.Add(&sum, a.Apd(), b.Apd()); err != nil {
			t.Fatal(err)
		}
		if _, err := exact.Mul(&product, a.Apd(), b.Apd()); err != nil {
			t.Fatal(err)
		}
		if got, want := a.Add(b), DecimalFromApd(&sum); got.Cmp(want) != 0 {
			t.Fatalf("%s + %s = %s, want %s", a, b, got, want)
		}
		if got, want := a.Mul(b), DecimalFromApd(&product); got.Cmp(want) != 0 {
			t.Fatalf("%s * %s = %s, want %s", a, b, got, want)
		}
	})
}

func TestDecimalConversions(t *testing.T) {
	for _, c := range []struct {
		f    float64
		want string
	}{
		{0.1, "0.100000000000000"}, {1, "1.00000000000000"}, {1e300, "1.00000000000000E+300"}, {0, "0"},
		{math.Copysign(0, -1), "-0"}, {math.Inf(-1), "-Infinity"}, {math.NaN(), "NaN"}, {5e-324, "4.94065645841247E-324"},
	} {
		if got := DecimalFromDouble(c.f).String(); got != c.want {
			t.Errorf("%v: %s, want %s", c.f, got, c.want)
		}
	}
	for _, c := range []struct {
		s  string
		n  int64
		ok bool
	}{
		{"1.9", 1, true}, {"-1.9", -1, true}, {"9223372036854775807.9", math.MaxInt64, true}, {"9223372036854775808", 0, false},
		{"-9223372036854775808", math.MinInt64, true}, {"-9223372036854775809", 0, false}, {"NaN", 0, false}, {"Infinity", 0, false},
		{"0E+6000", 0, true}, {"1E-6176", 0, true}, {"1E+18", 1e18, true}, {"1E+6000", 0, false},
	} {
		if n, ok := mustDecimal(c.s).Decimal().Int64(); n != c.n && ok || ok != c.ok {
			t.Errorf("%s: %d %v, want %d %v", c.s, n, ok, c.n, c.ok)
		}
	}
	if got := DecimalFromInt64(math.MinInt64).String(); got != "-9223372036854775808" {
		t.Error(got)
	}
	if f := mustDecimal("1E400").Decimal().Float64(); !math.IsInf(f, 1) {
		t.Error(f)
	}
}

func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"1.5", "-0E+3", "Infinity", "1e-6177", "12345678901234567890123456789012345.5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, _, err := ParseDecimal(s)
		if err != nil {
			return
		}
		again, exact, err := ParseDecimal(d.String())
		if err != nil || !exact || again != d {
			t.Fatalf("%q reads as %s, which reads as %s (%v, %v)", s, d, again, exact, err)
		}
	})
}
