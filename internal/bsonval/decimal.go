package bsonval

import (
	"errors"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Decimal is an IEEE 754-2008 decimal128 in the binary integer encoding, high
// and low 64 bits:
//
//	 1 bit   14 bits      113 bits
//	┌─────┬───────────┬───────────────┐   exponent bias 6176, at most 34 digits;
//	│ sign│ exponent  │  coefficient  │   exponent bits beginning 11110: infinity,
//	└─────┴───────────┴───────────────┘   11111: NaN, other 11…: zero
type Decimal struct{ H, L uint64 }

const (
	decimalBias   = 6176
	decimalMaxExp = 6111
	decimalMinExp = -6176
)

// Special decimals.
var (
	DecimalNaN         = Decimal{H: 0x7c00000000000000}
	DecimalInfinity    = Decimal{H: 0x7800000000000000}
	DecimalNegInfinity = Decimal{H: 0xf800000000000000}
	DecimalZero        = Decimal{H: 0x3040000000000000}
)

// decimalContext is decimal128 arithmetic: 34 digits, half even. It traps
// nothing: overflow is infinity, invalid operations are NaN.
var decimalContext = apd.Context{
	Precision: 34, MaxExponent: 6144, MinExponent: -6143, Rounding: apd.RoundHalfEven,
}

// ErrDecimalSyntax is returned by ParseDecimal for text that is no number.
var ErrDecimalSyntax = errors.New("not a decimal number")

// IsNaN tells a NaN.
func (d Decimal) IsNaN() bool { return d.H&0x7c00000000000000 == 0x7c00000000000000 }

// IsInf tells an infinity of either sign.
func (d Decimal) IsInf() bool { return d.H&0x7c00000000000000 == 0x7800000000000000 }

// IsFinite tells a number that is neither NaN nor infinite.
func (d Decimal) IsFinite() bool { return d.H&0x7800000000000000 != 0x7800000000000000 }

// Negative tells the sign bit.
func (d Decimal) Negative() bool { return d.H>>63 == 1 }

// Neg flips the sign bit.
func (d Decimal) Neg() Decimal { d.H ^= 1 << 63; return d }

// Abs clears the sign bit.
func (d Decimal) Abs() Decimal { d.H &^= 1 << 63; return d }

// IsZero tells a zero of any sign and exponent.
func (d Decimal) IsZero() bool {
	if !d.IsFinite() {
		return false
	}
	_, hi, lo := d.parts()
	return hi == 0 && lo == 0
}

// parts returns exponent and coefficient of a finite decimal.
func (d Decimal) parts() (exp int, hi, lo uint64) {
	if d.H>>61&3 == 3 {
		return int(d.H>>47&0x3fff) - decimalBias, 0, 0
	}
	exp = int(d.H>>49&0x3fff) - decimalBias
	hi, lo = d.H&0x1ffffffffffff, d.L
	if hi > 0x1ed09bead87c0 || hi == 0x1ed09bead87c0 && lo > 0x378d8e63ffffffff {
		return exp, 0, 0 // more than 34 digits: non-canonical, reads as zero
	}
	return exp, hi, lo
}

// Coefficient returns a finite decimal's exponent and 113-bit coefficient.
func (d Decimal) Coefficient() (exp int, hi, lo uint64) { return d.parts() }

func packDecimal(neg bool, exp int, hi, lo uint64) Decimal {
	d := Decimal{H: uint64(exp+decimalBias)<<49 | hi, L: lo}
	if neg {
		d.H |= 1 << 63
	}
	return d
}

// Apd returns the decimal for arithmetic.
func (d Decimal) Apd() *apd.Decimal {
	x := &apd.Decimal{Negative: d.Negative()}
	switch {
	case d.IsNaN():
		x.Form = apd.NaN
		x.Negative = false
		return x
	case d.IsInf():
		x.Form = apd.Infinite
		return x
	}
	exp, hi, lo := d.parts()
	x.Exponent = int32(exp)
	x.Coeff.SetUint64(hi)
	if hi != 0 {
		x.Coeff.Lsh(&x.Coeff, 64)
		var l apd.BigInt
		l.SetUint64(lo)
		x.Coeff.Or(&x.Coeff, &l)
	} else {
		x.Coeff.SetUint64(lo)
	}
	return x
}

// DecimalFromApd rounds x to 34 digits (half even) and packs it.
func DecimalFromApd(x *apd.Decimal) Decimal {
	switch x.Form {
	case apd.NaN, apd.NaNSignaling:
		return DecimalNaN
	case apd.Infinite:
		if x.Negative {
			return DecimalNegInfinity
		}
		return DecimalInfinity
	}
	var r apd.Decimal
	if x.NumDigits() > 34 || x.Exponent < decimalMinExp || x.Exponent > decimalMaxExp {
		if _, err := decimalContext.Round(&r, x); err != nil {
			return DecimalNaN
		}
		if r.Form == apd.Infinite {
			return DecimalFromApd(&r)
		}
	} else {
		r.Set(x)
	}
	if r.Coeff.Sign() == 0 {
		return packDecimal(r.Negative, min(max(int(r.Exponent), decimalMinExp), decimalMaxExp), 0, 0)
	}
	for r.Exponent > decimalMaxExp {
		if r.NumDigits() >= 34 {
			return DecimalFromApd(&apd.Decimal{Form: apd.Infinite, Negative: r.Negative})
		}
		r.Coeff.Mul(&r.Coeff, apd.NewBigInt(10))
		r.Exponent--
	}
	var lo, hi apd.BigInt
	mask := apd.NewBigInt(0).SetUint64(math.MaxUint64)
	lo.And(&r.Coeff, mask)
	hi.Rsh(&r.Coeff, 64)
	return packDecimal(r.Negative, int(r.Exponent), hi.Uint64(), lo.Uint64())
}

// DecimalFromInt64 converts exactly.
func DecimalFromInt64(v int64) Decimal {
	if v < 0 {
		return packDecimal(true, 0, 0, uint64(-v))
	}
	return packDecimal(false, 0, 0, uint64(v))
}

// DecimalFromDouble converts with 15 significant digits, as MongoDB's
// arithmetic and conversions do.
func DecimalFromDouble(f float64) Decimal {
	switch {
	case math.IsNaN(f):
		return DecimalNaN
	case math.IsInf(f, 1):
		return DecimalInfinity
	case math.IsInf(f, -1):
		return DecimalNegInfinity
	case f == 0:
		return packDecimal(math.Signbit(f), 0, 0, 0)
	}
	// MongoDB quantizes to 15 digits: 0.1 becomes 0.100000000000000.
	s := strconv.FormatFloat(f, 'e', 14, 64)
	d, _, err := ParseDecimal(s)
	if err != nil {
		return DecimalNaN
	}
	return d
}

// exactApd is f's exact value.
func exactApd(f float64) *apd.Decimal {
	m, e := math.Frexp(f)
	n := int64(m * (1 << 53))
	e -= 53
	x := apd.New(n, 0)
	neg := x.Negative
	if e >= 0 {
		x.Coeff.Lsh(&x.Coeff, uint(e))
		return x
	}
	// n / 2^k = n·5^k / 10^k
	var p apd.BigInt
	p.Exp(apd.NewBigInt(5), apd.NewBigInt(int64(-e)), nil)
	x.Coeff.Mul(&x.Coeff, &p)
	x.Exponent = int32(e)
	x.Negative = neg
	return x
}

// ParseDecimal reads a number ("1.5", "-2E+3", "Infinity", "NaN"); exact is
// false if it had to be rounded to 34 digits or overflowed.
func ParseDecimal(s string) (d Decimal, exact bool, err error) {
	unsigned := s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		unsigned = s[1:]
	}
	switch strings.ToLower(unsigned) {
	case "nan":
		return DecimalNaN, true, nil
	case "inf", "infinity":
		if s[0] == '-' {
			return DecimalNegInfinity, true, nil
		}
		return DecimalInfinity, true, nil
	}
	neg, digits, exp, ok := scanDecimal(s)
	if !ok {
		return Decimal{}, false, ErrDecimalSyntax
	}
	digits, exp = cutDigits(digits, exp)
	exp = max(min(exp, maxParsedExponent), -maxParsedExponent)
	if len(digits) > 19 {
		x := &apd.Decimal{Negative: neg, Exponent: int32(exp)}
		if _, ok := x.Coeff.SetString(digits, 10); !ok {
			return Decimal{}, false, ErrDecimalSyntax
		}
		d = DecimalFromApd(x)
		return d, d.IsFinite() && d.Apd().Cmp(x) == 0, nil
	}
	lo, _ := strconv.ParseUint("0"+digits, 10, 64)
	if exp < decimalMinExp || exp > decimalMaxExp {
		x := &apd.Decimal{Negative: neg, Exponent: int32(exp)}
		x.Coeff.SetUint64(lo)
		d = DecimalFromApd(x)
		return d, d.IsFinite() && d.Apd().Cmp(x) == 0, nil
	}
	return packDecimal(neg, exp, 0, lo), true, nil
}

