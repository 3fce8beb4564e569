// Package pgstore is the storage engine over a PostgreSQL server (13 or newer)
// that the user runs: no extension, no superuser, several processes on one store.
//
// # What lies where
//
// A store has one SQL schema of its own ("archelon" unless the URL says otherwise), and one
// for each database of the layer above, if the user may create schemas. In those:
//
//   - a table (rid, doc) for each table of records, called <collection>_<id>;
//   - a table (key, rid, bits, tail) for each index, called
//     <collection>_<table id>_<index name>_x<id>; its primary key is (key), or
//     (key, rid) if it is not unique. The order of bytea is that of
//     bytes.Compare, so ranges, order and uniqueness are PostgreSQL's own. A key of
//     more than maxKey bytes does not fit into a B-tree page: it is stored as its
//     beginning and a hash, its rest in tail, and iterators put such neighbours
//     into order.
//
// Names are there for who looks at it with SQL; ids are what counts, and make them unique
// however they are cut (names.go). What was never given a name is t<id> or x<id> in the
// store's own schema, where there are also:
//
//   - ids: where each table and index lies, those that have been dropped and not swept
//     yet included; the view catalogue shows it to people;
//   - databases: the schema of each database. Schemas are made and dropped outside of the
//     transactions that need them;
//   - blocks: up to where the record ids of each table are given out; a process
//     takes them in blocks, outside of its transactions;
//   - meta(key, value);
//   - commits, clock, committing: the order of commits, see below;
//   - format: the version of all this, and the store's identity. An older version is
//     brought to the newest when the store is opened (migrate.go).
//
// # How a transaction works
//
// A transaction is one PostgreSQL transaction of isolation level repeatable read
// on a connection of its own, begun with its first statement. Statements travel in
// batches: BEGIN goes with the first read, writes are queued and go with the next
// read that could see them, or with COMMIT. What is written and not yet sent is
// found in small maps (records, unique keys, meta keys), so that reading one's own
// writes needs no round trip.
//
//   - A claim is a row lock (SELECT … FOR UPDATE SKIP LOCKED), or the insertion of
//     a unique key. Before it asks PostgreSQL, a transaction asks the claim table
//     of its process, which knows the transactions of this process: there a
//     waiter sleeps until the winner is done, and a conflict costs neither a round
//     trip nor the PostgreSQL transaction, which goes on being readable. Only the
//     conflicts between processes are found by PostgreSQL; those that it reports
//     as errors (a serialization failure, a lock that is not available) end the
//     PostgreSQL transaction, and all further calls return ErrWriteConflict.
//     Writes without a claim of their own in PostgreSQL (meta keys, index entries)
//     meet another process's only when they are sent, at the latest in Commit.
//   - Savepoints are kept in Go: each write remembers how to undo it, and
//     RollbackTo queues the opposites of what was sent. SAVEPOINT would cost a
//     subtransaction for each document of a bulk insert, of which PostgreSQL
//     remembers 64 cheaply, and would give the claims back.
//   - A unique key must be asked about before it is queued, unless it is above the
//     largest of its index: from its second key on a transaction knows that one, so
//     that a bulk insert of ascending keys (ObjectIds) travels as arrays. So do the entries
//     of new records in other indexes. Such arrays are sent as soon as there are some, and
//     answered with the next batch that is waited for (push).
//   - A read of a single record (TxnOptions.Single) is a batch without BEGIN. While some are
//     under way the next ones gather, and travel together (points.go).
//   - A scan of a few rows that nothing else has to agree with (Loose) is a batch without BEGIN,
//     too (short.go).
//   - A transaction that reads one record and writes it (TxnOptions.Brief) has no PostgreSQL
//     transaction of its own: it reads like that, too, and its writes go with those of others,
//     in a transaction of level read committed that fails unless all that its members
//     went by is still so (brief.go, group.go).
//   - A scan that is told what the records hold (Contains) asks for it in its
//     condition; contains.go has the reasons for its form, docs/postgres.md what else was
//     measured. An index scan that is told on its way (Narrow) goes on with such a
//     statement behind its last row, and an entry without a record is never left out.
//   - A scan of an index that is told which parts of it are wanted (Runs) opens several in one
//     batch (runs.go).
//   - Iterators are portals of the extended protocol, fetched in growing pieces:
//     they show what was written before they were opened and nothing later.
//   - Lock may begin the PostgreSQL transaction again, on a newer snapshot, after
//     it has read everything again that was read so far and found it unchanged.
//
// # The order of commits
//
// Commit sends, in one batch, the queued writes, LOCK TABLE committing, the
// statement that draws the commit's time from the sequence clock and writes it into
// commits (one row for each connection, so that these updates never meet; those on a
// retained state, which may be older than that row, add one), the log
// records stamped with it, and COMMIT. The lock makes the order of these times the
// order in which commits become visible, in all processes, without holes; sequences
// are outside of transactions, so a snapshot does not hide their newest value. The
// largest time in commits, seen through a snapshot, is that snapshot's position.
//
// If the lock is held while the disk is waited for, commits happen one by one. So work is
// done with synchronous_commit off, and a committer that was asked to be durable then
// waits for a round of the syncer: one commit with the server's own synchronous_commit, which
// makes everything before it in the journal durable too (and replicated, with
// synchronous standbys). One round serves all that wait. A crash in between is noticed
// because it cuts the syncer's connection; the commits that wait then fail as ones of
// unknown outcome. What their times were nobody gets again: the syncer's next connection
// begins by moving the clock there. Only who has reason to think that nobody else commits waits for the disk
// with its COMMIT, which is faster for one (crowd.go).
//
// So do those whose connection is cut on the way. Before such a failure is reported a
// fence makes sure that the commit is over, one way or the other: it takes the connection's
// row in commits away (its position stays), without which a commit fails. Who looks
// for the outcome afterwards finds it.
//
// What has been committed and not yet waited for may so be lost while the process that has seen it goes on. Each
// connection of the syncer that is cut counts as a loss (Store.Losses): whoever remembers something of the store
// remembers the number too, and believes it only while that is the same. A transaction names the number it goes by
// (storage.TxnOptions.Losses), and its commit, which may have waited for the server to come back, is refused if there
// is another.
//
// # Several processes
//
// What a transaction of a shared store goes by (storage.TxnOptions: Expect, Hold, Alone)
// travels with BEGIN (shared.go): first the table locks, LOCK … IN ROW EXCLUSIVE MODE for
// who writes and IN EXCLUSIVE MODE for who wants the table alone, which take no snapshot;
// then the look at the expected meta keys, which takes it. So the snapshot of who has a
// table alone shows all that was written to it, and that of a writer all that was done
// by who had it alone before. A table that somebody has alone gets its record ids one
// by one, from the row in blocks, so that they are in the order of insertion.
//
// # Dropping
//
// DROP TABLE would wait for readers and take their old contents away. A drop locks
// out writers (LOCK … IN EXCLUSIVE MODE), marks the entry in ids and puts a trigger
// on the table that refuses the writes of processes that have not heard of it yet. The sweeper
// drops the table for good when no snapshot of that age is left.
//
// # SQL
//
// Everything used is in PostgreSQL 13; the newest is pg_current_xact_id (13), before that
// plan_cache_mode (12), CREATE TRIGGER … EXECUTE FUNCTION (11), and ON CONFLICT and SKIP
// LOCKED (9.5). Engines that only speak PostgreSQL's protocol must have repeatable read with the
// first writer winning, DDL in transactions, LOCK TABLE or a row lock in its place,
// sequences, portals that are fetched in pieces, and one journal: see docs/scale.md. Not used
// are extensions, superuser's rights, LISTEN, COPY, SAVEPOINT, jsonb and foreign keys.
//
// # Limits
//
// Between several processes, record ids are in the order of insertion only block
// by block. Truncate of a log table costs time in proportion to what it removes.
// LISTEN is not used, and an advisory lock only by a store that is not shared, to
// keep a second process out, and, shared, by the others to keep such a one out; where
// PostgreSQL's functions for that are missing, they do without.
//
// This package imports storage, clock, mongoerr and pgx's protocol packages. Lock
// order: gate, retained, ids, object, pool, claim table, syncer.
package pgstore
