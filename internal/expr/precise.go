package expr

import (
	"math"
	"math/big"
	"strconv"

	"github.com/cockroachdb/apd/v3"
)

// The math package's elementary functions may be off by a unit or two in the
// last place, which users comparing with MongoDB see. These are computed with
// pairs of doubles and rounded once, so that all but the rarest results are the
// nearest double, as with a good C library.

// pair is the unevaluated sum hi + lo with |lo| ≤ ulp(hi)/2: about 32 digits.
type pair struct{ hi, lo float64 }

var (
	pairLn2  = pair{0.6931471805599453, 2.3190468138462996e-17}
	pairLn10 = pair{2.302585092994046, -2.1707562233822494e-16}
)

// halfPi3 is π/2 in three doubles.
var halfPi3 = [3]float64{1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33}

func twoSum(a, b float64) pair {
	s := a + b
	t := s - a
	return pair{s, (a - (s - t)) + (b - t)}
}

func twoProduct(a, b float64) pair {
	p := a * b
	return pair{p, math.FMA(a, b, -p)}
}

func (a pair) norm() pair {
	s := a.hi + a.lo
	return pair{s, a.lo - (s - a.hi)}
}

func (a pair) add(b pair) pair {
	s, t := twoSum(a.hi, b.hi), twoSum(a.lo, b.lo)
	s = pair{s.hi, s.lo + t.hi}.norm()
	return pair{s.hi, s.lo + t.lo}.norm()
}

func (a pair) sub(b pair) pair { return a.add(b.neg()) }
func (a pair) neg() pair       { return pair{-a.hi, -a.lo} }

func (a pair) mul(b pair) pair {
	p := twoProduct(a.hi, b.hi)
	return pair{p.hi, p.lo + (a.hi*b.lo + a.lo*b.hi)}.norm()
}

func (a pair) scale(f float64) pair { return a.mul(pair{f, 0}) }

func (a pair) div(b pair) pair {
	q := a.hi / b.hi
	r := a.sub(b.scale(q))
	q2 := r.hi / b.hi
	r = r.sub(b.scale(q2))
	return pair{q, q2}.norm().add(pair{r.hi / b.hi, 0})
}

func (a pair) value() float64 { return a.hi + a.lo }

// series sums first·(1 + x/d₁ + x²/d₁d₂ + …), where d is the terms' divisor.
func series(first, x pair, divisor func(k float64) float64) pair {
	sum, term := first, first
	for k := 1.0; k < 40; k++ {
		term = term.mul(x).div(pair{divisor(k), 0})
		sum = sum.add(term)
		if math.Abs(term.hi) <= math.Abs(sum.hi)*1e-34 {
			break
		}
	}
	return sum
}

// pairExp is e^x as a pair and a power of two; |x| < 800.
func pairExp(x pair) (m pair, exponent int) {
	k := math.Round(x.hi / math.Ln2)
	r := x.sub(pairLn2.scale(k))
	const halvings = 6
	r = pair{math.Ldexp(r.hi, -halvings), math.Ldexp(r.lo, -halvings)}
	e := series(pair{1, 0}, r, func(k float64) float64 { return k })
	for range halvings {
		e = e.mul(e)
	}
	return e, int(k)
}

// ldexp is a·2^n, rounded once.
func (a pair) ldexp(n int) float64 { return math.Ldexp(a.value(), n) }

func exponential(x float64) float64 {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 1):
		return x
	case x > 710:
		return math.Inf(1)
	case x < -746:
		return 0
	case x == 0:
		return 1
	}
	e, n := pairExp(pair{x, 0})
	return e.ldexp(n)
}

// pairLog is the natural logarithm of a positive finite number: a step of
// Newton's method from a first guess.
func pairLog(x pair) pair {
	m, n := math.Frexp(x.hi)
	if m < math.Sqrt2/2 {
		m *= 2
		n--
	}
	x = pair{m, math.Ldexp(x.lo, -n)}
	y := pair{math.Log(m), 0}
	for range 2 {
		e, k := pairExp(y.neg())
		e = pair{math.Ldexp(e.hi, k), math.Ldexp(e.lo, k)}
		y = y.add(x.mul(e).sub(pair{1, 0}))
	}
	return y.add(pairLn2.scale(float64(n)))
}

func naturalLog(x float64) float64 {
	if !(x > 0) || math.IsInf(x, 1) {
		return math.Log(x)
	}
	return pairLog(pair{x, 0}).value()
}

func commonLog(x float64) float64 {
	if !(x > 0) || math.IsInf(x, 1) {
		return math.Log10(x)
	}
	return pairLog(pair{x, 0}).div(pairLn10).value()
}

// power is x^y.
func power(x, y float64) float64 {
	rough := math.Pow(x, y)
	if y == 0 || x == 1 || x == -1 || rough == 0 || math.IsNaN(rough) || math.IsInf(rough, 0) ||
		x == math.Trunc(x) && y == math.Trunc(y) && y > 0 && math.Abs(rough) < 1<<53 {
		return rough // exact, or out of range
	}
	e, n := pairExp(pairLog(pair{math.Abs(x), 0}).scale(y))
	return math.Copysign(e.ldexp(n), rough)
}

