package keystring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// ErrCorrupt is returned for bytes that no key has. Keys encoded with a collator
// decode without error to strings that hold sort keys: do not decode them.
var ErrCorrupt = errors.New("keystring: corrupt key")

// maxNesting bounds the recursion of the decoder: a document in a document
// value is at most bsonval.MaxDepth deep.
const maxNesting = bsonval.MaxDepth + 2

// Decode appends the n values that key begins with to dst. desc[i] tells a
// descending component; a nil desc is all ascending. The values keep no part of
// key or typeBits.
func Decode(dst []bsonval.Value, key, typeBits []byte, desc []bool, n int) ([]bsonval.Value, error) {
	d := decoder{tags: typeBits}
	ascending, descending := bytes.Clone(key), []byte(nil)
	for i := range n {
		d.buf = ascending
		if i < len(desc) && desc[i] {
			if descending == nil {
				descending = bytes.Clone(key)
				invert(descending)
			}
			d.buf = descending
		}
		v, ok := d.value(0)
		if !ok {
			return dst, ErrCorrupt
		}
		dst = append(dst, v)
	}
	return dst, nil
}

// ComponentLen returns the length of key's first component, or ErrCorrupt.
func ComponentLen(key []byte, desc bool) (int, error) {
	d := decoder{buf: key}
	if desc {
		d.buf = bytes.Clone(key)
		invert(d.buf)
	}
	if !d.skip(0) {
		return 0, ErrCorrupt
	}
	return d.pos, nil
}

// decoder reads values from buf at pos, and their tags. Its methods return ok
// false on corrupt bytes.
type decoder struct {
	buf  []byte
	pos  int
	tags []byte
}

func (d *decoder) take(n int) ([]byte, bool) {
	if n < 0 || n > len(d.buf)-d.pos {
		return nil, false
	}
	b := d.buf[d.pos : d.pos+n : d.pos+n]
	d.pos += n
	return b, true
}

func (d *decoder) byte() (byte, bool) {
	b, ok := d.take(1)
	if !ok {
		return 0, false
	}
	return b[0], true
}

