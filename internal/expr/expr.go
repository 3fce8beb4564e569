package expr

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Expr is a compiled expression.
type Expr interface {
	// Eval computes the expression for the context's document. Missing is a
	// legitimate result. Errors are *mongoerr.Error.
	Eval(c *Context) (bsonval.Value, error)
}

// Env is what expressions may know of the world, constant for one command.
type Env struct {
	// Collator orders strings; nil means by bytes.
	Collator bsonval.Collator

	// NowMS is $$NOW, milliseconds since 1970. A compiler whose environment has
	// none compiles for many commands: it leaves $$NOW and $$CLUSTER_TIME to the
	// environment of the evaluation.
	NowMS int64

	// ClusterTime is $$CLUSTER_TIME's bits; 0 where there is none.
	ClusterTime uint64

	// UserRoles is $$USER_ROLES, an array; missing counts as empty.
	UserRoles bsonval.Value

	// Rand returns a number in [0, 1) for $rand and $sampleRate.
	Rand func() float64

	// JS runs the JavaScript of $function, $accumulator and $where; nil where
	// JavaScript is turned off.
	JS Script

	// Ctx ends long evaluations (maxTimeMS, killOp); nil means never.
	Ctx context.Context
}

// Script runs JavaScript functions.
type Script interface {
	// Call runs the function with this source, `this` bound to this unless it is
	// missing.
	Call(ctx context.Context, source string, this bsonval.Value, args []bsonval.Value) (bsonval.Value, error)
}

// Context is the state of evaluating expressions on one document after another.
// It belongs to one goroutine.
type Context struct {
	Env *Env

	// Root is the document under evaluation: $$ROOT, and $$CURRENT unless bound
	// otherwise.
	Root bsonval.Doc

	// Vars are the variables, by slot.
	Vars []bsonval.Value

	// Meta gives {$meta: name} for the document under evaluation; nil where
	// documents carry no metadata.
	Meta func(name string) bsonval.Value

	stack []bsonval.Value  // arguments of the calls under way
	held  int              // bytes of large values in stack and of variables being bound
	steps int              // evaluations since Env.Ctx was last asked
	zones map[string]*zone // time zones met so far
}

// Tick counts a step of a long loop and now and then returns Env.Ctx's error.
func (c *Context) Tick() error {
	if c.steps++; c.steps&1023 == 0 && c.Env.Ctx != nil {
		return c.Env.Ctx.Err()
	}
	return nil
}

// constant is a literal, or what constant folding made of a call.
type constant struct{ v bsonval.Value }

func (e constant) Eval(*Context) (bsonval.Value, error) { return e.v, nil }

// Constant makes an expression of a value.
func Constant(v bsonval.Value) Expr { return constant{v} }

// ConstantValue returns the value of an expression that does not depend on the
// document; ok is false for all others.
func ConstantValue(e Expr) (v bsonval.Value, ok bool) {
	k, ok := e.(constant)
	return k.v, ok
}
