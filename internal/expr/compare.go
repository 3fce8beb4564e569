package expr

import "github.com/archelon-db/archelon/internal/bsonval"

var compareOperators = []operator{
	{name: "$cmp", doc: "-1, 0 or 1 as the first value is less than, equal to or greater than the second.", min: 2, max: 2,
		fn: func(c *Context, args []bsonval.Value) (bsonval.Value, error) {
			return bsonval.Int32(int32(compareArgs(c, args))), nil
		}},
	{name: "$eq", doc: "Whether two values are equal.", min: 2, max: 2,
		fn: comparison(func(r int) bool { return r == 0 })},
	{name: "$gt", doc: "Whether the first value is greater.", min: 2, max: 2,
		fn: comparison(func(r int) bool { return r > 0 })},
	{name: "$gte", doc: "Whether the first value is greater or equal.", min: 2, max: 2,
		fn: comparison(func(r int) bool { return r >= 0 })},
	{name: "$lt", doc: "Whether the first value is less.", min: 2, max: 2,
		fn: comparison(func(r int) bool { return r < 0 })},
	{name: "$lte", doc: "Whether the first value is less or equal.", min: 2, max: 2,
		fn: comparison(func(r int) bool { return r <= 0 })},
	{name: "$ne", doc: "Whether two values differ.", min: 2, max: 2,
		fn: comparison(func(r int) bool { return r != 0 })},
}

func compareArgs(c *Context, args []bsonval.Value) int {
	return bsonval.CompareCollated(args[0], args[1], c.Env.Collator)
}

func comparison(holds func(r int) bool) func(*Context, []bsonval.Value) (bsonval.Value, error) {
	return func(c *Context, args []bsonval.Value) (bsonval.Value, error) {
		return bsonval.Bool(holds(compareArgs(c, args))), nil
	}
}

// Comparison returns the operator and operands of a comparison ($eq, $gt …),
// for planners; ok is false for all other expressions.
func Comparison(e Expr) (name string, left, right Expr, ok bool) {
	k, ok := e.(*call)
	if !ok || len(k.args) != 2 {
		return "", nil, nil, false
	}
	for i := range compareOperators {
		if compareOperators[i].name == k.op.name && k.op.name != "$cmp" {
			return k.op.name, k.args[0], k.args[1], true
		}
	}
	return "", nil, nil, false
}

// Conjuncts returns the operands of an $and, or the expression itself.
func Conjuncts(e Expr) []Expr {
	if l, ok := e.(*logic); ok && !l.decisive {
		return l.args
	}
	return []Expr{e}
}
