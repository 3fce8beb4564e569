package plan

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/keystring"
)

// point is a place just before or just after a value, in ascending order.
type point struct {
	v     bsonval.Value
	after bool
	key   []byte // ascending encoding, comparable by bytes
}

// Interval is the values between two points.
type Interval struct{ lo, hi point }

// Intervals is a set of values: disjoint intervals in ascending order. Strings
// are in the order of the collator it was made with.
type Intervals struct {
	list     []Interval
	collator bsonval.Collator
}

// builder makes intervals under one collator. The context has the values of
// variables; it may be nil.
type builder struct {
	collator bsonval.Collator
	ctx      *expr.Context
}

func (b builder) before(v bsonval.Value) point {
	return point{v: v, key: keystring.Append(nil, v, false, b.collator)}
}

func (b builder) after(v bsonval.Value) point {
	p := b.before(v)
	p.after = true
	p.key = keystring.Above(p.key)
	return p
}

// of makes a set of one interval.
func (b builder) of(lo, hi point) Intervals {
	s := Intervals{collator: b.collator}
	if bytes.Compare(lo.key, hi.key) < 0 {
		s.list = []Interval{{lo, hi}}
	}
	return s
}

// none is the empty set, all the full one.
func (b builder) none() Intervals { return Intervals{collator: b.collator} }

func (b builder) all() Intervals {
	return b.of(b.before(bsonval.MinKey), b.after(bsonval.MaxKey))
}

// equal is one value.
func (b builder) equal(v bsonval.Value) Intervals { return b.of(b.before(v), b.after(v)) }

// less and greater are the values of v's own type bracket below or above v.
func (b builder) less(v bsonval.Value, orEqual bool) Intervals {
	hi := b.before(v)
	if orEqual {
		hi = b.after(v)
	}
	if v.IsNaN() {
		if orEqual {
			return b.equal(v)
		}
		return b.none()
	}
	lo, _ := b.bracket(v)
	return b.of(lo, hi)
}

func (b builder) greater(v bsonval.Value, orEqual bool) Intervals {
	lo := b.after(v)
	if orEqual {
		lo = b.before(v)
	}
	if v.IsNaN() {
		if orEqual {
			return b.equal(v)
		}
		return b.none()
	}
	_, hi := b.bracket(v)
	return b.of(lo, hi)
}

// bracket is the range of values that $lt and $gt compare with v.
func (b builder) bracket(v bsonval.Value) (lo, hi point) {
	emptyArray := bsonval.Array(bsonval.EmptyDoc)
	emptyDoc := bsonval.Document(bsonval.EmptyDoc)
	var zero, ones [12]byte
	for i := range ones {
		ones[i] = 0xff
	}
	switch v.Type() {
	case bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDouble, bsonval.TypeDecimal128:
		return b.before(bsonval.Double(math.Inf(-1))), b.after(bsonval.Double(math.Inf(1)))
	case bsonval.TypeString, bsonval.TypeSymbol:
		return b.before(bsonval.String("")), b.before(emptyDoc)
	case bsonval.TypeDocument:
		return b.before(emptyDoc), b.before(emptyArray)
	case bsonval.TypeArray:
		return b.before(emptyArray), b.before(bsonval.Binary(0, nil))
	case bsonval.TypeBinary:
		return b.before(bsonval.Binary(0, nil)), b.before(bsonval.ObjectID(zero[:]))
	case bsonval.TypeObjectID:
		return b.before(bsonval.ObjectID(zero[:])), b.after(bsonval.ObjectID(ones[:]))
	case bsonval.TypeBool:
		return b.before(bsonval.False), b.after(bsonval.True)
	case bsonval.TypeDate:
		return b.before(bsonval.Date(math.MinInt64)), b.after(bsonval.Date(math.MaxInt64))
	case bsonval.TypeTimestamp:
		return b.before(bsonval.TimestampBits(0)), b.after(bsonval.TimestampBits(math.MaxUint64))
	case bsonval.TypeNull, bsonval.TypeUndefined:
		return b.before(v), b.after(v)
	case bsonval.TypeMinKey, bsonval.TypeMaxKey:
		// Everything compares with the ends of the order.
		return b.before(bsonval.MinKey), b.after(bsonval.MaxKey)
	}
	return b.before(bsonval.Regex("", "")), b.before(bsonval.MaxKey)
}

