package expr

import (
	"math"
	"math/big"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/cockroachdb/apd/v3"
)

// Sum adds numbers as MongoDB's $add and $sum do: integers exactly, doubles
// with compensation (a pair of doubles, so that small terms are not lost),
// decimals apart from both. The zero Sum is int32 0.
type Sum struct {
	high, low float64         // non-decimal total is high + low, |low| ≤ ulp(high)/2
	special   float64         // plain total, for infinities and NaN
	decimal   bsonval.Decimal // total of the decimals, if typ says there are any
	typ       bsonval.Type    // widest type so far; missing before the first
}

// Add adds a number.
func (s *Sum) Add(v bsonval.Value) {
	switch v.Type() {
	case bsonval.TypeDecimal128:
		if s.typ != bsonval.TypeDecimal128 {
			s.decimal = bsonval.DecimalFromInt64(0)
		}
		s.typ = bsonval.TypeDecimal128
		s.decimal = s.decimal.Add(v.Decimal())
	case bsonval.TypeDouble:
		s.widen(bsonval.TypeDouble)
		s.AddDouble(v.Double())
	default:
		s.widen(v.Type())
		s.AddInt64(v.Int64())
	}
}

func (s *Sum) widen(t bsonval.Type) {
	if typeRank(t) > typeRank(s.typ) {
		s.typ = t
	}
}

// typeRank orders the numeric types by width.
func typeRank(t bsonval.Type) int {
	switch t {
	case bsonval.TypeInt32:
		return 1
	case bsonval.TypeInt64:
		return 2
	case bsonval.TypeDouble:
		return 3
	case bsonval.TypeDecimal128:
		return 4
	}
	return 0
}

// AddDouble adds x without regard to types.
func (s *Sum) AddDouble(x float64) {
	s.special += x
	// Knuth's two-sum, first with the term, then with the carried low part.
	sum := s.high + x
	b := sum - s.high
	low := (s.high - (sum - b)) + (x - b)
	low += s.low
	s.high = sum + low
	s.low = low - (s.high - sum)
}

// AddInt64 adds n exactly, without regard to types.
func (s *Sum) AddInt64(n int64) {
	// A double holds 53 bits: two of them hold any int64.
	high := n &^ (1<<32 - 1)
	s.AddDouble(float64(high))
	s.AddDouble(float64(n - high))
}

// Merge adds another sum.
func (s *Sum) Merge(o *Sum) {
	special := s.special + o.special
	s.AddDouble(o.high)
	s.AddDouble(o.low)
	s.special = special
	if o.typ == bsonval.TypeDecimal128 {
		if s.typ != bsonval.TypeDecimal128 {
			s.decimal = bsonval.DecimalFromInt64(0)
		}
		s.decimal = s.decimal.Add(o.decimal)
	}
	s.widen(o.typ)
}

// Type is the widest type added so far; missing before the first number.
func (s *Sum) Type() bsonval.Type { return s.typ }

// Double is the total of the numbers that are not decimals.
func (s *Sum) Double() float64 {
	if math.IsNaN(s.high) || math.IsNaN(s.low) || math.IsInf(s.high, 0) {
		return s.special
	}
	return s.high
}

// Int64 is the total of the numbers that are not decimals, rounded; ok is false
// outside int64.
func (s *Sum) Int64() (n int64, ok bool) {
	if f := s.Double(); math.IsNaN(f) || math.Abs(f) > 1<<63 {
		return 0, false
	}
	high, low := math.Round(s.high), math.Round(s.low)
	if s.high != math.Trunc(s.high) {
		low = 0 // below half a unit in the last place of a fraction
	}
	if high == 1<<63 {
		if low >= 0 {
			return 0, false
		}
		return math.MaxInt64 + int64(low) + 1, true
	}
	h := int64(high)
	n = h + int64(low)
	if low < 0 && n > h || low > 0 && n < h {
		return 0, false
	}
	return n, true
}

// Decimal is the total of everything as a decimal.
func (s *Sum) Decimal() bsonval.Decimal {
	var d bsonval.Decimal
	if f := s.Double(); math.IsNaN(f) || math.IsInf(f, 0) {
		d = bsonval.DecimalFromDouble(f)
	} else {
		d = doubleToDecimal34(s.high).Add(doubleToDecimal34(s.low))
	}
	if s.typ == bsonval.TypeDecimal128 {
		return s.decimal.Add(d)
	}
	return d
}

// Value is the total in the widest type of the terms: int32 overflows to int64,
// int64 to double.
func (s *Sum) Value() bsonval.Value {
	switch s.typ {
	case bsonval.TypeDecimal128:
		if s.high == 0 && s.low == 0 && !math.IsNaN(s.special) && !math.IsInf(s.special, 0) {
			return bsonval.DecimalValue(s.decimal)
		}
		return bsonval.DecimalValue(s.Decimal())
	case bsonval.TypeDouble:
		return bsonval.Double(s.Double())
	}
	n, ok := s.Int64()
	switch {
	case !ok:
		return bsonval.Double(s.Double())
	case s.typ == bsonval.TypeInt64:
		return bsonval.Int64(n)
	}
	return intOrLong(n)
}

// intOrLong is an int32 if n fits in one, else an int64.
func intOrLong(n int64) bsonval.Value {
	if n == int64(int32(n)) {
		return bsonval.Int32(int32(n))
	}
	return bsonval.Int64(n)
}

// doubleToDecimal34 converts a double to the nearest decimal of 34 digits,
// without padding zeros.
func doubleToDecimal34(f float64) bsonval.Decimal {
	if math.IsNaN(f) || math.IsInf(f, 0) || f == 0 {
		return bsonval.DecimalFromDouble(f)
	}
	text := new(big.Float).SetFloat64(f).Text('e', 33)
	x, _, err := apd.NewFromString(text)
	if err != nil {
		return bsonval.DecimalNaN
	}
	x.Reduce(x)
	if x.Exponent > 0 {
		decimalRescale(x, 0)
	}
	return bsonval.DecimalFromApd(x)
}
