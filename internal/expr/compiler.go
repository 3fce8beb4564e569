package expr

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Compiler compiles the expressions of one command. It holds the variables in
// scope and notes which fields of the document are read.
type Compiler struct {
	Env *Env

	// Deps notes the fields that the compiled expressions read; nil notes
	// nothing.
	Deps *Deps

	// NoClock says that $$NOW and $$CLUSTER_TIME are not available.
	NoClock bool

	// NoTextScore says that {$meta: "textScore"} is not available.
	NoTextScore bool

	scope *binding
	slots int // number of slots any scope has used
	next  int // first slot free in the present scope

	depth   int   // Compile calls under way
	foldErr error // first error of folding since the outermost of them began
}

// binding is one variable in scope, innermost first.
type binding struct {
	name  string
	slot  int
	outer *binding
}

// NewCompiler returns a compiler with only the system variables in scope.
func NewCompiler(env *Env) *Compiler { return &Compiler{Env: env} }

// NewContext returns a context with room for the variables of everything this
// compiler has compiled so far.
func (c *Compiler) NewContext() *Context {
	return &Context{Env: c.Env, Vars: make([]bsonval.Value, c.slots)}
}

// Slots is the number of variable slots used so far.
func (c *Compiler) Slots() int { return c.slots }

// Declare puts a variable into scope and returns its slot. The name must have
// passed CheckVariableName.
func (c *Compiler) Declare(name string) int {
	slot := c.next
	c.next++
	c.slots = max(c.slots, c.next)
	c.scope = &binding{name: name, slot: slot, outer: c.scope}
	return slot
}

// Scope opens a scope: calling the returned function closes it, and forgets the
// variables declared since.
func (c *Compiler) Scope() (closeScope func()) {
	scope, next := c.scope, c.next
	return func() { c.scope, c.next = scope, next }
}

func (c *Compiler) lookup(name string) (slot int, ok bool) {
	for b := c.scope; b != nil; b = b.outer {
		if b.name == name {
			return b.slot, true
		}
	}
	return 0, false
}

// CheckVariableName checks the name of a user's variable ($let's vars, `as`,
// the command's let): it must begin with a lower-case or non-ASCII letter and
// hold letters, digits and underscores. CURRENT may be bound, too.
func CheckVariableName(name string) error {
	if name == "CURRENT" {
		return nil
	}
	if name == "" {
		return mongoerr.New(mongoerr.FailedToParse, "empty variable names are not allowed")
	}
	if c := name[0]; !(c >= 'a' && c <= 'z' || c >= 0x80) {
		return mongoerr.New(mongoerr.FailedToParse,
			"'%s' starts with an invalid character for a user variable name", name)
	}
	return checkVariableChars(name)
}

func checkVariableChars(name string) error {
	for i := 1; i < len(name); i++ {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80) {
			return mongoerr.New(mongoerr.FailedToParse,
				"'%s' contains an invalid character for a variable name: '%c'", name, c)
		}
	}
	return nil
}

// Compile compiles an operand: a field path or variable ("$a", "$$x"), an
// operator call, an object or array of operands, or a literal. Mistakes of
// syntax are reported before errors in the evaluation of constant parts.
func (c *Compiler) Compile(v bsonval.Value) (Expr, error) {
	c.depth++
	e, err := c.compile(v)
	return e, c.leave(err)
}

// leave ends a Compile call. The outermost one reports what went wrong in
// folding.
func (c *Compiler) leave(err error) error {
	if c.depth--; c.depth > 0 {
		return err
	}
	if err == nil {
		err = c.foldErr
	}
	c.foldErr = nil
	return err
}

// compileBranch compiles an operand that may turn out never to be evaluated. Its
// error of folding counts only once it is passed to noteFoldError.
func (c *Compiler) compileBranch(v bsonval.Value) (e Expr, foldErr, err error) {
	before := c.foldErr
	c.foldErr = nil
	e, err = c.Compile(v)
	foldErr, c.foldErr = c.foldErr, before
	return e, foldErr, err
}

func (c *Compiler) noteFoldError(err error) {
	if c.foldErr == nil {
		c.foldErr = err
	}
}

