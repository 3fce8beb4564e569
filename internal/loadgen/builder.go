package loadgen

import (
	"encoding/binary"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// builder writes one BSON document after the other into the same buffer.
type builder struct {
	b      []byte
	nested []int // offsets of the documents and arrays under construction
}

func (b *builder) reset() {
	b.b = append(b.b[:0], 0, 0, 0, 0)
	b.nested = append(b.nested[:0], 0)
}

// finish closes the document; the bytes are valid until reset.
func (b *builder) finish() bson.Raw {
	b.close()
	return b.b
}

func (b *builder) open(key string, t bson.Type) {
	b.key(t, key)
	b.nested = append(b.nested, len(b.b))
	b.b = append(b.b, 0, 0, 0, 0)
}

func (b *builder) close() {
	start := b.nested[len(b.nested)-1]
	b.nested = b.nested[:len(b.nested)-1]
	b.b = append(b.b, 0)
	binary.LittleEndian.PutUint32(b.b[start:], uint32(len(b.b)-start))
}

func (b *builder) key(t bson.Type, key string) {
	b.b = append(b.b, byte(t))
	b.b = append(b.b, key...)
	b.b = append(b.b, 0)
}

func (b *builder) string(key, v string) {
	b.key(bson.TypeString, key)
	b.b = binary.LittleEndian.AppendUint32(b.b, uint32(len(v)+1))
	b.b = append(b.b, v...)
	b.b = append(b.b, 0)
}

func (b *builder) int32(key string, v int32) {
	b.key(bson.TypeInt32, key)
	b.b = binary.LittleEndian.AppendUint32(b.b, uint32(v))
}

func (b *builder) int64(key string, v int64) {
	b.key(bson.TypeInt64, key)
	b.b = binary.LittleEndian.AppendUint64(b.b, uint64(v))
}

func (b *builder) date(key string, ms int64) {
	b.key(bson.TypeDateTime, key)
	b.b = binary.LittleEndian.AppendUint64(b.b, uint64(ms))
}

func (b *builder) double(key string, v float64) {
	b.key(bson.TypeDouble, key)
	b.b = binary.LittleEndian.AppendUint64(b.b, math.Float64bits(v))
}

func (b *builder) bool(key string, v bool) {
	b.key(bson.TypeBoolean, key)
	if v {
		b.b = append(b.b, 1)
	} else {
		b.b = append(b.b, 0)
	}
}

func (b *builder) null(key string) { b.key(bson.TypeNull, key) }

func (b *builder) binary(key string, v []byte) {
	b.key(bson.TypeBinary, key)
	b.b = binary.LittleEndian.AppendUint32(b.b, uint32(len(v)))
	b.b = append(b.b, bson.TypeBinaryGeneric)
	b.b = append(b.b, v...)
}

// cents writes a decimal with two digits after the point: coefficient v, exponent -2, biased by 6176.
func (b *builder) cents(key string, v int64) {
	b.key(bson.TypeDecimal128, key)
	b.b = binary.LittleEndian.AppendUint64(b.b, uint64(v))
	b.b = binary.LittleEndian.AppendUint64(b.b, uint64(6176-2)<<49)
}
