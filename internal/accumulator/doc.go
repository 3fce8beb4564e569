// Package accumulator has the accumulators of $group, $bucket and their like,
// and the window functions of $setWindowFields.
//
// # Model
//
// [Compile] turns {$op: arg} into a [Factory]; its New makes a [State] for one
// group. A State evaluates its argument on one document after another (Add) and
// gives the result. States whose group is spilled to disk are written as a value
// (Partial) and merged again later (Merge), in the order in which their
// documents came.
//
// [CompileWindow] turns {$op: arg, window: …} into a [Window], which computes
// its results for a whole sorted partition at once. Every accumulator is a
// window function over the frame of each document; functions that only make
// sense in windows are rows of a table of their own.
//
// Both are tables, one row per operator, a file per family.
//
// # Ownership
//
// A Factory and a Window are immutable; a State belongs to one goroutine and
// keeps no reference to the documents it has seen.
//
// # What this package does not know
//
// Groups, partitions, sorting, spilling: those are the stages' business. It
// imports expr, sortkey, bsonval, keystring and mongoerr.
package accumulator
