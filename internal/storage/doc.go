// Package storage is the port between the database kernel and the engines that
// keep its bytes.
//
// # Model
//
// An engine keeps three kinds of things, all of them bytes to it:
//
//   - tables: RecordID → document bytes, one table per collection. Record ids
//     are allocated by the engine and increase, so scanning a table forward is
//     insertion order ("natural order").
//   - indexes: an ordered set of entries (key, RecordID) → type bits. Keys are
//     keystring bytes: bytes.Compare is the order, and the engine never looks
//     inside. In a unique index a key holds at most one record.
//   - log tables: tables whose record ids are the times of their commits, given out
//     in the order of commits and without holes: see [Txn].Append. The oplog is one.
//   - meta: a small ordered map for the catalog, session records and whatever
//     else must commit together with documents.
//
// # Transactions
//
// All access is through a [Txn]. Transactions are snapshot isolated: a
// transaction reads the state of one moment plus its own writes, and the first
// writer of a record (or of a key in a unique index, or of a meta key) wins:
// the second gets [ErrWriteConflict] at the write, never at commit. Write skew
// is possible, as in MongoDB.
//
// # Names
//
// Tables and indexes are known by ids. An engine whose users look into it by other means, with
// SQL say, is told what they call them: see [Namer].
//
// # What this package does not know
//
// MongoDB commands, BSON, catalogs, query plans. It imports clock and the standard
// library only. Engines live in subpackages; enginetest is the suite each of
// them passes.
package storage
