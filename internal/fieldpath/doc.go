// Package fieldpath has the rules of dotted paths that name fields in expressions, sort patterns and stages, with
// MongoDB's errors. Paths of filters and updates have other rules, in their packages.
//
// It may import internal/bsonval, for the depth of documents, and internal/mongoerr.
package fieldpath
