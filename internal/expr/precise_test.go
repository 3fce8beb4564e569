package expr

import (
	"math"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"pgregory.net/rapid"
)

// TestPreciseFunctions checks that the double functions return the double
// nearest to the decimal functions' 34 digits.
func TestPreciseFunctions(t *testing.T) {
	for _, f := range []struct {
		name     string
		double   func(float64) float64
		decimal  func(bsonval.Decimal) bsonval.Decimal
		min, max float64
	}{
		{"exp", exponential, decimalExp, -700, 700}, {"ln", naturalLog, decimalLn, 5e-324, 1e308},
		{"log10", commonLog, decimalLog10, 1e-9, 1e9},
		{"sin", sine, decimalSin, -1e6, 1e6}, {"cos", cosine, decimalCos, -1e6, 1e6}, {"tan", tangent, decimalTan, -20, 20},
		{"asin", arcSine, decimalAsin, -1, 1}, {"acos", arcCosine, decimalAcos, -1, 1}, {"atan", arcTangent, decimalAtan, -1e9, 1e9},
		{"sinh", hyperbolicSine, decimalSinh, -20, 20}, {"cosh", hyperbolicCosine, decimalCosh, -20, 20},
		{"tanh", hyperbolicTangent, decimalTanh, -20, 20},
	} {
		t.Run(f.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				x := rapid.Float64Range(f.min, f.max).Draw(t, "x")
				got, want := f.double(x), f.decimal(doubleToDecimal34(x)).Float64()
				if math.Abs(got-want) > math.Abs(want)*0x1p-51 {
					t.Errorf("%s(%v) = %v, want %v", f.name, x, got, want)
				}
			})
		})
	}
}

func TestPreciseValues(t *testing.T) {
	for _, test := range []struct{ got, want float64 }{
		{arcCosine(0.5), 1.0471975511965979}, {tangent(1), 1.5574077246549023}, {commonLog(1000), 3},
		{commonLog(1e-308), -308}, {naturalLog(5e-324), -744.4400719213812}, {exponential(1), math.E},
		{power(2, 0.5), math.Sqrt2}, {power(-2, 3), -8}, {power(10, 308), 1e308}, {power(10, -5), 1e-5},
		{arcTangent2(1, -1), 3 * math.Pi / 4}, {arcTangent2(0, -1), math.Pi}, {sine(1e22), -0.8522008497671888},
		{arcSine(1), math.Pi / 2}, {arcCosine(-1), math.Pi}, {exponential(-745), 5e-324},
	} {
		if test.got != test.want {
			t.Errorf("got %v, want %v", test.got, test.want)
		}
	}
}

func BenchmarkSine(b *testing.B) {
	for b.Loop() {
		sine(1.234)
	}
}
