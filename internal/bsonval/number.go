package bsonval

import (
	"cmp"
	"math"
	"math/bits"
)

// CompareNumbers compares two numeric values by exact value, whatever their
// types. NaN is smaller than every number and equal to itself.
func CompareNumbers(a, b Value) int {
	switch {
	case a.typ == TypeDecimal128 || b.typ == TypeDecimal128:
		return compareDecimals(a, b)
	case a.typ == TypeDouble && b.typ == TypeDouble:
		return compareDoubles(a.Double(), b.Double())
	case a.typ == TypeDouble:
		return -compareInt64Double(int64(b.num), a.Double())
	case b.typ == TypeDouble:
		return compareInt64Double(int64(a.num), b.Double())
	}
	return cmp.Compare(int64(a.num), int64(b.num))
}

func compareDoubles(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	}
	return cmp.Compare(a, b) // NaN sorts first
}

func compareInt64Double(i int64, f float64) int {
	switch {
	case math.IsNaN(f):
		return 1
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	if r := cmp.Compare(i, int64(f)); r != 0 {
		return r
	}
	return cmp.Compare(0, f-math.Trunc(f))
}

func compareDecimals(a, b Value) int {
	if a.typ == TypeDecimal128 && b.typ == TypeDecimal128 {
		return a.Decimal().Cmp(b.Decimal())
	}
	if a.typ != TypeDecimal128 {
		return -compareDecimals(b, a)
	}
	d := a.Decimal()
	if b.typ != TypeDouble {
		return d.Cmp(DecimalFromInt64(int64(b.num)))
	}
	f := b.Double()
	switch {
	case math.IsInf(f, 0) && d.IsFinite():
		return compareDoubles(0, f)
	case math.IsNaN(f) || math.IsInf(f, 0) || !d.IsFinite():
		return compareDoubles(d.Float64(), f)
	case f == 0:
		if d.IsZero() {
			return 0
		} else if d.Negative() {
			return -1
		}
		return 1
	}
	return d.Apd().Cmp(exactApd(f))
}

// AsDouble converts a number to double (nearest).
func (v Value) AsDouble() float64 {
	switch v.typ {
	case TypeDouble:
		return v.Double()
	case TypeDecimal128:
		return v.Decimal().Float64()
	}
	return float64(int64(v.num))
}

// AsDecimal converts a number to decimal (doubles with 15 digits).
func (v Value) AsDecimal() Decimal {
	switch v.typ {
	case TypeDouble:
		return DecimalFromDouble(v.Double())
	case TypeDecimal128:
		return v.Decimal()
	}
	return DecimalFromInt64(int64(v.num))
}

// AsInt64 converts a number that is an integer in int64's range exactly; ok is
// false for all others.
func (v Value) AsInt64() (n int64, ok bool) {
	switch v.typ {
	case TypeInt32, TypeInt64:
		return int64(v.num), true
	case TypeDouble:
		f := v.Double()
		if f == math.Trunc(f) && f >= -1<<63 && f < 1<<63 {
			return int64(f), true
		}
	case TypeDecimal128:
		n, ok := v.Decimal().Int64()
		if ok && v.Decimal().Cmp(DecimalFromInt64(n)) == 0 {
			return n, true
		}
	}
	return 0, false
}

// TruncInt64 converts a number to int64, cutting fractions and clamping to the
// range; NaN becomes 0.
func (v Value) TruncInt64() int64 {
	switch v.typ {
	case TypeDouble:
		return clampInt64(v.Double())
	case TypeDecimal128:
		if n, ok := v.Decimal().Int64(); ok {
			return n
		}
		return clampInt64(v.Decimal().Float64())
	case TypeInt32, TypeInt64:
		return int64(v.num)
	}
	return 0
}

func clampInt64(f float64) int64 {
	switch {
	case math.IsNaN(f):
		return 0
	case f >= 1<<63:
		return math.MaxInt64
	case f < -1<<63:
		return math.MinInt64
	}
	return int64(f)
}

// IsNaN tells a NaN of double or decimal type.
func (v Value) IsNaN() bool {
	return v.typ == TypeDouble && math.IsNaN(v.Double()) ||
		v.typ == TypeDecimal128 && v.Decimal().IsNaN()
}

// IsZero tells a number equal to zero.
func (v Value) IsZero() bool {
	return v.typ == TypeInt32 && v.num == 0 || v.typ == TypeInt64 && v.num == 0 ||
		v.typ == TypeDouble && v.Double() == 0 || v.typ == TypeDecimal128 && v.Decimal().IsZero()
}

// widest is the type of an arithmetic result: decimal over double over int64
// over int32.
func widest(a, b Type) Type {
	switch {
	case a == TypeDecimal128 || b == TypeDecimal128:
		return TypeDecimal128
	case a == TypeDouble || b == TypeDouble:
		return TypeDouble
	case a == TypeInt64 || b == TypeInt64:
		return TypeInt64
	}
	return TypeInt32
}

// Add adds two numbers in the wider of their types. int32 overflows to int64.
// On int64 overflow it returns the sum as a double and overflow true.
func Add(a, b Value) (sum Value, overflow bool) {
	switch widest(a.typ, b.typ) {
	case TypeDecimal128:
		return DecimalValue(a.AsDecimal().Add(b.AsDecimal())), false
	case TypeDouble:
		return Double(a.AsDouble() + b.AsDouble()), false
	case TypeInt64:
		x, y := int64(a.num), int64(b.num)
		s := x + y
		if (s > x) != (y > 0) && y != 0 {
			return Double(float64(x) + float64(y)), true
		}
		return Int64(s), false
	}
	return int32OrInt64(int64(a.num) + int64(b.num)), false
}

// Sub subtracts, with Add's rules.
func Sub(a, b Value) (difference Value, overflow bool) {
	switch widest(a.typ, b.typ) {
	case TypeDecimal128:
		return DecimalValue(a.AsDecimal().Sub(b.AsDecimal())), false
	case TypeDouble:
		return Double(a.AsDouble() - b.AsDouble()), false
	case TypeInt64:
		x, y := int64(a.num), int64(b.num)
		s := x - y
		if (s < x) != (y > 0) && y != 0 {
			return Double(float64(x) - float64(y)), true
		}
		return Int64(s), false
	}
	return int32OrInt64(int64(a.num) - int64(b.num)), false
}

// Mul multiplies, with Add's rules.
func Mul(a, b Value) (product Value, overflow bool) {
	switch widest(a.typ, b.typ) {
	case TypeDecimal128:
		return DecimalValue(a.AsDecimal().Mul(b.AsDecimal())), false
	case TypeDouble:
		return Double(a.AsDouble() * b.AsDouble()), false
	case TypeInt64:
		x, y := int64(a.num), int64(b.num)
		if p, ok := mulInt64(x, y); ok {
			return Int64(p), false
		}
		return Double(float64(x) * float64(y)), true
	}
	return int32OrInt64(int64(a.num) * int64(b.num)), false
}

func mulInt64(x, y int64) (int64, bool) {
	neg := (x < 0) != (y < 0)
	hi, lo := bits.Mul64(absUint64(x), absUint64(y))
	switch {
	case hi != 0 || lo > 1<<63 || lo == 1<<63 && !neg:
		return 0, false
	case neg:
		return -int64(lo), true
	}
	return int64(lo), true
}

func absUint64(x int64) uint64 {
	if x < 0 {
		return -uint64(x)
	}
	return uint64(x)
}

func int32OrInt64(n int64) Value {
	if n == int64(int32(n)) {
		return Int32(int32(n))
	}
	return Int64(n)
}
