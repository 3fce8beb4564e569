package keystring

import (
	"encoding/binary"
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// The tags of type bits, format 1. Bytes after a tag belong to it.
const (
	// tagDefault is an int32 for integers in its range, then int64, then double,
	// then decimal without trailing zeros: the first that holds the number
	// exactly. For NaN it is a double with the bits defaultNaN. For text it is a
	// string.
	tagDefault      = 0
	tagInt64        = 1
	tagDouble       = 2
	tagNegativeZero = 3 // a double
	tagDecimal      = 4 // sign (1 bit), exponent+6176 (15 bits), big endian
	tagRawDecimal   = 5 // 16 bytes as in BSON: NaN, infinities and odd encodings
	tagRawDouble    = 6 // 8 bytes as in BSON: a NaN
	tagSymbol       = 1 // of text
)

const (
	defaultNaN  = 0x7FF8000000000000
	decimalBias = 6176
)

// Encoder builds one key of several components together with its type bits.
// The zero Encoder is ready, in binary order; Reset lets its memory be used
// again.
type Encoder struct {
	key      []byte
	tags     tagList
	collator bsonval.Collator
}

// Reset forgets the key, and sets the collator of the next one.
func (e *Encoder) Reset(c bsonval.Collator) {
	e.key, e.tags, e.collator = e.key[:0], e.tags[:0], c
}

// Append adds a component.
func (e *Encoder) Append(v bsonval.Value, desc bool) {
	at := len(e.key)
	e.key = appendValue(e.key, v, e.collator, &e.tags)
	if desc {
		invert(e.key[at:])
	}
}

// Key returns the key so far. It is valid until the next call of Append or Reset.
func (e *Encoder) Key() []byte { return e.key }

// TypeBits returns the type bits of the key so far, empty if all values have
// default types. They are valid until the next call of Append or Reset.
func (e *Encoder) TypeBits() []byte {
	n := len(e.tags)
	for n > 0 && e.tags[n-1] == 0 {
		n--
	}
	return e.tags[:n]
}

// tagList collects tags.
type tagList []byte

func (t *tagList) text(v bsonval.Value) {
	if v.Type() == bsonval.TypeSymbol {
		*t = append(*t, tagSymbol)
	} else {
		*t = append(*t, tagDefault)
	}
}

func (t *tagList) number(v bsonval.Value) {
	switch v.Type() {
	case bsonval.TypeInt64:
		if n := v.Int64(); n == int64(int32(n)) {
			*t = append(*t, tagInt64)
			return
		}
	case bsonval.TypeDouble:
		t.double(v.Double())
		return
	case bsonval.TypeDecimal128:
		t.decimal(v)
		return
	}
	*t = append(*t, tagDefault)
}

func (t *tagList) double(f float64) {
	switch bits := math.Float64bits(f); {
	case bits == defaultNaN:
		*t = append(*t, tagDefault)
	case f != f:
		*t = binary.LittleEndian.AppendUint64(append(*t, tagRawDouble), bits)
	case bits == 1<<63:
		*t = append(*t, tagNegativeZero)
	case f == math.Trunc(f) && f >= -1<<63 && f < 1<<63:
		*t = append(*t, tagDouble)
	default:
		*t = append(*t, tagDefault)
	}
}

func (t *tagList) decimal(v bsonval.Value) {
	d := v.Decimal()
	if d.IsFinite() {
		exp, hi, lo := d.Coefficient()
		if packDecimal(d.Negative(), exp, hi, lo) == d {
			word := uint16(exp + decimalBias)
			if d.Negative() {
				word |= 1 << 15
			}
			*t = binary.BigEndian.AppendUint16(append(*t, tagDecimal), word)
			return
		}
	}
	*t = append(append(*t, tagRawDecimal), v.Bytes()...)
}

func packDecimal(negative bool, exp int, hi, lo uint64) bsonval.Decimal {
	d := bsonval.Decimal{H: uint64(exp+decimalBias)<<49 | hi, L: lo}
	if negative {
		d.H |= 1 << 63
	}
	return d
}
