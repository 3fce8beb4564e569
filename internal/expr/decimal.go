package expr

import (
	"math/big"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/cockroachdb/apd/v3"
)

// Decimal functions are computed with guard digits and rounded once to the 34
// digits of decimal128. Like MongoDB's, their results carry all 34 digits
// unless the function is exact at that argument.

// workContext has guard digits beyond decimal128's 34.
func workContext(precision uint32) *apd.Context {
	return &apd.Context{
		Precision: precision, MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent, Rounding: apd.RoundHalfEven,
	}
}

const workDigits = 50

// decimalRescale brings x to the given exponent if that loses nothing.
func decimalRescale(x *apd.Decimal, exp int32) {
	for x.Exponent > exp {
		x.Coeff.Mul(&x.Coeff, apd.NewBigInt(10))
		x.Exponent--
	}
}

// padDecimal rounds x and fills its coefficient up to 34 digits.
func padDecimal(x *apd.Decimal) bsonval.Decimal {
	if x.Form != apd.Finite {
		return bsonval.DecimalFromApd(x)
	}
	var r apd.Decimal
	if _, err := workContext(34).Round(&r, x); err != nil {
		return bsonval.DecimalNaN
	}
	if r.Coeff.Sign() == 0 {
		return bsonval.DecimalFromApd(&r)
	}
	if n := 34 - r.NumDigits(); n > 0 {
		decimalRescale(&r, max(r.Exponent-int32(n), -6176))
	}
	return bsonval.DecimalFromApd(&r)
}

// decimalUnderflow is what functions return that vanish.
var decimalUnderflow = mustDecimal("0E-6176")

func mustDecimal(s string) bsonval.Decimal {
	d, _, err := bsonval.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

// adjusted is the exponent of x's first digit.
func adjusted(x *apd.Decimal) int64 { return int64(x.Exponent) + x.NumDigits() - 1 }

func decimalExp(d bsonval.Decimal) bsonval.Decimal {
	switch {
	case d.IsNaN():
		return d
	case d.IsInf() && d.Negative():
		return bsonval.DecimalFromInt64(0)
	case d.IsInf():
		return d
	}
	x := d.Apd()
	switch a := adjusted(x); {
	case d.IsZero() || a < -36:
		return bsonval.DecimalFromInt64(1)
	case a >= 5 && d.Negative():
		return decimalUnderflow
	case a >= 5:
		return bsonval.DecimalInfinity
	}
	var r apd.Decimal
	if _, err := workContext(workDigits).Exp(&r, x); err != nil {
		return bsonval.DecimalNaN
	}
	if adjusted(&r) < -6176 {
		return decimalUnderflow
	}
	return padDecimal(&r)
}

// decimalLog is a logarithm by f (Ln or Log10) of a non-negative decimal.
func decimalLog(d bsonval.Decimal, f func(c *apd.Context, r, x *apd.Decimal) (apd.Condition, error)) bsonval.Decimal {
	if !d.IsFinite() {
		return d
	}
	x := d.Apd()
	if x.Cmp(apd.New(1, 0)) == 0 {
		return bsonval.DecimalFromInt64(0)
	}
	var r apd.Decimal
	if _, err := f(workContext(workDigits), &r, x); err != nil {
		return bsonval.DecimalNaN
	}
	return padDecimal(&r)
}

func decimalLn(d bsonval.Decimal) bsonval.Decimal { return decimalLog(d, (*apd.Context).Ln) }

// decimalLog10 returns integers without padding.
func decimalLog10(d bsonval.Decimal) bsonval.Decimal {
	r := decimalLog(d, (*apd.Context).Log10)
	if integer, _ := decimalParity(r); integer {
		if n, ok := r.Int64(); ok {
			return bsonval.DecimalFromInt64(n)
		}
	}
	return r
}

// decimalSqrt keeps the exponent halved where the root is exact, as IEEE 754
// has it.
func decimalSqrt(d bsonval.Decimal) bsonval.Decimal {
	if !d.IsFinite() {
		return d
	}
	exp, _, _ := d.Coefficient()
	ideal := int32(exp >> 1) // floor
	x := d.Apd()
	if d.IsZero() {
		return bsonval.DecimalFromApd(&apd.Decimal{Negative: d.Negative(), Exponent: ideal})
	}
	// An integer root of the coefficient scaled to an even exponent tells
	// whether the root is exact, and has guard digits if it is not.
	c := new(big.Int).Set(x.Coeff.MathBigInt())
	e := int64(exp)
	for shift := 2*workDigits - x.NumDigits() + (e+x.NumDigits())&1; shift > 0; shift-- {
		c.Mul(c, big.NewInt(10))
		e--
	}
	if e&1 != 0 {
		c.Mul(c, big.NewInt(10))
		e--
	}
	root := new(big.Int).Sqrt(c)
	exact := new(big.Int).Mul(root, root).Cmp(c) == 0
	r := &apd.Decimal{Exponent: int32(e / 2)}
	r.Coeff.SetMathBigInt(root)
	if !exact {
		// A sticky digit, so that rounding sees that something follows.
		r.Coeff.Mul(&r.Coeff, apd.NewBigInt(10)).Add(&r.Coeff, apd.NewBigInt(1))
		r.Exponent--
		return padDecimal(r)
	}
	r.Reduce(r)
	decimalRescale(r, ideal)
	return bsonval.DecimalFromApd(r)
}

// decimalPow is a power by way of a wider binary format, whose range ends at
// 1E4932: MongoDB's larger bases are infinite.
func decimalPow(base, exp bsonval.Decimal) bsonval.Decimal {
	switch {
	case exp.IsZero():
		return bsonval.DecimalFromInt64(1)
	case base.IsNaN() || exp.IsNaN():
		if base.Cmp(bsonval.DecimalFromInt64(1)) == 0 {
			return bsonval.DecimalFromInt64(1)
		}
		return bsonval.DecimalNaN
	case base.Cmp(bsonval.DecimalFromInt64(1)) == 0:
		return bsonval.DecimalFromInt64(1)
	}
	integer, odd := decimalParity(exp)
	if base.Negative() && !base.IsZero() && base.IsFinite() && !integer && exp.IsFinite() {
		return bsonval.DecimalNaN
	}
	negative := base.Negative() && odd
	abs := base.Abs()
	grows := abs.Cmp(bsonval.DecimalFromInt64(1)) > 0 != exp.Negative()
	var r bsonval.Decimal
	switch {
	case abs.Cmp(bsonval.DecimalFromInt64(1)) == 0:
		r = bsonval.DecimalFromInt64(1)
	case abs.IsZero() || abs.IsInf() || exp.IsInf() || adjusted(abs.Apd()) >= 4932:
		if !grows {
			return decimalUnderflow
		}
		r = bsonval.DecimalInfinity
	default:
		r = decimalPowFinite(abs, exp, grows)
	}
	if negative {
		return r.Neg()
	}
	return r
}

func decimalPowFinite(base, exp bsonval.Decimal, grows bool) bsonval.Decimal {
	c := workContext(workDigits)
	var ln, r apd.Decimal
	if e := exp.Apd(); adjusted(e) < 6 {
		if n, ok := exp.Int64(); ok && exp.Cmp(bsonval.DecimalFromInt64(n)) == 0 {
			if p, ok := decimalIntPow(base.Apd(), n); ok {
				return padDecimal(p)
			}
		}
	}
	if _, err := c.Ln(&ln, base.Apd()); err != nil {
		return bsonval.DecimalNaN
	}
	if _, err := c.Mul(&ln, &ln, exp.Apd()); err != nil {
		return bsonval.DecimalNaN
	}
	if adjusted(&ln) >= 5 {
		if grows {
			return bsonval.DecimalInfinity
		}
		return decimalUnderflow
	}
	if _, err := c.Exp(&r, &ln); err != nil {
		return bsonval.DecimalNaN
	}
	return padDecimal(&r)
}

// decimalIntPow is x^n by squaring; ok is false when the exponent leaves the
// range of the work.
func decimalIntPow(x *apd.Decimal, n int64) (r *apd.Decimal, ok bool) {
	c := workContext(workDigits)
	neg := n < 0
	if neg {
		n = -n
	}
	r = apd.New(1, 0)
	sq := new(apd.Decimal).Set(x)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			if _, err := c.Mul(r, r, sq); err != nil {
				return nil, false
			}
		}
		if n == 1 {
			break
		}
		if _, err := c.Mul(sq, sq, sq); err != nil {
			return nil, false
		}
	}
	if neg {
		if _, err := c.Quo(r, apd.New(1, 0), r); err != nil {
			return nil, false
		}
	}
	return r, true
}

