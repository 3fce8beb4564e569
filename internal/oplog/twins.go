package oplog

import (
	"bytes"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// fewFields is up to how many fields names are compared one by one where a small
// filter finds them alike.
const fewFields = 128

// hasTwins tells a document in which a field name occurs twice. It is asked of each
// changed document, so it allocates nothing but, once, a table for large ones.
func (f *Differ) hasTwins(d bsonval.Doc) bool {
	var filter [8]uint64
	it := d.Iter()
	for n := 0; it.Next(); n++ {
		if n == fewFields {
			return f.manyTwins(d)
		}
		h := hashName(it.Key())
		word, bit := &filter[h>>6&7], uint64(1)<<(h&63)
		if *word&bit != 0 && occursBefore(d, it.Key(), n) {
			return true
		}
		*word |= bit
	}
	return false
}

// manyTwins is hasTwins by a set of hashes. Two names with one hash count as
// twins: the document is then logged whole for no reason, which is right too.
func (f *Differ) manyTwins(d bsonval.Doc) bool {
	size := 1
	for size < 2*d.Len() {
		size *= 2
	}
	if size > cap(f.seen) {
		f.seen = make([]uint64, size)
	}
	f.seen = f.seen[:size]
	clear(f.seen)
	if size*8 > maxKeptBytes {
		defer func() { f.seen = nil }()
	}
	it := d.Iter()
	for it.Next() {
		h := hashName(it.Key()) | 1<<63 // 0 is a free place
		for i := h; ; i++ {
			place := &f.seen[i&uint64(size-1)]
			if *place == h {
				return true
			}
			if *place == 0 {
				*place = h
				break
			}
		}
	}
	return false
}

// hashName is 64-bit FNV-1a, its high bits mixed into the low ones.
func hashName(name []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range name {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h ^ h>>29
}

// occursBefore says whether one of d's first n fields has the name.
func occursBefore(d bsonval.Doc, key []byte, n int) bool {
	it := d.Iter()
	for ; n > 0 && it.Next(); n-- {
		if bytes.Equal(it.Key(), key) {
			return true
		}
	}
	return false
}
