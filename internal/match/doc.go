// Package match is the query filter language: a filter is compiled once per
// command from BSON into a tree of nodes, and evaluated on raw documents.
//
// # Model
//
// [Compile] gives a [Matcher]. Its tree ([Matcher.Root]) is exported and
// normalised, for planners to read: nested $and are flattened, {a: 1} is a
// Compare with Eq, {$in: [1]} too, $all is an And, $ne a Not. The tree is exactly
// what is matched: a planner that proves some nodes by an index builds a Matcher
// of the rest with [FromNode]. Nodes are immutable and may be shared by
// goroutines.
//
// Operators are rows of tables: those of documents ($and, $expr …) in
// document.go, those of fields ($gt, $in …) in field.go.
//
// # Paths
//
// A dotted path leads through documents and, at every array on its way, into
// each element that is a document; a number in it also picks the element at that
// position. If it ends at an array, the operator is tried on every element and
// then on the array itself; path.go has the exact rules.
//
// # What this package does not know
//
// Storage, indexes, the clock. It imports bsonval, mongoerr, expr and the leaf
// packages for regular expressions and geometry. It keeps no state.
package match
