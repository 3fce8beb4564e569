// Package js runs the JavaScript of $function, $accumulator, $where and
// mapReduce.
//
// An [Engine] belongs to a process: it caches compiled programs and holds the
// limits. A [Session] belongs to one command and one goroutine at a time: it
// has a JavaScript world of its own, so that globals set by one call are there
// for the next, as in MongoDB, but never reach another command.
//
// BSON values become the JavaScript values that MongoDB's shell has: int32 and
// double are numbers; int64, decimals, ObjectIds, binary data and so on are
// objects with MongoDB's constructors (NumberLong, ObjectId, BinData …). Going
// back, numbers become doubles, except where a document's int32 field still
// holds an integer.
//
// # Plain functions and workers
//
// The interpreter can be interrupted between its instructions only, and one
// instruction or one call of its library may take all memory, or forever, or end
// the process. So there are two places to run a function:
//
//   - Plain functions run in this process. A walk over the syntax tree
//     (analyse) accepts what takes little in each step: most of what is usual in
//     $where, $function and mapReduce. The world they run in (harden) has the
//     part of the library of which that is true as well, whichever way they get at
//     it; additions that may make long strings are checked. Plain functions have
//     no globals of their own and cannot change those there are, so they run in
//     any plain world that is free.
//   - All others run in a worker: this program started anew, in which an
//     init function of this package takes over before main. Its memory is limited
//     by the operating system, its priority is low, and when a call's time is up
//     it is killed. A session keeps its worker, and so its globals, until the
//     context of its command ends: from one batch of a cursor to the next
//     globals are lost.
//
// A plain function that goes deeper than a plain world allows, and has called
// nothing of the database's, is run again in a worker.
//
// # Limits
//
// A call ends when its context does, when it has run for Limits.Time, or when
// the heap has grown by Limits.Heap since it began: the process's for plain
// functions, the worker's for others.
//
// This is the only package that imports the JavaScript engine. It imports
// bsonval and mongoerr and knows nothing of expressions.
package js
