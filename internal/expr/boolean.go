package expr

import "github.com/archelon-db/archelon/internal/bsonval"

var booleanOperators = []operator{
	{name: "$and", doc: "Whether all operands are true; the first that is not ends the evaluation.",
		compile: func(c *Compiler, _ *operator, arg bsonval.Value) (Expr, error) { return compileLogic(c, arg, false) }},
	{name: "$not", doc: "Whether the operand is false.", min: 1, max: 1, fn: evalNot},
	{name: "$or", doc: "Whether any operand is true; the first that is ends the evaluation.",
		compile: func(c *Compiler, _ *operator, arg bsonval.Value) (Expr, error) { return compileLogic(c, arg, true) }},
}

func evalNot(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return bsonval.Bool(!args[0].Truthy()), nil
}

// logic is $and or $or: the first operand whose truth is decisive ends it.
type logic struct {
	args     []Expr
	decisive bool
}

// compileLogic drops constant operands that decide nothing. One that does makes
// the whole constant, wherever it stands.
func compileLogic(c *Compiler, arg bsonval.Value, decisive bool) (Expr, error) {
	args, err := c.compileArgs(&operator{max: -1}, arg)
	if err != nil {
		return nil, err
	}
	e := &logic{decisive: decisive}
	for _, a := range args {
		v, ok := ConstantValue(a)
		switch {
		case !ok:
			e.args = append(e.args, a)
		case v.Truthy() == decisive:
			return constant{bsonval.Bool(decisive)}, nil
		}
	}
	if len(e.args) == 0 {
		return constant{bsonval.Bool(!decisive)}, nil
	}
	return e, nil
}

func (e *logic) Eval(c *Context) (bsonval.Value, error) {
	for _, a := range e.args {
		v, err := a.Eval(c)
		if err != nil {
			return bsonval.Missing, err
		}
		if v.Truthy() == e.decisive {
			return bsonval.Bool(e.decisive), nil
		}
	}
	return bsonval.Bool(!e.decisive), nil
}
