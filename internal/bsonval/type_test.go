package bsonval

import "testing"

func TestTypeNamesAndNumbers(t *testing.T) {
	for _, c := range []struct {
		t      Type
		name   string
		number int64
	}{
		{TypeDouble, "double", 1}, {TypeString, "string", 2}, {TypeDocument, "object", 3}, {TypeArray, "array", 4},
		{TypeBinary, "binData", 5}, {TypeUndefined, "undefined", 6}, {TypeObjectID, "objectId", 7}, {TypeBool, "bool", 8},
		{TypeDate, "date", 9}, {TypeNull, "null", 10}, {TypeRegex, "regex", 11}, {TypeDBPointer, "dbPointer", 12},
		{TypeCode, "javascript", 13}, {TypeSymbol, "symbol", 14}, {TypeCodeScope, "javascriptWithScope", 15}, {TypeInt32, "int", 16},
		{TypeTimestamp, "timestamp", 17}, {TypeInt64, "long", 18}, {TypeDecimal128, "decimal", 19}, {TypeMinKey, "minKey", -1}, {TypeMaxKey, "maxKey", 127},
	} {
		if c.t.String() != c.name {
			t.Errorf("%d is called %s, want %s", c.t, c.t, c.name)
		}
		if got, ok := TypeByName(c.name); !ok || got != c.t {
			t.Errorf("%s is %v", c.name, got)
		}
		if got, ok := TypeByNumber(c.number); !ok || got != c.t {
			t.Errorf("%d is %v", c.number, got)
		}
	}
	for _, n := range []int64{0, 20, 126, 128, 255, -2, 256 + 1} {
		if got, ok := TypeByNumber(n); ok {
			t.Errorf("%d is %v", n, got)
		}
	}
	if _, ok := TypeByName("missing"); ok {
		t.Error("missing is no type a user may name")
	}
}

func TestTruthy(t *testing.T) {
	for _, v := range []Value{Missing, Null, Undefined, False, Int32(0), Int64(0), Double(0), mustDecimal("-0.00")} {
		if v.Truthy() {
			t.Errorf("%s is true", Format(v))
		}
	}
	for _, v := range []Value{True, Int32(-1), Double(0.5), mustDecimal("NaN"), String(""), Array(EmptyDoc), Date(0), Document(EmptyDoc)} {
		if !v.Truthy() {
			t.Errorf("%s is false", Format(v))
		}
	}
}
