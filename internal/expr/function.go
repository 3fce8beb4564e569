package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var functionOperators = []operator{
	{name: "$function", doc: "The result of a JavaScript function.", compile: compileFunction, impure: true},
}

// ErrNoJavaScript is the error of JavaScript where it is turned off.
func ErrNoJavaScript() error {
	return mongoerr.New(31264, "Cannot run server-side javascript without the javascript engine enabled")
}

// function calls JavaScript with the elements of an array.
type function struct {
	body string
	args Expr
}

func (e *function) Eval(c *Context) (bsonval.Value, error) {
	args, err := e.args.Eval(c)
	switch {
	case err != nil:
		return bsonval.Missing, err
	case args.Type() != bsonval.TypeArray:
		return bsonval.Missing, mongoerr.New(4660803, "The args field must be of type array")
	}
	return c.Env.JS.Call(c.Env.Ctx, e.body, bsonval.Missing, args.Doc().Values(nil))
}

func compileFunction(c *Compiler, _ *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(4660800, "$function requires an object as an argument, found: %s", arg.Type())
	}
	var body, args, lang bsonval.Value
	it := arg.Doc().Iter()
	for it.Next() {
		switch string(it.Key()) {
		case "body":
			body = it.Value()
		case "args":
			args = it.Value()
		case "lang":
			lang = it.Value()
		default:
			return nil, mongoerr.New(mongoerr.FailedToParse, "$function found an unknown argument: %s", it.Key())
		}
	}
	switch {
	case body.IsMissing():
		return nil, mongoerr.New(4660801, "The body function must be specified.")
	case args.IsMissing():
		return nil, mongoerr.New(4660802, "The args field must be specified.")
	case lang.Type() != bsonval.TypeString || lang.Str() != "js":
		return nil, mongoerr.New(4660804, "Currently the only supported language specifier is 'js'.")
	}
	source, err := FunctionBody(body)
	if err != nil {
		return nil, err
	}
	e := &function{body: source}
	if e.args, err = c.Compile(args); err != nil {
		return nil, err
	}
	if c.Env.JS == nil {
		return nil, ErrNoJavaScript()
	}
	return e, nil
}

// FunctionBody is the source of a JavaScript function given as a string or as
// code.
func FunctionBody(v bsonval.Value) (string, error) {
	switch v.Type() {
	case bsonval.TypeString, bsonval.TypeCode:
		return string(v.Bytes()), nil
	case bsonval.TypeCodeScope:
		return "", mongoerr.New(mongoerr.BadValue, "JavaScript code with a scope is not supported")
	}
	return "", mongoerr.New(4660805, "The body function must be a constant of type string or code")
}
