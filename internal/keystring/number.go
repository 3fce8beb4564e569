package keystring

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// The class bytes of numbers. A positive number with an integer part of n
// encoded bytes (1 to 8) has the class numPosInt+n; -v has the class
// numMirror-class(v).
const (
	numNaN      = classNumber
	numNegLarge = classNumber + 0x01
	numZero     = classNumber + 0x0B
	numPosSmall = classNumber + 0x0C
	numPosInt   = classNumber + 0x0C
	numPosLarge = classNumber + 0x15
	numMirror   = numNegLarge + numPosLarge
)

// fractionBits is the number of binary digits kept of a fraction.
const fractionBits = 55

// restBias makes a rest's exponent positive.
const restBias = 8192

func appendNumber(dst []byte, v bsonval.Value) []byte {
	switch v.Type() {
	case bsonval.TypeDouble:
		return appendDouble(dst, v.Double())
	case bsonval.TypeDecimal128:
		return appendDecimal(dst, v.Decimal())
	}
	return appendInt(dst, v.Int64())
}

func appendInt(dst []byte, n int64) []byte {
	switch {
	case n == 0:
		return append(dst, numZero)
	case n == math.MinInt64:
		return appendDouble(dst, -1<<63)
	case n < 0:
		at := len(dst)
		dst = appendWhole(dst, uint64(-n)<<1)
		return negate(dst, at)
	}
	return appendWhole(dst, uint64(n)<<1)
}

// negate turns the positive number from at on into its negative.
func negate(dst []byte, at int) []byte {
	dst[at] = numMirror - dst[at]
	invert(dst[at+1:])
	return dst
}

// appendWhole appends class and bytes of an integer part, shifted left by one
// with its fraction flag.
func appendWhole(dst []byte, m uint64) []byte {
	n := (bits.Len64(m) + 7) / 8
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], m)
	dst = append(dst, byte(numPosInt+n))
	return append(dst, b[8-n:]...)
}

func appendDouble(dst []byte, f float64) []byte {
	a := math.Abs(f)
	at := len(dst)
	switch {
	case math.IsNaN(f):
		return append(dst, numNaN)
	case a == 0:
		return append(dst, numZero)
	case a < 1:
		dst = appendBits(dst, numPosSmall, a, 0)
	case a >= 1<<63:
		dst = appendBits(dst, numPosLarge, a, 0)
	default:
		whole := uint64(a)
		if frac := a - float64(whole); frac == 0 {
			dst = appendWhole(dst, whole<<1)
		} else {
			dst = appendWhole(dst, whole<<1|1)
			dst = appendFraction(dst, uint64(frac*(1<<fractionBits)), 0)
		}
	}
	if f < 0 {
		return negate(dst, at)
	}
	return dst
}

func appendBits(dst []byte, class byte, a float64, more uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, class), math.Float64bits(a)<<1|more)
}

func appendFraction(dst []byte, frac, more uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], frac<<1|more)
	return append(dst, b[1:]...)
}

func appendDecimal(dst []byte, d bsonval.Decimal) []byte {
	switch {
	case d.IsNaN():
		return append(dst, numNaN)
	case d.IsInf() && d.Negative():
		return appendDouble(dst, math.Inf(-1))
	case d.IsInf():
		return appendDouble(dst, math.Inf(1))
	}
	exp, hi, lo := d.Coefficient()
	if hi == 0 && lo == 0 {
		return append(dst, numZero)
	}
	at := len(dst)
	if whole, frac, more, ok := splitDecimal(exp, hi, lo); !ok {
		dst = appendFarDecimal(dst, d.Abs())
	} else if frac == 0 && !more {
		dst = appendWhole(dst, whole<<1)
	} else {
		dst = appendWhole(dst, whole<<1|1)
		if more {
			dst = appendRest(appendFraction(dst, frac, 1), exp, hi, lo)
		} else {
			dst = appendFraction(dst, frac, 0)
		}
	}
	if d.Negative() {
		return negate(dst, at)
	}
	return dst
}

// appendFarDecimal appends a positive decimal below 1 or from 2^63 on.
func appendFarDecimal(dst []byte, d bsonval.Decimal) []byte {
	v := bsonval.DecimalValue(d)
	f := d.Float64()
	c := bsonval.CompareNumbers(v, bsonval.Double(f))
	if c < 0 {
		f = math.Nextafter(f, 0)
	}
	class := byte(numPosSmall)
	if bsonval.CompareNumbers(v, bsonval.Double(1)) >= 0 {
		class = numPosLarge
	}
	if c == 0 {
		return appendBits(dst, class, f, 0)
	}
	exp, hi, lo := d.Coefficient()
	return appendRest(appendBits(dst, class, f, 1), exp, hi, lo)
}

// splitDecimal cuts a decimal in [1, 2^63) into its integer part, 55 binary
// digits of its fraction, and whether that is not all. ok is false for others.
func splitDecimal(exp int, hi, lo uint64) (whole, frac uint64, more, ok bool) {
	switch {
	case exp < -34 || exp > 18:
		return 0, 0, false, false
	case hi == 0 && exp >= 0:
		over, product := bits.Mul64(lo, pow10[exp])
		return product, 0, false, over == 0 && product < 1<<63
	case hi == 0 && exp >= -19:
		p := pow10[-exp]
		whole = lo / p
		h, l := bits.Mul64(lo%p, 1<<fractionBits)
		frac, rem := bits.Div64(h, l, p)
		return whole, frac, rem != 0, whole > 0 && whole < 1<<63
	}
	x := bigUint128(hi, lo)
	if exp >= 0 {
		x.Mul(x, bigPow10(exp))
		return x.Uint64(), 0, false, x.BitLen() <= 63
	}
	p := bigPow10(-exp)
	q, r := new(big.Int).QuoRem(x, p, new(big.Int))
	if q.Sign() == 0 || q.BitLen() > 63 {
		return 0, 0, false, false
	}
	r.Lsh(r, fractionBits)
	f, rem := new(big.Int).QuoRem(r, p, new(big.Int))
	return q.Uint64(), f.Uint64(), rem.Sign() != 0, true
}

// appendRest appends a positive decimal with its coefficient widened to 34
// digits.
func appendRest(dst []byte, exp int, hi, lo uint64) []byte {
	for {
		h1, l1, ok := mul10(hi, lo)
		if !ok {
			break
		}
		hi, lo = h1, l1
		exp--
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(exp+restBias))
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return append(dst, b[1:]...)
}

// maxCoefficient is 10^34-1, high and low.
const (
	maxCoefficientHigh = 0x1ed09bead87c0
	maxCoefficientLow  = 0x378d8e63ffffffff
)

// mul10 multiplies by ten; ok is false if that has more than 34 digits.
func mul10(hi, lo uint64) (h, l uint64, ok bool) {
	carry, l := bits.Mul64(lo, 10)
	h = hi*10 + carry
	return h, l, h < maxCoefficientHigh || h == maxCoefficientHigh && l <= maxCoefficientLow
}

// pow10 are the powers of ten in 64 bits.
var pow10 = [20]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

func bigPow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func bigUint128(hi, lo uint64) *big.Int {
	x := new(big.Int).SetUint64(hi)
	x.Lsh(x, 64)
	return x.Or(x, new(big.Int).SetUint64(lo))
}
