package expr

import (
	"bytes"
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func evalIndexOfBytes(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	s, sub, done, err := indexArguments("$indexOfBytes", args, 40091, 40092)
	if done {
		return bsonval.Null, err
	}
	start, end, err := indexBounds("$indexOfBytes", args, len(s))
	if err != nil {
		return bsonval.Missing, err
	}
	if start > len(s) || end < start {
		return bsonval.Int32(-1), nil
	}
	at := bytes.Index(s[start:end], sub)
	if at >= 0 {
		at += start
	}
	return bsonval.Int32(int32(at)), nil
}

func evalIndexOfCP(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	s, sub, done, err := indexArguments("$indexOfCP", args, 40093, 40094)
	if done {
		return bsonval.Null, err
	}
	length := utf8.RuneCount(s)
	start, end, err := indexBounds("$indexOfCP", args, length)
	if err != nil {
		return bsonval.Missing, err
	}
	if start == 0 && length == 0 && len(sub) == 0 {
		return bsonval.Int32(0), nil
	}
	// The match has to begin before end, but may reach beyond it.
	if start >= end {
		return bsonval.Int32(-1), nil
	}
	from := codePointOffset(s, start)
	at := bytes.Index(s[from:], sub)
	if at < 0 || start+utf8.RuneCount(s[from:from+at]) >= end {
		return bsonval.Int32(-1), nil
	}
	return bsonval.Int32(int32(start + utf8.RuneCount(s[from:from+at]))), nil
}

// codePointOffset is the byte offset of code point n.
func codePointOffset(s []byte, n int) int {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRune(s[at:])
		at += size
	}
	return at
}

// indexArguments checks the strings; done says that the result is there: null or
// an error.
func indexArguments(name string, args []bsonval.Value, first, second mongoerr.Code) (s, sub []byte, done bool, err error) {
	switch {
	case args[0].IsNullish():
		return nil, nil, true, nil
	case args[0].Type() != bsonval.TypeString:
		return nil, nil, true, mongoerr.New(first, "%s requires a string as the first argument, found: %s", name, args[0].Type())
	case args[1].Type() != bsonval.TypeString:
		return nil, nil, true, mongoerr.New(second, "%s requires a string as the second argument, found: %s", name, args[1].Type())
	}
	return args[0].Bytes(), args[1].Bytes(), false, nil
}

// indexBounds reads the optional start and end arguments; end is at most length.
func indexBounds(name string, args []bsonval.Value, length int) (start, end int, err error) {
	end = length
	if len(args) > 2 {
		if start, err = stringIndexBound(name, "starting index", args[2]); err != nil {
			return 0, 0, err
		}
	}
	if len(args) > 3 {
		if end, err = stringIndexBound(name, "ending index", args[3]); err != nil {
			return 0, 0, err
		}
	}
	return start, min(end, length), nil
}

func stringIndexBound(name, what string, v bsonval.Value) (int, error) {
	n, ok := asInt32(v)
	switch {
	case !ok:
		return 0, mongoerr.New(40096, "%s requires an integral %s, found a value of type: %s, with value: %s",
			name, what, v.Type(), bsonval.Format(v))
	case n < 0:
		return 0, mongoerr.New(40097, "%s requires a nonnegative %s, found: %d", name, what, n)
	}
	return n, nil
}
