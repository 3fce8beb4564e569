package importer

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// converters is the table of field types: text to value.
var converters = map[string]func(string) (any, error){
	"auto":     func(s string) (any, error) { return autoValue(s), nil },
	"string":   func(s string) (any, error) { return s, nil },
	"int":      toInt,
	"long":     toLong,
	"double":   toDouble,
	"decimal":  toDecimal,
	"bool":     toBool,
	"date":     toDate,
	"objectid": toObjectID,
}

func toInt(s string) (any, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not a 32-bit integer", s)
	}
	return int32(n), nil
}

func toLong(s string) (any, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a 64-bit integer", s)
	}
	return n, nil
}

func toDouble(s string) (any, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a double", s)
	}
	return f, nil
}

func toDecimal(s string) (any, error) {
	d, err := bson.ParseDecimal128(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a decimal", s)
	}
	return d, nil
}

func toBool(s string) (any, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "1", "t", "y":
		return true, nil
	case "false", "no", "0", "f", "n":
		return false, nil
	}
	return nil, fmt.Errorf("%q is not a boolean", s)
}

func toObjectID(s string) (any, error) {
	id, err := bson.ObjectIDFromHex(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not an ObjectId", s)
	}
	return id, nil
}

// layouts are the ISO 8601 forms that count as dates; one without a zone is UTC.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
}

func toDate(s string) (any, error) {
	if len(s) >= len("2006-01-02") && s[4] == '-' && s[7] == '-' {
		for _, layout := range layouts {
			if t, err := time.Parse(layout, s); err == nil {
				return bson.NewDateTimeFromTime(t), nil
			}
		}
	}
	return nil, fmt.Errorf("%q is not an ISO 8601 date", s)
}

// autoValue gives text the type it looks like. A number keeps being text when writing it back would lose something
// that people care about: a leading zero or plus sign, or digits beyond a double's.
func autoValue(s string) any {
	if s == "" {
		return s
	}
	switch s {
	case "true", "TRUE", "True":
		return true
	case "false", "FALSE", "False":
		return false
	}
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || len(digits) > 1 && digits[0] == '0' && digits[1] != '.' {
		return s
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n == 0 && s[0] == '-' {
			return s
		}
		if n >= math.MinInt32 && n <= math.MaxInt32 {
			return int32(n)
		}
		return n
	}
	if d, err := toDate(s); err == nil {
		return d
	}
	if strings.Trim(digits, "0123456789.eE+-") == "" && strings.ContainsAny(digits, ".eE") {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f
		}
	}
	return s
}
