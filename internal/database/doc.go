// Package database is the kernel: find, insert, update, delete, aggregate,
// cursors, and the definition of collections and indexes, as Go calls.
//
// # How a write goes
//
// A write looks its collection up, holds the collection's guard shared, runs in
// one storage transaction that changes records and index entries together, and
// commits. It claims a record before reading it, so writers of a hot document
// queue up at the claim; a conflict all the same starts the write again from the
// look-up.
//
// # How a read goes
//
// A read takes a snapshot, plans on it, and streams documents through stages
// into a [Cursor]. Between batches a cursor holds no transaction: its scans
// remember their position (package exec).
//
// # What this package does not know
//
// Command documents and reply formats (package command), connections, the
// storage engine's kind.
package database
