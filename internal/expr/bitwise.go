package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var bitwiseOperators = []operator{
	{name: "$bitAnd", doc: "The bits that all integers have.", max: -1,
		fn: bitFunction("$bitAnd", -1, func(a, b int64) int64 { return a & b })},
	{name: "$bitNot", doc: "The integer with every bit flipped.", min: 1, max: 1, fn: evalBitNot},
	{name: "$bitOr", doc: "The bits that any of the integers has.", max: -1,
		fn: bitFunction("$bitOr", 0, func(a, b int64) int64 { return a | b })},
	{name: "$bitXor", doc: "The bits that an odd number of the integers has.", max: -1,
		fn: bitFunction("$bitXor", 0, func(a, b int64) int64 { return a ^ b })},
}

// bitFunction folds integers; the result is an int64 if one of them is.
func bitFunction(name string, start int64, f func(a, b int64) int64) func(*Context, []bsonval.Value) (bsonval.Value, error) {
	return func(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
		r, long, null := start, false, false
		for _, a := range args {
			switch {
			case a.IsNullish():
				null = true
			case a.Type() == bsonval.TypeInt64:
				long = true
				r = f(r, a.Int64())
			case a.Type() == bsonval.TypeInt32:
				r = f(r, a.Int64())
			default:
				return bsonval.Missing, mongoerr.New(mongoerr.TypeMismatch, "%s only supports int and long operands.", name)
			}
		}
		switch {
		case null:
			return bsonval.Null, nil
		case long:
			return bsonval.Int64(r), nil
		}
		return bsonval.Int32(int32(r)), nil
	}
}

func evalBitNot(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	v := args[0]
	if done, err := numericArgument("$bitNot", v); done {
		return bsonval.Null, err
	}
	switch v.Type() {
	case bsonval.TypeInt32:
		return bsonval.Int32(^v.Int32()), nil
	case bsonval.TypeInt64:
		return bsonval.Int64(^v.Int64()), nil
	}
	return bsonval.Missing, mongoerr.New(mongoerr.TypeMismatch, "$bitNot only supports int and long, not: %s.", v.Type())
}
