package match

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// BitsOp is a test of bits.
type BitsOp uint8

// The tests.
const (
	BitsAllSet BitsOp = iota
	BitsAllClear
	BitsAnySet
	BitsAnyClear
)

var bitsNames = [...]string{"$bitsAllSet", "$bitsAllClear", "$bitsAnySet", "$bitsAnyClear"}

// String returns the operator's name.
func (o BitsOp) String() string { return bitsNames[o] }

// Bits tests bits of integers and binary data. Positions count from the least
// significant bit (of the first byte, in binary data).
type Bits struct {
	Field
	Op        BitsOp
	Positions []uint32
}

func (n *Bits) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *Bits) matchValue(_ *state, v bsonval.Value) bool {
	var number int64
	var bytes []byte
	switch v.Type() {
	case bsonval.TypeBinary:
		bytes = v.Bytes()
		if v.BinarySubtype() == 2 {
			return n.test(func(p uint32) bool { return oldBinaryBit(bytes, p) })
		}
		return n.test(func(p uint32) bool { return bytesBit(bytes, p) })
	case bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDouble, bsonval.TypeDecimal128:
		var ok bool
		if number, ok = v.AsInt64(); !ok {
			return false
		}
	default:
		return false
	}
	return n.test(func(p uint32) bool { return number>>min(p, 63)&1 == 1 })
}

func bytesBit(b []byte, p uint32) bool {
	return int(p/8) < len(b) && b[p/8]>>(p%8)&1 == 1
}

// oldBinaryBit reads binary data of subtype 2, whose payload begins with its
// length.
func oldBinaryBit(b []byte, p uint32) bool {
	if p < 32 {
		return uint32(len(b))>>p&1 == 1
	}
	return bytesBit(b, p-32)
}

func (n *Bits) test(set func(uint32) bool) bool {
	wantSet := n.Op == BitsAllSet || n.Op == BitsAnySet
	all := n.Op == BitsAllSet || n.Op == BitsAllClear
	for _, p := range n.Positions {
		if (set(p) == wantSet) != all {
			return !all
		}
	}
	return all
}

// parseBits parses a bit test's argument: a mask, positions or binary data.
func parseBits(f Field, op BitsOp, arg bsonval.Value) (Node, error) {
	n := &Bits{Field: f, Op: op}
	switch {
	case arg.IsNumber():
		mask, err := nonNegative(op, arg)
		if err != nil {
			return nil, err
		}
		for p := range uint32(63) {
			if mask>>p&1 == 1 {
				n.Positions = append(n.Positions, p)
			}
		}
	case arg.Type() == bsonval.TypeArray:
		it := arg.Doc().Iter()
		for it.Next() {
			if !it.Value().IsNumber() {
				return nil, mongoerr.New(mongoerr.BadValue, "bit positions must be an integer but got: %s",
					bsonval.Format(it.Value()))
			}
			p, err := nonNegative(op, it.Value())
			if err != nil {
				return nil, err
			}
			if p > math.MaxInt32 {
				return nil, mongoerr.New(mongoerr.BadValue,
					"bit positions cannot be represented as a 32-bit signed integer: %s", bsonval.Format(it.Value()))
			}
			n.Positions = append(n.Positions, uint32(p))
		}
	case arg.Type() == bsonval.TypeBinary:
		b := arg.Bytes()
		for p := range uint32(len(b) * 8) {
			if bytesBit(b, p) {
				n.Positions = append(n.Positions, p)
			}
		}
	default:
		return nil, mongoerr.New(mongoerr.BadValue, "%s takes an Array, a number, or a BinData but received: %s: %s",
			f.Path, op, bsonval.Format(arg))
	}
	return n, nil
}

func nonNegative(op BitsOp, v bsonval.Value) (int64, error) {
	x, ok := v.AsInt64()
	switch {
	case !ok:
		return 0, mongoerr.New(mongoerr.FailedToParse, "Expected an integer: %s: %s", op, bsonval.Format(v))
	case x < 0:
		return 0, mongoerr.New(mongoerr.FailedToParse, "Expected a non-negative number in: %s: %s", op, bsonval.Format(v))
	}
	return x, nil
}
