package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var variableOperators = []operator{
	{name: "$let", doc: "Binds variables and evaluates an expression with them.", compile: compileLet},
}

// let evaluates all values before it binds the first: none of them sees the
// others, and the slots may overlap with those used inside the values.
type let struct {
	values []Expr
	slot   int // of the first variable; the others follow
	in     Expr
}

func (e *let) Eval(c *Context) (bsonval.Value, error) {
	base, held := len(c.stack), c.held
	for _, x := range e.values {
		v, err := x.Eval(c)
		if err == nil {
			err = c.hold(x, v)
		}
		if err != nil {
			c.stack, c.held = c.stack[:base], held
			return bsonval.Missing, err
		}
		c.stack = append(c.stack, v)
	}
	copy(c.Vars[e.slot:], c.stack[base:])
	c.stack = c.stack[:base]
	v, err := e.in.Eval(c)
	c.held = held
	return v, err
}

func compileLet(c *Compiler, _ *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(16874, "$let only supports an object as its argument")
	}
	var vars, in bsonval.Value
	it := arg.Doc().Iter()
	for it.Next() {
		switch string(it.Key()) {
		case "vars":
			vars = it.Value()
		case "in":
			in = it.Value()
		default:
			return nil, mongoerr.New(16875, "Unrecognized parameter to $let: %s", it.Key())
		}
	}
	switch {
	case vars.IsMissing():
		return nil, mongoerr.New(16876, "Missing 'vars' parameter to $let")
	case in.IsMissing():
		return nil, mongoerr.New(16877, "Missing 'in' parameter to $let")
	case vars.Type() != bsonval.TypeDocument:
		return nil, mongoerr.New(10065, "invalid parameter: expected an object (vars)")
	}
	e := &let{}
	var names []string
	it = vars.Doc().Iter()
	for it.Next() {
		name := string(it.Key())
		if err := CheckVariableName(name); err != nil {
			return nil, err
		}
		v, err := c.Compile(it.Value())
		if err != nil {
			return nil, err
		}
		names, e.values = append(names, name), append(e.values, v)
	}
	defer c.Scope()()
	for i, name := range names {
		if slot := c.Declare(name); i == 0 {
			e.slot = slot
		}
	}
	var err error
	if e.in, err = c.Compile(in); err != nil {
		return nil, err
	}
	if _, ok := ConstantValue(e.in); ok {
		return e.in, nil
	}
	return e, nil
}
