package expr

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

var arrayLoopOperators = []operator{
	{name: "$filter", doc: "Returns the elements of an array for which a condition holds.", compile: compileFilter},
	{name: "$map", doc: "Applies an expression to each element of an array.", compile: compileMap},
	{name: "$reduce", doc: "Combines an array's elements into one value.", compile: compileReduce},
	{name: "$sortArray", doc: "Sorts the elements of an array.", compile: compileSortArray},
}

// loopVariable declares the variable named by `as`, or "this".
func (c *Compiler) loopVariable(as bsonval.Value) (slot int, err error) {
	name := "this"
	if !as.IsMissing() {
		name = ""
		if as.Type() == bsonval.TypeString {
			name = string(as.Bytes())
		}
		if err := CheckVariableName(name); err != nil {
			return 0, err
		}
	}
	return c.Declare(name), nil
}

var mapSignature = signature{notObject: 16878, unknown: 16879,
	args: []argument{{"input", 16880}, {"as", 0}, {"in", 16882}}}

type mapExpr struct {
	input, in Expr
	slot      int
}

func compileMap(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(16878, "$map only supports an object as its argument")
	}
	raw, err := mapSignature.split(op, arg.Doc())
	if err != nil {
		return nil, err
	}
	e := &mapExpr{}
	if e.input, err = c.Compile(raw[0]); err != nil {
		return nil, err
	}
	defer c.Scope()()
	if e.slot, err = c.loopVariable(raw[1]); err != nil {
		return nil, err
	}
	e.in, err = c.Compile(raw[2])
	return e, err
}

func (e *mapExpr) Eval(c *Context) (bsonval.Value, error) {
	input, err := e.input.Eval(c)
	if err != nil || input.IsNullish() {
		return bsonval.Null, err
	}
	if input.Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(16883, "input to $map must be an array not %s", input.Type())
	}
	b := bsonval.NewArrayBuilder()
	it := input.Doc().Iter()
	for it.Next() {
		c.Vars[e.slot] = it.Value()
		v, err := e.in.Eval(c)
		if err == nil {
			err = c.Tick()
		}
		if err == nil {
			err = checkSize(bsonval.TypeArray, b.Len()+len(v.Bytes()))
		}
		if err != nil {
			return bsonval.Missing, err
		}
		b.Add(v)
	}
	return bsonval.Array(b.Build()), nil
}

var filterSignature = signature{notObject: 28646, unknown: 28647,
	args: []argument{{"input", 28648}, {"as", 0}, {"cond", 28650}, {"limit", 0}}}

type filterExpr struct {
	input, cond, limit Expr // limit may be nil
	slot               int
}

func compileFilter(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(28646, "$filter only supports an object as its argument")
	}
	raw, err := filterSignature.split(op, arg.Doc())
	if err != nil {
		return nil, err
	}
	e := &filterExpr{}
	if e.input, err = c.Compile(raw[0]); err != nil {
		return nil, err
	}
	if !raw[3].IsMissing() {
		if e.limit, err = c.Compile(raw[3]); err != nil {
			return nil, err
		}
	}
	defer c.Scope()()
	if e.slot, err = c.loopVariable(raw[1]); err != nil {
		return nil, err
	}
	e.cond, err = c.Compile(raw[2])
	return e, err
}

func (e *filterExpr) Eval(c *Context) (bsonval.Value, error) {
	input, err := e.input.Eval(c)
	if err != nil || input.IsNullish() {
		return bsonval.Null, err
	}
	if input.Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(28651, "input to $filter must be an array not %s", input.Type())
	}
	limit, err := e.maxElements(c)
	if err != nil {
		return bsonval.Missing, err
	}
	b := bsonval.NewArrayBuilder()
	it := input.Doc().Iter()
	for limit != 0 && it.Next() {
		element := it.Value()
		c.Vars[e.slot] = element
		v, err := e.cond.Eval(c)
		if err == nil {
			err = c.Tick()
		}
		if err != nil {
			return bsonval.Missing, err
		}
		if v.Truthy() {
			b.Add(element)
			limit--
		}
	}
	return bsonval.Array(b.Build()), nil
}

