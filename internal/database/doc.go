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
// # Transactions
//
// A multi-document [Transaction] is one storage transaction over many operations,
// each of which names it in [Op.Txn]. It takes its snapshot, of records and of
// definitions, with the first of them, and holds a share of the guard of every
// collection it touches until it ends, so that definitions stay. Nothing is run
// again inside: a conflict, like any failure of a write, aborts it. Its cursors
// read through it and end with it.
//
// What a transaction creates is part of it, too (catalog.Pending).
//
// # The oplog
//
// With [Config.Oplog] each change adds its entry to local.oplog.rs in the storage
// transaction that makes it; the commit gives the entry its time, which is its record
// id. So entries are in the order of commits and have no holes (package storage). A
// writer logs through its logWriter, a change of definitions in the catalog's change
// (oplogddl.go), a multi-document transaction all at once when it commits
// (oplogtxn.go). Documents from before a change go to config.system.preimages with the
// id of the entry. A trimmer cuts off what is too much. Nothing else writes the two.
//
// A run without Config.Oplog on a store that has a log leaves a mark, and the next run
// with it begins the log anew (oploggap.go): who follows the log across such a run is
// told so (ChangeStreamHistoryLost) instead of missing something.
//
// The document that a retryable findAndModify returns is kept for its retry with the
// session's outcome, in the write's own commit, and there only. The entry says so
// (needsRetryImage), and config.image_collection shows it: its documents are made when
// they are read (retryimages.go), their ts taken from the entry. An image is shown as
// long as the session keeps it, which is until its next retryable write or transaction
// (MongoDB's stays until the next findAndModify), and the entry is in the log.
//
// # Capped and clustered collections
//
// The writers of a capped collection go one at a time, and an insert removes the
// oldest documents in its own transaction. A tailable cursor remembers the record
// it stood on; at the end it is woken by commits. A clustered collection keeps its
// records in insertion order as others do, but is only ever read along its index
// on _id.
//
// # Shared stores
//
// Several processes may have the store (storage.Shared): then what is kept in memory may
// be outdated. Operations expect the definitions they go by (shared.go), counts are kept
// in rows (tallies.go), and the processes know each other and one of them does what
// only one should (members.go). Elsewhere it shows in few places; look for DB.shared.
//
// # Engines on other servers
//
// What costs little in an embedded engine is a journey in another one (storage.Distant).
// The transactions say ahead what they are going to do (storage.AheadLocker, storage.TxnOptions), and the
// statements of a command, and the documents of $merge, are done in series (series.go),
// with the same outcome as one by one. $lookup asks for several documents at once (data.Gathers).
//
// # Who may use which index
//
// A query shape is a command without its values. Index filters (indexfilter.go,
// of this process) and query settings (querysettings.go, stored) say by shape
// which indexes the planner may look at; both win over a hint. Settings are looked
// for once in a command, before anything else, and only if there are any.
//
// # What this package does not know
//
// Command documents and reply formats (package command), connections, the
// storage engine's kind.
package database
