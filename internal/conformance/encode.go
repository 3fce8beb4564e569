package conformance

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// BSON element types.
const (
	tDouble = iota + 1
	tString
	tDocument
	tArray
	tBinary
	tUndefined
	tObjectID
	tBool
	tDate
	tNull
	tRegex
	tDBPointer
	tJavaScript
	tSymbol
	tCodeScope
	tInt32
	tTimestamp
	tInt64
	tDecimal

	tMaxKey = 0x7f
	tMinKey = 0xff
)

// appendDocument appends the BSON of a document. Keys are written as they are, repeated ones too: the corpus may ask
// for documents that a driver refuses to build.
func appendDocument(b []byte, d bson.D) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	var err error
	for _, e := range d {
		if b, err = appendElement(b, e.Key, e.Value); err != nil {
			return nil, err
		}
	}
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b, nil
}

func appendElement(b []byte, key string, v any) ([]byte, error) {
	if strings.IndexByte(key, 0) >= 0 {
		return nil, fmt.Errorf("key %q contains a zero byte", key)
	}
	at := len(b)
	b = append(b, 0)
	b = append(b, key...)
	b = append(b, 0)
	t, b, err := appendValue(b, v)
	if err != nil {
		return nil, err
	}
	b[at] = t
	return b, nil
}

func appendValue(b []byte, v any) (byte, []byte, error) {
	le := binary.LittleEndian
	switch v := v.(type) {
	case nil:
		return tNull, b, nil
	case float64:
		return tDouble, le.AppendUint64(b, math.Float64bits(v)), nil
	case string:
		return tString, appendString(b, v), nil
	case bson.D:
		b, err := appendDocument(b, v)
		return tDocument, b, err
	case bson.A:
		b, err := appendArray(b, v)
		return tArray, b, err
	case bson.Binary:
		return tBinary, appendBinary(b, v), nil
	case bson.Undefined:
		return tUndefined, b, nil
	case bson.ObjectID:
		return tObjectID, append(b, v[:]...), nil
	case bool:
		if v {
			return tBool, append(b, 1), nil
		}
		return tBool, append(b, 0), nil
	case bson.DateTime:
		return tDate, le.AppendUint64(b, uint64(v)), nil
	case bson.Regex:
		if strings.IndexByte(v.Pattern+v.Options, 0) >= 0 {
			return 0, nil, fmt.Errorf("regular expression %q contains a zero byte", v.Pattern)
		}
		b = append(append(b, v.Pattern...), 0)
		return tRegex, append(append(b, v.Options...), 0), nil
	case bson.JavaScript:
		return tJavaScript, appendString(b, string(v)), nil
	case bson.Symbol:
		return tSymbol, appendString(b, string(v)), nil
	case bson.DBPointer:
		return tDBPointer, append(appendString(b, v.DB), v.Pointer[:]...), nil
	case bson.CodeWithScope:
		b, err := appendCodeScope(b, v)
		return tCodeScope, b, err
	case int32:
		return tInt32, le.AppendUint32(b, uint32(v)), nil
	case bson.Timestamp:
		return tTimestamp, le.AppendUint32(le.AppendUint32(b, v.I), v.T), nil
	case int64:
		return tInt64, le.AppendUint64(b, uint64(v)), nil
	case bson.Decimal128:
		high, low := v.GetBytes()
		return tDecimal, le.AppendUint64(le.AppendUint64(b, low), high), nil
	case bson.MinKey:
		return tMinKey, b, nil
	case bson.MaxKey:
		return tMaxKey, b, nil
	}
	return 0, nil, fmt.Errorf("a %s cannot be sent", typeName(v))
}

func appendArray(b []byte, a bson.A) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	var err error
	for i, v := range a {
		if b, err = appendElement(b, strconv.Itoa(i), v); err != nil {
			return nil, err
		}
	}
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s)+1))
	return append(append(b, s...), 0)
}

// appendBinary writes binary data; the old subtype 2 carries its length a second time.
func appendBinary(b []byte, v bson.Binary) []byte {
	n := uint32(len(v.Data))
	if v.Subtype == bson.TypeBinaryBinaryOld {
		b = binary.LittleEndian.AppendUint32(b, n+4)
		b = append(b, v.Subtype)
		b = binary.LittleEndian.AppendUint32(b, n)
		return append(b, v.Data...)
	}
	b = binary.LittleEndian.AppendUint32(b, n)
	b = append(b, v.Subtype)
	return append(b, v.Data...)
}

func appendCodeScope(b []byte, v bson.CodeWithScope) ([]byte, error) {
	scope, ok := v.Scope.(bson.D)
	if !ok {
		return nil, fmt.Errorf("code with a scope of type %T", v.Scope)
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = appendString(b, string(v.Code))
	b, err := appendDocument(b, scope)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b, nil
}
