package expr

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/regex"
)

var regexOperators = []operator{
	{name: "$regexFind", doc: "The first match of a regular expression, with its place and captures.",
		compile: regexCompile(regexFind)},
	{name: "$regexFindAll", doc: "All matches of a regular expression.", compile: regexCompile(regexFindAll)},
	{name: "$regexMatch", doc: "Whether a regular expression matches.", compile: regexCompile(regexMatch)},
}

var regexSignature = signature{
	notObject: 51103, unknown: 31024, args: []argument{{"input", 31022}, {"regex", 31023}, {"options", 0}},
}

// regexMethod computes an operator's result; re is nil when the result is that
// of null operands.
type regexMethod func(c *Context, re *regex.Regex, s bsonval.Value) (bsonval.Value, error)

// regexCall is one of the $regex… operators. Constant patterns are compiled once.
type regexCall struct {
	name     string
	input    Expr
	pattern  Expr
	options  Expr // nil if not given
	method   regexMethod
	compiled *regex.Regex // not nil if pattern and options are constant
}

func regexCompile(method regexMethod) func(*Compiler, *operator, bsonval.Value) (Expr, error) {
	return func(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
		if arg.Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(regexSignature.notObject, "%s expects an object of named arguments but found: %s",
				op.name, arg.Type())
		}
		raw, err := regexSignature.split(op, arg.Doc())
		if err != nil {
			return nil, err
		}
		var args [3]Expr
		for i, v := range raw {
			if v.IsMissing() {
				continue
			}
			if args[i], err = c.Compile(v); err != nil {
				return nil, err
			}
		}
		e := &regexCall{name: op.name, input: args[0], pattern: args[1], options: args[2], method: method}
		pattern, constantPattern := ConstantValue(e.pattern)
		options, constantOptions := bsonval.Missing, true
		if e.options != nil {
			options, constantOptions = ConstantValue(e.options)
		}
		if constantPattern && constantOptions {
			re, err := compileRegex(op.name, pattern, options)
			if err != nil {
				c.noteFoldError(err)
			}
			e.compiled = re
			if _, ok := ConstantValue(e.input); ok {
				return c.fold(e)
			}
		}
		return e, nil
	}
}

func (e *regexCall) Eval(c *Context) (bsonval.Value, error) {
	in, err := e.input.Eval(c)
	if err != nil {
		return bsonval.Missing, err
	}
	re := e.compiled
	if re == nil {
		var options bsonval.Value
		pattern, err := e.pattern.Eval(c)
		if err == nil && e.options != nil {
			options, err = e.options.Eval(c)
		}
		if err == nil {
			re, err = compileRegex(e.name, pattern, options)
		}
		if err != nil {
			return bsonval.Missing, err
		}
	}
	switch {
	case in.IsNullish():
		return e.method(c, nil, in)
	case in.Type() != bsonval.TypeString:
		return bsonval.Missing, mongoerr.New(51104, "%s needs 'input' to be of type string", e.name)
	}
	return e.method(c, re, in)
}

// compileRegex checks and compiles pattern and options; the result is nil for a
// null pattern.
func compileRegex(name string, pattern, options bsonval.Value) (*regex.Regex, error) {
	if !options.IsNullish() && options.Type() != bsonval.TypeString {
		return nil, mongoerr.New(51106, "%s needs 'options' to be of type string", name)
	}
	text, flags := "", ""
	switch {
	case pattern.IsNullish():
		return nil, nil
	case pattern.Type() == bsonval.TypeRegex:
		text, flags = pattern.RegexParts()
		if flags != "" && !options.IsNullish() {
			return nil, mongoerr.New(51107, "%s: found regex option(s) specified in both 'regex' and 'option' fields", name)
		}
	case pattern.Type() == bsonval.TypeString:
		text = pattern.Str()
	default:
		return nil, mongoerr.New(51105, "%s needs 'regex' to be of type string or regex", name)
	}
	if !options.IsNullish() {
		flags = options.Str()
	}
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return nil, mongoerr.New(51109, "%s: regular expression cannot contain an embedded null byte", name)
	case strings.IndexByte(flags, 0) >= 0:
		return nil, mongoerr.New(51110, "%s: regular expression options cannot contain an embedded null byte", name)
	}
	re, err := regex.Compile(text, flags)
	if mongoerr.Is(err, 51091) {
		err = mongoerr.New(51111, "Invalid Regex in %s: %s", name, regex.Reason(err))
	}
	return re, err
}

// context is that of the command, or nil.
func (c *Context) context() context.Context {
	if c.Env == nil {
		return nil
	}
	return c.Env.Ctx
}

func regexMatch(c *Context, re *regex.Regex, s bsonval.Value) (bsonval.Value, error) {
	if re == nil || s.IsNullish() {
		return bsonval.False, nil
	}
	ok, err := re.Match(c.context(), s.Bytes())
	return bsonval.Bool(ok), err
}

func regexFind(c *Context, re *regex.Regex, s bsonval.Value) (bsonval.Value, error) {
	if re == nil || s.IsNullish() {
		return bsonval.Null, nil
	}
	loc, err := re.Find(c.context(), s.Bytes(), 0)
	if err != nil || loc == nil {
		return bsonval.Null, err
	}
	b := bsonval.NewBuilder()
	appendMatch(b, s.Bytes(), loc, utf8.RuneCount(s.Bytes()[:loc[0]]))
	return bsonval.Document(b.Build()), nil
}

func regexFindAll(c *Context, re *regex.Regex, s bsonval.Value) (bsonval.Value, error) {
	b := bsonval.NewArrayBuilder()
	if re == nil || s.IsNullish() {
		return bsonval.Array(b.Build()), nil
	}
	at, index := 0, 0 // a byte offset and the number of code points before it
	err := re.Each(c.context(), s.Bytes(), func(loc []int) error {
		if loc[0] >= at {
			index += utf8.RuneCount(s.Bytes()[at:loc[0]])
		} else {
			index = utf8.RuneCount(s.Bytes()[:loc[0]])
		}
		at = loc[0]
		b.StartDoc("")
		appendMatch(b, s.Bytes(), loc, index)
		b.End()
		if err := checkSize(bsonval.TypeArray, b.Len()); err != nil {
			return err
		}
		return c.Tick()
	})
	if err != nil {
		return bsonval.Missing, err
	}
	return bsonval.Array(b.Build()), nil
}

// appendMatch writes {match, idx, captures}.
func appendMatch(b *bsonval.Builder, s []byte, loc []int, index int) {
	b.Value("match", bsonval.StringBytes(s[loc[0]:loc[1]]))
	b.Int32("idx", int32(index))
	b.StartArray("captures")
	for i := 2; i < len(loc); i += 2 {
		if loc[i] < 0 {
			b.Add(bsonval.Null)
			continue
		}
		b.Add(bsonval.StringBytes(s[loc[i]:loc[i+1]]))
	}
	b.End()
}
