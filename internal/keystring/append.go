package keystring

import (
	"bytes"
	"encoding/binary"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// The class bytes of format 1.
const (
	endByte        = 0x00
	classMinKey    = 0x08
	classUndefined = 0x10
	classNull      = 0x18
	classNumber    = 0x20
	classString    = 0x40
	classDocument  = 0x48
	classArray     = 0x50
	classBinary    = 0x58
	classObjectID  = 0x60
	classBool      = 0x68
	classDate      = 0x70
	classTimestamp = 0x78
	classRegex     = 0x80
	classDBPointer = 0x88
	classCode      = 0x90
	classCodeScope = 0x98
	classMaxKey    = 0xF0
	aboveByte      = 0xFF
)

// classOf returns the class byte of a type and the first class byte above it:
// all values of the type's class begin with a byte in [low, high).
func classOf(t bsonval.Type) (low, high byte) {
	switch t {
	case bsonval.TypeMinKey:
		return classMinKey, classUndefined
	case bsonval.TypeMissing, bsonval.TypeUndefined:
		return classUndefined, classNull
	case bsonval.TypeNull:
		return classNull, classNumber
	case bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDouble, bsonval.TypeDecimal128:
		return classNumber, classString
	case bsonval.TypeString, bsonval.TypeSymbol:
		return classString, classDocument
	case bsonval.TypeDocument:
		return classDocument, classArray
	case bsonval.TypeArray:
		return classArray, classBinary
	case bsonval.TypeBinary:
		return classBinary, classObjectID
	case bsonval.TypeObjectID:
		return classObjectID, classBool
	case bsonval.TypeBool:
		return classBool, classDate
	case bsonval.TypeDate:
		return classDate, classTimestamp
	case bsonval.TypeTimestamp:
		return classTimestamp, classRegex
	case bsonval.TypeRegex:
		return classRegex, classDBPointer
	case bsonval.TypeDBPointer:
		return classDBPointer, classCode
	case bsonval.TypeCode:
		return classCode, classCodeScope
	case bsonval.TypeCodeScope:
		return classCodeScope, classMaxKey
	}
	return classMaxKey, aboveByte
}

// Append appends one component: v's encoding, inverted if desc. A missing value
// encodes like undefined. A nil collator orders strings by bytes.
func Append(dst []byte, v bsonval.Value, desc bool, c bsonval.Collator) []byte {
	at := len(dst)
	dst = appendValue(dst, v, c, nil)
	if desc {
		invert(dst[at:])
	}
	return dst
}

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// appendValue appends a value ascending. Its type tags go to tags unless that
// is nil.
func appendValue(dst []byte, v bsonval.Value, c bsonval.Collator, tags *tagList) []byte {
	switch v.Type() {
	case bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDouble, bsonval.TypeDecimal128, bsonval.TypeBool:
		return appendPayload(dst, v, c, tags)
	}
	low, _ := classOf(v.Type())
	return appendPayload(append(dst, low), v, c, tags)
}

// appendPayload appends what follows the class byte; for numbers and booleans
// the class byte, too.
func appendPayload(dst []byte, v bsonval.Value, c bsonval.Collator, tags *tagList) []byte {
	switch v.Type() {
	case bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDouble, bsonval.TypeDecimal128:
		if tags != nil {
			tags.number(v)
		}
		return appendNumber(dst, v)
	case bsonval.TypeBool:
		if v.Bool() {
			return append(dst, classBool+1)
		}
		return append(dst, classBool)
	case bsonval.TypeString, bsonval.TypeSymbol:
		if tags != nil {
			tags.text(v)
		}
		if c != nil {
			return appendCollated(dst, v.Bytes(), c)
		}
		return appendText(dst, v.Bytes())
	case bsonval.TypeDocument:
		return appendElements(dst, v.Doc(), c, tags)
	case bsonval.TypeArray:
		it := v.Doc().Iter()
		for it.Next() {
			dst = appendValue(dst, it.Value(), c, tags)
		}
		return append(dst, endByte)
	case bsonval.TypeBinary:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v.Bytes())))
		dst = append(dst, v.BinarySubtype())
		return append(dst, v.Bytes()...)
	case bsonval.TypeObjectID, bsonval.TypeRegex:
		return append(dst, v.Bytes()...)
	case bsonval.TypeDate:
		return binary.BigEndian.AppendUint64(dst, uint64(v.Int64())^1<<63)
	case bsonval.TypeTimestamp:
		return binary.BigEndian.AppendUint64(dst, uint64(v.Int64()))
	case bsonval.TypeDBPointer:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v.Bytes())))
		return append(dst, v.Bytes()...)
	case bsonval.TypeCode:
		return appendText(dst, v.Bytes())
	case bsonval.TypeCodeScope:
		code, scope := v.CodeScopeParts()
		return appendElements(appendText(dst, []byte(code)), scope, c, tags)
	}
	return dst // MinKey, undefined, null, MaxKey: the class says it all
}

func appendElements(dst []byte, d bsonval.Doc, c bsonval.Collator, tags *tagList) []byte {
	it := d.Iter()
	for it.Next() {
		v := it.Value()
		low, _ := classOf(v.Type())
		dst = append(dst, low)
		dst = append(append(dst, it.Key()...), 0)
		dst = appendPayload(dst, v, c, tags)
	}
	return append(dst, endByte)
}

// appendText escapes 0x00 and 0x01 and terminates with 0x00.
func appendText(dst, s []byte) []byte {
	if bytes.IndexByte(s, 0) < 0 && bytes.IndexByte(s, 1) < 0 {
		return append(append(dst, s...), 0)
	}
	for _, b := range s {
		if b <= 1 {
			dst = append(dst, 1, b+1)
		} else {
			dst = append(dst, b)
		}
	}
	return append(dst, 0)
}

// appendCollated appends the sort key of s as text.
func appendCollated(dst, s []byte, c bsonval.Collator) []byte {
	at := len(dst)
	dst = c.AppendKey(dst, s)
	escapes := bytes.Count(dst[at:], []byte{0}) + bytes.Count(dst[at:], []byte{1})
	if escapes == 0 {
		return append(dst, 0)
	}
	// Widen in place, from the end.
	from, end := len(dst), len(dst)+escapes
	for range escapes {
		dst = append(dst, 0)
	}
	to := end
	for from > at {
		from--
		to--
		if b := dst[from]; b <= 1 {
			dst[to] = b + 1
			to--
			dst[to] = 1
		} else {
			dst[to] = b
		}
	}
	return append(dst, 0)
}
