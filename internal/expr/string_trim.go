package expr

import (
	"strings"
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// trimDefault is what $trim and its relatives remove unless told otherwise
// (https://www.mongodb.com/docs/manual/reference/operator/aggregation/trim/).
const trimDefault = "\x00 \t\n\v\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"

func trimSignature(name string, left, right bool) *signature {
	return &signature{notObject: 50696, unknown: 50694, args: []argument{{"input", 50695}, {"chars", 0}},
		fn: func(_ *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
			in, chars := args[0], args[1]
			switch {
			case in.IsNullish():
				return bsonval.Null, nil
			case in.Type() != bsonval.TypeString:
				return bsonval.Missing, mongoerr.New(50699, "%s requires its input to be a string, got %s (of type %s) instead.",
					name, bsonval.Format(in), in.Type())
			case !given.has(1):
				chars = bsonval.String(trimDefault)
			case chars.IsNullish():
				return bsonval.Null, nil
			case chars.Type() != bsonval.TypeString:
				return bsonval.Missing, mongoerr.New(50700, "%s requires 'chars' to be a string, got %s (of type %s) instead.",
					name, bsonval.Format(chars), chars.Type())
			}
			return bsonval.String(trimChars(in.Str(), chars.Str(), left, right)), nil
		}}
}

// trimChars cuts code points out of set off the ends of s.
func trimChars(s, set string, left, right bool) string {
	for left && s != "" {
		_, size := utf8.DecodeRuneInString(s)
		if !hasCodePoint(set, s[:size]) {
			break
		}
		s = s[size:]
	}
	for right && s != "" {
		_, size := utf8.DecodeLastRuneInString(s)
		if !hasCodePoint(set, s[len(s)-size:]) {
			break
		}
		s = s[:len(s)-size]
	}
	return s
}

// hasCodePoint says whether a code point, given by its bytes, is in the set.
func hasCodePoint(set, r string) bool {
	for set != "" {
		i := strings.Index(set, r)
		if i < 0 {
			return false
		}
		if !continues(set[i]) || len(r) > 1 {
			return true
		}
		set = set[i+1:]
	}
	return false
}