func (c *Compiler) compile(v bsonval.Value) (Expr, error) {
	switch v.Type() {
	case bsonval.TypeString:
		if s := v.Str(); strings.HasPrefix(s, "$") {
			return c.compilePath(s)
		}
	case bsonval.TypeDocument:
		return c.compileObject(v.Doc())
	case bsonval.TypeArray:
		return c.compileArray(v.Doc())
	}
	return constant{v.Clone()}, nil
}

// compileObject compiles an operator call {$op: arg} or an object of operands.
func (c *Compiler) compileObject(d bsonval.Doc) (Expr, error) {
	key, arg, ok := d.First()
	if !ok {
		return constant{bsonval.Document(bsonval.EmptyDoc)}, nil
	}
	if strings.HasPrefix(key, "$") {
		if d.Len() != 1 {
			return nil, mongoerr.New(15983, "an object representing an expression must have exactly one field: %s",
				bsonval.Format(bsonval.Document(d)))
		}
		return c.compileCall(key, arg)
	}
	return c.compileObjectLiteral(d)
}

// CompileObjectLiteral compiles a document of operands, whose names are field
// names.
func (c *Compiler) CompileObjectLiteral(d bsonval.Doc) (Expr, error) {
	c.depth++
	e, err := c.compileObjectLiteral(d)
	return e, c.leave(err)
}

func (c *Compiler) compileObjectLiteral(d bsonval.Doc) (Expr, error) {
	o := object{}
	folded := true
	it := d.Iter()
	for it.Next() {
		name := string(it.Key())
		if err := fieldpath.Check(name); err != nil {
			return nil, err
		}
		for _, seen := range o.names {
			if seen == name {
				return nil, mongoerr.New(16406, "duplicate field name specified in object literal: %s",
					bsonval.Format(bsonval.Document(d)))
			}
		}
		e, err := c.Compile(it.Value())
		if err != nil {
			return nil, err
		}
		if _, ok := e.(constant); !ok {
			folded = false
		}
		o.names = append(o.names, name)
		o.exprs = append(o.exprs, e)
	}
	if folded {
		return c.fold(&o)
	}
	return &o, nil
}

func (c *Compiler) compileArray(d bsonval.Doc) (Expr, error) {
	var a array
	folded := true
	it := d.Iter()
	for it.Next() {
		e, err := c.Compile(it.Value())
		if err != nil {
			return nil, err
		}
		if _, ok := e.(constant); !ok {
			folded = false
		}
		a.exprs = append(a.exprs, e)
	}
	if folded {
		return c.fold(&a)
	}
	return &a, nil
}

// fold evaluates an expression of constants. If that fails, the expression stays
// as it is and the error waits for the end of the outermost Compile.
func (c *Compiler) fold(e Expr) (Expr, error) {
	v, err := e.Eval(&Context{Env: c.Env, Root: bsonval.EmptyDoc})
	if err != nil {
		c.noteFoldError(err)
		return e, nil
	}
	return constant{v.Clone()}, nil
}

// object is a document of operands; missing values are left out.
type object struct {
	names []string
	exprs []Expr
}

func (o *object) Eval(c *Context) (bsonval.Value, error) {
	dst, at := bsonval.BeginDoc(make([]byte, 0, 64))
	for i, e := range o.exprs {
		v, err := e.Eval(c)
		if err != nil {
			return bsonval.Missing, err
		}
		dst = bsonval.AppendElement(dst, o.names[i], v)
		if err := checkSize(bsonval.TypeDocument, len(dst)); err != nil {
			return bsonval.Missing, err
		}
	}
	return bsonval.Document(bsonval.EndDoc(dst, at)), nil
}

// array is an array of operands; missing values become null.
type array struct{ exprs []Expr }

func (a *array) Eval(c *Context) (bsonval.Value, error) {
	b := bsonval.NewArrayBuilder()
	for _, e := range a.exprs {
		v, err := e.Eval(c)
		if err != nil {
			return bsonval.Missing, err
		}
		b.Add(v)
		if err := checkSize(bsonval.TypeArray, b.Len()); err != nil {
			return bsonval.Missing, err
		}
	}
	return bsonval.Array(b.Build()), nil
}
