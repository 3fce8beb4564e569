package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// continues tells the bytes inside a UTF-8 sequence.
func continues(c byte) bool { return c&0xC0 == 0x80 }

func evalSubstrBytes(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	s, err := coerceToString(args[0])
	if err != nil {
		return bsonval.Missing, err
	}
	switch {
	case !args[1].IsNumber():
		return bsonval.Missing, mongoerr.New(16034,
			"$substrBytes:  starting index must be a numeric type (is BSON type %s)", args[1].Type())
	case !args[2].IsNumber():
		return bsonval.Missing, mongoerr.New(16035,
			"$substrBytes:  length must be a numeric type (is BSON type %s)", args[2].Type())
	}
	start, err := coerceToLong(args[1])
	if err != nil {
		return bsonval.Missing, err
	}
	length, err := coerceToLong(args[2])
	if err != nil {
		return bsonval.Missing, err
	}
	if start < 0 {
		return bsonval.Missing, mongoerr.New(50752, "$substrBytes:  starting index must be non-negative (got: %d)", start)
	}
	n := int64(len(s))
	if start >= n {
		return bsonval.String(""), nil
	}
	if continues(s[start]) {
		return bsonval.Missing, mongoerr.New(28656, "$substrBytes:  Invalid range, starting index is a UTF-8 continuation byte.")
	}
	if length < 0 || length > n-start {
		length = n - start
	}
	if end := start + length; end < n && continues(s[end]) {
		return bsonval.Missing, mongoerr.New(28657, "$substrBytes:  Invalid range, ending index is in the middle of a UTF-8 character.")
	}
	return bsonval.String(s[start : start+length]), nil
}

func evalSubstrCP(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	s, err := coerceToString(args[0])
	if err != nil {
		return bsonval.Missing, err
	}
	bounds := [2]int{}
	for i, what := range [...]string{"starting index", "length"} {
		v := args[i+1]
		if !v.IsNumber() {
			return bsonval.Missing, mongoerr.New(mongoerr.Code(34450+2*i),
				"$substrCP: %s must be a numeric type (is BSON type %s)", what, v.Type())
		}
		var ok bool
		if bounds[i], ok = asInt32(v); !ok {
			return bsonval.Missing, mongoerr.New(mongoerr.Code(34451+2*i),
				"$substrCP: %s cannot be represented as a 32-bit integral value: %s", what, bsonval.Format(v))
		}
	}
	start, length := bounds[0], bounds[1]
	switch {
	case length < 0:
		return bsonval.Missing, mongoerr.New(34454, "$substrCP: length must be a nonnegative integer.")
	case start < 0:
		return bsonval.Missing, mongoerr.New(34455, "$substrCP: the starting index must be nonnegative integer.")
	}
	b := bsonval.String(s).Bytes()
	from := codePointOffset(b, start)
	to := from + codePointOffset(b[from:], length)
	return bsonval.String(s[from:to]), nil
}
