package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// signature describes an operator whose argument is one object of named
// arguments. Its compile method is a table row's compile function.
type signature struct {
	notObject mongoerr.Code // code when the argument is no object
	unknown   mongoerr.Code // code of a name that is not listed
	args      []argument

	// check looks at the compiled arguments; nil accepts all.
	check func(args []Expr) error

	// fn computes the result from the evaluated arguments, in the order of args;
	// those that were not given are missing. given has bit i set for argument i.
	fn func(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error)
}

type argument struct {
	name     string
	required mongoerr.Code // code when it is absent; 0 if it may be
}

// argumentSet says which arguments were given.
type argumentSet uint

func (s argumentSet) has(i int) bool { return s&(1<<i) != 0 }

func (s *signature) compile(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(s.notObject, "%s only supports an object as its argument", op.name)
	}
	e := &namedCall{fn: s.fn, args: make([]Expr, len(s.args))}
	raw, err := s.split(op, arg.Doc())
	if err != nil {
		return nil, err
	}
	for i, v := range raw {
		if v.IsMissing() {
			continue
		}
		if e.args[i], err = c.Compile(v); err != nil {
			return nil, err
		}
		e.given |= 1 << i
	}
	if s.check != nil {
		if err := s.check(e.args); err != nil {
			return nil, err
		}
	}
	if err := s.checkConstants(c, op, e.args); err != nil {
		return nil, err
	}
	return c.foldNamed(e, op)
}

// checkConstants checks time zones and units that are known while compiling, so
// that wrong ones are refused even if there are no documents.
func (s *signature) checkConstants(c *Compiler, op *operator, args []Expr) error {
	for i, a := range args {
		v, ok := ConstantValue(a)
		if a == nil || !ok || v.IsNullish() {
			continue
		}
		var err error
		switch s.args[i].name {
		case "timezone":
			_, err = (&Context{Env: c.Env}).zone(v, true)
		case "unit":
			_, err = parseTimeUnit(op.name, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// split finds the arguments in the object, in the order of s.args.
func (s *signature) split(op *operator, d bsonval.Doc) ([]bsonval.Value, error) {
	raw := make([]bsonval.Value, len(s.args))
	it := d.Iter()
next:
	for it.Next() {
		for i := range s.args {
			if s.args[i].name == it.KeyStr() {
				raw[i] = it.Value()
				continue next
			}
		}
		return nil, mongoerr.New(s.unknown, "Unrecognized argument to %s: %s", op.name, it.Key())
	}
	for i, a := range s.args {
		if raw[i].IsMissing() && a.required != 0 {
			return nil, mongoerr.New(a.required, "Missing '%s' parameter to %s", a.name, op.name)
		}
	}
	return raw, nil
}

func (c *Compiler) foldNamed(e *namedCall, op *operator) (Expr, error) {
	if op.impure {
		return e, nil
	}
	for _, a := range e.args {
		if a == nil {
			continue
		}
		if _, ok := a.(constant); !ok {
			return e, nil
		}
	}
	return c.fold(e)
}

// namedCall applies a signature's function to evaluated arguments.
type namedCall struct {
	fn    func(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error)
	args  []Expr // nil where an argument was not given
	given argumentSet
}

func (e *namedCall) Eval(c *Context) (bsonval.Value, error) {
	base, held := len(c.stack), c.held
	for _, a := range e.args {
		var v bsonval.Value
		if a != nil {
			var err error
			if v, err = a.Eval(c); err == nil {
				err = c.hold(a, v)
			}
			if err != nil {
				c.stack, c.held = c.stack[:base], held
				return bsonval.Missing, err
			}
		}
		c.stack = append(c.stack, v)
	}
	v, err := limited(e.fn(c, c.stack[base:], e.given))
	c.stack, c.held = c.stack[:base], held
	return v, err
}
