package bsonval

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
	"unsafe"
)

// MaxDepth is the deepest nesting of documents and arrays that Validate lets
// pass, as MongoDB's maxBSONDepth has it.
const MaxDepth = 200

// MaxDocumentBytes is the largest document a user may store: 16 MiB.
const MaxDocumentBytes = 16 << 20

// Doc is the bytes of one BSON document or array.
type Doc []byte

// EmptyDoc is {} (and []). It must not be written to.
var EmptyDoc = Doc{5, 0, 0, 0, 0}

var (
	// ErrMalformed is the error of bytes that are not BSON.
	ErrMalformed = errors.New("malformed BSON")
	// ErrTooDeep is the error of documents nested deeper than MaxDepth.
	ErrTooDeep = errors.New("BSON nested deeper than 200 levels")
)

// Iter walks the elements of a document:
//
//	it := d.Iter()
//	for it.Next() {
//		use(it.Key(), it.Value())
//	}
//	if it.Err() != nil { … } // only on bytes that were not validated
type Iter struct {
	buf []byte // the document up to and including its terminator
	pos int
	raw int // start of the element
	key []byte
	val Value
	err error
}

// Iter returns an iterator over d's elements.
func (d Doc) Iter() Iter {
	if len(d) < 5 {
		return Iter{err: ErrMalformed}
	}
	n := int(int32(binary.LittleEndian.Uint32(d)))
	if n < 5 || n > len(d) || d[n-1] != 0 {
		return Iter{err: ErrMalformed}
	}
	return Iter{buf: d[:n], pos: 4}
}

// IterFrom returns an iterator over d's elements from the one at an offset on.
func (d Doc) IterFrom(at int) Iter {
	it := d.Iter()
	it.pos = max(it.pos, at)
	return it
}

// Next moves to the next element and says whether there is one.
func (it *Iter) Next() bool {
	if it.err != nil || it.pos >= len(it.buf)-1 {
		return false
	}
	t := Type(it.buf[it.pos])
	rest := it.buf[it.pos+1 : len(it.buf)-1]
	k := bytes.IndexByte(rest, 0)
	if k < 0 || t == TypeMissing {
		it.err = ErrMalformed
		return false
	}
	it.key = rest[:k]
	n, ok := it.val.read(t, rest[k+1:])
	if !ok {
		it.err = ErrMalformed
		return false
	}
	it.raw = it.pos
	it.pos += 1 + k + 1 + n
	return true
}

// Key returns the element's field name, a slice of the document.
func (it *Iter) Key() []byte { return it.key }

// KeyStr returns the element's field name without copying.
func (it *Iter) KeyStr() string { return unsafe.String(unsafe.SliceData(it.key), len(it.key)) }

// Value returns the element's value.
func (it *Iter) Value() Value { return it.val }

// Raw returns the element's bytes: type, name and value.
func (it *Iter) Raw() []byte { return it.buf[it.raw:it.pos] }

// Err returns ErrMalformed if the walk met bytes that are not BSON.
func (it *Iter) Err() error { return it.err }

// read makes v the value of type t at the start of b and returns its length.
// It works in place: it is the innermost loop of every query.
func (v *Value) read(t Type, b []byte) (n int, ok bool) {
	v.typ = t
	switch t {
	case TypeInt32:
		if len(b) < 4 {
			return 0, false
		}
		v.data, v.num = nil, uint64(int64(int32(binary.LittleEndian.Uint32(b))))
		return 4, true
	case TypeDouble, TypeDate, TypeTimestamp, TypeInt64:
		if len(b) < 8 {
			return 0, false
		}
		v.data, v.num = nil, binary.LittleEndian.Uint64(b)
		return 8, true
	case TypeString, TypeCode, TypeSymbol:
		if len(b) < 5 {
			return 0, false
		}
		n := int(int32(binary.LittleEndian.Uint32(b)))
		if n < 1 || n > len(b)-4 || b[4+n-1] != 0 {
			return 0, false
		}
		v.data, v.num = b[4:4+n-1:4+n-1], 0
		return 4 + n, true
	case TypeDocument, TypeArray:
		if len(b) < 5 {
			return 0, false
		}
		n := int(int32(binary.LittleEndian.Uint32(b)))
		if n < 5 || n > len(b) || b[n-1] != 0 {
			return 0, false
		}
		v.data, v.num = b[:n:n], 0
		return n, true
	case TypeBool:
		if len(b) < 1 || b[0] > 1 {
			return 0, false
		}
		v.data, v.num = nil, uint64(b[0])
		return 1, true
	case TypeNull, TypeUndefined, TypeMinKey, TypeMaxKey:
		v.data, v.num = nil, 0
		return 0, true
	case TypeObjectID, TypeDecimal128:
		n := 12
		if t == TypeDecimal128 {
			n = 16
		}
		if len(b) < n {
			return 0, false
		}
		v.data, v.num = b[:n:n], 0
		return n, true
	}
	*v, n, ok = readRareValue(Value{typ: t}, b)
	return n, ok
}

