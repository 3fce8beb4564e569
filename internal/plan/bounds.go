package plan

import (
	"bytes"
	"slices"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/keystring"
)

// span is a half-open range of one key component's bytes, in key order.
type span struct{ start, end []byte }

// spans turns a set into component ranges in the key order of a field.
func (s Intervals) spans(desc bool) []span {
	out := make([]span, len(s.list))
	for i, iv := range s.list {
		if !desc {
			out[i] = span{iv.lo.key, iv.hi.key}
			continue
		}
		// The interval's upper end comes first in key order.
		out[len(s.list)-1-i] = span{
			keystring.AppendStart(nil, iv.hi.v, iv.hi.after, true, s.collator),
			keystring.AppendEnd(nil, iv.lo.v, !iv.lo.after, true, s.collator),
		}
	}
	return out
}

// Bounds is the part of an index to scan: for each field a set of values.
// Fields past the end of Fields are unbounded.
type Bounds struct {
	Fields []Intervals
}

// Range is the smallest key range [lower, upper) that holds all keys within the
// bounds of an index; empty says that there are none. Exact says that every key
// in the range is within the bounds, so that no Checker is needed.
func (b Bounds) Range(x *catalog.Index) (lower, upper []byte, exact, empty bool) {
	exact = true
	open := true // the bounds so far are one value each
	for i, set := range b.Fields {
		sp := set.spans(x.Fields[i].Desc)
		if len(sp) == 0 {
			return nil, nil, true, true
		}
		if !open {
			if !set.IsFull() {
				exact = false
			}
			continue
		}
		prefix := bytes.Clone(lower)
		lower = append(lower, sp[0].start...)
		upper = append(prefix, sp[len(sp)-1].end...)
		if len(sp) > 1 || !set.list[0].isPoint() {
			open = false
			exact = exact && len(sp) == 1
		}
	}
	return lower, upper, exact, false
}

// Runs are the key ranges that hold exactly the keys within the bounds, in key order. It returns nil if
// that are more than most, or if bounds lie behind a field that is not one value in each range.
func (b Bounds) Runs(x *catalog.Index, most int) []KeyRange {
	runs, open := []KeyRange{{}}, true
	for i, set := range b.Fields {
		if !open {
			if !set.IsFull() {
				return nil
			}
			continue
		}
		sp := set.spans(x.Fields[i].Desc)
		if len(runs)*len(sp) > most {
			return nil
		}
		longer := make([]KeyRange, 0, len(runs)*len(sp))
		for _, r := range runs {
			for _, s := range sp {
				longer = append(longer, KeyRange{Lower: slices.Concat(r.Lower, s.start), Upper: slices.Concat(r.Lower, s.end)})
			}
		}
		runs, open = longer, set.IsPoints()
	}
	return runs
}

// Checker tests keys against bounds during a scan, and says where to go on
// after a key outside. It belongs to one goroutine.
type Checker struct {
	fields  [][]span
	desc    []bool
	reverse bool
	target  []byte
}

// NewChecker makes a checker for a scan in key order (or backwards).
func NewChecker(b Bounds, x *catalog.Index, reverse bool) *Checker {
	c := &Checker{reverse: reverse}
	for i, set := range b.Fields {
		c.fields = append(c.fields, set.spans(x.Fields[i].Desc))
		c.desc = append(c.desc, x.Fields[i].Desc)
	}
	return c
}

// Verdict is what Check says of a key.
type Verdict int

// Verdicts.
const (
	Inside Verdict = iota // within bounds
	Seek                  // outside: continue at the target
	Done                  // outside, and so is everything after it
)

// Check tests a key. The seek target is valid until the next call.
func (c *Checker) Check(key []byte) (v Verdict, target []byte) {
	at := 0
	for i, spans := range c.fields {
		n, err := keystring.ComponentLen(key[at:], c.desc[i])
		if err != nil {
			return Inside, nil // not ours to judge: the filter decides
		}
		if to, ok := c.outside(spans, key[at:at+n]); !ok {
			at += n
			continue
		} else if to != nil {
			c.target = append(append(c.target[:0], key[:at]...), to...)
			return Seek, c.target
		}
		if at == 0 {
			return Done, nil
		}
		// Nothing more under this prefix: go past it.
		c.target = append(c.target[:0], key[:at]...)
		if !c.reverse {
			c.target = keystring.Above(c.target)
		}
		return Seek, c.target
	}
	return Inside, nil
}

// RunEnd appends to dst the end, in scan direction, of the keys around a key within
// bounds that are within bounds, too, because they differ only behind the last field
// with bounds or within the same interval of it: a bound of a range of keys. It returns
// nil if there is none.
func (c *Checker) RunEnd(dst, key []byte) []byte {
	at := 0
	for i, spans := range c.fields {
		n, err := keystring.ComponentLen(key[at:], c.desc[i])
		if err != nil {
			return nil
		}
		if i < len(c.fields)-1 {
			at += n
			continue
		}
		for _, s := range spans {
			comp := key[at : at+n]
			if bytes.Compare(s.start, comp) > 0 || bytes.Compare(comp, s.end) >= 0 {
				continue
			}
			dst = append(dst, key[:at]...)
			if c.reverse {
				return append(dst, s.start...)
			}
			return append(dst, s.end...)
		}
	}
	return nil
}

// outside says whether a component is in none of the spans, and where the next
// span ahead begins (nil if there is none).
func (c *Checker) outside(spans []span, comp []byte) (next []byte, out bool) {
	// The first span that ends above comp.
	lo, hi := 0, len(spans)
	for lo < hi {
		if mid := (lo + hi) / 2; bytes.Compare(spans[mid].end, comp) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(spans) && bytes.Compare(spans[lo].start, comp) <= 0 {
		return nil, false
	}
	if c.reverse {
		if lo == 0 {
			return nil, true
		}
		return spans[lo-1].end, true
	}
	if lo == len(spans) {
		return nil, true
	}
	return spans[lo].start, true
}

// Field returns the set of an index field; fields past the end have every value.
func (b Bounds) Field(i int) Intervals {
	if i < len(b.Fields) {
		return b.Fields[i]
	}
	return builder{}.all()
}