// union is the values in any of the sets.
func (b builder) unite(sets ...Intervals) Intervals {
	out := b.none()
	var all []Interval
	for _, s := range sets {
		all = append(all, s.list...)
	}
	sortIntervals(all)
	for _, iv := range all {
		n := len(out.list)
		if n > 0 && bytes.Compare(iv.lo.key, out.list[n-1].hi.key) <= 0 {
			if bytes.Compare(iv.hi.key, out.list[n-1].hi.key) > 0 {
				out.list[n-1].hi = iv.hi
			}
			continue
		}
		out.list = append(out.list, iv)
	}
	return out
}

// intersect is the values in both sets.
func (b builder) intersect(x, y Intervals) Intervals {
	out := b.none()
	for i, j := 0, 0; i < len(x.list) && j < len(y.list); {
		lo, hi := x.list[i].lo, x.list[i].hi
		if bytes.Compare(y.list[j].lo.key, lo.key) > 0 {
			lo = y.list[j].lo
		}
		xEndsFirst := bytes.Compare(hi.key, y.list[j].hi.key) < 0
		if !xEndsFirst {
			hi = y.list[j].hi
		}
		if bytes.Compare(lo.key, hi.key) < 0 {
			out.list = append(out.list, Interval{lo, hi})
		}
		if xEndsFirst {
			i++
		} else {
			j++
		}
	}
	return out
}

// complement is all other values.
func (b builder) complement(x Intervals) Intervals {
	out := b.none()
	lo := b.before(bsonval.MinKey)
	for _, iv := range x.list {
		if bytes.Compare(lo.key, iv.lo.key) < 0 {
			out.list = append(out.list, Interval{lo, iv.lo})
		}
		lo = iv.hi
	}
	if hi := b.after(bsonval.MaxKey); bytes.Compare(lo.key, hi.key) < 0 {
		out.list = append(out.list, Interval{lo, hi})
	}
	return out
}

// IsFull says whether the set has every value.
func (s Intervals) IsFull() bool {
	return len(s.list) == 1 && s.list[0].lo.v.Type() == bsonval.TypeMinKey && !s.list[0].lo.after &&
		s.list[0].hi.v.Type() == bsonval.TypeMaxKey && s.list[0].hi.after
}

// IsEmpty says whether the set has no value.
func (s Intervals) IsEmpty() bool { return len(s.list) == 0 }

// IsPoints says whether the set is single values only.
func (s Intervals) IsPoints() bool {
	for _, iv := range s.list {
		if !iv.isPoint() {
			return false
		}
	}
	return len(s.list) > 0
}

// isPoint: from just before a value to just after it.
func (iv Interval) isPoint() bool {
	return !iv.lo.after && iv.hi.after && bytes.Equal(iv.lo.key, iv.hi.key[:len(iv.hi.key)-1])
}

// Strings prints the intervals as explain does: "[1, 5)", "(\"a\", {})". In a
// descending field, or a backward scan, ends and order are swapped.
func (s Intervals) Strings(descending bool) []string {
	out := make([]string, 0, len(s.list))
	for _, iv := range s.list {
		out = append(out, iv.format(descending))
	}
	if descending {
		for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
			out[i], out[j] = out[j], out[i]
		}
	}
	return out
}

func (iv Interval) format(descending bool) string {
	var b strings.Builder
	first, last := iv.lo, iv.hi
	open, shut := !first.after, last.after
	if descending {
		first, last, open, shut = last, first, shut, open
	}
	b.WriteByte("(["[btoi(open)])
	b.WriteString(formatEnd(first.v))
	b.WriteString(", ")
	b.WriteString(formatEnd(last.v))
	b.WriteByte(")]"[btoi(shut)])
	return b.String()
}

// formatEnd writes a value as explain does, which puts .0 even behind inf and nan.
func formatEnd(v bsonval.Value) string {
	s := bsonval.Format(v)
	if v.Type() == bsonval.TypeDouble && (v.IsNaN() || math.IsInf(v.Double(), 0)) {
		s += ".0"
	}
	return s
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func sortIntervals(list []Interval) {
	slices.SortFunc(list, func(a, b Interval) int { return bytes.Compare(a.lo.key, b.lo.key) })
}
