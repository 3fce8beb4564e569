package expr

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var trigOperators = []operator{
	{name: "$acos", doc: "The arc cosine, in radians.", min: 1, max: 1,
		fn: trigFunction("$acos", arcCosine, decimalAcos, "[-1,1]", withinOne)},
	{name: "$acosh", doc: "The inverse hyperbolic cosine.", min: 1, max: 1,
		fn: trigFunction("$acosh", math.Acosh, decimalAcosh, "[1,inf]", fromOne)},
	{name: "$asin", doc: "The arc sine, in radians.", min: 1, max: 1,
		fn: trigFunction("$asin", arcSine, decimalAsin, "[-1,1]", withinOne)},
	{name: "$asinh", doc: "The inverse hyperbolic sine.", min: 1, max: 1,
		fn: trigFunction("$asinh", math.Asinh, decimalAsinh, "", nil)},
	{name: "$atan", doc: "The arc tangent, in radians.", min: 1, max: 1,
		fn: trigFunction("$atan", arcTangent, decimalAtan, "", nil)},
	{name: "$atan2", doc: "The arc tangent of y/x in the quadrant of the point.", min: 2, max: 2, fn: evalAtan2},
	{name: "$atanh", doc: "The inverse hyperbolic tangent.", min: 1, max: 1,
		fn: trigFunction("$atanh", math.Atanh, decimalAtanh, "[-1,1]", withinOne)},
	{name: "$cos", doc: "The cosine of an angle in radians.", min: 1, max: 1,
		fn: trigFunction("$cos", cosine, decimalCos, "(-inf,inf)", notInfinite)},
	{name: "$cosh", doc: "The hyperbolic cosine.", min: 1, max: 1,
		fn: trigFunction("$cosh", hyperbolicCosine, decimalCosh, "", nil)},
	{name: "$degreesToRadians", doc: "An angle in degrees as radians.", min: 1, max: 1,
		fn: trigFunction("$degreesToRadians", func(x float64) float64 { return x * (math.Pi / 180) }, decimalRadians, "", nil)},
	{name: "$radiansToDegrees", doc: "An angle in radians as degrees.", min: 1, max: 1,
		fn: trigFunction("$radiansToDegrees", func(x float64) float64 { return x * (180 / math.Pi) }, decimalDegrees, "", nil)},
	{name: "$sin", doc: "The sine of an angle in radians.", min: 1, max: 1,
		fn: trigFunction("$sin", sine, decimalSin, "(-inf,inf)", notInfinite)},
	{name: "$sinh", doc: "The hyperbolic sine.", min: 1, max: 1,
		fn: trigFunction("$sinh", hyperbolicSine, decimalSinh, "", nil)},
	{name: "$tan", doc: "The tangent of an angle in radians.", min: 1, max: 1,
		fn: trigFunction("$tan", tangent, decimalTan, "(-inf,inf)", notInfinite)},
	{name: "$tanh", doc: "The hyperbolic tangent.", min: 1, max: 1,
		fn: trigFunction("$tanh", hyperbolicTangent, decimalTanh, "", nil)},
}

func withinOne(v bsonval.Value) bool {
	return bsonval.CompareNumbers(v, bsonval.Int32(-1)) >= 0 && bsonval.CompareNumbers(v, bsonval.Int32(1)) <= 0
}

func fromOne(v bsonval.Value) bool { return bsonval.CompareNumbers(v, bsonval.Int32(1)) >= 0 }

func notInfinite(v bsonval.Value) bool {
	if v.Type() == bsonval.TypeDecimal128 {
		return !v.Decimal().IsInf()
	}
	return !math.IsInf(v.AsDouble(), 0)
}

// trigFunction makes an operator of a real function with a domain; NaN is in
// every domain.
func trigFunction(name string, f func(float64) float64, d func(bsonval.Decimal) bsonval.Decimal, domain string,
	in func(bsonval.Value) bool) func(*Context, []bsonval.Value) (bsonval.Value, error) {
	return func(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
		v := args[0]
		if done, err := numericArgument(name, v); done {
			return bsonval.Null, err
		}
		if in != nil && !v.IsNaN() && !in(v) {
			return bsonval.Missing, mongoerr.New(50989, "cannot apply %s to %s, value must be in %s",
				name, bsonval.Format(v), domain)
		}
		return realFunction(v, f, d), nil
	}
}

func evalAtan2(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	y, x := args[0], args[1]
	switch {
	case y.IsNullish() || x.IsNullish():
		return bsonval.Null, nil
	case !y.IsNumber():
		return bsonval.Missing, mongoerr.New(51044, "$atan2 only supports numeric types, not %s", y.Type())
	case !x.IsNumber():
		return bsonval.Missing, mongoerr.New(51045, "$atan2 only supports numeric types, not %s", x.Type())
	case y.Type() == bsonval.TypeDecimal128 || x.Type() == bsonval.TypeDecimal128:
		return bsonval.DecimalValue(decimalAtan2(y.AsDecimal(), x.AsDecimal())), nil
	}
	return bsonval.Double(arcTangent2(y.AsDouble(), x.AsDouble())), nil
}
