package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var zipOperators = []operator{
	{name: "$zip", doc: "Makes arrays of the first elements of arrays, the second, and so on.", compile: compileZip},
}

// zip is $zip; defaults is empty if none are given.
type zip struct {
	inputs, defaults []Expr
	longest          bool
}

func compileZip(c *Compiler, _ *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(34460, "$zip only supports an object as an argument, found %s", arg.Type())
	}
	e := &zip{}
	var err error
	it := arg.Doc().Iter()
	for it.Next() {
		switch v := it.Value(); it.KeyStr() {
		case "inputs":
			e.inputs, err = c.compileZipList(v, "inputs", 34461)
		case "defaults":
			e.defaults, err = c.compileZipList(v, "defaults", 34462)
		case "useLongestLength":
			if v.Type() != bsonval.TypeBool {
				err = mongoerr.New(34463, "useLongestLength must be a bool, found %s", v.Type())
			}
			e.longest = v.Bool()
		default:
			err = mongoerr.New(34464, "$zip found an unknown argument: %s", it.Key())
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case len(e.inputs) == 0:
		return nil, mongoerr.New(34465, "$zip requires at least one input array")
	case len(e.defaults) > 0 && !e.longest:
		return nil, mongoerr.New(34466, "cannot specify defaults unless useLongestLength is true")
	case len(e.defaults) > 0 && len(e.defaults) != len(e.inputs):
		return nil, mongoerr.New(34467, "defaults and inputs must have the same length")
	}
	return e.fold(c)
}

func (c *Compiler) compileZipList(v bsonval.Value, name string, code mongoerr.Code) ([]Expr, error) {
	if v.Type() != bsonval.TypeArray {
		return nil, mongoerr.New(code, "%s must be an array of expressions, found %s", name, v.Type())
	}
	var list []Expr
	it := v.Doc().Iter()
	for it.Next() {
		e, err := c.Compile(it.Value())
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

func (e *zip) fold(c *Compiler) (Expr, error) {
	for _, list := range [][]Expr{e.inputs, e.defaults} {
		for _, x := range list {
			if _, ok := x.(constant); !ok {
				return e, nil
			}
		}
	}
	return c.fold(e)
}

func (e *zip) Eval(c *Context) (bsonval.Value, error) {
	inputs := make([][]bsonval.Value, len(e.inputs))
	length := 0
	for i, x := range e.inputs {
		v, err := x.Eval(c)
		if err != nil || v.IsNullish() {
			return bsonval.Null, err
		}
		if v.Type() != bsonval.TypeArray {
			return bsonval.Missing, mongoerr.New(34468, "$zip found a non-array expression in input: %s", bsonval.Format(v))
		}
		inputs[i] = v.Doc().Values(nil)
		if n := len(inputs[i]); i == 0 || e.longest && n > length || !e.longest && n < length {
			length = n
		}
	}
	defaults := make([]bsonval.Value, len(e.inputs))
	for i, x := range e.defaults {
		var err error
		if defaults[i], err = x.Eval(c); err != nil {
			return bsonval.Missing, err
		}
	}
	b := bsonval.NewArrayBuilder()
	for row := range length {
		b.StartArray("")
		for i := range inputs {
			v := defaults[i]
			if row < len(inputs[i]) {
				v = inputs[i][row]
			}
			if err := checkSize(bsonval.TypeArray, b.Len()+len(v.Bytes())); err != nil {
				return bsonval.Missing, err
			}
			b.Add(v)
		}
		b.End()
	}
	return bsonval.Array(b.Build()), nil
}
