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
// # Limits
//
// A call ends when its context does, when it has run for Limits.Time, or when
// the process's heap has grown by Limits.Heap since it began. Both are watched
// at intervals and act between JavaScript instructions: a single native
// operation runs to its end, so those that allocate what their argument says
// (String.prototype.repeat, padStart, padEnd) are bounded on their own, and
// ArrayBuffer and typed arrays do not exist.
//
// This is the only package that imports the JavaScript engine. It imports
// bsonval and mongoerr, knows nothing of expressions, and starts no goroutine.
package js
