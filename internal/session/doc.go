// Package session keeps the logical sessions of clients and makes retryable writes happen once.
//
// A session is made by the first command that names it and lives until it has not been used for half an hour or is
// ended. It owns cursors, which whoever embeds the [Registry] closes in OnEnd.
//
// # Retryable writes
//
// A client numbers the retryable writes of a session; the statements of a write have numbers of their own. A [Retry] tells
// which statements of a write have been executed already and with what outcome, and stores the outcomes of further ones
// in the very transaction that executes them: either both are there after a crash or neither is. Only the latest number
// of a session is kept; an older one is refused. One write of a session runs at a time.
//
// # A storage that fails
//
// A storage that is another server can lose what it has committed, while this process goes on: its generation changes
// then. What a session remembers is of the generation in which it was read or committed, and is read again in another.
// Outcomes that are told a second time are told with their generation ([Retry.Generation], [Session.Commit]); whoever
// answers for them makes them durable, and checks that it is still the storage's.
//
// # Transactions
//
// A multi-document transaction takes a number from the same sequence. The session knows how far it has come: it is in
// progress, committed or aborted. A [Statement] is the session's only one until its end, as with retryable writes; one that
// fails aborts the transaction, and so does a larger number, the end of the session and the end of the transaction's
// lifetime, which [Registry.ExpireTransactions] looks after. What a transaction does is [Work] and none of this package's
// business, but for its commit, in which the outcome is stored: a client that has not got the answer may ask again, even
// after a restart. The outcome of a transaction that wrote nothing, or was aborted, is not stored.
//
// # What is stored
//
// Outcomes are kept in meta keys of the storage engine, in chunks of limited size, so that the record of a long write is
// not written again and again:
//
//	"R" uuid(16) uid(32) chunk(4, big endian)
//	  → version(1) = 1, lastUse ms(8), txnNumber(8), entries
//	entry: first statement (varint), count (uvarint), length (uvarint), outcome
//
// A transaction that has committed is chunk 0 with version 2 and no entries. What is in an outcome is its writer's
// business; [Registry.Outcomes] lists them all.
//
// A transaction that must not commit any more is chunk 0 with version 3: in a shared store another process was asked to
// commit it and has told the client that it was aborted.
//
// A chunk whose number is not that of chunk 0 is left over from an earlier write and does not count. An outcome that is the
// same for consecutive statements is stored once.
//
// # What may be imported
//
// storage, bsonval, mongoerr.
package session
