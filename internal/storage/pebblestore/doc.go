// Package pebblestore is the storage engine of a single folder: tables, indexes
// and meta in one ordered key space of a Pebble LSM tree.
//
// # How a transaction works
//
//   - Reads go to a view: a Pebble snapshot and the exact [storage.Position] it
//     shows, shared by all transactions that begin between two commits.
//   - Writes go to an overlay: an ordered set of keys in memory, private to the
//     transaction. Iterators merge overlay and view. The overlay keeps every
//     version of a key, so that savepoints are a number and an iterator sees the
//     writes made before it was opened and no others.
//   - A write first claims its record or key in the lock table. A claim held by
//     an open transaction, or a commit after the view's position, is a conflict.
//     Entries of the lock table live only as long as a view is older than them.
//   - Commit turns the overlay into one Pebble batch, and in a short critical
//     section gives it the next position and applies it; the batch holds the
//     position, as a key or as the id of a log record, so that a snapshot taken
//     meanwhile can be told from one taken before. The wait for the disk comes after the critical section and after the claims are given back:
//     one fsync serves all commits that are waiting.
//   - Positions are times of the clock. Records for log tables go into the batch
//     last, and the critical section writes the times that lead up to the position
//     into their keys and stamps. So the ids of log records, the order of the
//     journal and what a view shows are one order.
//   - Before a key goes into a unique index it must be known not to be there. For keys
//     that increase newKeys knows without a look into the tree.
//   - Log tables get files of their own, compressed fast (spanPolicy).
//   - Durable grows when a wait for the disk is over. The journal is one file after
//     the other, so what is durable at a position is everything before it.
//
// Nothing is acknowledged before it is synced, but other transactions may read it
// before that, as with MongoDB's read concern "local".
//
// # Who owns what
//
// A transaction belongs to one goroutine. The store starts no goroutine of its
// own, except the timer that syncs commits which did not ask to wait. Locks are
// taken in this order: gate, commit mutex, views mutex, lock-table shard or range
// mutex.
//
// # When the disk fails
//
// An error from the journal makes the store refuse every further commit (its
// state on disk is unknown) while reads go on, and so does a file that is found
// to be damaged. Errors that Pebble itself calls
// fatal, those of its manifest and of starting a new journal file, end the
// process. Commits are refused with [storage.ErrNoSpace] before the disk is full,
// because a full disk would be such an error.
//
// This package imports storage, clock and Pebble, and nothing else of the project.
package pebblestore
