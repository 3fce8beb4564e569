package bsonval

import (
	"encoding/binary"
	"math"
	"time"
	"unsafe"
)

// Value is one BSON value. The zero Value is missing.
//
// Invariant: num holds the bits of int32 (sign-extended), int64, double, bool
// (0 or 1), date (milliseconds), timestamp and binary's subtype; data holds the
// rest, without length prefixes and terminating NULs of strings: string, code
// and symbol text; a whole document or array; binary's payload; 12 bytes of
// ObjectId; 16 of decimal128; pattern NUL options NUL of a regex; the raw value
// of DBPointer and code with scope.
type Value struct {
	data []byte
	num  uint64
	typ  Type
}

// Commonly used values.
var (
	Missing   = Value{}
	Null      = Value{typ: TypeNull}
	Undefined = Value{typ: TypeUndefined}
	True      = Value{typ: TypeBool, num: 1}
	False     = Value{typ: TypeBool}
	MinKey    = Value{typ: TypeMinKey}
	MaxKey    = Value{typ: TypeMaxKey}
)

// Int32 makes an int32.
func Int32(v int32) Value { return Value{typ: TypeInt32, num: uint64(int64(v))} }

// Int64 makes an int64.
func Int64(v int64) Value { return Value{typ: TypeInt64, num: uint64(v)} }

// Double makes a double.
func Double(v float64) Value { return Value{typ: TypeDouble, num: math.Float64bits(v)} }

// Bool makes a boolean.
func Bool(v bool) Value {
	if v {
		return True
	}
	return False
}

// String makes a string. The Value keeps s's bytes.
func String(s string) Value { return Value{typ: TypeString, data: unsafeBytes(s)} }

// StringBytes makes a string of b's bytes, which it keeps.
func StringBytes(b []byte) Value { return Value{typ: TypeString, data: b} }

// Document makes a document value that keeps d.
func Document(d Doc) Value { return Value{typ: TypeDocument, data: d} }

// Array makes an array value that keeps the bytes of a.
func Array(a Doc) Value { return Value{typ: TypeArray, data: a} }

// Date makes a date from milliseconds since 1970 (UTC).
func Date(ms int64) Value { return Value{typ: TypeDate, num: uint64(ms)} }

// DateTime makes a date from a time, cut to milliseconds.
func DateTime(t time.Time) Value { return Date(t.UnixMilli()) }

// Timestamp makes a timestamp from seconds and increment.
func Timestamp(t, i uint32) Value {
	return Value{typ: TypeTimestamp, num: uint64(t)<<32 | uint64(i)}
}

// TimestampBits makes a timestamp from its 64 bits (seconds high).
func TimestampBits(v uint64) Value { return Value{typ: TypeTimestamp, num: v} }

// ObjectID makes an ObjectId of 12 bytes, which it keeps.
func ObjectID(id []byte) Value { return Value{typ: TypeObjectID, data: id[:12:12]} }

// Binary makes binary data, keeping b. For subtype 2 the old inner length is
// added when the value is written.
func Binary(subtype byte, b []byte) Value {
	return Value{typ: TypeBinary, num: uint64(subtype), data: b}
}

// Regex makes a regular expression. Neither part may hold a NUL.
func Regex(pattern, options string) Value {
	b := make([]byte, 0, len(pattern)+len(options)+2)
	b = append(append(b, pattern...), 0)
	b = append(append(b, options...), 0)
	return Value{typ: TypeRegex, data: b}
}

// Code makes JavaScript code without scope.
func Code(s string) Value { return Value{typ: TypeCode, data: unsafeBytes(s)} }

// Symbol makes a (deprecated) symbol.
func Symbol(s string) Value { return Value{typ: TypeSymbol, data: unsafeBytes(s)} }

// CodeScope makes JavaScript code with a scope document.
func CodeScope(code string, scope Doc) Value {
	n := 4 + 4 + len(code) + 1 + len(scope)
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, n), uint32(n))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(code)+1))
	b = append(append(b, code...), 0)
	return Value{typ: TypeCodeScope, data: append(b, scope...)}
}

// DBPointer makes a (deprecated) DBPointer.
func DBPointer(ns string, id []byte) Value {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(ns)+1))
	b = append(append(b, ns...), 0)
	return Value{typ: TypeDBPointer, data: append(b, id[:12]...)}
}

