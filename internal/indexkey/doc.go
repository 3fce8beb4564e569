// Package indexkey makes the keys under which an index files a document.
//
// # Rules
//
// As MongoDB has them (https://www.mongodb.com/docs/manual/core/indexes/index-types/index-multikey/):
// a missing field is null; an array gives one key for each of its elements, an
// empty array the key undefined; at most one array may be met among the fields
// of a compound index, else "cannot index parallel arrays"; arrays directly in
// arrays are values; a numeric path component may name an array's position, and
// then no element of that array may have a field of that name.
// Sparse indexes skip documents without any of the fields. Keys of one document
// are distinct and in order.
//
// Geo indexes expand arrays on the way to a geometry only, make a key of each
// combination of cells and other values, and leave out documents without geometry.
//
// Hashed indexes have the hash of one field's value and refuse arrays; wildcard
// indexes have a path and a value for every leaf, text indexes a term and its
// score for every word: see [Hashed], [Wildcard] and [Text].
//
// # What this package does not know
//
// Partial filters (the caller asks match), storage, catalogs. It imports
// bsonval, geo, keystring, mongoerr and text.
package indexkey