func readRareValue(v Value, b []byte) (Value, int, bool) {
	switch v.typ {
	case TypeBinary:
		if len(b) < 5 {
			return v, 0, false
		}
		n := int(int32(binary.LittleEndian.Uint32(b)))
		if n < 0 || n > len(b)-5 {
			return v, 0, false
		}
		v.num = uint64(b[4])
		v.data = b[5 : 5+n : 5+n]
		if b[4] == 2 {
			if n < 4 || int(int32(binary.LittleEndian.Uint32(v.data))) != n-4 {
				return v, 0, false
			}
			v.data = v.data[4:]
		}
		return v, 5 + n, true
	case TypeRegex:
		p := bytes.IndexByte(b, 0)
		if p < 0 {
			return v, 0, false
		}
		o := bytes.IndexByte(b[p+1:], 0)
		if o < 0 {
			return v, 0, false
		}
		n := p + 1 + o + 1
		v.data = b[:n:n]
		return v, n, true
	case TypeDBPointer:
		if len(b) < 5 {
			return v, 0, false
		}
		n := int(int32(binary.LittleEndian.Uint32(b)))
		if n < 1 || n > len(b)-16 || b[4+n-1] != 0 {
			return v, 0, false
		}
		v.data = b[: 4+n+12 : 4+n+12]
		return v, 4 + n + 12, true
	case TypeCodeScope:
		return readCodeScope(v, b)
	}
	return v, 0, false
}

func readCodeScope(v Value, b []byte) (Value, int, bool) {
	if len(b) < 14 {
		return v, 0, false
	}
	total := int(int32(binary.LittleEndian.Uint32(b)))
	n := int(int32(binary.LittleEndian.Uint32(b[4:])))
	if total < 14 || total > len(b) || n < 1 || n > total-13 || b[8+n-1] != 0 {
		return v, 0, false
	}
	scope := b[8+n : total]
	if int(int32(binary.LittleEndian.Uint32(scope))) != len(scope) || scope[len(scope)-1] != 0 {
		return v, 0, false
	}
	v.data = b[:total:total]
	return v, total, true
}

// Lookup returns the value of the first element named key (no dots), or
// missing.
func (d Doc) Lookup(key string) (v Value) {
	it := d.Iter()
	if it.err != nil {
		return Missing
	}
	buf := it.buf[:len(it.buf)-1]
	for pos := 4; pos < len(buf); {
		t := Type(buf[pos])
		rest := buf[pos+1:]
		if len(rest) > len(key) && rest[len(key)] == 0 && string(rest[:len(key)]) == key {
			if _, ok := v.read(t, rest[len(key)+1:]); !ok || t == TypeMissing {
				return Missing
			}
			return v
		}
		k := bytes.IndexByte(rest, 0)
		if k < 0 {
			return Missing
		}
		n, ok := skipValue(t, rest[k+1:])
		if !ok {
			return Missing
		}
		pos += 1 + k + 1 + n
	}
	return Missing
}