// DecimalValue makes a decimal128.
func DecimalValue(d Decimal) Value {
	b := make([]byte, 16)
	binary.LittleEndian.PutUint64(b, d.L)
	binary.LittleEndian.PutUint64(b[8:], d.H)
	return Value{typ: TypeDecimal128, data: b}
}

// Type returns the value's type; TypeMissing for a missing value.
func (v Value) Type() Type { return v.typ }

// IsMissing tells the absence of a value.
func (v Value) IsMissing() bool { return v.typ == TypeMissing }

// IsNullish tells missing, null and undefined: what the aggregation language
// calls null.
func (v Value) IsNullish() bool {
	return v.typ == TypeMissing || v.typ == TypeNull || v.typ == TypeUndefined
}

// IsNumber tells the four numeric types.
func (v Value) IsNumber() bool { return v.typ.IsNumber() }

// Int32 returns an int32's value.
func (v Value) Int32() int32 { return int32(v.num) }

// Int64 returns the value of an int64 or int32, a date's milliseconds or a timestamp's bits.
func (v Value) Int64() int64 { return int64(v.num) }

// Double returns a double's value.
func (v Value) Double() float64 { return math.Float64frombits(v.num) }

// Bool returns a boolean's value.
func (v Value) Bool() bool { return v.num != 0 }

// Bytes returns the text of a string, code or symbol, a whole document or
// array, an ObjectId's 12 bytes or binary's payload (without the inner length
// of subtype 2). The slice belongs to the value's document.
func (v Value) Bytes() []byte { return v.data }

// Str returns the text of a string, code or symbol without copying: it is valid
// as long as the value's bytes do not change.
func (v Value) Str() string { return unsafe.String(unsafe.SliceData(v.data), len(v.data)) }

// Doc returns the bytes of a document or array.
func (v Value) Doc() Doc { return Doc(v.data) }

// BinarySubtype returns binary's subtype.
func (v Value) BinarySubtype() byte { return byte(v.num) }

// Time returns a date as a time in UTC.
func (v Value) Time() time.Time { return time.UnixMilli(int64(v.num)).UTC() }

// TimestampParts returns a timestamp's seconds and increment.
func (v Value) TimestampParts() (t, i uint32) { return uint32(v.num >> 32), uint32(v.num) }

// Decimal returns a decimal128's value.
func (v Value) Decimal() Decimal {
	return Decimal{L: binary.LittleEndian.Uint64(v.data), H: binary.LittleEndian.Uint64(v.data[8:])}
}

// RegexParts returns a regular expression's pattern and options.
func (v Value) RegexParts() (pattern, options string) {
	s := v.Str()
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			return s[:i], s[i+1 : len(s)-1]
		}
	}
	return s, ""
}

// CodeScopeParts returns the code and scope of code with scope.
func (v Value) CodeScopeParts() (code string, scope Doc) {
	n := int(binary.LittleEndian.Uint32(v.data[4:]))
	return unsafe.String(unsafe.SliceData(v.data[8:]), n-1), Doc(v.data[8+n:])
}

// DBPointerParts returns a DBPointer's namespace and id.
func (v Value) DBPointerParts() (ns string, id []byte) {
	n := int(binary.LittleEndian.Uint32(v.data))
	return unsafe.String(unsafe.SliceData(v.data[4:]), n-1), v.data[4+n:]
}

// Truthy is the value as a boolean in the aggregation language: false, null,
// undefined, missing and numbers equal to zero are false
// (https://www.mongodb.com/docs/manual/reference/operator/aggregation/toBool/).
func (v Value) Truthy() bool {
	switch v.typ {
	case TypeMissing, TypeNull, TypeUndefined:
		return false
	case TypeBool, TypeInt32, TypeInt64:
		return v.num != 0
	case TypeDouble:
		return v.Double() != 0
	case TypeDecimal128:
		return !v.Decimal().IsZero()
	}
	return true
}

// Clone returns the value with bytes of its own.
func (v Value) Clone() Value {
	if v.data != nil {
		v.data = append([]byte(nil), v.data...)
	}
	return v
}

func unsafeBytes(s string) []byte {
	if s == "" {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}
