// Package oplog is the layout of the operation log's entries, as MongoDB
// writes them to local.oplog.rs (format 2): building, reading, and the diffs
// that updates are logged as.
//
// # Entries
//
// An entry is one BSON document, fields in this order, those in brackets where
// they apply:
//
//	[lsid, txnNumber], op, ns, [ui], o, [o2], [stmtId], [needsRetryImage],
//	[prevOpTime], ts, t, v, wall
//
// op is 'i' (o: the document, o2: its _id), 'u' (o: the new document or
// {$v: 2, diff}, o2: its _id), 'd' (o: its _id), 'c' (a command on ns
// "<db>.$cmd") or 'n' (nothing happened).
//
// ts, t, v and wall are always the last fields and of fixed size, and so is
// prevOpTime when there is one. Whoever commits an entry gives it its time then,
// at [TimeFromEnd], [WallFromEnd] and [PrevFromEnd] bytes before its end.
//
// The entry of a retryable findAndModify has needsRetryImage: the document that the
// command returned is kept beside the log, for retries. preImageOpTime and
// postImageOpTime, which in versions of MongoDB before 5.1 linked to no-op entries with
// that document, are neither written nor read.
//
// A transaction is a chain of "applyOps" commands: each entry but the last has
// partialTxn, each but the first the time of the one before as prevOpTime.
//
// # Diffs
//
// See diff.go for the layout. For documents without duplicate field names,
//
//	Apply(old, Diff(old, new)) == new, byte for byte
//
// The package imports bsonval and mongoerr. It keeps no state and knows neither storage nor
// the clock; a Parse result is a view on the entry's bytes.
package oplog