func (d *decoder) uint64() (uint64, bool) {
	b, ok := d.take(8)
	if !ok {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// tag reads n bytes of type bits; past their end they are zero.
func (d *decoder) tag(n int) []byte {
	var b [16]byte
	m := copy(b[:n], d.tags)
	d.tags = d.tags[m:]
	return b[:n]
}

// until reads up to a zero byte and past it.
func (d *decoder) until() ([]byte, bool) {
	n := bytes.IndexByte(d.buf[d.pos:], 0)
	if n < 0 {
		return nil, false
	}
	b, _ := d.take(n + 1)
	return b[:n:n], true
}

// text reads escaped text.
func (d *decoder) text() ([]byte, bool) {
	s, ok := d.until()
	if !ok {
		return nil, false
	}
	first := bytes.IndexByte(s, 1)
	if first < 0 {
		return s, true
	}
	out := append(make([]byte, 0, len(s)), s[:first]...)
	for i := first; i < len(s); i++ {
		b := s[i]
		if b == 1 {
			i++
			if i == len(s) || s[i] != 1 && s[i] != 2 {
				return nil, false
			}
			b = s[i] - 1
		}
		out = append(out, b)
	}
	return out, true
}

func (d *decoder) value(depth int) (bsonval.Value, bool) {
	class, ok := d.byte()
	if !ok {
		return bsonval.Missing, false
	}
	if class >= classNumber && class <= numPosLarge {
		return d.number(class)
	}
	return d.payload(class, depth)
}

// payload reads what follows a class byte that is not a number's.
func (d *decoder) payload(class byte, depth int) (v bsonval.Value, ok bool) {
	switch class {
	case classMinKey:
		return bsonval.MinKey, true
	case classUndefined:
		return bsonval.Undefined, true
	case classNull:
		return bsonval.Null, true
	case classMaxKey:
		return bsonval.MaxKey, true
	case classBool, classBool + 1:
		return bsonval.Bool(class != classBool), true
	case classString:
		s, ok := d.text()
		if d.tag(1)[0] == tagSymbol {
			return bsonval.Symbol(string(s)), ok
		}
		return bsonval.StringBytes(s), ok
	case classDocument:
		doc, ok := d.elements(depth + 1)
		return bsonval.Document(doc), ok
	case classArray:
		doc, ok := d.items(depth + 1)
		return bsonval.Array(doc), ok
	case classObjectID:
		b, ok := d.take(12)
		if !ok {
			return v, false
		}
		return bsonval.ObjectID(b), true
	case classDate:
		n, ok := d.uint64()
		return bsonval.Date(int64(n ^ 1<<63)), ok
	case classTimestamp:
		n, ok := d.uint64()
		return bsonval.TimestampBits(n), ok
	}
	return d.rarePayload(class, depth)
}

func (d *decoder) rarePayload(class byte, depth int) (v bsonval.Value, ok bool) {
	switch class {
	case classBinary:
		n, ok1 := d.take(4)
		subtype, ok2 := d.byte()
		if !ok1 || !ok2 {
			return v, false
		}
		b, ok := d.take(int(binary.BigEndian.Uint32(n)))
		return bsonval.Binary(subtype, b), ok
	case classRegex:
		pattern, ok1 := d.until()
		options, ok2 := d.until()
		return bsonval.Regex(string(pattern), string(options)), ok1 && ok2
	case classDBPointer:
		n, ok := d.take(4)
		if !ok {
			return v, false
		}
		raw, ok := d.take(int(binary.BigEndian.Uint32(n)))
		if !ok || len(raw) < 17 || uint64(binary.LittleEndian.Uint32(raw)) != uint64(len(raw)-16) ||
			raw[len(raw)-13] != 0 {
			return v, false
		}
		return bsonval.DBPointer(string(raw[4:len(raw)-13]), raw[len(raw)-12:]), true
	case classCode:
		s, ok := d.text()
		return bsonval.Code(string(s)), ok
	case classCodeScope:
		s, ok := d.text()
		if !ok {
			return v, false
		}
		scope, ok := d.elements(depth + 1)
		return bsonval.CodeScope(string(s), scope), ok
	}
	return v, false
}

// elements reads a document's elements up to its end.
func (d *decoder) elements(depth int) (bsonval.Doc, bool) {
	dst, at := bsonval.BeginDoc(nil)
	for {
		class, ok := d.byte()
		if !ok || depth > maxNesting {
			return nil, false
		}
		if class == endByte {
			return bsonval.EndDoc(dst, at), true
		}
		name, ok := d.until()
		if !ok {
			return nil, false
		}
		var v bsonval.Value
		if class == classNumber || class == classBool {
			v, ok = d.value(depth)
			ok = ok && (v.IsNumber() == (class == classNumber)) && (v.IsNumber() || v.Type() == bsonval.TypeBool)
		} else {
			v, ok = d.payload(class, depth)
		}
		if !ok {
			return nil, false
		}
		dst = bsonval.AppendElementBytes(dst, name, v)
	}
}

// items reads an array's values up to its end.
func (d *decoder) items(depth int) (bsonval.Doc, bool) {
	b := bsonval.NewArrayBuilder()
	for {
		if d.pos >= len(d.buf) || depth > maxNesting {
			return nil, false
		}
		if d.buf[d.pos] == endByte {
			d.pos++
			return b.Build(), true
		}
		v, ok := d.value(depth)
		if !ok {
			return nil, false
		}
		b.Add(v)
	}
}

// skip moves past one value.
func (d *decoder) skip(depth int) bool {
	class, ok := d.byte()
	if !ok {
		return false
	}
	if class >= classNumber && class <= numPosLarge {
		_, ok := d.parseNumber(class)
		return ok
	}
	return d.skipPayload(class, depth)
}

func (d *decoder) skipPayload(class byte, depth int) (ok bool) {
	switch class {
	case classString, classCode:
		_, ok = d.until()
		return ok
	case classDocument:
		return d.skipElements(depth + 1)
	case classArray:
		for {
			if d.pos >= len(d.buf) || depth > maxNesting {
				return false
			}
			if d.buf[d.pos] == endByte {
				d.pos++
				return true
			}
			if !d.skip(depth + 1) {
				return false
			}
		}
	case classCodeScope:
		_, ok = d.until()
		return ok && d.skipElements(depth+1)
	}
	_, ok = d.payload(class, depth)
	return ok
}

func (d *decoder) skipElements(depth int) bool {
	for {
		class, ok := d.byte()
		if !ok || depth > maxNesting {
			return false
		}
		if class == endByte {
			return true
		}
		if _, ok := d.until(); !ok {
			return false
		}
		if class == classNumber || class == classBool {
			ok = d.skip(depth)
		} else {
			ok = d.skipPayload(class, depth)
		}
		if !ok {
			return false
		}
	}
}

// parsedNumber is a number as its key has it: sign · (whole + frac/2^55) or
// sign · bits, or the rest if there is one.
type parsedNumber struct {
	class    byte // of the absolute value; numNaN, numZero
	negative bool
	whole    uint64 // integer part, classes numPosInt+n
	frac     uint64
	double   float64 // the absolute value, classes numPosSmall and numPosLarge
	rest     bool
	exp      int // the rest
	hi, lo   uint64
}

func (d *decoder) parseNumber(class byte) (p parsedNumber, ok bool) {
	p.class = class
	if class == numNaN || class == numZero {
		return p, true
	}
	var mask byte
	if class < numZero {
		p.negative, mask, p.class = true, 0xFF, numMirror-class
	}
	var more bool
	if p.class == numPosSmall || p.class == numPosLarge {
		bits, ok := d.maskedUint(8, mask)
		if !ok || bits>>1 > math.Float64bits(math.Inf(1)) {
			return p, false
		}
		p.double, more = math.Float64frombits(bits>>1), bits&1 == 1
	} else {
		m, ok := d.maskedUint(int(p.class-numPosInt), mask)
		if !ok {
			return p, false
		}
		p.whole = m >> 1
		if m&1 == 1 {
			f, ok := d.maskedUint(7, mask)
			if !ok {
				return p, false
			}
			p.frac, more = f>>1, f&1 == 1
		}
	}
	if more {
		exp, ok1 := d.maskedUint(2, mask)
		hi, ok2 := d.maskedUint(7, mask)
		lo, ok3 := d.maskedUint(8, mask)
		if !ok1 || !ok2 || !ok3 || hi > maxCoefficientHigh || hi == maxCoefficientHigh && lo > maxCoefficientLow {
			return p, false
		}
		p.rest, p.exp, p.hi, p.lo = true, int(exp)-restBias, hi, lo
	}
	return p, true
}

// maskedUint reads n bytes, big endian, each combined with mask.
func (d *decoder) maskedUint(n int, mask byte) (x uint64, ok bool) {
	b, ok := d.take(n)
	for _, c := range b {
		x = x<<8 | uint64(c^mask)
	}
	return x, ok
}