const (
	// maxParsedExponent is beyond every exponent that makes a difference for up
	// to maxParsedDigits digits.
	maxParsedExponent = 20000
	maxParsedDigits   = 64
)

// cutDigits cuts long coefficients so that they round as before: what is cut
// leaves a trailing 1 if it was not zero.
func cutDigits(digits string, exp int) (string, int) {
	if len(digits) <= maxParsedDigits {
		return digits, exp
	}
	rest := digits[maxParsedDigits:]
	digits, exp = digits[:maxParsedDigits], exp+len(rest)
	if strings.Trim(rest, "0") != "" {
		digits, exp = digits+"1", exp-1
	}
	return digits, exp
}

// scanDecimal splits a number into sign, significant digits (leading zeros cut)
// and exponent.
func scanDecimal(s string) (neg bool, digits string, exp int, ok bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	mantissa := s
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		e, err := strconv.ParseInt(s[i+1:], 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) || strings.ContainsAny(s[i+1:], "_") {
			return false, "", 0, false
		}
		exp = int(max(min(e, 1<<30), -(1 << 30)))
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	digits = whole + frac
	if digits == "" {
		return false, "", 0, false
	}
	for i := 0; i < len(digits); i++ {
		if digits[i] < '0' || digits[i] > '9' {
			return false, "", 0, false
		}
	}
	return neg, strings.TrimLeft(digits, "0"), exp - len(frac), true
}

