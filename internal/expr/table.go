package expr

import (
	"fmt"
	"sort"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// operator is a row of a family's table. Exactly one of fn and compile is set.
type operator struct {
	name string // with the dollar
	doc  string // one sentence for the manual

	// min and max bound the number of arguments of fn; max < 0 means any number.
	min, max int

	// fn computes the result from evaluated arguments. The slice is valid during
	// the call only.
	fn func(c *Context, args []bsonval.Value) (bsonval.Value, error)

	// compile compiles operators with named arguments, variables of their own or
	// lazy arguments.
	compile func(c *Compiler, op *operator, arg bsonval.Value) (Expr, error)

	// impure operators are never folded ($rand, $function).
	impure bool
}

// families are the tables, one for each file.
func families() [][]operator {
	return [][]operator{
		accumulateOperators,
		arithmeticOperators,
		arrayConvertOperators,
		arrayLoopOperators,
		arrayOperators,
		bitwiseOperators,
		booleanOperators,
		compareOperators,
		conditionalOperators,
		convertOperators,
		dateMathOperators,
		datePartOperators,
		dateTextOperators,
		functionOperators,
		literalOperators,
		miscOperators,
		objectOperators,
		regexOperators,
		setOperators,
		stringOperators,
		timestampOperators,
		trigOperators,
		typeOperators,
		variableOperators,
		zipOperators,
	}
}

var operators map[string]*operator

// A table in an initialiser would depend on itself through Compile, so it is
// filled here.
func init() {
	operators = map[string]*operator{}
	for _, family := range families() {
		for i := range family {
			op := &family[i]
			if operators[op.name] != nil || (op.fn == nil) == (op.compile == nil) {
				panic("expr: bad table row " + op.name)
			}
			operators[op.name] = op
		}
	}
}

// Operator describes an operator for the manual.
type Operator struct{ Name, Doc string }

// Operators lists the operators by name.
func Operators() []Operator {
	list := make([]Operator, 0, len(operators))
	for _, op := range operators {
		list = append(list, Operator{op.name, op.doc})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// IsOperator says whether a name (with the dollar) is an expression operator.
func IsOperator(name string) bool { return operators[name] != nil }

// compileCall compiles {name: arg}.
func (c *Compiler) compileCall(name string, arg bsonval.Value) (Expr, error) {
	op := operators[name]
	if op == nil {
		return nil, mongoerr.New(mongoerr.InvalidPipelineOperator, "Unrecognized expression '%s'", name)
	}
	if op.compile != nil {
		return op.compile(c, op, arg)
	}
	args, err := c.compileArgs(op, arg)
	if err != nil {
		return nil, err
	}
	return c.newCall(op, args)
}

// compileArgs compiles the arguments of a call: an array of them, or a single
// one without the array.
func (c *Compiler) compileArgs(op *operator, arg bsonval.Value) ([]Expr, error) {
	var args []Expr
	if arg.Type() != bsonval.TypeArray {
		e, err := c.Compile(arg)
		if err != nil {
			return nil, err
		}
		args = []Expr{e}
	} else {
		it := arg.Doc().Iter()
		for it.Next() {
			e, err := c.Compile(it.Value())
			if err != nil {
				return nil, err
			}
			args = append(args, e)
		}
	}
	return args, checkArity(op, len(args))
}

func checkArity(op *operator, n int) error {
	switch {
	case op.min == op.max && n != op.min:
		return mongoerr.New(16020, "Expression %s takes exactly %d arguments. %d were passed in.", op.name, op.min, n)
	case n < op.min || op.max >= 0 && n > op.max:
		upper := fmt.Sprintf(", and at most %d", op.max)
		if op.max < 0 {
			upper = ""
		}
		return mongoerr.New(28667, "Expression %s takes at least %d arguments%s, but %d were passed in.",
			op.name, op.min, upper, n)
	}
	return nil
}

// call applies an operator's function to evaluated arguments.
type call struct {
	op   *operator
	args []Expr
}

// newCall makes a call, folded if all its arguments are constant.
func (c *Compiler) newCall(op *operator, args []Expr) (Expr, error) {
	e := &call{op, args}
	if op.impure {
		return e, nil
	}
	for _, a := range args {
		if _, ok := a.(constant); !ok {
			return e, nil
		}
	}
	return c.fold(e)
}

func (e *call) Eval(c *Context) (bsonval.Value, error) {
	base, held := len(c.stack), c.held
	for _, a := range e.args {
		v, err := a.Eval(c)
		if err == nil {
			err = c.hold(a, v)
		}
		if err != nil {
			c.stack, c.held = c.stack[:base], held
			return bsonval.Missing, err
		}
		c.stack = append(c.stack, v)
	}
	v, err := limited(e.op.fn(c, c.stack[base:]))
	c.stack, c.held = c.stack[:base], held
	return v, err
}
