package expr

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var arithmeticOperators = []operator{
	{name: "$abs", doc: "The absolute value of a number.", min: 1, max: 1, fn: evalAbs},
	{name: "$add", doc: "The sum of numbers, or a date moved by milliseconds.", max: -1, fn: evalAdd},
	{name: "$ceil", doc: "The smallest integer not below a number.", min: 1, max: 1, fn: evalCeil},
	{name: "$divide", doc: "The quotient of two numbers.", min: 2, max: 2, fn: evalDivide},
	{name: "$exp", doc: "e raised to a power.", min: 1, max: 1, fn: evalExp},
	{name: "$floor", doc: "The largest integer not above a number.", min: 1, max: 1, fn: evalFloor},
	{name: "$ln", doc: "The natural logarithm.", min: 1, max: 1, fn: evalLn},
	{name: "$log", doc: "The logarithm of a number in a base.", min: 2, max: 2, fn: evalLog},
	{name: "$log10", doc: "The logarithm in base 10.", min: 1, max: 1, fn: evalLog10},
	{name: "$mod", doc: "The remainder of a division.", min: 2, max: 2, fn: evalMod},
	{name: "$multiply", doc: "The product of numbers.", max: -1, fn: evalMultiply},
	{name: "$pow", doc: "A number raised to a power.", min: 2, max: 2, fn: evalPow},
	{name: "$round", doc: "A number rounded half to even at a decimal place.", min: 1, max: 2, fn: evalRound},
	{name: "$sigmoid", doc: "The logistic function 1/(1+e^-x).", compile: compileSigmoid},
	{name: "$sqrt", doc: "The square root.", min: 1, max: 1, fn: evalSqrt},
	{name: "$subtract", doc: "The difference of numbers or dates.", min: 2, max: 2, fn: evalSubtract},
	{name: "$trunc", doc: "A number cut off at a decimal place.", min: 1, max: 2, fn: evalTrunc},
}

func dateRangeError(op string) error {
	return mongoerr.New(mongoerr.Overflow, "date overflow in %s", op)
}

func evalAdd(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if len(args) == 2 && args[0].Type() == bsonval.TypeInt32 && args[1].Type() == bsonval.TypeInt32 {
		return intOrLong(args[0].Int64() + args[1].Int64()), nil
	}
	var s Sum
	isDate, date := false, int64(0)
	for _, a := range args {
		switch {
		case a.IsNumber():
			s.Add(a)
		case a.Type() == bsonval.TypeDate:
			if isDate {
				return bsonval.Missing, mongoerr.New(16612, "only one date allowed in an $add expression")
			}
			isDate, date = true, a.Int64()
		case a.IsNullish():
			return bsonval.Null, nil
		default:
			return bsonval.Missing, mongoerr.New(mongoerr.TypeMismatch,
				"$add only supports numeric or date types, not %s", a.Type())
		}
	}
	switch {
	case !isDate && s.Type() == bsonval.TypeMissing:
		return bsonval.Int32(0), nil
	case !isDate:
		return s.Value(), nil
	}
	var ms int64
	var ok bool
	if s.Type() == bsonval.TypeDecimal128 {
		ms, ok = roundDecimalToInt64(s.Decimal())
	} else {
		ms, ok = s.Int64()
	}
	sum, overflow := bsonval.Add(bsonval.Int64(date), bsonval.Int64(ms))
	if !ok || overflow {
		return bsonval.Missing, dateRangeError("$add")
	}
	return bsonval.Date(sum.Int64()), nil
}

// roundDecimalToInt64 rounds half to even.
func roundDecimalToInt64(d bsonval.Decimal) (int64, bool) {
	if !d.IsFinite() {
		return 0, false
	}
	return decimalRoundHalfEven(d).Int64()
}

func evalSubtract(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	a, b := args[0], args[1]
	switch {
	case a.IsNumber() && b.IsNumber():
		d, _ := bsonval.Sub(a, b)
		return d, nil
	case a.IsNullish() || b.IsNullish():
		return bsonval.Null, nil
	case a.Type() == bsonval.TypeDate && b.Type() == bsonval.TypeDate:
		d, overflow := bsonval.Sub(bsonval.Int64(a.Int64()), bsonval.Int64(b.Int64()))
		if overflow {
			return bsonval.Missing, dateRangeError("$subtract")
		}
		return d, nil
	case a.Type() == bsonval.TypeDate && b.IsNumber():
		return subtractFromDate(a, b)
	}
	return bsonval.Missing, mongoerr.New(mongoerr.TypeMismatch, "can't $subtract %s from %s", b.Type(), a.Type())
}

func subtractFromDate(date, b bsonval.Value) (bsonval.Value, error) {
	var ms int64
	ok := true
	switch b.Type() {
	case bsonval.TypeDouble:
		f := b.Double()
		ok = !math.IsNaN(f) && f >= -1<<63 && f < 1<<63
		if ok {
			ms = int64(math.Round(f))
		}
	case bsonval.TypeDecimal128:
		ms, ok = roundDecimalToInt64(b.Decimal())
	default:
		ms = b.Int64()
	}
	if !ok {
		return bsonval.Missing, dateRangeError("$subtract")
	}
	d, overflow := bsonval.Sub(bsonval.Int64(date.Int64()), bsonval.Int64(ms))
	if overflow {
		return bsonval.Missing, dateRangeError("$subtract")
	}
	return bsonval.Date(d.Int64()), nil
}

