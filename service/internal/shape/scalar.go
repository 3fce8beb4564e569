package shape

import (
	"math"
	"reflect"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// scalar is how the values of a Go type are read and written without the bson package.
type scalar struct {
	accepts, produces []bsonval.Type
	// set stores a value of an accepted type.
	set func(v bsonval.Value, dst reflect.Value) *fault
	// get is the value to write.
	get func(v reflect.Value, minSize bool) bsonval.Value
}

var numbers = []bsonval.Type{bsonval.TypeInt64, bsonval.TypeInt32, bsonval.TypeDecimal128, bsonval.TypeDouble}

var (
	boolScalar = scalar{
		accepts: []bsonval.Type{bsonval.TypeBool}, produces: []bsonval.Type{bsonval.TypeBool},
		set: func(v bsonval.Value, dst reflect.Value) *fault { dst.SetBool(v.Bool()); return nil },
		get: func(v reflect.Value, _ bool) bsonval.Value { return bsonval.Bool(v.Bool()) },
	}
	stringScalar = scalar{
		accepts: []bsonval.Type{bsonval.TypeString}, produces: []bsonval.Type{bsonval.TypeString},
		set: func(v bsonval.Value, dst reflect.Value) *fault { dst.SetString(v.Str()); return nil },
		get: func(v reflect.Value, _ bool) bsonval.Value { return bsonval.String(v.String()) },
	}
	// shortScalar is for integers that fit an int32, wideScalar for int64, intScalar for int, which the driver writes as
	// short as it can.
	shortScalar = scalar{accepts: numbers, produces: []bsonval.Type{bsonval.TypeInt32}, set: setInt, get: func(v reflect.Value, _ bool) bsonval.Value {
		return bsonval.Int32(int32(v.Int()))
	}}
	wideScalar = scalar{accepts: numbers, produces: []bsonval.Type{bsonval.TypeInt32, bsonval.TypeInt64}, set: setInt, get: func(v reflect.Value, minSize bool) bsonval.Value {
		return integer(v.Int(), minSize)
	}}
	intScalar = scalar{accepts: numbers, produces: []bsonval.Type{bsonval.TypeInt32, bsonval.TypeInt64}, set: setInt, get: func(v reflect.Value, _ bool) bsonval.Value {
		return integer(v.Int(), true)
	}}
	shortUintScalar = scalar{accepts: numbers, produces: []bsonval.Type{bsonval.TypeInt32}, set: setUint, get: func(v reflect.Value, _ bool) bsonval.Value {
		return bsonval.Int32(int32(v.Uint()))
	}}
	uintScalar = scalar{accepts: numbers, produces: []bsonval.Type{bsonval.TypeInt32, bsonval.TypeInt64}, set: setUint, get: func(v reflect.Value, minSize bool) bsonval.Value {
		if v.Uint() > math.MaxInt64 {
			return bsonval.Missing
		}
		return integer(int64(v.Uint()), minSize)
	}}
	floatScalar = scalar{
		accepts: numbers, produces: []bsonval.Type{bsonval.TypeDouble},
		set: func(v bsonval.Value, dst reflect.Value) *fault {
			f := v.AsDouble()
			if dst.OverflowFloat(f) {
				return outOfRange(v, "<=", math.MaxFloat32)
			}
			dst.SetFloat(f)
			return nil
		},
		get: func(v reflect.Value, _ bool) bsonval.Value { return bsonval.Double(v.Float()) },
	}
	bytesScalar = scalar{
		accepts: []bsonval.Type{bsonval.TypeBinary}, produces: []bsonval.Type{bsonval.TypeBinary, bsonval.TypeNull},
		set: func(v bsonval.Value, dst reflect.Value) *fault { dst.SetBytes(v.Bytes()); return nil },
		get: func(v reflect.Value, _ bool) bsonval.Value {
			if v.IsNil() {
				return bsonval.Null
			}
			return bsonval.Binary(0, v.Bytes())
		},
	}
	timeScalar = scalar{
		accepts: []bsonval.Type{bsonval.TypeDate}, produces: []bsonval.Type{bsonval.TypeDate},
		set: func(v bsonval.Value, dst reflect.Value) *fault {
			*dst.Addr().Interface().(*time.Time) = time.UnixMilli(v.Int64()).UTC()
			return nil
		},
		get: func(v reflect.Value, _ bool) bsonval.Value {
			t, ok := v.Interface().(time.Time)
			if !ok {
				return bsonval.Missing
			}
			return bsonval.Date(t.UnixMilli())
		},
	}
)

// scalarOf returns how values of a type are read and written, nil if it is no scalar.
func scalarOf(t reflect.Type) *scalar {
	if t == typeTime {
		return &timeScalar
	}
	switch t.Kind() {
	case reflect.Bool:
		return &boolScalar
	case reflect.String:
		return &stringScalar
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return &shortScalar
	case reflect.Int:
		return &intScalar
	case reflect.Int64:
		return &wideScalar
	case reflect.Uint8, reflect.Uint16:
		return &shortUintScalar
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		return &uintScalar
	case reflect.Float32, reflect.Float64:
		return &floatScalar
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && t.Elem().PkgPath() == "" {
			return &bytesScalar
		}
	}
	return nil
}

// integer is n as an int32 if that is asked for and possible.
func integer(n int64, short bool) bsonval.Value {
	if short && n >= math.MinInt32 && n <= math.MaxInt32 {
		return bsonval.Int32(int32(n))
	}
	return bsonval.Int64(n)
}

// wholeNumber reads a number that has no fraction and fits an int64.
func wholeNumber(v bsonval.Value) (int64, *fault) {
	n, ok := v.AsInt64()
	if !ok {
		return 0, &fault{code: badValue, text: "must be a whole number of 64 bits, actual value '" + bsonval.Format(v) + "'"}
	}
	return n, nil
}

func setInt(v bsonval.Value, dst reflect.Value) *fault {
	n, f := wholeNumber(v)
	if f != nil {
		return f
	}
	if dst.OverflowInt(n) {
		bits := dst.Type().Bits()
		if n < 0 {
			return outOfRange(v, ">=", int64(-1)<<(bits-1))
		}
		return outOfRange(v, "<=", int64(1)<<(bits-1)-1)
	}
	dst.SetInt(n)
	return nil
}

func setUint(v bsonval.Value, dst reflect.Value) *fault {
	n, f := wholeNumber(v)
	if f != nil {
		return f
	}
	switch {
	case n < 0:
		return outOfRange(v, ">=", 0)
	case dst.OverflowUint(uint64(n)):
		return outOfRange(v, "<=", uint64(1)<<dst.Type().Bits()-1)
	}
	dst.SetUint(uint64(n))
	return nil
}

// libraryTypes are the types of the bson package, and the BSON types they stand for; a missing type means any.
var libraryTypes = map[reflect.Type][]bsonval.Type{
	reflect.TypeFor[bson.ObjectID]():      {bsonval.TypeObjectID},
	reflect.TypeFor[bson.Decimal128]():    {bsonval.TypeDecimal128},
	reflect.TypeFor[bson.DateTime]():      {bsonval.TypeDate},
	reflect.TypeFor[bson.Timestamp]():     {bsonval.TypeTimestamp},
	reflect.TypeFor[bson.Regex]():         {bsonval.TypeRegex},
	reflect.TypeFor[bson.Binary]():        {bsonval.TypeBinary},
	reflect.TypeFor[bson.JavaScript]():    {bsonval.TypeCode},
	reflect.TypeFor[bson.CodeWithScope](): {bsonval.TypeCodeScope},
	reflect.TypeFor[bson.Symbol]():        {bsonval.TypeSymbol},
	reflect.TypeFor[bson.DBPointer]():     {bsonval.TypeDBPointer},
	reflect.TypeFor[bson.MinKey]():        {bsonval.TypeMinKey},
	reflect.TypeFor[bson.MaxKey]():        {bsonval.TypeMaxKey},
	reflect.TypeFor[bson.RawArray]():      {bsonval.TypeArray},
	reflect.TypeFor[bson.RawValue]():      {bsonval.TypeMissing},
}
