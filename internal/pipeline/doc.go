// Package pipeline is the aggregation pipeline: Parse compiles the stages of a
// command once, Open runs them as pull iterators on raw documents.
//
// # Model
//
// A [Pipeline] is a list of compiled stages. [Pipeline.Optimize] rewrites it
// without changing its result, [Pipeline.Leading] splits off the prefix that a
// query planner can run (filter, sort, skip, limit) and names the fields that
// the rest reads. Stages register in the table of stage.go, one file for each
// family.
//
// All expressions of a pipeline and of its sub-pipelines are compiled by one
// [expr.Compiler] and run in one [expr.Context]. A sub-pipeline is compiled once;
// the variables that an outer stage binds for it (`let`) live in slots that are
// set for each outer document. That is sound because a sub-pipeline is drained
// before its outer stage goes on.
//
// # Sources
//
// A [Source] hands out documents that are valid until its following Next. A stage
// that keeps documents copies them. Documents may carry metadata ($meta); a
// [MetaSource] tells it, stages that pass documents on one by one pass it on too.
//
// # Limits
//
// Each blocking stage may hold Env.MemoryLimit bytes; beyond that it spills to
// Env.TempFile if AllowDiskUse says so, and fails with code 292 otherwise. Every
// loop looks at its context at least once in a thousand documents.
//
// # What this package does not know
//
// Storage, sessions, cursors, the clock. Other collections, statistics and
// writes come through the [Data] interface that the kernel implements. The
// package may import the query language to its left (sortkey, expr, accumulator,
// match, projection), the leaf packages and floor 0.
package pipeline
