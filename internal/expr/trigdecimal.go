package expr

import (
	"math/big"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/cockroachdb/apd/v3"
)

// Decimal trigonometry in fixed point: a number x is the integer x·10^scale,
// series are summed with one division per term, and results are rounded to 34
// digits at the end. The scale grows where leading digits would be lost: for
// small results, and for large angles, whose reduction needs as many digits of
// π as the angle has.

// trigDigits is the scale that ordinary arguments need: 34 digits and guard.
const trigDigits = 60

// fixed is the integer x·10^scale.
func fixed(x *apd.Decimal, scale int) *big.Int {
	r := new(big.Int).Set(x.Coeff.MathBigInt())
	if x.Negative {
		r.Neg(r)
	}
	if e := int(x.Exponent) + scale; e >= 0 {
		return r.Mul(r, pow10(e))
	} else if -e > 7000 {
		return r.SetInt64(0)
	} else {
		return r.Quo(r, pow10(-e))
	}
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func unfixed(r *big.Int, scale int) bsonval.Decimal {
	x := &apd.Decimal{Exponent: int32(-scale), Negative: r.Sign() < 0}
	x.Coeff.SetMathBigInt(new(big.Int).Abs(r))
	if r.Sign() == 0 {
		return bsonval.DecimalFromInt64(0)
	}
	return padDecimal(x)
}

// fixedAtanInverse is atan(1/n)·10^scale.
func fixedAtanInverse(n int64, scale int) *big.Int {
	term := new(big.Int).Quo(pow10(scale), big.NewInt(n))
	sum := new(big.Int).Set(term)
	square, q := big.NewInt(n*n), new(big.Int)
	for k := int64(3); term.Sign() != 0; k += 2 {
		term.Quo(term, square)
		if q.Quo(term, big.NewInt(k)); k&2 != 0 {
			sum.Sub(sum, q)
		} else {
			sum.Add(sum, q)
		}
	}
	return sum
}

// fixedPi is π·10^scale, by Machin's formula π/4 = 4·atan(1/5) − atan(1/239).
func fixedPi(scale int) *big.Int {
	guard := scale + 10
	a := fixedAtanInverse(5, guard)
	a.Mul(a, big.NewInt(4)).Sub(a, fixedAtanInverse(239, guard)).Mul(a, big.NewInt(4))
	return a.Quo(a, pow10(10))
}

// fixedMul multiplies two fixed-point numbers.
func fixedMul(a, b *big.Int, scale int) *big.Int {
	r := new(big.Int).Mul(a, b)
	return r.Quo(r, pow10(scale))
}

// fixedSinCos returns sine and cosine of a small angle by their series.
func fixedSinCos(x *big.Int, scale int) (sin, cos *big.Int) {
	unit := pow10(scale)
	square := new(big.Int).Mul(x, x)
	square.Quo(square, unit)
	series := func(first *big.Int, k int64) *big.Int {
		term, sum := new(big.Int).Set(first), new(big.Int).Set(first)
		for term.Sign() != 0 {
			term.Mul(term, square).Quo(term, unit).Quo(term, big.NewInt((k+1)*(k+2))).Neg(term)
			sum.Add(sum, term)
			k += 2
		}
		return sum
	}
	return series(x, 1), series(unit, 0)
}

// reducedSinCos reduces an angle to its quadrant and returns sine and cosine.
func reducedSinCos(x *apd.Decimal) (sin, cos *big.Int, scale int) {
	scale = trigDigits + max(0, int(adjusted(x))) + max(0, -int(adjusted(x)))
	scale = min(scale, trigDigits+6200)
	halfPi := fixedPi(scale)
	halfPi.Quo(halfPi, big.NewInt(2))
	quadrant, rest := new(big.Int).DivMod(fixed(x, scale), halfPi, new(big.Int))
	if rest.Cmp(new(big.Int).Quo(halfPi, big.NewInt(2))) > 0 {
		rest.Sub(rest, halfPi)
		quadrant.Add(quadrant, big.NewInt(1))
	}
	sin, cos = fixedSinCos(rest, scale)
	switch new(big.Int).And(quadrant, big.NewInt(3)).Int64() {
	case 1:
		sin, cos = cos, sin.Neg(sin)
	case 2:
		sin, cos = sin.Neg(sin), cos.Neg(cos)
	case 3:
		sin, cos = cos.Neg(cos), sin
	}
	return sin, cos, scale
}

// tiny tells arguments so small that odd functions return them as they are.
func tiny(d bsonval.Decimal) bool { return d.IsZero() || adjusted(d.Apd()) < -40 }

func decimalSin(d bsonval.Decimal) bsonval.Decimal {
	if d.IsNaN() || tiny(d) {
		return d
	}
	sin, _, scale := reducedSinCos(d.Apd())
	return unfixed(sin, scale)
}

func decimalCos(d bsonval.Decimal) bsonval.Decimal {
	switch {
	case d.IsNaN():
		return d
	case tiny(d):
		return bsonval.DecimalFromInt64(1)
	}
	_, cos, scale := reducedSinCos(d.Apd())
	return unfixed(cos, scale)
}

func decimalTan(d bsonval.Decimal) bsonval.Decimal {
	if d.IsNaN() || tiny(d) {
		return d
	}
	sin, cos, scale := reducedSinCos(d.Apd())
	if cos.Sign() == 0 {
		return bsonval.DecimalInfinity
	}
	return unfixed(sin.Mul(sin, pow10(scale)).Quo(sin, cos), scale)
}

// fixedAtan is the arc tangent: the argument is halved (in angle) until the
// series converges fast.
func fixedAtan(x *big.Int, scale int) *big.Int {
	unit := pow10(scale)
	t := new(big.Int).Set(x)
	const halvings = 6
	for range halvings {
		// tan(a/2) = t / (1 + √(1+t²))
		root := new(big.Int).Mul(t, t)
		root.Add(root, new(big.Int).Mul(unit, unit)).Sqrt(root).Add(root, unit)
		t.Mul(t, unit).Quo(t, root)
	}
	square := fixedMul(t, t, scale)
	sum, term := new(big.Int).Set(t), new(big.Int).Set(t)
	for k := int64(3); term.Sign() != 0; k += 2 {
		term.Mul(term, square).Quo(term, unit).Neg(term)
		sum.Add(sum, new(big.Int).Quo(term, big.NewInt(k)))
	}
	return sum.Lsh(sum, halvings)
}

// apdAtan is the arc tangent of a finite decimal, with guard digits.
func apdAtan(x *apd.Decimal) *apd.Decimal {
	r := new(apd.Decimal)
	if x.Coeff.Sign() == 0 {
		return r
	}
	c := workContext(workDigits)
	switch a := adjusted(x); {
	case a > workDigits:
		r.Coeff.SetMathBigInt(fixedPi(trigDigits))
		r.Exponent = -trigDigits
		_, _ = c.Quo(r, r, apd.New(2, 0))
		r.Negative = x.Negative
	case a < -40:
		r.Set(x)
	default:
		scale := trigDigits + max(0, int(a)) + max(0, int(-a))
		n := fixedAtan(fixed(x, scale), scale)
		r.Negative = n.Sign() < 0
		r.Coeff.SetMathBigInt(new(big.Int).Abs(n))
		r.Exponent = int32(-scale)
	}
	return r
}

func apdPi() *apd.Decimal {
	r := &apd.Decimal{Exponent: -trigDigits}
	r.Coeff.SetMathBigInt(fixedPi(trigDigits))
	return r
}

func decimalAtan(d bsonval.Decimal) bsonval.Decimal {
	switch {
	case d.IsNaN():
		return d
	case d.IsInf():
		return signed(halfPi(), d.Negative())
	case tiny(d):
		return d
	}
	return padDecimal(apdAtan(d.Apd()))
}

func halfPi() bsonval.Decimal {
	r := apdPi()
	_, _ = workContext(workDigits).Quo(r, r, apd.New(2, 0))
	return padDecimal(r)
}

func signed(d bsonval.Decimal, negative bool) bsonval.Decimal {
	if negative {
		return d.Neg()
	}
	return d
}

func decimalAtan2(y, x bsonval.Decimal) bsonval.Decimal {
	c := workContext(workDigits)
	pi := apdPi()
	switch {
	case y.IsNaN() || x.IsNaN():
		return bsonval.DecimalNaN
	case y.IsZero() && !x.Negative():
		return bsonval.DecimalFromApd(&apd.Decimal{Negative: y.Negative()})
	case y.IsZero():
		return signed(padDecimal(pi), y.Negative())
	case x.IsZero():
		return signed(halfPi(), y.Negative())
	case y.IsInf() && x.IsInf():
		if x.Negative() {
			_, _ = c.Mul(pi, pi, apd.New(3, 0))
		}
		_, _ = c.Quo(pi, pi, apd.New(4, 0))
		return signed(padDecimal(pi), y.Negative())
	case y.IsInf():
		return signed(halfPi(), y.Negative())
	case x.IsInf() && x.Negative():
		return signed(padDecimal(pi), y.Negative())
	case x.IsInf():
		return bsonval.DecimalFromApd(&apd.Decimal{Negative: y.Negative()})
	}
	var q apd.Decimal
	if _, err := c.Quo(&q, y.Apd(), x.Apd()); err != nil {
		return bsonval.DecimalNaN
	}
	r := apdAtan(&q)
	if x.Negative() {
		if y.Negative() {
			pi.Negative = true
		}
		_, _ = c.Add(r, r, pi)
	}
	return padDecimal(r)
}

func decimalAsin(d bsonval.Decimal) bsonval.Decimal {
	if d.IsNaN() || tiny(d) {
		return d
	}
	// asin(x) = atan2(x, √(1−x²))
	x := d.Apd()
	root, ok := sqrtOneMinusSquare(x)
	if !ok {
		return bsonval.DecimalNaN
	}
	if root.Coeff.Sign() == 0 {
		return signed(halfPi(), d.Negative())
	}
	var q apd.Decimal
	if _, err := workContext(workDigits).Quo(&q, x, root); err != nil {
		return bsonval.DecimalNaN
	}
	return padDecimal(apdAtan(&q))
}

func decimalAcos(d bsonval.Decimal) bsonval.Decimal {
	switch {
	case d.IsNaN():
		return d
	case tiny(d):
		return halfPi()
	}
	// acos(x) = 2·atan(√(1−x²) / (1+x))
	c, x := workContext(workDigits), d.Apd()
	root, ok := sqrtOneMinusSquare(x)
	if !ok {
		return bsonval.DecimalNaN
	}
	var below, q apd.Decimal
	if _, err := c.Add(&below, apd.New(1, 0), x); err != nil {
		return bsonval.DecimalNaN
	}
	if below.Coeff.Sign() == 0 {
		return padDecimal(apdPi())
	}
	if _, err := c.Quo(&q, root, &below); err != nil {
		return bsonval.DecimalNaN
	}
	if q.Coeff.Sign() == 0 {
		return bsonval.DecimalFromInt64(0)
	}
	r := apdAtan(&q)
	_, _ = c.Mul(r, r, apd.New(2, 0))
	return padDecimal(r)
}

// sqrtOneMinusSquare is √(1−x²), computed as √((1−x)(1+x)), which loses no
// digits near 1.
func sqrtOneMinusSquare(x *apd.Decimal) (*apd.Decimal, bool) {
	c := workContext(2 * workDigits)
	var a, b, r apd.Decimal
	if _, err := c.Sub(&a, apd.New(1, 0), x); err != nil {
		return nil, false
	}
	if _, err := c.Add(&b, apd.New(1, 0), x); err != nil {
		return nil, false
	}
	if _, err := c.Mul(&r, &a, &b); err != nil {
		return nil, false
	}
	_, err := c.Sqrt(&r, &r)
	return &r, err == nil
}

func decimalRadians(d bsonval.Decimal) bsonval.Decimal {
	return scaleByPi(d, func(c *apd.Context, r, pi *apd.Decimal) { _, _ = c.Quo(r, pi, apd.New(180, 0)) })
}

func decimalDegrees(d bsonval.Decimal) bsonval.Decimal {
	return scaleByPi(d, func(c *apd.Context, r, pi *apd.Decimal) { _, _ = c.Quo(r, apd.New(180, 0), pi) })
}

// scaleByPi multiplies by a factor made of π, itself rounded to 34 digits.
func scaleByPi(d bsonval.Decimal, factor func(c *apd.Context, r, pi *apd.Decimal)) bsonval.Decimal {
	var f apd.Decimal
	factor(workContext(34), &f, apdPi())
	return d.Mul(bsonval.DecimalFromApd(&f))
}
