package match

import (
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func parseExists(_ *parser, o operand) (Node, error) {
	n := &Exists{o.field}
	if o.arg.Truthy() {
		return n, nil
	}
	return NewNot(n), nil
}

func parseSize(_ *parser, o operand) (Node, error) {
	n, ok := o.arg.AsInt64()
	switch {
	case !o.arg.IsNumber() || !ok:
		return nil, mongoerr.New(mongoerr.BadValue, "Failed to parse $size. Expected an integer in: $size: %s",
			bsonval.Format(o.arg))
	case n < 0:
		return nil, mongoerr.New(mongoerr.BadValue, "Failed to parse $size. Expected a non-negative number in: $size: %s",
			bsonval.Format(o.arg))
	case n > math.MaxInt32:
		return nil, mongoerr.New(mongoerr.BadValue, "$size must be representable as a 32-bit integer, but found: %d", n)
	}
	return &Size{o.field, int(n)}, nil
}

func parseMod(_ *parser, o operand) (Node, error) {
	if o.arg.Type() != bsonval.TypeArray {
		return nil, mongoerr.New(mongoerr.BadValue, "malformed mod, needs to be an array")
	}
	args := o.arg.Doc().Values(nil)
	switch {
	case len(args) < 2:
		return nil, mongoerr.New(mongoerr.BadValue, "malformed mod, not enough elements")
	case len(args) > 2:
		return nil, mongoerr.New(mongoerr.BadValue, "malformed mod, too many elements")
	case !args[0].IsNumber():
		return nil, mongoerr.New(mongoerr.BadValue, "malformed mod, divisor not a number")
	case !args[1].IsNumber():
		return nil, mongoerr.New(mongoerr.BadValue, "malformed mod, remainder not a number")
	}
	divisor, ok := truncated(args[0])
	if !ok {
		return nil, mongoerr.New(mongoerr.BadValue, "malformed mod, divisor value is invalid :: caused by ::"+
			" Out of bounds coercing to integral value")
	}
	remainder, ok := truncated(args[1])
	if !ok {
		return nil, mongoerr.New(mongoerr.BadValue, "malformed mod, remainder value is invalid :: caused by ::"+
			" Out of bounds coercing to integral value")
	}
	if divisor == 0 {
		return nil, mongoerr.New(mongoerr.BadValue, "divisor cannot be 0")
	}
	return &Mod{o.field, divisor, remainder}, nil
}

func parseOptions(_ *parser, o operand) (Node, error) {
	if o.all.Lookup("$regex").IsMissing() {
		return nil, mongoerr.New(mongoerr.BadValue, "$options needs a $regex")
	}
	return AlwaysTrue{}, nil // read with $regex
}

func parseRegex(_ *parser, o operand) (Node, error) {
	var pattern, options string
	switch o.arg.Type() {
	case bsonval.TypeString:
		pattern = o.arg.Str()
	case bsonval.TypeRegex:
		pattern, options = o.arg.RegexParts()
	default:
		return nil, mongoerr.New(mongoerr.BadValue, "$regex has to be a string")
	}
	if v := o.all.Lookup("$options"); !v.IsMissing() {
		if v.Type() != bsonval.TypeString {
			return nil, mongoerr.New(mongoerr.BadValue, "$options has to be a string")
		}
		if options != "" {
			code := mongoerr.Code(51074)
			if optionsFollow(o.all) {
				code = 51075
			}
			return nil, mongoerr.New(code, "options set in both $regex and $options")
		}
		options = v.Str()
	}
	if strings.IndexByte(pattern, 0) >= 0 {
		return nil, mongoerr.New(mongoerr.BadValue, "Regular expression cannot contain an embedded null byte")
	}
	return newRegex(o.field, pattern, options)
}

// optionsFollow says whether $options stands after $regex.
func optionsFollow(d bsonval.Doc) bool {
	it := d.Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "$regex":
			return true
		case "$options":
			return false
		}
	}
	return false
}

func parseType(_ *parser, o operand) (Node, error) {
	types, err := typeSet(o.name, o.arg)
	if err != nil {
		return nil, err
	}
	return &Type{o.field, types, o.arg}, nil
}

// typeSet reads a type or an array of types.
func typeSet(name string, arg bsonval.Value) (TypeSet, error) {
	var set TypeSet
	if arg.Type() != bsonval.TypeArray {
		return set, addType(&set, name, arg)
	}
	it := arg.Doc().Iter()
	for it.Next() {
		if err := addType(&set, name, it.Value()); err != nil {
			return set, err
		}
	}
	if set.IsEmpty() {
		return set, mongoerr.New(mongoerr.FailedToParse, "%s must match at least one type", name)
	}
	return set, nil
}

func addType(set *TypeSet, name string, v bsonval.Value) error {
	switch {
	case v.Type() == bsonval.TypeString:
		if v.Str() == "number" {
			set.addNumbers()
			return nil
		}
		t, ok := bsonval.TypeByName(v.Str())
		if !ok {
			return mongoerr.New(mongoerr.BadValue, "Unknown type name alias: %s", v.Str())
		}
		set.Add(t)
		return nil
	case v.IsNumber():
		n, ok := v.AsInt64()
		t, known := bsonval.TypeByNumber(n)
		switch {
		case ok && n == 0:
			return mongoerr.New(mongoerr.BadValue,
				"Invalid numerical type code: 0. Instead use {$exists:false}.")
		case !ok || !known:
			return mongoerr.New(mongoerr.BadValue, "Invalid numerical type code: %s", bsonval.Format(v))
		}
		set.Add(t)
		return nil
	}
	return mongoerr.New(mongoerr.TypeMismatch, "%s must be represented as a number or a string", name)
}
