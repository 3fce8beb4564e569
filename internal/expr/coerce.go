package expr

import (
	"math"
	"strconv"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// coerceToString is how string operators take values that are no strings: null
// is empty, numbers, dates, timestamps, code and symbols have a text, the rest is
// an error.
func coerceToString(v bsonval.Value) (string, error) {
	switch v.Type() {
	case bsonval.TypeString, bsonval.TypeCode, bsonval.TypeSymbol:
		return v.Str(), nil
	case bsonval.TypeMissing, bsonval.TypeNull, bsonval.TypeUndefined:
		return "", nil
	case bsonval.TypeInt32, bsonval.TypeInt64:
		return strconv.FormatInt(v.Int64(), 10), nil
	case bsonval.TypeDouble:
		return formatDouble6(v.Double()), nil
	case bsonval.TypeDecimal128:
		return v.Decimal().String(), nil
	case bsonval.TypeDate:
		return bsonval.FormatDate(v.Int64()), nil
	case bsonval.TypeTimestamp:
		t, i := v.TimestampParts()
		return time.Unix(int64(t), 0).UTC().Format("Jan _2 15:04:05") + ":" + strconv.FormatUint(uint64(i), 10), nil
	}
	return "", mongoerr.New(16007, "can't convert from BSON type %s to String", v.Type())
}

// formatDouble6 prints six significant digits, as C++ streams do.
func formatDouble6(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return bsonval.FormatDouble(f)
	}
	return strconv.FormatFloat(f, 'g', 6, 64)
}

// formatDoubleShortest prints the fewest digits that read back as f, with an
// exponent from 1e16 on and below 1e-4.
func formatDoubleShortest(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// coerceToLong takes a number as an int64: doubles are cut, decimals rounded;
// a decimal out of range becomes the smallest int64.
func coerceToLong(v bsonval.Value) (int64, error) {
	switch v.Type() {
	case bsonval.TypeInt32, bsonval.TypeInt64:
		return v.Int64(), nil
	case bsonval.TypeDouble:
		f := v.Double()
		if math.IsNaN(f) || f >= 1<<63 || f < -1<<63 {
			return 0, mongoerr.New(31109, "Can't coerce out of range value %s to long", formatDoubleShortest(f))
		}
		return int64(f), nil
	case bsonval.TypeDecimal128:
		if n, ok := roundDecimalToInt64(v.Decimal()); ok {
			return n, nil
		}
		return math.MinInt64, nil
	}
	return 0, mongoerr.New(16004, "can't convert from BSON type %s to long", v.Type())
}
