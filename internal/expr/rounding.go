package expr

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/cockroachdb/apd/v3"
)

// $round and $trunc take places in this range.
const (
	minPlace = -20
	maxPlace = 100
)

// decimalCeil and decimalFloor quantize, as MongoDB does: what has no 34-digit
// integer with exponent 0 becomes NaN.
func decimalCeil(d bsonval.Decimal) bsonval.Decimal  { return decimalQuantize(d, 0, apd.RoundCeiling) }
func decimalFloor(d bsonval.Decimal) bsonval.Decimal { return decimalQuantize(d, 0, apd.RoundFloor) }

// decimalRoundHalfEven rounds fractions away; integers keep their exponent.
func decimalRoundHalfEven(d bsonval.Decimal) bsonval.Decimal {
	if exp, _, _ := d.Coefficient(); !d.IsFinite() || exp >= 0 {
		return d
	}
	return decimalQuantize(d, 0, apd.RoundHalfEven)
}

func evalRound(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return toPlace("$round", args, apd.RoundHalfEven, math.RoundToEven)
}

func evalTrunc(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return toPlace("$trunc", args, apd.RoundDown, math.Trunc)
}

func toPlace(name string, args []bsonval.Value, mode apd.Rounder, whole func(float64) float64) (bsonval.Value, error) {
	v := args[0]
	if v.IsNullish() {
		return bsonval.Null, nil
	}
	if !v.IsNumber() {
		return bsonval.Missing, mongoerr.New(51081, "%s only supports numeric types, not %s", name, v.Type())
	}
	place := int64(0)
	if len(args) == 2 {
		if args[1].IsNullish() {
			return bsonval.Null, nil
		}
		var err error
		if place, err = placeArgument(name, args[1]); err != nil {
			return bsonval.Missing, err
		}
	}
	switch v.Type() {
	case bsonval.TypeDouble:
		f := v.Double()
		switch {
		case math.IsNaN(f) || math.IsInf(f, 0):
			return v, nil
		case place == 0:
			return bsonval.Double(whole(f)), nil
		}
		return bsonval.Double(roundDouble(f, place, mode)), nil
	case bsonval.TypeDecimal128:
		return bsonval.DecimalValue(roundDecimal(v.Decimal(), place, mode)), nil
	}
	if place >= 0 {
		return v, nil
	}
	n, ok := decimalQuantize(bsonval.DecimalFromInt64(v.Int64()), int32(-place), mode).Int64()
	if !ok {
		return bsonval.Missing, mongoerr.New(51080,
			"invalid conversion from Decimal128 result in %s resulting from arguments: [%s, %d]", name, bsonval.Format(v), place)
	}
	if v.Type() == bsonval.TypeInt64 {
		return bsonval.Int64(n), nil
	}
	return intOrLong(n), nil
}

func placeArgument(name string, v bsonval.Value) (int64, error) {
	if !v.IsNumber() {
		return 0, mongoerr.New(16004, "can't convert from BSON type %s to long", v.Type())
	}
	place, ok := v.AsInt64()
	if !ok {
		return 0, mongoerr.New(51082, "precision argument to  %s must be a integral value", name)
	}
	if place < minPlace || place > maxPlace {
		return 0, mongoerr.New(51083, "cannot apply %s with precision value %d value must be in [%d, %d]",
			name, place, minPlace, maxPlace)
	}
	return place, nil
}

// roundDouble works on the double's 34 significant decimal digits.
func roundDouble(f float64, place int64, mode apd.Rounder) float64 {
	d := doubleToDecimal34(f)
	if exp, _, _ := d.Coefficient(); int64(exp) >= -place {
		return f
	}
	r := decimalQuantize(d, int32(-place), mode).Float64()
	return math.Copysign(r, f)
}

func roundDecimal(d bsonval.Decimal, place int64, mode apd.Rounder) bsonval.Decimal {
	if !d.IsFinite() {
		return d
	}
	if exp, _, _ := d.Coefficient(); int64(exp) >= -place {
		return d
	}
	return decimalQuantize(d, int32(-place), mode)
}
