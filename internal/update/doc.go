// Package update compiles the changes of update commands and applies them to
// raw documents.
//
// # Model
//
// [Compile] makes a [Program] of an update: a replacement, operators ($set …) or
// a pipeline, which the caller compiles. [Program.Apply] never changes the bytes
// it is given: it writes a new document, or says that nothing changes.
//
// Operators become a tree of path components with an operation at each leaf. One
// walk through the document applies it: elements without a node are copied, new
// fields are appended in the order of their names, array positions by number.
// Operations are rows of the table in table.go, one family a file.
//
// # Paths
//
// "$" stands for the array element that the query matched, "$[]" for every
// element, "$[name]" for those that an array filter matches. Two operations on
// one path, or on a path and one under it, conflict.
//
// # What this package does not know
//
// Storage, indexes, the clock (it comes in with expr.Env). It imports bsonval,
// mongoerr, sortkey, expr and match. It keeps no state; a Program may be used by
// several goroutines.
package update
