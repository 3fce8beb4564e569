package accumulator

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var scriptOperators = []operator{
	{name: "$accumulator", doc: "Accumulates with JavaScript functions.", compile: compileScript},
}

// script is a compiled $accumulator.
type script struct {
	init, accumulate, merge, finalize string // sources; finalize may be empty
	initArgs                          expr.Expr
}

func compileScript(c *expr.Compiler, op *operator, arg bsonval.Value) (*Factory, error) {
	raw, err := splitArguments(op.name, arg, 4544703, 4544706,
		namedArgument{"init", 4544707}, namedArgument{"accumulate", 4544708}, namedArgument{"accumulateArgs", 4544709},
		namedArgument{"merge", 4544710}, namedArgument{"lang", 4544711}, namedArgument{"initArgs", 0},
		namedArgument{"finalize", 0})
	if err != nil {
		return nil, err
	}
	if raw[4].Type() != bsonval.TypeString || raw[4].Str() != "js" {
		return nil, mongoerr.New(4544705, "$accumulator only supports lang: 'js'; found: %s", bsonval.Format(raw[4]))
	}
	if c.Env.JS == nil {
		return nil, mongoerr.New(31264, "Cannot run server-side javascript without the javascript engine enabled")
	}
	s := &script{}
	for i, source := range map[int]*string{0: &s.init, 1: &s.accumulate, 3: &s.merge, 6: &s.finalize} {
		switch raw[i].Type() {
		case bsonval.TypeString, bsonval.TypeCode:
			*source = string(raw[i].Bytes())
		case bsonval.TypeMissing:
		default:
			return nil, mongoerr.New(4544701, "$accumulator functions must be of type string or code; found: %s", raw[i].Type())
		}
	}
	f := &Factory{name: op.name, start: s.start}
	if f.input, err = c.Compile(raw[2]); err != nil {
		return nil, err
	}
	if !raw[5].IsMissing() {
		s.initArgs, err = c.Compile(raw[5])
	}
	return f, err
}

// start runs init on the group's key.
func (s *script) start(c *expr.Context, _ int) (collector, error) {
	var args []bsonval.Value
	if s.initArgs != nil {
		v, err := s.initArgs.Eval(c)
		if err != nil {
			return nil, err
		}
		if v.Type() != bsonval.TypeArray {
			return nil, mongoerr.New(4544711, "$accumulator initArgs must evaluate to an array: %s", bsonval.Format(v))
		}
		args = v.Doc().Values(nil)
	}
	st := &scriptState{script: s}
	return st, st.call(c, s.init, args)
}

// scriptState is the state object of $accumulator's functions.
type scriptState struct {
	script *script
	state  bsonval.Value
}

// call runs a function whose result is the new state.
func (s *scriptState) call(c *expr.Context, source string, args []bsonval.Value) error {
	ctx := c.Env.Ctx
	if ctx == nil {
		ctx = context.Background()
	}
	v, err := c.Env.JS.Call(ctx, source, bsonval.Missing, args)
	if err != nil {
		return err
	}
	s.state = v.Clone()
	return nil
}

// arguments puts the state before further arguments; a missing one counts as
// null.
func (s *scriptState) arguments(rest ...bsonval.Value) []bsonval.Value {
	args := append(make([]bsonval.Value, 0, len(rest)+1), s.state)
	if s.state.IsMissing() {
		args[0] = bsonval.Null
	}
	return append(args, rest...)
}

func (s *scriptState) add(c *expr.Context, v bsonval.Value) error {
	if v.Type() != bsonval.TypeArray {
		return mongoerr.New(4544712, "$accumulator accumulateArgs must evaluate to an array: %s", bsonval.Format(v))
	}
	return s.call(c, s.script.accumulate, s.arguments(v.Doc().Values(nil)...))
}

func (s *scriptState) result(c *expr.Context) (bsonval.Value, error) {
	if s.script.finalize == "" {
		return s.state, nil
	}
	final := &scriptState{script: s.script, state: s.state}
	err := final.call(c, s.script.finalize, s.arguments())
	return final.state, err
}

func (s *scriptState) size() int { return valueBytes(s.state) }

func (s *scriptState) partial() bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Value("v", s.state).Build())
}

func (s *scriptState) merge(c *expr.Context, partial bsonval.Value) error {
	other := partial.Doc().Lookup("v")
	if other.IsMissing() {
		other = bsonval.Null
	}
	return s.call(c, s.script.merge, s.arguments(other))
}
