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
// # What this package does not know
//
// Partial filters (the caller asks match), storage, catalogs. It imports
// bsonval, keystring and mongoerr.
package indexkey
