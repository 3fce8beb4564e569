// Package plan chooses how to answer a query: which index, over which bounds,
// in which direction.
//
// # Model
//
// [Candidates] turns a filter, a sort and a collection's indexes into the plans
// that could answer; each is a [Plan] value. A filter's predicates become
// [Intervals] per index field, sets of value intervals that are a superset of
// the matching keys. Unless every predicate is decided exactly by the bounds,
// the filter is applied again to the documents found, so a plan never changes a
// result.
//
// Beyond bounds a plan may use what the keys of an index tell: conditions on its
// fields are tried before the document is fetched, documents that the keys hold
// whole are not fetched (covered), counts look at nothing but the number of
// records, a distinct skips from value to value, and a sort behind fields of a few
// values each becomes a merge of scans.
//
// # Geometries
//
// A geometry to look for becomes intervals of index cells (package geo). A filter
// with $near is answered by a geo index only: [Near] has the bounds of rings
// around the point, and whoever runs the plan asks for as many as it needs.
//
// Only ordinary indexes are scanned by bounds on their fields as they stand.
// access.go has the way of every other kind: hashed indexes are bounded by hashes,
// wildcard indexes are expanded to an index on each path the filter asks for, a
// text index is searched by terms.
//
// # What this package does not know
//
// Storage and transactions: it reads values and returns values. Which of
// several candidates is fastest is found by running them (package exec).
package plan
