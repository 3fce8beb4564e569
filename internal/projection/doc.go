// Package projection is the language of projections: find's projection and the
// stages $project, $addFields and $unset.
//
// # Model
//
// [Compile] turns a specification into a tree of fields; [Projection.Append]
// writes the projected document in one walk through the source. A projection
// either includes (only fields that it names), excludes (all but those), or adds
// (all, with some computed anew).
//
// Fields that come from the document keep its order; computed fields that the
// document does not have, or that an inclusion computes, follow in the order of
// the specification. Arrays on a path are gone through element by element, at any
// depth; elements that are no documents are dropped by an inclusion, kept by an
// exclusion, and replaced by a document of the computed fields where there are any.
//
// $slice and the positional operator cut what the projection gives; $elemMatch is
// a computed field.
//
// The package imports bsonval, mongoerr, expr and match. It keeps no state; a
// Projection may be used by several goroutines, each with its own context.
package projection
