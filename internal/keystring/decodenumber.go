package keystring

import (
	"encoding/binary"
	"math"
	"math/big"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// number reads a number whose class byte is read, in the type its tag names.
func (d *decoder) number(class byte) (bsonval.Value, bool) {
	p, ok := d.parseNumber(class)
	if !ok {
		return bsonval.Missing, false
	}
	switch tag := d.tag(1)[0]; tag {
	case tagDefault:
		return p.natural()
	case tagInt64:
		n, ok := p.int64()
		return bsonval.Int64(n), ok
	case tagDouble:
		return bsonval.Double(p.float64()), !p.rest
	case tagNegativeZero:
		return bsonval.Double(math.Copysign(0, -1)), p.class == numZero
	case tagDecimal:
		word := binary.BigEndian.Uint16(d.tag(2))
		return p.decimal(int(word&0x7FFF)-decimalBias, word>>15 == 1)
	case tagRawDecimal:
		b := d.tag(16)
		v := bsonval.DecimalValue(bsonval.Decimal{
			L: binary.LittleEndian.Uint64(b), H: binary.LittleEndian.Uint64(b[8:]),
		})
		return v, true
	case tagRawDouble:
		return bsonval.Double(math.Float64frombits(binary.LittleEndian.Uint64(d.tag(8)))), true
	}
	return bsonval.Missing, false
}

// natural is the number in its default type.
func (p *parsedNumber) natural() (bsonval.Value, bool) {
	if p.class == numNaN {
		return bsonval.Double(math.Float64frombits(defaultNaN)), true
	}
	if p.rest {
		return p.decimal(p.trimmedExponent(), p.negative)
	}
	if n, ok := p.int64(); ok {
		if n == int64(int32(n)) {
			return bsonval.Int32(int32(n)), true
		}
		return bsonval.Int64(n), true
	}
	return bsonval.Double(p.float64()), true
}

// int64 is the number as an integer, if it is one.
func (p *parsedNumber) int64() (int64, bool) {
	switch {
	case p.class == numZero:
		return 0, true
	case p.class == numPosLarge && p.negative && p.double == 1<<63 && !p.rest:
		return math.MinInt64, true
	case p.class <= numPosInt || p.class == numPosLarge || p.frac != 0 || p.rest:
		return 0, false
	case p.negative:
		return -int64(p.whole), true
	}
	return int64(p.whole), true
}

// float64 is the number as a double, exactly if no decimal made it.
func (p *parsedNumber) float64() float64 {
	var f float64
	switch p.class {
	case numNaN:
		return math.NaN()
	case numZero:
		return 0
	case numPosSmall, numPosLarge:
		f = p.double
	default:
		f = float64(p.whole) + float64(p.frac)/(1<<fractionBits)
	}
	if p.negative {
		return -f
	}
	return f
}

// trimmedExponent is the exponent of the rest without trailing zeros in the
// coefficient.
func (p *parsedNumber) trimmedExponent() int {
	exp, x, ten, r := p.exp, bigUint128(p.hi, p.lo), big.NewInt(10), new(big.Int)
	for x.Sign() != 0 && exp < decimalMaxExponent {
		q, _ := new(big.Int).QuoRem(x, ten, r)
		if r.Sign() != 0 {
			break
		}
		x = q
		exp++
	}
	return max(exp, -decimalBias)
}

const decimalMaxExponent = 6111

// decimal is the number as a decimal with the given exponent; ok is false if it
// is none.
func (p *parsedNumber) decimal(exp int, negative bool) (v bsonval.Value, ok bool) {
	if exp < -decimalBias || exp > decimalMaxExponent || p.class == numNaN {
		return v, false
	}
	if p.class == numZero {
		return bsonval.DecimalValue(packDecimal(negative, exp, 0, 0)), true
	}
	num, den := p.rational()
	if num == nil {
		return v, false
	}
	if exp > 0 {
		den.Mul(den, bigPow10(exp))
	} else {
		num.Mul(num, bigPow10(-exp))
	}
	q, r := num.QuoRem(num, den, new(big.Int))
	if r.Sign() != 0 || q.BitLen() > 113 {
		return v, false
	}
	lo := new(big.Int).And(q, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
	hi := q.Rsh(q, 64).Uint64()
	return bsonval.DecimalValue(packDecimal(p.negative, exp, hi, lo)), true
}

// rational is the absolute value as a fraction; nil for infinity.
func (p *parsedNumber) rational() (num, den *big.Int) {
	switch {
	case p.rest && p.exp >= 0:
		return new(big.Int).Mul(bigUint128(p.hi, p.lo), bigPow10(p.exp)), big.NewInt(1)
	case p.rest:
		return bigUint128(p.hi, p.lo), bigPow10(-p.exp)
	case p.class == numPosSmall || p.class == numPosLarge:
		r := new(big.Rat).SetFloat64(p.double)
		if r == nil {
			return nil, nil
		}
		return new(big.Int).Set(r.Num()), new(big.Int).Set(r.Denom())
	}
	num = new(big.Int).SetUint64(p.whole)
	num.Lsh(num, fractionBits)
	return num.Or(num, new(big.Int).SetUint64(p.frac)), new(big.Int).Lsh(big.NewInt(1), fractionBits)
}
