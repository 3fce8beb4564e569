package expr

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var convertOperators = []operator{
	{name: "$convert", doc: "A value converted to a type, with fallbacks for null and for errors.", compile: compileConvert},
	{name: "$toBool", doc: "A value as a boolean.", compile: shorthand(conversionTarget{typ: bsonval.TypeBool}, "")},
	{name: "$toDate", doc: "A value as a date.", compile: shorthand(conversionTarget{typ: bsonval.TypeDate}, "")},
	{name: "$toDecimal", doc: "A value as a decimal.", compile: shorthand(conversionTarget{typ: bsonval.TypeDecimal128}, "")},
	{name: "$toDouble", doc: "A value as a double.", compile: shorthand(conversionTarget{typ: bsonval.TypeDouble}, "")},
	{name: "$toInt", doc: "A value as an int32, cut to an integer.", compile: shorthand(conversionTarget{typ: bsonval.TypeInt32}, "")},
	{name: "$toLong", doc: "A value as an int64, cut to an integer.", compile: shorthand(conversionTarget{typ: bsonval.TypeInt64}, "")},
	{name: "$toObjectId", doc: "A string of 24 hexadecimal digits as an ObjectId.",
		compile: shorthand(conversionTarget{typ: bsonval.TypeObjectID}, "")},
	{name: "$toString", doc: "A value as a string.", compile: shorthand(conversionTarget{typ: bsonval.TypeString}, "auto")},
	{name: "$toUUID", doc: "A string in UUID notation as a UUID.",
		compile: shorthand(conversionTarget{bsonval.TypeBinary, 4}, "uuid")},
}

// conversionTarget is a type to convert to; subtype counts for binary data only.
type conversionTarget struct {
	typ     bsonval.Type
	subtype byte
}

// conversion is what a value is converted by.
type conversion struct {
	conversionTarget
	format    string // of binary data as text; empty if not given
	bigEndian bool   // of numbers as binary data
}

const (
	convertInput = iota
	convertTo
	convertFormat
	convertByteOrder
	convertOnError
	convertOnNull
)

var convertSignature = signature{
	notObject: mongoerr.FailedToParse, unknown: mongoerr.FailedToParse,
	args: []argument{
		convertInput: {"input", mongoerr.FailedToParse}, convertTo: {"to", mongoerr.FailedToParse},
		convertFormat: {name: "format"}, convertByteOrder: {name: "byteOrder"},
		convertOnError: {name: "onError"}, convertOnNull: {name: "onNull"},
	},
}

// convertExpr is $convert; its fallbacks are evaluated only when needed.
type convertExpr struct{ args [6]Expr }

func compileConvert(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$convert expects an object of named arguments but found: %s", arg.Type())
	}
	raw, err := convertSignature.split(op, arg.Doc())
	if err != nil {
		return nil, err
	}
	e := &convertExpr{}
	folded := true
	for i, v := range raw {
		if v.IsMissing() {
			continue
		}
		if e.args[i], err = c.Compile(v); err != nil {
			return nil, err
		}
		if _, ok := ConstantValue(e.args[i]); !ok {
			folded = false
		}
	}
	if folded {
		return c.fold(e)
	}
	return e, nil
}

// optional evaluates an argument that may not have been given.
func (e *convertExpr) optional(c *Context, i int) (bsonval.Value, error) {
	if e.args[i] == nil {
		return bsonval.Missing, nil
	}
	return e.args[i].Eval(c)
}

func (e *convertExpr) Eval(c *Context) (bsonval.Value, error) {
	var args [convertByteOrder + 1]bsonval.Value
	for i := range args {
		var err error
		if args[i], err = e.optional(c, i); err != nil {
			return bsonval.Missing, err
		}
	}
	switch {
	case args[convertInput].IsNullish():
		if e.args[convertOnNull] == nil {
			return bsonval.Null, nil
		}
		return e.args[convertOnNull].Eval(c)
	case args[convertTo].IsNullish():
		return bsonval.Null, nil
	}
	k, err := conversionOf(args[convertTo], args[convertFormat], args[convertByteOrder])
	if err != nil {
		return bsonval.Missing, err
	}
	v, err := k.convert(args[convertInput])
	if mongoerr.Is(err, mongoerr.ConversionFailure) && e.args[convertOnError] != nil {
		return e.args[convertOnError].Eval(c)
	}
	return v, err
}

// shorthandExpr is $toInt and its like.
type shorthandExpr struct {
	conversion
	input Expr
}

func shorthand(target conversionTarget, format string) func(*Compiler, *operator, bsonval.Value) (Expr, error) {
	return func(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
		if arg.Type() == bsonval.TypeArray {
			if n := arg.Doc().Len(); n != 1 {
				return nil, mongoerr.New(50723, "%s requires a single argument, got %d", op.name, n)
			}
			arg = arg.Doc().Index(0)
		}
		in, err := c.Compile(arg)
		if err != nil {
			return nil, err
		}
		e := &shorthandExpr{conversion{conversionTarget: target, format: format}, in}
		if _, ok := ConstantValue(in); ok {
			return c.fold(e)
		}
		return e, nil
	}
}

func (e *shorthandExpr) Eval(c *Context) (bsonval.Value, error) {
	v, err := e.input.Eval(c)
	switch {
	case err != nil:
		return bsonval.Missing, err
	case v.IsNullish():
		return bsonval.Null, nil
	}
	return e.convert(v)
}