// String is the decimal's canonical text (IEEE 754 to-scientific-string), as
// MongoDB prints it.
func (d Decimal) String() string {
	switch {
	case d.IsNaN():
		return "NaN"
	case d.IsInf() && d.Negative():
		return "-Infinity"
	case d.IsInf():
		return "Infinity"
	}
	exp, hi, lo := d.parts()
	digits := format128(hi, lo)
	var b strings.Builder
	if d.Negative() {
		b.WriteByte('-')
	}
	adjusted := exp + len(digits) - 1
	switch {
	case exp > 0 || adjusted < -6:
		b.WriteByte(digits[0])
		if len(digits) > 1 {
			b.WriteByte('.')
			b.WriteString(digits[1:])
		}
		b.WriteByte('E')
		if adjusted >= 0 {
			b.WriteByte('+')
		}
		b.WriteString(strconv.Itoa(adjusted))
	case exp == 0:
		b.WriteString(digits)
	case len(digits) > -exp:
		b.WriteString(digits[:len(digits)+exp])
		b.WriteByte('.')
		b.WriteString(digits[len(digits)+exp:])
	default:
		b.WriteString("0.")
		b.WriteString(strings.Repeat("0", -exp-len(digits)))
		b.WriteString(digits)
	}
	return b.String()
}

