package bsonval

// Type is a BSON type code, as the element's first byte has it. The zero Type
// is "missing".
type Type byte

// The BSON types (https://bsonspec.org).
const (
	TypeMissing    Type = 0x00
	TypeDouble     Type = 0x01
	TypeString     Type = 0x02
	TypeDocument   Type = 0x03
	TypeArray      Type = 0x04
	TypeBinary     Type = 0x05
	TypeUndefined  Type = 0x06
	TypeObjectID   Type = 0x07
	TypeBool       Type = 0x08
	TypeDate       Type = 0x09
	TypeNull       Type = 0x0A
	TypeRegex      Type = 0x0B
	TypeDBPointer  Type = 0x0C
	TypeCode       Type = 0x0D
	TypeSymbol     Type = 0x0E
	TypeCodeScope  Type = 0x0F
	TypeInt32      Type = 0x10
	TypeTimestamp  Type = 0x11
	TypeInt64      Type = 0x12
	TypeDecimal128 Type = 0x13
	TypeMaxKey     Type = 0x7F
	TypeMinKey     Type = 0xFF
)

// typeNames are the aliases of the $type operator.
var typeNames = map[Type]string{
	TypeMissing: "missing", TypeDouble: "double", TypeString: "string", TypeDocument: "object",
	TypeArray: "array", TypeBinary: "binData", TypeUndefined: "undefined", TypeObjectID: "objectId",
	TypeBool: "bool", TypeDate: "date", TypeNull: "null", TypeRegex: "regex",
	TypeDBPointer: "dbPointer", TypeCode: "javascript", TypeSymbol: "symbol",
	TypeCodeScope: "javascriptWithScope", TypeInt32: "int", TypeTimestamp: "timestamp",
	TypeInt64: "long", TypeDecimal128: "decimal", TypeMaxKey: "maxKey", TypeMinKey: "minKey",
}

// String returns the type's alias as the $type operator knows it.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return "unknown"
}

// TypeByName returns the type with a $type alias ("int", "objectId", …).
func TypeByName(name string) (Type, bool) {
	for t, s := range typeNames {
		if s == name && t != TypeMissing {
			return t, true
		}
	}
	return TypeMissing, false
}

// TypeByNumber returns the type with the number that $type and the manual give
// it: the type byte, with MinKey as -1.
func TypeByNumber(n int64) (Type, bool) {
	if n == -1 {
		return TypeMinKey, true
	}
	if n <= 0 || n > 0x7F {
		return TypeMissing, false
	}
	_, ok := typeNames[Type(n)]
	return Type(n), ok
}

// IsNumber tells the four numeric types.
func (t Type) IsNumber() bool {
	return t == TypeInt32 || t == TypeDouble || t == TypeInt64 || t == TypeDecimal128
}

// Order is the type's place in the comparison order: values of types with
// different Order compare by it alone. Missing and undefined share a place, so
// do the numbers, and string and symbol
// (https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/).
func (t Type) Order() int {
	switch t {
	case TypeMinKey:
		return -1
	case TypeMissing, TypeUndefined:
		return 0
	case TypeNull:
		return 5
	case TypeDouble, TypeInt32, TypeInt64, TypeDecimal128:
		return 10
	case TypeString, TypeSymbol:
		return 15
	case TypeDocument:
		return 20
	case TypeArray:
		return 25
	case TypeBinary:
		return 30
	case TypeObjectID:
		return 35
	case TypeBool:
		return 40
	case TypeDate:
		return 45
	case TypeTimestamp:
		return 47
	case TypeRegex:
		return 50
	case TypeDBPointer:
		return 55
	case TypeCode:
		return 60
	case TypeCodeScope:
		return 65
	case TypeMaxKey:
		return 127
	}
	return 126
}
