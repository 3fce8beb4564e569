// Package bsonval holds BSON values and documents as views on raw bytes.
//
// # Model
//
// A [Doc] is the bytes of one BSON document (or array), length prefix and
// terminator included. A [Value] is a small struct: a type, eight bytes of
// number bits, and for variable-length types a slice into the document it came
// from. Reading a value copies nothing and allocates nothing.
//
// The zero Value is "missing": the absence of a value, which is not null. It
// never appears in a document; appending it to one appends nothing.
//
// Bytes that come from outside are checked once with [Validate]. On a validated
// document iteration cannot fail; on any other bytes it stops early with an
// error and never reads outside the slice.
//
// # Order
//
// [Compare] is MongoDB's comparison order across all types; numbers of
// different types compare by value. Strings compare by bytes unless a
// [Collator] is given.
//
// # What this package does not know
//
// Query operators, storage, error codes. It imports the standard library and
// the decimal library only.
package bsonval
