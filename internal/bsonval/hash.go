package bsonval

import (
	"crypto/md5"
	"encoding/binary"
	"hash"
	"math"
)

// HashedKey is the key of a value in a hashed index, and what $toHashedIndexKey
// returns: eight bytes of the MD5 sum of a type-coded walk over the value, in
// which all numbers count as int64 (cut). Missing counts as null. The numbers are
// stored in indexes and compared across servers: they must never change.
func HashedKey(v Value) int64 {
	if v.typ == TypeMissing {
		v = Null
	}
	h := md5.New()
	h.Write([]byte{0, 0, 0, 0}) // the seed
	hashValueNamed(h, nil, v)
	return int64(binary.LittleEndian.Uint64(h.Sum(nil)))
}

func hashType(h hash.Hash, t Type) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(int32(t.Order())))
	h.Write(b[:])
}

// hashValueNamed writes type, field name (nil for none) and value.
func hashValueNamed(h hash.Hash, name []byte, v Value) {
	hashType(h, v.typ)
	if name != nil {
		h.Write(name)
		h.Write([]byte{0})
	}
	switch v.typ {
	case TypeDouble, TypeInt32, TypeInt64, TypeDecimal128:
		n := v.TruncInt64()
		if v.typ == TypeDouble && v.Double() == 1<<63 {
			n = math.MinInt64
		}
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	case TypeDocument, TypeArray:
		hashElements(h, v.Doc())
	case TypeCodeScope:
		code, scope := v.CodeScopeParts()
		h.Write(append([]byte(code), 0))
		hashElements(h, scope)
	default:
		h.Write(AppendValue(nil, v))
	}
}

func hashElements(h hash.Hash, d Doc) {
	it := d.Iter()
	for it.Next() {
		hashValueNamed(h, append([]byte{}, it.Key()...), it.Value())
	}
	hashType(h, TypeMissing) // the terminator, with an empty name
	h.Write([]byte{0})
}
