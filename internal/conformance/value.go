package conformance

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Values are Go values in the vocabulary of the driver's bson package: bson.D, bson.A, string, int32, int64, float64,
// bool, nil (null) and the bson types for the rest. Two more kinds exist only in the corpus.

// approx matches a number within a tolerance.
type approx struct {
	value, tolerance float64
}

// cursorRef stands for the cursor id in the reply to an earlier step.
type cursorRef int

// typeNames gives MongoDB's alias of each kind of value.
func typeName(v any) string {
	switch v := v.(type) {
	case float64:
		return "double"
	case string:
		return "string"
	case bson.D:
		return "object"
	case bson.A:
		return "array"
	case bson.Binary:
		return "binData"
	case bson.Undefined:
		return "undefined"
	case bson.ObjectID:
		return "objectId"
	case bool:
		return "bool"
	case bson.DateTime:
		return "date"
	case nil:
		return "null"
	case bson.Regex:
		return "regex"
	case bson.DBPointer:
		return "dbPointer"
	case bson.JavaScript:
		return "javascript"
	case bson.Symbol:
		return "symbol"
	case bson.CodeWithScope:
		return "javascriptWithScope"
	case int32:
		return "int"
	case bson.Timestamp:
		return "timestamp"
	case int64:
		return "long"
	case bson.Decimal128:
		return "decimal"
	case bson.MinKey:
		return "minKey"
	case bson.MaxKey:
		return "maxKey"
	case approx:
		return "approximate number"
	case cursorRef:
		return "cursor reference"
	default:
		return fmt.Sprintf("%T", v)
	}
}

// isNumber says whether v has one of the four numeric types.
func isNumber(v any) bool {
	switch v.(type) {
	case int32, int64, float64, bson.Decimal128:
		return true
	}
	return false
}

// isNaN says whether v is a NaN, double or decimal.
func isNaN(v any) bool {
	switch v := v.(type) {
	case float64:
		return math.IsNaN(v)
	case bson.Decimal128:
		return v.IsNaN()
	}
	return false
}

// number returns the numeric value of v exactly. Infinities are the returned sign with a nil value; ok is false for
// NaN and for everything that is not a number.
func number(v any) (r *big.Rat, inf int, ok bool) {
	switch v := v.(type) {
	case int32:
		return new(big.Rat).SetInt64(int64(v)), 0, true
	case int64:
		return new(big.Rat).SetInt64(v), 0, true
	case float64:
		if math.IsNaN(v) {
			return nil, 0, false
		}
		if math.IsInf(v, 0) {
			return nil, int(math.Copysign(1, v)), true
		}
		return new(big.Rat).SetFloat64(v), 0, true
	case bson.Decimal128:
		if v.IsNaN() {
			return nil, 0, false
		}
		if inf := v.IsInf(); inf != 0 {
			return nil, inf, true
		}
		r, ok := new(big.Rat).SetString(v.String())
		return r, 0, ok
	}
	return nil, 0, false
}

// compareOrdered orders two numbers by value, or two dates, or two timestamps. ok is false for any other pair.
func compareOrdered(a, b any) (c int, ok bool) {
	switch x := a.(type) {
	case bson.DateTime:
		y, ok := b.(bson.DateTime)
		return cmp.Compare(int64(x), int64(y)), ok
	case bson.Timestamp:
		y, ok := b.(bson.Timestamp)
		return x.Compare(y), ok
	}
	x, xinf, ok := number(a)
	if !ok {
		return 0, false
	}
	y, yinf, ok := number(b)
	if !ok {
		return 0, false
	}
	if xinf != 0 || yinf != 0 {
		return xinf - yinf, true
	}
	return x.Cmp(y), true
}

// isOne says whether v is what MongoDB puts at "ok" of a successful reply.
func isOne(v any) bool {
	switch v := v.(type) {
	case float64:
		return v == 1
	case int32:
		return v == 1
	case int64:
		return v == 1
	case bool:
		return v
	}
	return false
}

// field returns the value of a key of a document.
func field(d bson.D, key string) (any, bool) {
	for i := range d {
		if d[i].Key == key {
			return d[i].Value, true
		}
	}
	return nil, false
}

// at follows a dotted path; a numeric component indexes an array. The empty path is the value itself.
func at(v any, path string) (any, bool) {
	if path == "" {
		return v, true
	}
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case bson.D:
			f, ok := field(x, part)
			if !ok {
				return nil, false
			}
			v = f
		case bson.A:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// show renders a value as compact Extended JSON, cut after limit bytes (0 is no limit).
func show(v any, limit int) string {
	var b bytes.Buffer
	appendShown(&b, v)
	s := b.String()
	if limit > 0 && len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

func appendShown(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bson.D:
		b.WriteByte('{')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(b, "%q:", e.Key)
			appendShown(b, e.Value)
		}
		b.WriteByte('}')
	case bson.A:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			appendShown(b, e)
		}
		b.WriteByte(']')
	case string:
		fmt.Fprintf(b, "%q", v)
	case bool:
		fmt.Fprint(b, v)
	case int32:
		fmt.Fprintf(b, "int(%d)", v)
	case int64:
		fmt.Fprintf(b, "long(%d)", v)
	case float64:
		b.WriteString("double(" + strconv.FormatFloat(v, 'g', -1, 64) + ")")
	case bson.Decimal128:
		b.WriteString("decimal(" + v.String() + ")")
	case bson.ObjectID:
		b.WriteString("oid(" + v.Hex() + ")")
	case bson.DateTime:
		b.WriteString("date(" + v.Time().UTC().Format("2006-01-02T15:04:05.000Z") + ")")
	case bson.Timestamp:
		fmt.Fprintf(b, "timestamp(%d,%d)", v.T, v.I)
	case bson.Binary:
		fmt.Fprintf(b, "binary(%02x,%x)", v.Subtype, v.Data)
	case bson.Regex:
		fmt.Fprintf(b, "regex(/%s/%s)", v.Pattern, v.Options)
	case bson.JavaScript:
		fmt.Fprintf(b, "code(%q)", string(v))
	case bson.CodeWithScope:
		fmt.Fprintf(b, "code(%q,", string(v.Code))
		appendShown(b, v.Scope)
		b.WriteByte(')')
	case approx:
		fmt.Fprintf(b, "≈%g±%g", v.value, v.tolerance)
	case cursorRef:
		fmt.Fprintf(b, "cursorId(%d)", int(v))
	case bson.MinKey, bson.MaxKey, bson.Undefined:
		b.WriteString(typeName(v))
	default:
		fmt.Fprintf(b, "%s(%v)", typeName(v), v)
	}
}
