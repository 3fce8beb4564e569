package expr

import (
	"bytes"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var objectOperators = []operator{
	{name: "$getField", doc: "Returns a field whose name may hold dots and dollars.", compile: compileGetField},
	{name: "$mergeObjects", doc: "Merges documents; later fields win.", max: -1, fn: mergeObjects},
	{name: "$setField", doc: "Sets or removes a field whose name may hold dots and dollars.",
		compile: setFieldSignature.compileField},
	{name: "$unsetField", doc: "Removes a field whose name may hold dots and dollars.",
		compile: unsetFieldSignature.compileField},
}

var getFieldSignature = signature{notObject: 3041700, unknown: 3041701,
	args: []argument{{"field", 3041702}, {"input", 3041703}}, fn: getField}

func compileGetField(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() == bsonval.TypeDocument {
		if key, _, ok := arg.Doc().First(); !ok || !strings.HasPrefix(key, "$") {
			return getFieldSignature.compile(c, op, arg)
		}
	}
	field, err := c.Compile(arg)
	if err != nil {
		return nil, err
	}
	input, err := c.variable("CURRENT", nil)
	if err != nil {
		return nil, err
	}
	if v, ok := ConstantValue(field); ok && v.Type() != bsonval.TypeString {
		return nil, fieldNotString(v)
	}
	return &namedCall{fn: getField, args: []Expr{field, input}, given: 3}, nil
}

func fieldNotString(v bsonval.Value) error {
	return mongoerr.New(3041704, "$getField requires 'field' to evaluate to type String, but got %s", v.Type())
}

func getField(_ *Context, args []bsonval.Value, _ argumentSet) (bsonval.Value, error) {
	field, input := args[0], args[1]
	if field.Type() != bsonval.TypeString {
		return bsonval.Missing, fieldNotString(field)
	}
	switch {
	case input.IsMissing():
		return bsonval.Missing, nil
	case input.IsNullish():
		return bsonval.Null, nil
	case input.Type() != bsonval.TypeDocument:
		return bsonval.Missing, nil
	}
	return input.Doc().Lookup(field.Str()), nil
}

var (
	setFieldSignature = signature{notObject: 4161100, unknown: 4161101,
		args: []argument{{"field", 4161102}, {"value", 4161103}, {"input", 4161109}}}
	unsetFieldSignature = signature{notObject: 4161100, unknown: 4161101,
		args: []argument{{"field", 4161102}, {"input", 4161109}}}
)

// compileField compiles $setField and $unsetField: the field's name must be
// known while compiling.
func (s *signature) compileField(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(s.notObject, "%s only supports an object as its argument", op.name)
	}
	raw, err := s.split(op, arg.Doc())
	if err != nil {
		return nil, err
	}
	name, err := c.constantFieldName(op, raw[0])
	if err != nil {
		return nil, err
	}
	e := &namedCall{given: 3, args: []Expr{Constant(bsonval.Missing), nil}}
	if len(raw) == 3 {
		if e.args[0], err = c.Compile(raw[1]); err != nil {
			return nil, err
		}
	}
	if e.args[1], err = c.Compile(raw[len(raw)-1]); err != nil {
		return nil, err
	}
	e.fn = func(_ *Context, args []bsonval.Value, _ argumentSet) (bsonval.Value, error) {
		return setField(op.name, name, args[1], args[0])
	}
	return c.foldNamed(e, op)
}

func (c *Compiler) constantFieldName(op *operator, raw bsonval.Value) (string, error) {
	literal := false
	switch raw.Type() {
	case bsonval.TypeArray:
		if !raw.Doc().IsEmpty() {
			return "", mongoerr.New(4161106, "%s requires 'field' to evaluate to a constant, but got a non-constant argument",
				op.name)
		}
	case bsonval.TypeDocument:
		key, _, ok := raw.Doc().First()
		if ok && !strings.HasPrefix(key, "$") {
			return "", mongoerr.New(4161106, "%s requires 'field' to evaluate to a constant, but got a non-constant argument",
				op.name)
		}
		literal = ok
	case bsonval.TypeString:
		if strings.HasPrefix(raw.Str(), "$") {
			return "", mongoerr.New(4161108, "A field path reference which is not allowed in this context. "+
				"Did you mean {$literal: '%s'}?", raw.Str())
		}
	}
	v := raw
	if literal {
		e, err := c.Compile(raw)
		if err != nil {
			return "", err
		}
		key, _, _ := raw.Doc().First()
		var ok bool
		if v, ok = ConstantValue(e); !ok || key != "$literal" && key != "$const" {
			return "", mongoerr.New(4161106, "%s requires 'field' to evaluate to a constant, but got a non-constant argument",
				op.name)
		}
	}
	if v.Type() != bsonval.TypeString {
		return "", mongoerr.New(4161107, "%s requires 'field' to evaluate to type String, but got %s", op.name, v.Type())
	}
	if bytes.IndexByte(v.Bytes(), 0) >= 0 {
		return "", mongoerr.New(9534700, "%s requires 'field' to not contain an embedded null byte", op.name)
	}
	return string(v.Bytes()), nil
}

func setField(op, name string, input, value bsonval.Value) (bsonval.Value, error) {
	if input.IsNullish() {
		return bsonval.Null, nil
	}
	if input.Type() != bsonval.TypeDocument {
		return bsonval.Missing, mongoerr.New(4161105, "%s requires 'input' to evaluate to type Object, but got %s",
			op, input.Type())
	}
	dst, at := bsonval.BeginDoc(make([]byte, 0, len(input.Doc())+len(name)+16))
	found := false
	it := input.Doc().Iter()
	for it.Next() {
		if it.KeyStr() != name {
			dst = bsonval.AppendElementBytes(dst, it.Key(), it.Value())
			continue
		}
		found = true
		dst = bsonval.AppendElement(dst, name, value)
	}
	if !found {
		dst = bsonval.AppendElement(dst, name, value)
	}
	return bsonval.Document(bsonval.EndDoc(dst, at)), nil
}

// mergeObjects merges its arguments, or the elements of its only one.
func mergeObjects(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	var m ObjectMerger
	var failed error
	accumulated(args, func(v bsonval.Value) {
		if failed == nil {
			failed = m.Add(v)
		}
	})
	if failed != nil {
		return bsonval.Missing, failed
	}
	return m.Result(), nil
}

// ObjectMerger merges documents field by field: later values win, fields keep
// the place where they first came. The values added must stay valid.
type ObjectMerger struct{ fields fieldList }

// Add merges a document into the result; null counts as an empty one.
func (m *ObjectMerger) Add(v bsonval.Value) error {
	if v.IsNullish() {
		return nil
	}
	if v.Type() != bsonval.TypeDocument {
		return mongoerr.New(40400, "$mergeObjects requires object inputs, but input %s is of type %s",
			bsonval.Format(v), v.Type())
	}
	it := v.Doc().Iter()
	for it.Next() {
		m.fields.set(it.KeyStr(), it.Value())
	}
	return nil
}

// Result is the merged document.
func (m *ObjectMerger) Result() bsonval.Value { return m.fields.document() }
