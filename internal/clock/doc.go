// Package clock is the hybrid logical clock of a deployment: the source of
// cluster times, operation times and the ids of log records.
//
// A time is 64 bits, those of a BSON timestamp: seconds in the upper half, a
// counter in the lower one. Times never go back, whatever the wall clock does,
// and no time is given out twice.
//
// # Invariants
//
//   - Applied ≤ Time, at every moment.
//   - A time that Next gives out is larger than every time the clock has given
//     out, taken over or been told of before.
//
// All methods are safe for concurrent use; there is no goroutine. The package
// imports mongoerr, for the error a client gets that is too far ahead, and
// nothing else of the project.
package clock
