package database

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/text"
)

// compilation is what the parts of one statement are compiled with: its
// collation and its variables.
type compilation struct {
	env       *expr.Env
	compiler  *expr.Compiler
	collation *collation.Spec
	text      *text.Spec      // of the collection's text index; nil for none
	vars      []bsonval.Value // of let, by slot

	// What env and compiler point to.
	ownEnv      expr.Env
	ownCompiler expr.Compiler
}

// compilation sets up a statement on a collection, which may be nil. A collation
// given with the statement wins over the collection's; {locale: "simple"} means
// by bytes.
func (op *Op) compilation(coll *catalog.Collection, given *collation.Spec, let bsonval.Doc) (*compilation, error) {
	c := &compilation{}
	return c, c.init(op, coll, given, let)
}

func (c *compilation) init(op *Op, coll *catalog.Collection, given *collation.Spec, let bsonval.Doc) error {
	c.collation, c.ownEnv, c.text = given, *op.Env, coll.TextSpec()
	if given == nil && coll != nil {
		c.collation = coll.Collation
	}
	if c.collation != nil && c.collation.Locale == collation.Simple {
		c.collation = nil
	}
	c.env, c.compiler = &c.ownEnv, &c.ownCompiler
	if c.collation != nil {
		c.env.Collator = c.collation.Collator()
	}
	c.compiler.Env = c.env
	return c.declare(let)
}

// assumption is what a statement that has no collation of its own was compiled with, before it writes.
type assumption struct {
	ns        Namespace // empty if nothing is assumed
	collation *collation.Spec
}

// errOtherCollation says that the collection has another collation than a statement was compiled with: another process, or
// another client in between, has made it again. Nothing has been done, and the statement is to be compiled again.
var errOtherCollation = errors.New("collection has another collation")

// assume returns the definition that a statement which writes is compiled with.
func (d *DB) assume(ctx context.Context, op *Op, ns Namespace, given *collation.Spec) (*catalog.Collection, error) {
	if op.Txn != nil { // whose snapshot tells the definitions
		if err := op.Txn.begin(); err != nil {
			op.Txn.Abort()
			return nil, clientError(ctx, err)
		}
	}
	coll := d.defined(op, ns)
	op.assumed = assumption{}
	if given == nil {
		op.assumed.ns = ns
		if coll != nil {
			op.assumed.collation = coll.Collation
		}
	}
	return coll, nil
}

// assumeNothing ends what assume began.
func (op *Op) assumeNothing() { op.assumed = assumption{} }

// check fails if the collection is not as it was assumed.
func (a *assumption) check(ns Namespace, coll *catalog.Collection) error {
	if a.ns == ns && !a.collation.Equal(coll.Collation) {
		return errOtherCollation
	}
	return nil
}

// declare puts the variables of a `let` document into scope. Their values are
// expressions without fields.
func (c *compilation) declare(let bsonval.Doc) error {
	it := let.Iter()
	if len(let) == 0 {
		return nil
	}
	for it.Next() {
		name := string(it.Key())
		if name == "NOW" || name == "CLUSTER_TIME" {
			return mongoerr.New(4738901, "Attempt to set internal constant: %s", name)
		}
		if err := expr.CheckVariableName(name); err != nil {
			return err
		}
		deps := &expr.Deps{}
		c.compiler.Deps = deps
		e, err := c.compiler.Compile(it.Value())
		c.compiler.Deps = nil
		if err != nil {
			return err
		}
		if deps.All || len(deps.Fields) > 0 {
			return mongoerr.New(4890500, "Command let Expression tried to access a field, but this is not allowed because "+
				"Command let Expressions run before the query examines any documents.")
		}
		ctx := c.context()
		ctx.Root = bsonval.EmptyDoc
		v, err := e.Eval(ctx)
		if err != nil {
			return err
		}
		slot := c.compiler.Declare(name)
		for len(c.vars) <= slot {
			c.vars = append(c.vars, bsonval.Missing)
		}
		c.vars[slot] = v.Clone()
	}
	return nil
}

// context returns a context with the variables' values.
func (c *compilation) context() *expr.Context {
	ctx := c.compiler.NewContext()
	copy(ctx.Vars, c.vars)
	return ctx
}

// filter compiles a filter; nil is the empty one.
func (c *compilation) filter(d bsonval.Doc, ban match.Features) (*match.Matcher, error) {
	if d == nil {
		d = bsonval.EmptyDoc
	}
	return match.Compile(d, match.Options{Compiler: c.compiler, Ban: ban, TextIndex: c.text})
}

// idOf returns the value of a filter that asks for one _id and nothing else, by
// a value whose equality is plain.
func idOf(filter bsonval.Doc, c *collation.Spec) (bsonval.Value, bool) {
	it := filter.Iter()
	if !it.Next() || it.KeyStr() != "_id" {
		return bsonval.Missing, false
	}
	v := it.Value()
	if it.Next() {
		return bsonval.Missing, false
	}
	switch v.Type() {
	case bsonval.TypeObjectID, bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDouble, bsonval.TypeDate,
		bsonval.TypeBinary, bsonval.TypeBool:
		return v, true
	case bsonval.TypeString:
		return v, c == nil
	}
	return bsonval.Missing, false
}

// filterOf is a document that may have been left out.
func filterOf(d bsonval.Doc) bsonval.Doc {
	if d == nil {
		return bsonval.EmptyDoc
	}
	return d
}
