package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var conditionalOperators = []operator{
	{name: "$cond", doc: "One of two operands, by a condition; only that one is evaluated.", compile: compileCond},
	{name: "$ifNull", doc: "The first operand that is neither null nor missing, else the last.", compile: compileIfNull},
	{name: "$switch", doc: "The operand of the first case that is true; only that one is evaluated.", compile: compileSwitch},
}

type cond struct{ test, yes, no Expr }

func (e *cond) Eval(c *Context) (bsonval.Value, error) {
	v, err := e.test.Eval(c)
	switch {
	case err != nil:
		return bsonval.Missing, err
	case v.Truthy():
		return e.yes.Eval(c)
	}
	return e.no.Eval(c)
}

func compileCond(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	var parts [3]bsonval.Value
	if arg.Type() == bsonval.TypeDocument {
		if err := condFields(arg.Doc(), &parts); err != nil {
			return nil, err
		}
	} else {
		args := []bsonval.Value{arg}
		if arg.Type() == bsonval.TypeArray {
			args = arg.Doc().Values(nil)
		}
		if err := checkArity(&operator{name: op.name, min: 3, max: 3}, len(args)); err != nil {
			return nil, err
		}
		copy(parts[:], args)
	}
	test, err := c.Compile(parts[0])
	if err != nil {
		return nil, err
	}
	yes, yesErr, err := c.compileBranch(parts[1])
	if err != nil {
		return nil, err
	}
	no, noErr, err := c.compileBranch(parts[2])
	if err != nil {
		return nil, err
	}
	if v, ok := ConstantValue(test); ok {
		if v.Truthy() {
			c.noteFoldError(yesErr)
			return yes, nil
		}
		c.noteFoldError(noErr)
		return no, nil
	}
	c.noteFoldError(yesErr)
	c.noteFoldError(noErr)
	return &cond{test, yes, no}, nil
}

func condFields(d bsonval.Doc, parts *[3]bsonval.Value) error {
	it := d.Iter()
	for it.Next() {
		switch string(it.Key()) {
		case "if":
			parts[0] = it.Value()
		case "then":
			parts[1] = it.Value()
		case "else":
			parts[2] = it.Value()
		default:
			return mongoerr.New(17083, "Unrecognized parameter to $cond: %s", it.Key())
		}
	}
	for i, name := range [...]string{"if", "then", "else"} {
		if parts[i].IsMissing() {
			return mongoerr.New(mongoerr.Code(17080+i), "Missing '%s' parameter to $cond", name)
		}
	}
	return nil
}

type ifNull struct{ args []Expr }

func (e *ifNull) Eval(c *Context) (v bsonval.Value, err error) {
	for _, a := range e.args {
		if v, err = a.Eval(c); err != nil || !v.IsNullish() {
			return v, err
		}
	}
	return v, nil
}

func compileIfNull(c *Compiler, _ *operator, arg bsonval.Value) (Expr, error) {
	args, err := c.compileArgs(&operator{max: -1}, arg)
	if err != nil {
		return nil, err
	}
	if len(args) < 2 {
		return nil, mongoerr.New(1257300, "$ifNull needs at least two arguments, had: %d", len(args))
	}
	e := &ifNull{}
	for i, a := range args {
		v, ok := ConstantValue(a)
		if ok && v.IsNullish() && i < len(args)-1 {
			continue
		}
		e.args = append(e.args, a)
		if ok {
			break // nothing after a constant is ever reached
		}
	}
	if len(e.args) == 1 {
		return e.args[0], nil
	}
	return e, nil
}

type branch struct{ test, then Expr }

type switchExpr struct {
	branches []branch
	other    Expr // nil without default
}

func (e *switchExpr) Eval(c *Context) (bsonval.Value, error) {
	for i := range e.branches {
		v, err := e.branches[i].test.Eval(c)
		switch {
		case err != nil:
			return bsonval.Missing, err
		case v.Truthy():
			return e.branches[i].then.Eval(c)
		}
	}
	if e.other == nil {
		return bsonval.Missing, mongoerr.New(40066,
			"$switch could not find a matching branch for an input, and no default was specified.")
	}
	return e.other.Eval(c)
}

func compileSwitch(c *Compiler, _ *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(40060, "$switch requires an object as an argument, found: %s", arg.Type())
	}
	s := switchCompiler{c: c}
	it := arg.Doc().Iter()
	for it.Next() {
		var err error
		switch string(it.Key()) {
		case "branches":
			err = s.branches(it.Value())
		case "default":
			s.other, err = c.Compile(it.Value())
		default:
			err = mongoerr.New(40067, "$switch found an unknown argument: %s", it.Key())
		}
		if err != nil {
			return nil, err
		}
	}
	if s.count == 0 {
		return nil, mongoerr.New(40068, "$switch requires at least one branch.")
	}
	return s.finish()
}

// switchCompiler collects the branches that can be reached.
type switchCompiler struct {
	c       *Compiler
	count   int // branches as written
	reached []branch
	certain Expr // the `then` of a branch whose case is constantly true
	other   Expr
}

func (s *switchCompiler) branches(v bsonval.Value) error {
	if v.Type() != bsonval.TypeArray {
		return mongoerr.New(40061, "$switch expected an array for 'branches', found: %s", v.Type())
	}
	it := v.Doc().Iter()
	for it.Next() {
		s.count++
		if err := s.branch(it.Value()); err != nil {
			return err
		}
	}
	return nil
}

func (s *switchCompiler) branch(v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return mongoerr.New(40062, "$switch expected each branch to be an object, found: %s", v.Type())
	}
	var b branch
	var testErr, thenErr error
	it := v.Doc().Iter()
	for it.Next() {
		var err error
		switch string(it.Key()) {
		case "case":
			b.test, testErr, err = s.c.compileBranch(it.Value())
		case "then":
			b.then, thenErr, err = s.c.compileBranch(it.Value())
		default:
			err = mongoerr.New(40063, "$switch found an unknown argument to a branch: %s", it.Key())
		}
		if err != nil {
			return err
		}
	}
	switch {
	case b.test == nil:
		return mongoerr.New(40064, "$switch requires each branch have a 'case' expression")
	case b.then == nil:
		return mongoerr.New(40065, "$switch requires each branch have a 'then' expression.")
	case s.certain != nil:
		return nil
	}
	s.c.noteFoldError(testErr)
	if k, ok := ConstantValue(b.test); ok {
		if k.Truthy() {
			s.certain = b.then
			s.c.noteFoldError(thenErr)
		}
		return nil
	}
	s.c.noteFoldError(thenErr)
	s.reached = append(s.reached, b)
	return nil
}

func (s *switchCompiler) finish() (Expr, error) {
	other := s.other
	if s.certain != nil {
		other = s.certain
	}
	if len(s.reached) > 0 {
		return &switchExpr{s.reached, other}, nil
	}
	if other == nil {
		s.c.noteFoldError(mongoerr.New(40069,
			"One cannot execute a switch statement where all the cases evaluate to false without a default."))
		return &switchExpr{}, nil
	}
	return other, nil
}
