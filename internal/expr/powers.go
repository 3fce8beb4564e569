package expr

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// realFunction applies a function of one real number in the argument's type:
// decimals stay decimals, all others become doubles.
func realFunction(v bsonval.Value, f func(float64) float64, d func(bsonval.Decimal) bsonval.Decimal) bsonval.Value {
	if v.Type() == bsonval.TypeDecimal128 {
		return bsonval.DecimalValue(d(v.Decimal()))
	}
	return bsonval.Double(f(v.AsDouble()))
}

func evalExp(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if done, err := numericArgument("$exp", args[0]); done {
		return bsonval.Null, err
	}
	return realFunction(args[0], exponential, decimalExp), nil
}

// logarithm is realFunction for logarithms: not a number is one as a double whatever its type was, as in MongoDB.
func logarithm(v bsonval.Value, f func(float64) float64, d func(bsonval.Decimal) bsonval.Decimal) bsonval.Value {
	if v.IsNaN() {
		return bsonval.Double(math.NaN())
	}
	return realFunction(v, f, d)
}

// isNegative tells numbers below zero.
func isNegative(v bsonval.Value) bool {
	return !v.IsNaN() && bsonval.CompareNumbers(v, bsonval.Int32(0)) < 0
}

// isPositive tells numbers above zero, and NaN, for which logarithms are
// defined to be NaN.
func isPositive(v bsonval.Value) bool {
	return v.IsNaN() || bsonval.CompareNumbers(v, bsonval.Int32(0)) > 0
}

func evalSqrt(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if done, err := numericArgument("$sqrt", args[0]); done {
		return bsonval.Null, err
	}
	if isNegative(args[0]) {
		return bsonval.Missing, mongoerr.New(28714, "$sqrt's argument must be greater than or equal to 0")
	}
	return realFunction(args[0], math.Sqrt, decimalSqrt), nil
}

func evalLn(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if done, err := numericArgument("$ln", args[0]); done {
		return bsonval.Null, err
	}
	if !isPositive(args[0]) {
		return bsonval.Missing, mongoerr.New(28766, "$ln's argument must be a positive number, but is %s",
			bsonval.Format(args[0]))
	}
	return logarithm(args[0], naturalLog, decimalLn), nil
}

func evalLog10(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if done, err := numericArgument("$log10", args[0]); done {
		return bsonval.Null, err
	}
	if !isPositive(args[0]) {
		return bsonval.Missing, mongoerr.New(28761, "$log10's argument must be a positive number, but is %s",
			bsonval.Format(args[0]))
	}
	return logarithm(args[0], commonLog, decimalLog10), nil
}

func evalLog(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	v, base := args[0], args[1]
	switch {
	case v.IsNullish() || base.IsNullish():
		return bsonval.Null, nil
	case !v.IsNumber():
		return bsonval.Missing, mongoerr.New(28756, "$log's argument must be numeric, not %s", v.Type())
	case !base.IsNumber():
		return bsonval.Missing, mongoerr.New(28757, "$log's base must be numeric, not %s", base.Type())
	case !isPositive(v):
		return bsonval.Missing, mongoerr.New(28758, "$log's argument must be a positive number, but is %s", bsonval.Format(v))
	case !isPositive(base) || bsonval.CompareNumbers(base, bsonval.Int32(1)) == 0:
		return bsonval.Missing, mongoerr.New(28759, "$log's base must be a positive number not equal to 1, but is %s",
			bsonval.Format(base))
	}
	if v.IsNaN() || base.IsNaN() {
		return bsonval.Double(math.NaN()), nil
	}
	if v.Type() == bsonval.TypeDecimal128 || base.Type() == bsonval.TypeDecimal128 {
		return bsonval.DecimalValue(decimalLn(v.AsDecimal()).Quo(decimalLn(base.AsDecimal()))), nil
	}
	return bsonval.Double(naturalLog(v.AsDouble()) / naturalLog(base.AsDouble())), nil
}

func evalPow(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	base, exponent := args[0], args[1]
	switch {
	case base.IsNullish() || exponent.IsNullish():
		return bsonval.Null, nil
	case !base.IsNumber():
		return bsonval.Missing, mongoerr.New(28762, "$pow's base must be numeric, not %s", base.Type())
	case !exponent.IsNumber():
		return bsonval.Missing, mongoerr.New(28763, "$pow's exponent must be numeric, not %s", exponent.Type())
	case base.IsZero() && isNegative(exponent):
		return bsonval.Missing, mongoerr.New(28764, "$pow cannot take a base of 0 and a negative exponent")
	case base.Type() == bsonval.TypeDecimal128 || exponent.Type() == bsonval.TypeDecimal128:
		return bsonval.DecimalValue(decimalPow(base.AsDecimal(), exponent.AsDecimal())), nil
	case base.Type() == bsonval.TypeDouble || exponent.Type() == bsonval.TypeDouble:
		return bsonval.Double(power(base.AsDouble(), exponent.AsDouble())), nil
	}
	n, ok := intPow(base.Int64(), exponent.Int64())
	switch {
	case !ok:
		return bsonval.Double(power(base.AsDouble(), exponent.AsDouble())), nil
	case base.Type() == bsonval.TypeInt64 || exponent.Type() == bsonval.TypeInt64:
		return bsonval.Int64(n), nil
	}
	return intOrLong(n), nil
}

// intPow is base^exp if that is an int64.
func intPow(base, exp int64) (n int64, ok bool) {
	switch {
	case exp == 0 || base == 1:
		return 1, true
	case base == -1:
		return 1 - 2*(exp&1), true
	case base == 0:
		return 0, true
	case exp < 0:
		return 0, false
	}
	r := bsonval.Int64(1)
	for range min(exp, 64) {
		var overflow bool
		if r, overflow = bsonval.Mul(r, bsonval.Int64(base)); overflow {
			return 0, false
		}
	}
	return r.Int64(), exp <= 64
}

// compileSigmoid writes the function out in terms of the other operators.
func compileSigmoid(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	one := &operator{name: op.name, min: 1, max: 1}
	args, err := c.compileArgs(one, arg)
	if err != nil {
		return nil, err
	}
	e := args[0]
	for _, step := range []struct {
		name  string
		first bsonval.Value
	}{
		{"$multiply", bsonval.Int32(-1)}, {"$exp", bsonval.Missing}, {"$add", bsonval.Int32(1)}, {"$divide", bsonval.Int32(1)},
	} {
		operands := []Expr{e}
		if !step.first.IsMissing() {
			operands = []Expr{constant{step.first}, e}
		}
		if e, err = c.newCall(operators[step.name], operands); err != nil {
			return nil, err
		}
	}
	return e, nil
}
