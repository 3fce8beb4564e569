package expr

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var stringOperators = []operator{
	{name: "$concat", doc: "Strings joined end to end.", max: -1, fn: evalConcat},
	{name: "$indexOfBytes", doc: "The byte offset of the first occurrence of a string in another, or -1.", min: 2, max: 4,
		fn: evalIndexOfBytes},
	{name: "$indexOfCP", doc: "The offset in code points of the first occurrence of a string in another, or -1.", min: 2, max: 4,
		fn: evalIndexOfCP},
	{name: "$ltrim", doc: "A string without given characters at its start.",
		compile: trimSignature("$ltrim", true, false).compile},
	{name: "$replaceAll", doc: "A string with every occurrence of a string replaced.",
		compile: replaceSignature("$replaceAll", replaceAll).compile},
	{name: "$replaceOne", doc: "A string with the first occurrence of a string replaced.",
		compile: replaceSignature("$replaceOne", replaceOne).compile},
	{name: "$rtrim", doc: "A string without given characters at its end.",
		compile: trimSignature("$rtrim", false, true).compile},
	{name: "$split", doc: "The parts of a string between occurrences of a separator.", min: 2, max: 2, fn: evalSplit},
	{name: "$strLenBytes", doc: "The length of a string in bytes.", min: 1, max: 1, fn: evalStrLenBytes},
	{name: "$strLenCP", doc: "The length of a string in code points.", min: 1, max: 1, fn: evalStrLenCP},
	{name: "$strcasecmp", doc: "Compares two strings without regard to the case of ASCII letters.", min: 2, max: 2,
		fn: evalStrcasecmp},
	{name: "$substr", doc: "An older name of $substrBytes.", min: 3, max: 3, fn: evalSubstrBytes},
	{name: "$substrBytes", doc: "A part of a string, in bytes.", min: 3, max: 3, fn: evalSubstrBytes},
	{name: "$substrCP", doc: "A part of a string, in code points.", min: 3, max: 3, fn: evalSubstrCP},
	{name: "$toLower", doc: "A string with ASCII letters in lower case.", min: 1, max: 1, fn: evalToLower},
	{name: "$toUpper", doc: "A string with ASCII letters in upper case.", min: 1, max: 1, fn: evalToUpper},
	{name: "$trim", doc: "A string without given characters at either end.",
		compile: trimSignature("$trim", true, true).compile},
}

func evalConcat(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	var b []byte
	for _, a := range args {
		switch {
		case a.Type() == bsonval.TypeString:
			if err := checkSize(bsonval.TypeString, len(b)+len(a.Bytes())); err != nil {
				return bsonval.Missing, err
			}
			b = append(b, a.Bytes()...)
		case a.IsNullish():
			return bsonval.Null, nil
		default:
			return bsonval.Missing, mongoerr.New(16702, "$concat only supports strings, not %s", a.Type())
		}
	}
	return bsonval.StringBytes(b), nil
}

func evalSplit(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	s, sep := args[0], args[1]
	switch {
	case s.IsNullish() || sep.IsNullish():
		return bsonval.Null, nil
	case s.Type() != bsonval.TypeString:
		return bsonval.Missing, mongoerr.New(40085,
			"$split requires an expression that evaluates to a string as a first argument, found: %s", s.Type())
	case sep.Type() != bsonval.TypeString:
		return bsonval.Missing, mongoerr.New(10503900,
			"$split requires an expression that evaluates to a string as a second argument, found: %s", sep.Type())
	case len(sep.Bytes()) == 0:
		return bsonval.Missing, mongoerr.New(40087, "$split requires a non-empty separator")
	}
	b := bsonval.NewArrayBuilder()
	rest := s.Bytes()
	for {
		part, tail, found := bytes.Cut(rest, sep.Bytes())
		b.Add(bsonval.StringBytes(part))
		if !found {
			return bsonval.Array(b.Build()), nil
		}
		rest = tail
	}
}

func evalStrLenBytes(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].Type() != bsonval.TypeString {
		return bsonval.Missing, mongoerr.New(34473, "$strLenBytes requires a string argument, found: %s", args[0].Type())
	}
	return bsonval.Int32(int32(len(args[0].Bytes()))), nil
}

func evalStrLenCP(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].Type() != bsonval.TypeString {
		return bsonval.Missing, mongoerr.New(34471, "$strLenCP requires a string argument, found: %s", args[0].Type())
	}
	return bsonval.Int32(int32(utf8.RuneCount(args[0].Bytes()))), nil
}

func evalStrcasecmp(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	a, err := coerceToString(args[0])
	if err != nil {
		return bsonval.Missing, err
	}
	b, err := coerceToString(args[1])
	if err != nil {
		return bsonval.Missing, err
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := upperASCII(a[i]), upperASCII(b[i]); x < y {
			return bsonval.Int32(-1), nil
		} else if x > y {
			return bsonval.Int32(1), nil
		}
	}
	switch {
	case len(a) < len(b):
		return bsonval.Int32(-1), nil
	case len(a) > len(b):
		return bsonval.Int32(1), nil
	}
	return bsonval.Int32(0), nil
}

func upperASCII(c byte) byte {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

func lowerASCII(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func evalToLower(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return mapASCII(args[0], lowerASCII)
}
func evalToUpper(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return mapASCII(args[0], upperASCII)
}

func mapASCII(v bsonval.Value, f func(byte) byte) (bsonval.Value, error) {
	s, err := coerceToString(v)
	if err != nil {
		return bsonval.Missing, err
	}
	b := []byte(s)
	for i, c := range b {
		b[i] = f(c)
	}
	return bsonval.StringBytes(b), nil
}

var replaceArguments = []argument{{"input", 51749}, {"find", 51748}, {"replacement", 51747}}

func replaceSignature(name string, replace func(s, find, with string) string) *signature {
	return &signature{notObject: 51751, unknown: 51750, args: replaceArguments,
		fn: func(_ *Context, args []bsonval.Value, _ argumentSet) (bsonval.Value, error) {
			null := false
			for i, code := range [...]mongoerr.Code{10503904, 10503901, 10503902} {
				switch {
				case args[i].IsNullish():
					null = true
				case args[i].Type() != bsonval.TypeString:
					return bsonval.Missing, mongoerr.New(code, "%s requires that '%s' be a string, found: %s",
						name, replaceArguments[i].name, bsonval.Format(args[i]))
				}
			}
			if null {
				return bsonval.Null, nil
			}
			s, find, with := args[0].Str(), args[1].Str(), args[2].Str()
			if size := len(s) + strings.Count(s, find)*max(len(with)-len(find), 0); size > maxValueBytes && name == "$replaceAll" {
				return bsonval.Missing, errTooLarge(bsonval.TypeString, size)
			}
			return bsonval.String(replace(s, find, with)), nil
		}}
}

func replaceOne(s, find, with string) string { return strings.Replace(s, find, with, 1) }

// replaceAll with an empty find inserts before every code point and at the end.
func replaceAll(s, find, with string) string { return strings.ReplaceAll(s, find, with) }