// conversionOf reads $convert's arguments.
func conversionOf(to, format, byteOrder bsonval.Value) (k conversion, err error) {
	if k.conversionTarget, err = conversionTargetOf(to); err != nil {
		return k, err
	}
	if !format.IsNullish() {
		if format.Type() != bsonval.TypeString {
			return k, mongoerr.New(4341114, "$convert requires that 'format' be a string, found: %s with value %s",
				format.Type(), bsonval.Format(format))
		}
		k.format = format.Str()
		switch k.format {
		case "auto", "base64", "base64url", "hex", "utf8", "uuid":
		default:
			return k, mongoerr.New(4341125, "Unrecognized format provided to $convert: %s", k.format)
		}
	}
	if !byteOrder.IsNullish() {
		if byteOrder.Type() != bsonval.TypeString {
			return k, mongoerr.New(9130001, "$convert requires that 'byteOrder' be a string, found: %s with value %s",
				byteOrder.Type(), bsonval.Format(byteOrder))
		}
		switch byteOrder.Str() {
		case "big":
			k.bigEndian = true
		case "little":
		default:
			return k, mongoerr.New(9130002, "Unrecognized byteOrder provided to $convert: %s", byteOrder.Str())
		}
	}
	return k, nil
}

func conversionTargetOf(to bsonval.Value) (t conversionTarget, err error) {
	if to.Type() != bsonval.TypeDocument {
		t.typ, err = typeArgument(to)
		return t, err
	}
	typ, subtype := bsonval.Missing, bsonval.Int32(0)
	it := to.Doc().Iter()
	for it.Next() {
		switch string(it.Key()) {
		case "type":
			typ = it.Value()
		case "subtype":
			subtype = it.Value()
		default:
			return t, mongoerr.New(mongoerr.FailedToParse, "$convert found an unknown argument: %s", it.Key())
		}
	}
	if typ.IsNullish() {
		return t, mongoerr.New(mongoerr.FailedToParse, "$convert's 'to' argument must have a 'type' field")
	}
	if t.typ, err = typeArgument(typ); err != nil {
		return t, err
	}
	t.subtype, err = subtypeArgument(subtype)
	return t, err
}

func typeArgument(v bsonval.Value) (bsonval.Type, error) {
	if v.Type() == bsonval.TypeString {
		t, ok := bsonval.TypeByName(v.Str())
		if !ok && v.Str() != "missing" {
			return t, mongoerr.New(mongoerr.BadValue, "Unknown type name: %s", v.Str())
		}
		return t, nil
	}
	if !v.IsNumber() {
		return 0, mongoerr.New(mongoerr.FailedToParse, "$convert's 'to' argument must be a string, number or object, but is %s", v.Type())
	}
	n, ok := v.AsInt64()
	if !ok {
		return 0, mongoerr.New(mongoerr.FailedToParse, "In $convert, numeric 'to' argument is not an integer")
	}
	t, ok := bsonval.TypeByNumber(n)
	if !ok && n != 0 {
		return 0, mongoerr.New(mongoerr.FailedToParse,
			"In $convert, numeric value for 'to' does not correspond to a BSON type: %d", n)
	}
	return t, nil
}

// lastKnownSubtype is the last of the defined subtypes; from userSubtype on they
// are the user's.
const (
	lastKnownSubtype = 9
	userSubtype      = 128
)

func subtypeArgument(v bsonval.Value) (byte, error) {
	if !v.IsNumber() {
		return 0, mongoerr.New(4341108, "$convert requires 'subtype' to be a number, found: %s", v.Type())
	}
	n, ok := v.AsInt64()
	switch {
	case !ok || n != int64(int32(n)):
		return 0, mongoerr.New(4341106, "In $convert, numeric 'subtype' argument is not an integer")
	case n < 0 || n > math.MaxUint8 || n > lastKnownSubtype && n < userSubtype:
		return 0, mongoerr.New(4341107, "In $convert, numeric value for 'subtype' does not correspond to a BinData type: %d", n)
	}
	return byte(n), nil
}

// conversionFailure is the error that onError catches.
func conversionFailure(format string, args ...any) error {
	return mongoerr.New(mongoerr.ConversionFailure, format+" in $convert with no onError value", args...)
}

// convert converts a value that is not null.
func (k *conversion) convert(v bsonval.Value) (bsonval.Value, error) {
	var r bsonval.Value
	var err error
	switch k.typ {
	case bsonval.TypeDouble:
		r, err = k.toDouble(v)
	case bsonval.TypeString:
		r, err = k.toString(v)
	case bsonval.TypeBinary:
		r, err = k.toBinary(v)
	case bsonval.TypeObjectID:
		r, err = toObjectID(v)
	case bsonval.TypeBool:
		return bsonval.Bool(v.Truthy()), nil
	case bsonval.TypeDate:
		r, err = toDate(v)
	case bsonval.TypeInt32:
		r, err = k.toInteger(v, 4)
	case bsonval.TypeInt64:
		r, err = k.toInteger(v, 8)
	case bsonval.TypeDecimal128:
		r, err = toDecimal(v)
	}
	if err == nil && r.IsMissing() {
		err = conversionFailure("Unsupported conversion from %s to %s", v.Type(), k.typ)
	}
	return r, err
}