// largeAngle is where the reduction of angles needs more digits than a pair
// has.
const largeAngle = 1e5

// pairSinCos returns sine and cosine of a finite angle.
func pairSinCos(x pair) (sin, cos pair) {
	k := math.Round(x.hi * (2 / math.Pi))
	r := x
	for _, part := range halfPi3 {
		r = r.sub(twoProduct(k, part))
	}
	square := r.mul(r).neg()
	sin = series(r, square, func(k float64) float64 { return 2 * k * (2*k + 1) })
	cos = series(pair{1, 0}, square, func(k float64) float64 { return 2 * k * (2*k - 1) })
	switch int64(k) & 3 {
	case 1:
		return cos, sin.neg()
	case 2:
		return sin.neg(), cos.neg()
	case 3:
		return cos.neg(), sin
	}
	return sin, cos
}

// sinCos returns sine and cosine of any finite angle.
func sinCos(x float64) (s, c pair) {
	if math.Abs(x) < largeAngle {
		return pairSinCos(pair{x, 0})
	}
	d, _, err := apd.NewFromString(strconv.FormatFloat(x, 'f', 40, 64)) // all its digits
	if err != nil {
		return pair{math.Sin(x), 0}, pair{math.Cos(x), 0}
	}
	sin, cos, scale := reducedSinCos(d)
	return fixedPair(sin, scale), fixedPair(cos, scale)
}

func fixedPair(n *big.Int, scale int) pair {
	q := new(big.Float).SetPrec(160).SetInt(n)
	q.Quo(q, new(big.Float).SetPrec(160).SetInt(pow10(scale)))
	hi, _ := q.Float64()
	lo, _ := q.Sub(q, big.NewFloat(hi)).Float64()
	return pair{hi, lo}
}

// small arguments are what odd functions return.
func small(x float64) bool { return math.Abs(x) < 1e-9 || math.IsNaN(x) }

func sine(x float64) float64 {
	if small(x) {
		return x
	}
	s, _ := sinCos(x)
	return s.value()
}

func cosine(x float64) float64 {
	if math.IsNaN(x) {
		return x
	}
	_, c := sinCos(x)
	return c.value()
}

func tangent(x float64) float64 {
	if small(x) {
		return x
	}
	s, c := sinCos(x)
	return s.div(c).value()
}

func arcSine(x float64) float64 {
	if small(x) {
		return x
	}
	y := math.Asin(x)
	s, c := pairSinCos(pair{y, 0})
	if math.Abs(c.hi) < 1e-12 {
		return y
	}
	return pair{y, 0}.add(pair{x, 0}.sub(s).div(c)).value()
}

func arcCosine(x float64) float64 {
	y := math.Acos(x)
	if math.IsNaN(y) {
		return y
	}
	s, c := pairSinCos(pair{y, 0})
	if math.Abs(s.hi) < 1e-12 {
		return y
	}
	return pair{y, 0}.add(c.sub(pair{x, 0}).div(s)).value()
}

// pairAtan is atan(y/x) for a first guess close to it.
func pairAtan(y, x, guess float64) float64 {
	s, c := pairSinCos(pair{guess, 0})
	// The angle between (x, y) and the guess's direction is tiny: its tangent.
	cross := c.scale(y).sub(s.scale(x))
	dot := c.scale(x).add(s.scale(y))
	return pair{guess, 0}.add(cross.div(dot)).value()
}

func arcTangent(x float64) float64 {
	guess := math.Atan(x)
	if small(x) || math.Abs(x) > 1e15 {
		return guess
	}
	return pairAtan(x, 1, guess)
}

func arcTangent2(y, x float64) float64 {
	guess := math.Atan2(y, x)
	for _, v := range [...]float64{x, y, guess} {
		if v == 0 || math.IsNaN(v) || math.Abs(v) < 1e-150 || math.Abs(v) > 1e150 {
			return guess
		}
	}
	return pairAtan(y, x, guess)
}

// The hyperbolic functions follow the usual C library's formulas on top of e^x-1,
// to share its rounding; those of the math package for their inverses do so
// already.

func hyperbolicSine(x float64) float64 {
	a := math.Abs(x)
	if small(x) || a > 22 {
		return math.Sinh(x)
	}
	t := math.Expm1(a)
	if a < 1 {
		return math.Copysign((2*t-t*t/(t+1))/2, x)
	}
	return math.Copysign((t+t/(t+1))/2, x)
}

func hyperbolicCosine(x float64) float64 {
	a := math.Abs(x)
	switch {
	case small(x) || a > 700:
		return math.Cosh(x)
	case a < math.Ln2/2:
		t := math.Expm1(a)
		return 1 + t*t/(2*(1+t))
	}
	t := exponential(a)
	return t/2 + 0.5/t
}

func hyperbolicTangent(x float64) float64 {
	a := math.Abs(x)
	switch {
	case small(x) || a > 22:
		return math.Tanh(x)
	case a >= 1:
		return math.Copysign(1-2/(math.Expm1(2*a)+2), x)
	}
	t := math.Expm1(-2 * a)
	return math.Copysign(-t/(t+2), x)
}
