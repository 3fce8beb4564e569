package conformance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

var errTruncated = errors.New("malformed BSON: truncated")

// decodeDocument decodes the document at the start of b, checking every length, and returns the rest of b. Strings
// keep their bytes and repeated keys are kept, so that what is compared is what was sent.
func decodeDocument(b []byte) (bson.D, []byte, error) {
	return decodeDocumentAt(b, 0)
}

// frame cuts a length-prefixed, zero-terminated body of elements off b.
func frame(b []byte) (body, rest []byte, err error) {
	if len(b) < 5 {
		return nil, nil, errTruncated
	}
	n := binary.LittleEndian.Uint32(b)
	if n < 5 || uint64(n) > uint64(len(b)) || b[n-1] != 0 {
		return nil, nil, fmt.Errorf("malformed BSON: document length %d of %d bytes", n, len(b))
	}
	return b[4 : n-1], b[n:], nil
}

func decodeDocumentAt(b []byte, depth int) (bson.D, []byte, error) {
	body, rest, err := frame(b)
	if err != nil {
		return nil, nil, err
	}
	d := bson.D{}
	for len(body) > 0 {
		var e bson.E
		if e, body, err = decodeElement(body, depth); err != nil {
			return nil, nil, err
		}
		d = append(d, e)
	}
	return d, rest, nil
}

func decodeArray(b []byte, depth int) (bson.A, []byte, error) {
	body, rest, err := frame(b)
	if err != nil {
		return nil, nil, err
	}
	a := bson.A{}
	for len(body) > 0 {
		var e bson.E
		if e, body, err = decodeElement(body, depth); err != nil {
			return nil, nil, err
		}
		a = append(a, e.Value)
	}
	return a, rest, nil
}

func decodeElement(b []byte, depth int) (e bson.E, rest []byte, err error) {
	if depth > maxDepth {
		return e, nil, fmt.Errorf("malformed BSON: nested deeper than %d", maxDepth)
	}
	t := b[0]
	e.Key, rest, err = decodeCString(b[1:])
	if err != nil {
		return e, nil, err
	}
	e.Value, rest, err = decodeValue(t, rest, depth)
	if err != nil {
		return e, nil, fmt.Errorf("%s: %w", e.Key, err)
	}
	return e, rest, nil
}

func decodeCString(b []byte) (string, []byte, error) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", nil, errTruncated
	}
	return string(b[:i]), b[i+1:], nil
}

func decodeString(b []byte) (string, []byte, error) {
	if len(b) < 5 {
		return "", nil, errTruncated
	}
	n := binary.LittleEndian.Uint32(b)
	if n < 1 || uint64(n) > uint64(len(b)-4) || b[4+n-1] != 0 {
		return "", nil, fmt.Errorf("malformed BSON: string length %d of %d bytes", n, len(b))
	}
	return string(b[4 : 4+n-1]), b[4+n:], nil
}

// fixedSize is the number of bytes of the types that have a fixed one.
func fixedSize(t byte) int {
	switch t {
	case tBool:
		return 1
	case tInt32:
		return 4
	case tDouble, tDate, tTimestamp, tInt64:
		return 8
	case tObjectID:
		return 12
	case tDecimal:
		return 16
	}
	return 0
}

func decodeValue(t byte, b []byte, depth int) (any, []byte, error) {
	if n := fixedSize(t); n > 0 {
		if len(b) < n {
			return nil, nil, errTruncated
		}
		v, err := decodeFixed(t, b)
		return v, b[n:], err
	}
	switch t {
	case tNull:
		return nil, b, nil
	case tUndefined:
		return bson.Undefined{}, b, nil
	case tMinKey:
		return bson.MinKey{}, b, nil
	case tMaxKey:
		return bson.MaxKey{}, b, nil
	case tDocument:
		return boxed(decodeDocumentAt(b, depth+1))
	case tArray:
		return boxed(decodeArray(b, depth+1))
	case tString:
		return boxed(decodeString(b))
	case tJavaScript:
		s, rest, err := decodeString(b)
		return bson.JavaScript(s), rest, err
	case tSymbol:
		s, rest, err := decodeString(b)
		return bson.Symbol(s), rest, err
	case tBinary:
		return decodeBinary(b)
	case tRegex:
		return decodeRegex(b)
	case tCodeScope:
		return decodeCodeScope(b, depth)
	case tDBPointer:
		s, rest, err := decodeString(b)
		if err != nil || len(rest) < 12 {
			return nil, nil, errTruncated
		}
		return bson.DBPointer{DB: s, Pointer: bson.ObjectID(rest[:12])}, rest[12:], nil
	}
	return nil, nil, fmt.Errorf("malformed BSON: type %#x", t)
}

// boxed widens a decoded value to any.
func boxed[T any](v T, rest []byte, err error) (any, []byte, error) {
	return v, rest, err
}

func decodeFixed(t byte, b []byte) (any, error) {
	le := binary.LittleEndian
	switch t {
	case tBool:
		if b[0] > 1 {
			return nil, fmt.Errorf("malformed BSON: boolean %d", b[0])
		}
		return b[0] == 1, nil
	case tInt32:
		return int32(le.Uint32(b)), nil
	case tDouble:
		return math.Float64frombits(le.Uint64(b)), nil
	case tDate:
		return bson.DateTime(le.Uint64(b)), nil
	case tTimestamp:
		return bson.Timestamp{I: le.Uint32(b), T: le.Uint32(b[4:])}, nil
	case tInt64:
		return int64(le.Uint64(b)), nil
	case tObjectID:
		return bson.ObjectID(b[:12]), nil
	}
	return bson.NewDecimal128(le.Uint64(b[8:]), le.Uint64(b)), nil
}

func decodeBinary(b []byte) (any, []byte, error) {
	if len(b) < 5 {
		return nil, nil, errTruncated
	}
	n, sub, data := binary.LittleEndian.Uint32(b), b[4], b[5:]
	if uint64(n) > uint64(len(data)) {
		return nil, nil, errTruncated
	}
	data, rest := data[:n], data[n:]
	if sub == bson.TypeBinaryBinaryOld {
		if len(data) < 4 || int64(binary.LittleEndian.Uint32(data)) != int64(len(data)-4) {
			return nil, nil, errors.New("malformed BSON: length inside binary of subtype 2")
		}
		data = data[4:]
	}
	return bson.Binary{Subtype: sub, Data: bytes.Clone(data)}, rest, nil
}

func decodeRegex(b []byte) (any, []byte, error) {
	pattern, rest, err := decodeCString(b)
	if err != nil {
		return nil, nil, err
	}
	options, rest, err := decodeCString(rest)
	return bson.Regex{Pattern: pattern, Options: options}, rest, err
}

func decodeCodeScope(b []byte, depth int) (any, []byte, error) {
	if len(b) < 4 {
		return nil, nil, errTruncated
	}
	n := binary.LittleEndian.Uint32(b)
	if n < 4 || uint64(n) > uint64(len(b)) {
		return nil, nil, errTruncated
	}
	code, scope, err := decodeString(b[4:n])
	if err != nil {
		return nil, nil, err
	}
	d, extra, err := decodeDocumentAt(scope, depth+1)
	if err != nil {
		return nil, nil, err
	}
	if len(extra) > 0 {
		return nil, nil, errors.New("malformed BSON: bytes after the scope")
	}
	return bson.CodeWithScope{Code: bson.JavaScript(code), Scope: d}, b[n:], nil
}
