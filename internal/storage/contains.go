package storage

// Contains says which byte strings the records that a scan is for hold: of each
// clause at least one. It is a hint. An engine may leave out records that do not
// fulfil it, if finding that out where the records lie costs less than handing them
// over, and may as well hand over all.
//
// In a clause whose strings begin with different bytes of which only the first
// differs up to a NUL, what lies between is the same field's name in each.
type Contains [][][]byte

// Reducer is an engine that makes use of Contains.
type Reducer interface {
	// Reduces returns the clauses that scans of a table leave out records by.
	Reduces(c Contains) Contains
}
