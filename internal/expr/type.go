package expr

import "github.com/archelon-db/archelon/internal/bsonval"

var typeOperators = []operator{
	{name: "$isNumber", doc: "Whether a value is an int, long, double or decimal.", min: 1, max: 1,
		fn: func(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
			return bsonval.Bool(args[0].IsNumber()), nil
		}},
	{name: "$type", doc: "The name of a value's BSON type.", min: 1, max: 1,
		fn: func(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
			return bsonval.String(args[0].Type().String()), nil
		}},
}
