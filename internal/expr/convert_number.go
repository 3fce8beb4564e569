package expr

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// The methods here return Missing for types that have no conversion.

func (k *conversion) toDouble(v bsonval.Value) (bsonval.Value, error) {
	switch v.Type() {
	case bsonval.TypeDouble:
		return v, nil
	case bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDate:
		return bsonval.Double(float64(v.Int64())), nil
	case bsonval.TypeBool:
		if v.Bool() {
			return bsonval.Double(1), nil
		}
		return bsonval.Double(0), nil
	case bsonval.TypeDecimal128:
		f := v.Decimal().Float64()
		if math.IsInf(f, 0) && v.Decimal().IsFinite() {
			return bsonval.Missing, conversionFailure("Conversion would overflow target type")
		}
		return bsonval.Double(f), nil
	case bsonval.TypeString:
		f, err := parseDouble(v.Str())
		return bsonval.Double(f), err
	case bsonval.TypeBinary:
		b := k.littleEndian(v.Bytes())
		switch len(b) {
		case 4:
			return bsonval.Double(float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))), nil
		case 8:
			return bsonval.Double(math.Float64frombits(binary.LittleEndian.Uint64(b))), nil
		}
		return bsonval.Missing, conversionFailure("Failed to convert '%s' to double because of invalid length: %d",
			bsonval.Format(v), len(b))
	}
	return bsonval.Missing, nil
}

// littleEndian returns bytes in little-endian order.
func (k *conversion) littleEndian(b []byte) []byte {
	if k.bigEndian {
		b = slices.Clone(b)
		slices.Reverse(b)
	}
	return b
}

// parseDouble reads what C's strtod does, without white space around it and
// without a number that begins with "0x".
func parseDouble(s string) (float64, error) {
	if strings.HasPrefix(s, "0x") {
		return 0, conversionFailure("Illegal hexadecimal input")
	}
	text := s
	if hex := strings.ToLower(strings.TrimLeft(s, "+-")); strings.HasPrefix(hex, "0x") && !strings.Contains(hex, "p") {
		text += "p0" // an exponent is optional in C
	}
	f, err := strconv.ParseFloat(text, 64)
	if strings.Contains(s, "_") || err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, conversionFailure("Failed to parse number '%s'", s)
	}
	if err != nil || f == 0 && strings.ContainsAny(mantissa(s), "123456789abcdefABCDEF") {
		return 0, conversionFailure("Failed to parse number '%s': out of range", s)
	}
	return f, nil
}

// mantissa is a number's text without sign, base and exponent.
func mantissa(s string) string {
	s = strings.ToLower(strings.TrimLeft(s, "+-"))
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		m, _, _ := strings.Cut(hex, "p")
		return m
	}
	m, _, _ := strings.Cut(s, "e")
	return m
}

// toInteger converts to an int32 (size 4) or int64 (size 8).
func (k *conversion) toInteger(v bsonval.Value, size int) (bsonval.Value, error) {
	var n int64
	var ok bool
	switch v.Type() {
	case bsonval.TypeInt32, bsonval.TypeInt64:
		n = v.Int64()
	case bsonval.TypeBool:
		if v.Bool() {
			n = 1
		}
	case bsonval.TypeDouble, bsonval.TypeDecimal128:
		var err error
		if n, err = cutToInt64(v); err != nil {
			return bsonval.Missing, err
		}
	case bsonval.TypeString:
		var err error
		if n, err = strconv.ParseInt(v.Str(), 10, size*8); err != nil {
			return bsonval.Missing, conversionFailure("Failed to parse number '%s'", v.Str())
		}
	case bsonval.TypeBinary:
		if n, ok = integerFromBytes(k.littleEndian(v.Bytes()), size); !ok {
			return bsonval.Missing, conversionFailure("Failed to convert '%s' to %s because of invalid length: %d",
				bsonval.Format(v), k.typ, len(v.Bytes()))
		}
	case bsonval.TypeDate:
		if size != 8 {
			return bsonval.Missing, nil
		}
		n = v.Int64()
	default:
		return bsonval.Missing, nil
	}
	if size == 8 {
		return bsonval.Int64(n), nil
	}
	if n != int64(int32(n)) {
		return bsonval.Missing, conversionFailure("Conversion would overflow target type")
	}
	return bsonval.Int32(int32(n)), nil
}

// cutToInt64 cuts the fraction off a double or decimal.
func cutToInt64(v bsonval.Value) (int64, error) {
	if v.IsNaN() {
		return 0, conversionFailure("Attempt to convert NaN value to integer type")
	}
	if v.Type() == bsonval.TypeDouble {
		f := v.Double()
		switch {
		case math.IsInf(f, 0):
			return 0, conversionFailure("Attempt to convert infinity value to integer type")
		case f >= 1<<63 || f < -1<<63:
			return 0, conversionFailure("Conversion would overflow target type")
		}
		return int64(f), nil
	}
	n, ok := v.Decimal().Int64()
	switch {
	case v.Decimal().IsInf():
		return 0, conversionFailure("Attempt to convert infinity value to integer type")
	case !ok:
		return 0, conversionFailure("Conversion would overflow target type")
	}
	return n, nil
}

// integerFromBytes reads a little-endian integer of at most size bytes.
func integerFromBytes(b []byte, size int) (n int64, ok bool) {
	if len(b) > size {
		return 0, false
	}
	switch len(b) {
	case 1:
		return int64(int8(b[0])), true
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b))), true
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case 8:
		return int64(binary.LittleEndian.Uint64(b)), true
	}
	return 0, false
}

func toDecimal(v bsonval.Value) (bsonval.Value, error) {
	switch v.Type() {
	case bsonval.TypeDecimal128:
		return v, nil
	case bsonval.TypeDouble, bsonval.TypeInt32, bsonval.TypeInt64:
		return bsonval.DecimalValue(v.AsDecimal()), nil
	case bsonval.TypeDate:
		return bsonval.DecimalValue(bsonval.DecimalFromInt64(v.Int64())), nil
	case bsonval.TypeBool:
		n := int64(0)
		if v.Bool() {
			n = 1
		}
		return bsonval.DecimalValue(bsonval.DecimalFromInt64(n)), nil
	case bsonval.TypeString:
		d, _, err := bsonval.ParseDecimal(v.Str())
		if err != nil {
			return bsonval.Missing, conversionFailure("Failed to parse number '%s'", v.Str())
		}
		if d.IsInf() && !strings.Contains(strings.ToLower(v.Str()), "inf") {
			return bsonval.Missing, conversionFailure("Conversion from string to decimal would overflow")
		}
		return bsonval.DecimalValue(d), nil
	}
	return bsonval.Missing, nil
}