// evalMultiply keeps an int64 and a double product side by side: once the former
// overflows, the latter has what it would have been from the start.
func evalMultiply(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	asLong, asDouble := bsonval.Int64(1), 1.0
	var asDecimal bsonval.Decimal
	typ := bsonval.TypeInt32
	for _, a := range args {
		if !a.IsNumber() {
			if a.IsNullish() {
				return bsonval.Null, nil
			}
			return bsonval.Missing, mongoerr.New(mongoerr.TypeMismatch,
				"$multiply only supports numeric types, not %s", a.Type())
		}
		if typ == bsonval.TypeDecimal128 {
			asDecimal = asDecimal.Mul(a.AsDecimal())
			continue
		}
		switch a.Type() {
		case bsonval.TypeDecimal128:
			if asDecimal = asLong.AsDecimal(); typ == bsonval.TypeDouble {
				asDecimal = bsonval.DecimalFromDouble(asDouble)
			}
			typ = bsonval.TypeDecimal128
			asDecimal = asDecimal.Mul(a.Decimal())
			continue
		case bsonval.TypeDouble:
			typ = bsonval.TypeDouble
		default:
			if typ != bsonval.TypeDouble {
				if typeRank(a.Type()) > typeRank(typ) {
					typ = a.Type()
				}
				var overflow bool
				if asLong, overflow = bsonval.Mul(asLong, a); overflow {
					typ = bsonval.TypeDouble
				}
			}
		}
		asDouble *= a.AsDouble()
	}
	switch typ {
	case bsonval.TypeDecimal128:
		return bsonval.DecimalValue(asDecimal), nil
	case bsonval.TypeDouble:
		return bsonval.Double(asDouble), nil
	case bsonval.TypeInt64:
		return asLong, nil
	}
	return intOrLong(asLong.Int64()), nil
}

func evalDivide(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	a, b := args[0], args[1]
	switch {
	case a.IsNumber() && b.IsNumber():
		if b.IsZero() {
			return bsonval.Missing, errDivideByZero
		}
		if a.Type() == bsonval.TypeDecimal128 || b.Type() == bsonval.TypeDecimal128 {
			return bsonval.DecimalValue(a.AsDecimal().Quo(b.AsDecimal())), nil
		}
		return bsonval.Double(a.AsDouble() / b.AsDouble()), nil
	case a.IsNullish() || b.IsNullish():
		return bsonval.Null, nil
	}
	return bsonval.Missing, mongoerr.New(mongoerr.TypeMismatch,
		"$divide only supports numeric types, not %s and %s", a.Type(), b.Type())
}

func evalMod(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	a, b := args[0], args[1]
	switch {
	case a.IsNumber() && b.IsNumber():
		if b.IsZero() {
			return bsonval.Missing, errModByZero
		}
		return mod(a, b), nil
	case a.IsNullish() || b.IsNullish():
		return bsonval.Null, nil
	}
	return bsonval.Missing, mongoerr.New(16611, "$mod only supports numeric types, not %s and %s", a.Type(), b.Type())
}

// mod is the remainder of numbers, b ≠ 0.
func mod(a, b bsonval.Value) bsonval.Value {
	switch {
	case a.Type() == bsonval.TypeDecimal128 || b.Type() == bsonval.TypeDecimal128:
		return bsonval.DecimalValue(a.AsDecimal().Rem(b.AsDecimal()))
	case a.Type() == bsonval.TypeDouble || b.Type() == bsonval.TypeDouble:
		return bsonval.Double(math.Mod(a.AsDouble(), b.AsDouble()))
	}
	x, y := a.Int64(), b.Int64()
	var r int64
	if y != -1 {
		r = x % y
	}
	if a.Type() == bsonval.TypeInt64 || b.Type() == bsonval.TypeInt64 {
		return bsonval.Int64(r)
	}
	return bsonval.Int32(int32(r))
}

// numericArgument checks the argument of a function of one number. done says
// that the result is already there: null, or an error.
func numericArgument(name string, v bsonval.Value) (done bool, err error) {
	switch {
	case v.IsNumber():
		return false, nil
	case v.IsNullish():
		return true, nil
	}
	return true, mongoerr.New(28765, "%s only supports numeric types, not %s", name, v.Type())
}

func evalAbs(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	v := args[0]
	if done, err := numericArgument("$abs", v); done {
		return bsonval.Null, err
	}
	switch v.Type() {
	case bsonval.TypeDouble:
		return bsonval.Double(math.Abs(v.Double())), nil
	case bsonval.TypeDecimal128:
		return bsonval.DecimalValue(v.Decimal().Abs()), nil
	}
	n := v.Int64()
	switch {
	case n >= 0:
		return v, nil
	case n == math.MinInt64:
		return bsonval.Missing, mongoerr.New(28680, "can't take $abs of long long min")
	case v.Type() == bsonval.TypeInt64:
		return bsonval.Int64(-n), nil
	}
	return intOrLong(-n), nil
}

func evalCeil(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return toIntegral("$ceil", args[0], math.Ceil, decimalCeil)
}

func evalFloor(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return toIntegral("$floor", args[0], math.Floor, decimalFloor)
}

func toIntegral(name string, v bsonval.Value, f func(float64) float64,
	d func(bsonval.Decimal) bsonval.Decimal) (bsonval.Value, error) {
	if done, err := numericArgument(name, v); done {
		return bsonval.Null, err
	}
	switch v.Type() {
	case bsonval.TypeDouble:
		return bsonval.Double(f(v.Double())), nil
	case bsonval.TypeDecimal128:
		return bsonval.DecimalValue(d(v.Decimal())), nil
	}
	return v, nil
}