// skipValue is the length of the value of type t at the start of b. It checks
// no more than it needs for that.
func skipValue(t Type, b []byte) (n int, ok bool) {
	switch t {
	case TypeInt32:
		n = 4
	case TypeDouble, TypeDate, TypeTimestamp, TypeInt64:
		n = 8
	case TypeString, TypeCode, TypeSymbol:
		if len(b) < 4 {
			return 0, false
		}
		n = 4 + int(int32(binary.LittleEndian.Uint32(b)))
	case TypeDocument, TypeArray:
		if len(b) < 4 {
			return 0, false
		}
		n = int(int32(binary.LittleEndian.Uint32(b)))
	case TypeBool:
		n = 1
	case TypeObjectID:
		n = 12
	case TypeNull, TypeUndefined, TypeMinKey, TypeMaxKey:
	case TypeDecimal128:
		n = 16
	default:
		_, n, ok := readRareValue(Value{typ: t}, b)
		return n, ok
	}
	return n, n >= 0 && n <= len(b)
}

// LookupPath follows dotted field names through documents only (never into
// arrays) and returns missing if the way ends.
func (d Doc) LookupPath(keys ...string) Value {
	v := Document(d)
	for _, k := range keys {
		if v.typ != TypeDocument {
			return Missing
		}
		v = v.Doc().Lookup(k)
	}
	return v
}

// First returns the first element; ok is false if there is none.
func (d Doc) First() (key string, v Value, ok bool) {
	it := d.Iter()
	if !it.Next() {
		return "", Missing, false
	}
	return it.KeyStr(), it.val, true
}

// Len counts the elements.
func (d Doc) Len() int {
	n := 0
	it := d.Iter()
	for it.Next() {
		n++
	}
	return n
}

// IsEmpty tells a document without elements.
func (d Doc) IsEmpty() bool { return len(d) <= 5 }

// Index returns an array's element i, or missing.
func (d Doc) Index(i int) Value {
	it := d.Iter()
	for it.Next() {
		if i == 0 {
			return it.val
		}
		i--
	}
	return Missing
}

// Values appends the values of an array (or document) to dst.
func (d Doc) Values(dst []Value) []Value {
	it := d.Iter()
	for it.Next() {
		dst = append(dst, it.val)
	}
	return dst
}

// Clone returns a copy with bytes of its own.
func (d Doc) Clone() Doc { return append(Doc(nil), d...) }

// Validate checks that d is one whole BSON document: lengths, terminators,
// known types, nesting at most MaxDepth. Strings may hold any bytes, as
// MongoDB lets them.
func Validate(d Doc) error { return validate(d, 1) }

// ValidateCommand is Validate for commands, which may be nested one level deeper,
// as in MongoDB.
func ValidateCommand(d Doc) error { return validate(d, 0) }

func validate(d Doc, depth int) error {
	if depth > MaxDepth {
		return ErrTooDeep
	}
	it := d.Iter()
	if it.err == nil && len(it.buf) != len(d) {
		return fmt.Errorf("%w: length %d in %d bytes", ErrMalformed, len(it.buf), len(d))
	}
	for it.Next() {
		var err error
		switch it.val.typ {
		case TypeDocument, TypeArray:
			err = validate(it.val.Doc(), depth+1)
		case TypeCodeScope:
			_, scope := it.val.CodeScopeParts()
			err = validate(scope, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return it.err
}

// bytesPerLevel is the least that one more level of nesting takes: type, empty
// name, length and closing zero.
const bytesPerLevel = 1 + 1 + 4 + 1

// DeeperThan says whether a validated document nests more than so many levels,
// itself being the first. Documents too short for it are not looked at.
func DeeperThan(d Doc, levels int) bool {
	if levels < 1 {
		return true
	}
	if 1+(len(d)-len(EmptyDoc))/bytesPerLevel <= levels {
		return false
	}
	it := d.Iter()
	for it.Next() {
		if t := it.val.typ; (t == TypeDocument || t == TypeArray) && DeeperThan(it.val.Doc(), levels-1) {
			return true
		}
	}
	return false
}

// ValidUTF8 says whether all names and strings of a validated document are
// UTF-8.
func ValidUTF8(d Doc) bool {
	it := d.Iter()
	for it.Next() {
		if !utf8.Valid(it.key) {
			return false
		}
		switch it.val.typ {
		case TypeString, TypeCode, TypeSymbol:
			if !utf8.Valid(it.val.data) {
				return false
			}
		case TypeDocument, TypeArray:
			if !ValidUTF8(it.val.Doc()) {
				return false
			}
		}
	}
	return true
}
