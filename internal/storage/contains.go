package storage

import "bytes"

// Contains says which byte strings the records that a scan is for hold: of each
// clause at least one. It is a hint. An engine may leave out records that do not
// fulfil it, and the index entries of such records, if finding that out where the
// records lie costs less than handing them over, and may as well hand over all.
//
// In a clause whose strings begin with different bytes of which only the first
// differs up to a NUL, what lies between is the same field's name in each.
type Contains [][][]byte

// In says whether a record holds what is asked for.
func (c Contains) In(record []byte) bool {
	for _, clause := range c {
		if !anyIn(clause, record) {
			return false
		}
	}
	return true
}

func anyIn(clause [][]byte, record []byte) bool {
	for _, s := range clause {
		if bytes.Contains(record, s) {
			return true
		}
	}
	return false
}

// Reducer is an engine that makes use of Contains.
type Reducer interface {
	// Reduces returns the clauses that scans leave out records by.
	Reduces(c Contains) Contains
}

// Narrower is an index iterator of a Reducer that may be told on its way what the
// records are like that are wanted.
type Narrower interface {
	// Narrow is IndexRange.Contains for the entries that the iterator has not read yet,
	// which may begin some way behind the current one, and Likely for those. Until, if
	// it is not nil, is a bound ahead where that ends: entries with keys ≥ until (< until
	// in a reverse scan) may not be left out.
	Narrow(c Contains, until []byte, likely int64)
}
