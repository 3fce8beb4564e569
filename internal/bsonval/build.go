package bsonval

import (
	"encoding/binary"
	"strconv"
)

// AppendElement appends an element (type byte, name, value) to dst. A missing
// value appends nothing.
func AppendElement(dst []byte, key string, v Value) []byte {
	if v.typ == TypeMissing {
		return dst
	}
	dst = append(dst, byte(v.typ))
	dst = append(append(dst, key...), 0)
	return AppendValue(dst, v)
}

// AppendElementBytes is AppendElement with the name as bytes.
func AppendElementBytes(dst, key []byte, v Value) []byte {
	if v.typ == TypeMissing {
		return dst
	}
	dst = append(dst, byte(v.typ))
	dst = append(append(dst, key...), 0)
	return AppendValue(dst, v)
}

// AppendValue appends a value's BSON bytes, without type byte and name.
func AppendValue(dst []byte, v Value) []byte {
	switch v.typ {
	case TypeDouble, TypeDate, TypeTimestamp, TypeInt64:
		return binary.LittleEndian.AppendUint64(dst, v.num)
	case TypeInt32:
		return binary.LittleEndian.AppendUint32(dst, uint32(v.num))
	case TypeString, TypeCode, TypeSymbol:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v.data)+1))
		return append(append(dst, v.data...), 0)
	case TypeBool:
		return append(dst, byte(v.num))
	case TypeBinary:
		if v.num == 2 {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v.data)+4))
			dst = append(dst, 2)
			dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v.data)))
			return append(dst, v.data...)
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v.data)))
		dst = append(dst, byte(v.num))
		return append(dst, v.data...)
	}
	return append(dst, v.data...)
}

// BeginDoc starts a document at the end of dst and returns where; EndDoc closes
// it by writing the length there.
func BeginDoc(dst []byte) ([]byte, int) {
	at := len(dst)
	return append(dst, 0, 0, 0, 0), at
}

// EndDoc closes the document started at at.
func EndDoc(dst []byte, at int) []byte {
	dst = append(dst, 0)
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

// BeginElement starts an element whose value is a document or array at the end
// of dst; close it with EndDoc.
func BeginElement(dst []byte, t Type, key string) ([]byte, int) {
	dst = append(dst, byte(t))
	dst = append(append(dst, key...), 0)
	return BeginDoc(dst)
}

// AppendIndexKey appends an array element's name.
func AppendIndexKey(dst []byte, i int) []byte { return strconv.AppendInt(dst, int64(i), 10) }

// Builder builds one document (or array) piece by piece. The zero Builder is
// not ready; use NewBuilder. Methods return the Builder for chaining.
type Builder struct {
	buf   []byte
	open  []int // starts of the documents still open
	count []int // elements so far in each open array, for its names; -1 in documents
	room  [2][4]int
}

// NewBuilder starts a document.
func NewBuilder() *Builder { return NewBuilderIn(make([]byte, 0, builderBytes)) }

// builderBytes is room for a small document, so that most documents of replies
// and of stages need one buffer only.
const builderBytes = 128

// NewBuilderIn starts a document appended to buf's bytes.
func NewBuilderIn(buf []byte) *Builder {
	b := &Builder{}
	b.open, b.count = b.room[0][:0], b.room[1][:0]
	var at int
	b.buf, at = BeginDoc(buf)
	b.open = append(b.open, at)
	b.count = append(b.count, -1)
	return b
}

// NewArrayBuilder starts an array: Add appends to it.
func NewArrayBuilder() *Builder {
	b := NewBuilder()
	b.count[0] = 0
	return b
}

func (b *Builder) key(t Type, key string) {
	b.buf = append(b.buf, byte(t))
	last := len(b.count) - 1
	if n := b.count[last]; n >= 0 {
		b.buf = strconv.AppendInt(b.buf, int64(n), 10)
		b.count[last]++
	} else {
		b.buf = append(b.buf, key...)
	}
	b.buf = append(b.buf, 0)
}

// Value appends a value under a name; missing appends nothing.
func (b *Builder) Value(key string, v Value) *Builder {
	if v.typ != TypeMissing {
		b.key(v.typ, key)
		b.buf = AppendValue(b.buf, v)
	}
	return b
}

// Add appends a value to the open array. A missing value is appended as null.
func (b *Builder) Add(v Value) *Builder {
	if v.typ == TypeMissing {
		v = Null
	}
	b.key(v.typ, "")
	b.buf = AppendValue(b.buf, v)
	return b
}

// Int32 appends an int32.
func (b *Builder) Int32(key string, v int32) *Builder { return b.Value(key, Int32(v)) }

// Int64 appends an int64.
func (b *Builder) Int64(key string, v int64) *Builder { return b.Value(key, Int64(v)) }

// Double appends a double.
func (b *Builder) Double(key string, v float64) *Builder { return b.Value(key, Double(v)) }

// Str appends a string.
func (b *Builder) Str(key, v string) *Builder { return b.Value(key, String(v)) }

// Bool appends a boolean.
func (b *Builder) Bool(key string, v bool) *Builder { return b.Value(key, Bool(v)) }

// Null appends a null.
func (b *Builder) Null(key string) *Builder { return b.Value(key, Null) }

// Date appends a date in milliseconds.
func (b *Builder) Date(key string, ms int64) *Builder { return b.Value(key, Date(ms)) }

// Doc appends a whole document.
func (b *Builder) Doc(key string, d Doc) *Builder { return b.Value(key, Document(d)) }

// Array appends a whole array.
func (b *Builder) Array(key string, d Doc) *Builder { return b.Value(key, Array(d)) }

// StartDoc opens a nested document (in an array the name is ignored); End
// closes it.
func (b *Builder) StartDoc(key string) *Builder { return b.start(TypeDocument, key, -1) }

// StartArray opens a nested array; End closes it.
func (b *Builder) StartArray(key string) *Builder { return b.start(TypeArray, key, 0) }

func (b *Builder) start(t Type, key string, count int) *Builder {
	b.key(t, key)
	var at int
	b.buf, at = BeginDoc(b.buf)
	b.open = append(b.open, at)
	b.count = append(b.count, count)
	return b
}

// End closes the innermost open document or array.
func (b *Builder) End() *Builder {
	last := len(b.open) - 1
	b.buf = EndDoc(b.buf, b.open[last])
	b.open, b.count = b.open[:last], b.count[:last]
	return b
}

// Len is the number of bytes written so far.
func (b *Builder) Len() int { return len(b.buf) }

// Build closes everything still open and returns the bytes.
func (b *Builder) Build() Doc {
	for len(b.open) > 0 {
		b.End()
	}
	return b.buf
}

// ArrayOf returns an array of values; missing ones become null.
func ArrayOf(vs ...Value) Value {
	b := NewArrayBuilder()
	for _, v := range vs {
		b.Add(v)
	}
	return Array(b.Build())
}
