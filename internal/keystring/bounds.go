package keystring

import "github.com/archelon-db/archelon/internal/bsonval"

// Above makes of a key prefix the bound just above all keys that begin with it:
// k ≥ prefix and k < Above(prefix) exactly for those. The prefix must end at a
// component's end.
func Above(prefix []byte) []byte { return append(prefix, aboveByte) }

// AppendStart appends the lower end, in key order, of an interval whose first
// component begins at v: keys from the result on have a component after v, or
// equal to it if inclusive. In a descending index the lower end in key order is
// the interval's larger value.
func AppendStart(dst []byte, v bsonval.Value, inclusive, desc bool, c bsonval.Collator) []byte {
	dst = Append(dst, v, desc, c)
	if inclusive {
		return dst
	}
	return append(dst, aboveByte)
}

// AppendEnd appends the upper end (itself excluded), in key order, of an
// interval whose last component is v: keys below the result have a component
// before v, or equal to it if inclusive.
func AppendEnd(dst []byte, v bsonval.Value, inclusive, desc bool, c bsonval.Collator) []byte {
	return AppendStart(dst, v, !inclusive, desc, c)
}

// AppendTypeStart and AppendTypeEnd append the bounds, in key order, of all
// values that share a place in the comparison order with t: all numbers, say.
// Start is included, end is not.
func AppendTypeStart(dst []byte, t bsonval.Type, desc bool) []byte {
	low, high := classOf(t)
	if desc {
		return append(dst, ^(high - 1))
	}
	return append(dst, low)
}

// AppendTypeEnd is the end to AppendTypeStart.
func AppendTypeEnd(dst []byte, t bsonval.Type, desc bool) []byte {
	low, high := classOf(t)
	if desc {
		return append(dst, ^low+1)
	}
	return append(dst, high)
}

// AppendPrefixBounds appends to start and end the bounds, in key order, of all
// strings that begin with prefix, under binary order.
func AppendPrefixBounds(start, end, prefix []byte, desc bool) (s, e []byte) {
	text := appendText([]byte{classString}, prefix)
	text = text[:len(text)-1]
	if desc {
		invert(text)
	}
	above := append([]byte(nil), text...)
	for above[len(above)-1] == 0xFF {
		above = above[:len(above)-1]
	}
	above[len(above)-1]++
	return append(start, text...), append(end, above...)
}