// maxElements evaluates limit; -1 is none.
func (e *filterExpr) maxElements(c *Context) (int, error) {
	if e.limit == nil {
		return -1, nil
	}
	v, err := e.limit.Eval(c)
	if err != nil || v.IsNullish() {
		return -1, err
	}
	n, ok := asInt32(v)
	if !ok {
		return 0, mongoerr.New(327391, "$filter: limit must be represented as a 32-bit integral value: %s", bsonval.Format(v))
	}
	if n <= 0 {
		return 0, mongoerr.New(327392, "$filter: limit must be greater than 0: %d", n)
	}
	return n, nil
}

var reduceSignature = signature{notObject: 40075, unknown: 40076,
	args: []argument{{"input", 40077}, {"initialValue", 40078}, {"in", 40079}}}

type reduceExpr struct {
	input, initial, in  Expr
	thisSlot, valueSlot int
}

func compileReduce(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(40075, "$reduce requires an object as an argument, found: %s", arg.Type())
	}
	raw, err := reduceSignature.split(op, arg.Doc())
	if err != nil {
		return nil, err
	}
	e := &reduceExpr{}
	if e.input, err = c.Compile(raw[0]); err != nil {
		return nil, err
	}
	if e.initial, err = c.Compile(raw[1]); err != nil {
		return nil, err
	}
	defer c.Scope()()
	e.thisSlot = c.Declare("this")
	e.valueSlot = c.Declare("value")
	e.in, err = c.Compile(raw[2])
	return e, err
}

func (e *reduceExpr) Eval(c *Context) (bsonval.Value, error) {
	input, err := e.input.Eval(c)
	if err != nil || input.IsNullish() {
		return bsonval.Null, err
	}
	if input.Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(40080, "$reduce requires that 'input' be an array, found: %s",
			bsonval.Format(input))
	}
	value, err := e.initial.Eval(c)
	if err != nil {
		return bsonval.Missing, err
	}
	it := input.Doc().Iter()
	for it.Next() {
		c.Vars[e.thisSlot], c.Vars[e.valueSlot] = it.Value(), value
		if value, err = e.in.Eval(c); err == nil {
			err = c.Tick()
		}
		if err != nil {
			return bsonval.Missing, err
		}
	}
	return value, nil
}

var sortArraySignature = signature{notObject: 2942500, unknown: 2942501,
	args: []argument{{"input", 2942502}, {"sortBy", 2942503}}}

func compileSortArray(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(2942500, "$sortArray requires an object as an argument, found: %s", arg.Type())
	}
	raw, err := sortArraySignature.split(op, arg.Doc())
	if err != nil {
		return nil, err
	}
	input, err := c.Compile(raw[0])
	if err != nil {
		return nil, err
	}
	order, err := sortkey.CompileElementOrder(raw[1].Clone())
	if err != nil {
		return nil, err
	}
	return c.foldNamed(&namedCall{args: []Expr{input}, given: 1,
		fn: func(c *Context, args []bsonval.Value, _ argumentSet) (bsonval.Value, error) {
			return sortArray(c, args[0], order)
		}}, op)
}

func sortArray(c *Context, input bsonval.Value, order *sortkey.ElementOrder) (bsonval.Value, error) {
	if input.IsNullish() {
		return bsonval.Null, nil
	}
	if input.Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(2942504,
			"The input argument to $sortArray must be an array, but was of type: %s", input.Type())
	}
	list := input.Doc().Values(nil)
	slices.SortStableFunc(list, func(a, b bsonval.Value) int { return order.Compare(a, b, c.Env.Collator) })
	return bsonval.ArrayOf(list...), nil
}
