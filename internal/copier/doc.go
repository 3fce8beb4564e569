// Package copier moves everything from one server that speaks the MongoDB wire protocol to another while the source is
// in use: documents, options of collections, indexes and views, then the changes that came meanwhile, until the
// application is moved over.
//
// # Phases
//
//	plan     lists what the source has, refuses what cannot be copied, creates the collections on the target
//	copy     ranges of _id of several collections side by side, in batches
//	catch up events of the source's change stream, which was opened before anything was listed
//	indexes  are built when the target is exactly as the source was at one moment (see below)
//	follow   events, until the caller asks for the end
//	finish   views, lifetimes of documents (TTL), users, comparison
//
// # Why it converges
//
// The ranges are read by snapshots, each as of a time that is written down with the range: from then on, a document is
// what the events behind that time make of it. Once the events up to the end of the copy are applied (state's Exact),
// the target agrees with the source as of each event. Unique indexes hold only then, so all indexes wait for it.
//
// Capped collections, and those with a collation, are not read as of one time. A document that was read later than an
// event sees that event again: inserts and replacements write the whole document; an update's description is applied as
// far as the document lets it, and what does not fit is overwritten by the later event that made it so. Only the order of
// fields may differ then, in a document of which fields were removed and set again while it was copied.
//
// Events are applied by batches: a document's events become one write. Deletes go first, so that an _id that comes back
// as an equal one of another type (1 and 1.0) is free. Where the final states of a batch change places in a unique index,
// the documents are written down in the state collection, removed and inserted.
//
// # Definitions
//
// Collections are known by the source's UUID. A listing is done twice, until both agree, after a time of the source's
// log: events up to that time are in it and left out; those behind it may be in it, so doing them again changes nothing.
// Events of indexes that come while the indexes wait are merged into the listing by which they are built.
//
// # State
//
// The collection archelon_copy.state of the target says what has been done: see state.go. A copy that is killed and
// started again goes on from there. All writes are such that doing them twice is doing them once.
//
// # Goroutines
//
// Run starts as many workers as Config.Jobs for each phase and a reporter, and returns when all have ended.
//
// The package is a client of both servers by way of egress, on raw BSON. It imports nothing of the server.
package copier