// format128 prints a 128-bit unsigned number.
func format128(hi, lo uint64) string {
	if hi == 0 {
		return strconv.FormatUint(lo, 10)
	}
	const e19 = 10000000000000000000
	q := hi / e19
	mid, rem := bits.Div64(hi%e19, lo, e19)
	tail := strconv.FormatUint(rem, 10)
	tail = strings.Repeat("0", 19-len(tail)) + tail
	if q == 0 {
		return strconv.FormatUint(mid, 10) + tail
	}
	mid2, rem2 := bits.Div64(q, mid, e19)
	m := strconv.FormatUint(rem2, 10)
	return strconv.FormatUint(mid2, 10) + strings.Repeat("0", 19-len(m)) + m + tail
}

// Float64 is the nearest double.
func (d Decimal) Float64() float64 {
	switch {
	case d.IsNaN():
		return math.NaN()
	case d.IsInf() && d.Negative():
		return math.Inf(-1)
	case d.IsInf():
		return math.Inf(1)
	}
	f, _ := strconv.ParseFloat(d.String(), 64)
	return f
}

// Int64 is the decimal cut towards zero; ok is false outside int64 and for NaN
// and infinities.
func (d Decimal) Int64() (v int64, ok bool) {
	if !d.IsFinite() {
		return 0, false
	}
	var r apd.Decimal
	c := decimalContext
	c.Precision = 60
	c.Rounding = apd.RoundDown
	if exp, _, _ := d.parts(); exp > 20 && !d.IsZero() {
		return 0, false
	}
	if _, err := c.RoundToIntegralValue(&r, d.Apd()); err != nil {
		return 0, false
	}
	v, err := r.Int64()
	return v, err == nil
}

// Cmp compares two decimals: NaN is smallest and equals itself, zeros are equal.
func (d Decimal) Cmp(e Decimal) int {
	switch {
	case d.IsNaN() && e.IsNaN():
		return 0
	case d.IsNaN():
		return -1
	case e.IsNaN():
		return 1
	}
	return d.Apd().Cmp(e.Apd())
}

// Add returns d+e, rounded half even to 34 digits.
func (d Decimal) Add(e Decimal) Decimal { return d.op(e, decimalContext.Add) }

// Sub returns d-e.
func (d Decimal) Sub(e Decimal) Decimal { return d.op(e, decimalContext.Sub) }

// Mul returns d·e.
func (d Decimal) Mul(e Decimal) Decimal { return d.op(e, decimalContext.Mul) }

// Quo returns d/e: infinity for x/0, NaN for 0/0. An exact quotient has the
// exponent nearest to the difference of the operands' exponents (IEEE 754-2008,
// 5.4.1).
func (d Decimal) Quo(e Decimal) Decimal {
	return d.op(e, func(r, x, y *apd.Decimal) (apd.Condition, error) {
		cond, err := decimalContext.Quo(r, x, y)
		if err == nil && !cond.Inexact() && r.Form == apd.Finite && x.Form == apd.Finite && y.Form == apd.Finite {
			dropZeros(r, x.Exponent-y.Exponent)
		}
		return cond, err
	})
}

// dropZeros cuts trailing zeros of the coefficient up to an exponent.
func dropZeros(r *apd.Decimal, ideal int32) {
	if r.Coeff.Sign() == 0 {
		r.Exponent = max(r.Exponent, ideal)
		return
	}
	var q, rem apd.BigInt
	for ten := apd.NewBigInt(10); r.Exponent < ideal; r.Exponent++ {
		if q.QuoRem(&r.Coeff, ten, &rem); rem.Sign() != 0 {
			return
		}
		r.Coeff.Set(&q)
	}
}

// Rem returns the remainder of d/e with the sign of d.
func (d Decimal) Rem(e Decimal) Decimal {
	// The quotient may have thousands of digits; the remainder never more than 34.
	c := decimalContext
	c.Precision = 12400
	c.MaxExponent, c.MinExponent = apd.MaxExponent, apd.MinExponent
	return d.op(e, c.Rem)
}

func (d Decimal) op(e Decimal, f func(r, x, y *apd.Decimal) (apd.Condition, error)) Decimal {
	if d.IsNaN() || e.IsNaN() {
		return DecimalNaN
	}
	var r apd.Decimal
	if _, err := f(&r, d.Apd(), e.Apd()); err != nil {
		return DecimalNaN
	}
	return DecimalFromApd(&r)
}
