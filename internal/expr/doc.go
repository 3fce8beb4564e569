// Package expr is the aggregation expression language: expressions are compiled
// once per command from BSON and evaluated on raw documents.
//
// # Model
//
// A [Compiler] turns a BSON value into an [Expr]. Variables are resolved to
// slots while compiling; constant parts are folded, so an error in one is
// reported before any document is read, as MongoDB does. An Expr is immutable
// and may be evaluated by several goroutines, each with a [Context] of its own.
//
// Operators are rows of tables, one table per family and file (arithmetic.go,
// date.go …). A row holds name, arity, a sentence of documentation and the
// function; see table.go. Adding an operator touches its family's file and its
// test data.
//
// # Memory
//
// A Value returned by Eval may share bytes with the document under evaluation
// and is valid as long as those are; keep it longer with Clone. Evaluating
// scalars allocates nothing.
//
// No value that an expression makes may exceed 64 MiB, nor all that wait as
// arguments and variables 256 MiB: limit.go. Operators that make large values of
// small ones check as they go, not at the end.
//
// # What this package does not know
//
// Storage, network, the clock: what an expression needs from outside comes in
// through [Env]. It imports bsonval, mongoerr, keystring, sortkey, and the leaf
// packages for collation, regular expressions and JavaScript.
package expr
