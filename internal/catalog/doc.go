// Package catalog knows which databases, collections, views and indexes exist.
//
// # Model
//
// The catalog is an immutable [Snapshot]: maps from names to [Collection]
// values that are never changed after they are published. Reading takes no
// lock. [Catalog.Change] makes the next snapshot: changes are serialised, are
// written to the engine's meta keys in one transaction together with the tables
// and indexes they make or drop, and are published after the commit.
//
// # Writers and definition changes
//
// A collection carries a [Guard]. A one-statement writer holds it shared from
// looking up the collection until its transaction ends, so that the set of
// indexes it maintains is the current one; a multi-document transaction holds a
// share of it from the first time it touches the collection until it ends; a
// change of the collection (index build, drop, rename) excludes both. Readers
// hold nothing: the engine keeps dropped contents readable for older snapshots.
//
// Lock order: the catalog's change lock, then guards. Nobody waits for a
// transaction's share with the change lock held: a change that meets one gives up
// everything, waits, and starts again. So a transaction may itself ask for a
// change (it creates the collection it inserts into) without a deadlock.
//
// # Collections that transactions create
//
// A multi-document transaction creates collections inside its own storage
// transaction ([Pending]). They are in no snapshot before it commits, which takes the
// change lock for the time of the commit; only their ids are given out for good.
//
// # Capped collections
//
// Writers of a capped collection go one at a time ([Order], taken behind the guard),
// and readers who wait at its end are woken by commits ([Arrivals]).
//
// # Logs
//
// A collection with [Collection.Log] is a log table: it has no indexes, and its
// writers and readers never meet at its guard.
//
// # Kinds of index
//
// [Index.Kind] says which keys an index holds. A new kind is: a generator in
// package indexkey (a row of its table of makers), the checks and normal form of
// its specification in database/indexkind.go, and, since only ordinary indexes
// are scanned by bounds on their fields, an access path in package plan (a case
// in access.go). Where an index is looked at by its Fields, ask for the Kind first.
//
// # Shared stores
//
// If other processes may change the definitions (storage.Shared), a [Snapshot] has a
// version, which is stored with it and which every change sets anew; so does the first
// array in an index. Whoever begins a transaction expects the version it has planned
// with ([Snapshot.Version]); if it is another one by then, [Catalog.Refresh] reads what
// has changed, and the caller begins again. Collections that have not changed stay the
// same values, and new versions of one share its Guard.
//
// A change expects it as well, and sets it, so changes of two processes conflict and
// the second begins again. What [Change.Hold] holds is held against the writers of other
// processes by a lock in the engine that comes before the change's snapshot; so
// a change that needs it begins again, too, with the lock first.
//
// # Stored form
//
//	"C" db 00 name  → BSON {id, uuid, type, options, log, indexes: [{id, spec, ready}]}
//	"N"             → 8 bytes big endian: the largest table or index id given out
//	"V"             → 16 random bytes: the version of all this, in a shared store
//	"X" id(4, BE)   → 4 bytes big endian: which fields of the index are multikey
//
// # What this package does not know
//
// Commands and plans. It imports storage, bsonval, collation, indexkey, and
// match for the filters of partial indexes and validators.
package catalog