// decimalParity says whether d is an integer, and an odd one.
func decimalParity(d bsonval.Decimal) (integer, odd bool) {
	if !d.IsFinite() {
		return false, false
	}
	x := d.Apd()
	if x.Coeff.Sign() == 0 {
		return true, false
	}
	x.Reduce(x)
	switch {
	case x.Exponent < 0:
		return false, false
	case x.Exponent > 0:
		return true, false
	}
	return true, x.Coeff.Bit(0) == 1
}

// decimalQuantize rounds d to a multiple of 10^exp with that exponent; NaN if
// that needs more than 34 digits.
func decimalQuantize(d bsonval.Decimal, exp int32, mode apd.Rounder) bsonval.Decimal {
	if !d.IsFinite() {
		return bsonval.DecimalNaN
	}
	x := d.Apd()
	if x.Exponent >= exp {
		if int64(x.Exponent-exp)+x.NumDigits() > 34 && x.Coeff.Sign() != 0 {
			return bsonval.DecimalNaN
		}
		if x.Coeff.Sign() == 0 {
			x.Exponent = exp
		}
		decimalRescale(x, exp)
		return bsonval.DecimalFromApd(x)
	}
	q, rest := new(big.Int), new(big.Int)
	unit := pow10(min(int(exp-x.Exponent), 40)) // the coefficient has 34 digits
	q.QuoRem(x.Coeff.MathBigInt(), unit, rest)
	if roundsUp(q, rest, unit, x.Negative, mode) {
		q.Add(q, big.NewInt(1))
	}
	r := &apd.Decimal{Exponent: exp, Negative: x.Negative}
	r.Coeff.SetMathBigInt(q)
	if r.NumDigits() > 34 {
		return bsonval.DecimalNaN
	}
	return bsonval.DecimalFromApd(r)
}

// roundsUp says whether the quotient q with remainder rest of unit moves away
// from zero.
func roundsUp(q, rest, unit *big.Int, negative bool, mode apd.Rounder) bool {
	if rest.Sign() == 0 {
		return false
	}
	switch mode {
	case apd.RoundCeiling:
		return !negative
	case apd.RoundFloor:
		return negative
	case apd.RoundHalfEven:
		half := new(big.Int).Lsh(rest, 1).Cmp(unit)
		return half > 0 || half == 0 && q.Bit(0) == 1
	}
	return false
}
