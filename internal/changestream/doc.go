// Package changestream has the rules of change streams: the $changeStream
// stage's options, which namespaces may be watched, resume tokens, the events
// that oplog entries make, where a stream resumes, and the splitting of large
// events.
//
// # Model
//
//	Parse             the stage's argument: a Spec
//	Spec.Target       what it watches: a collection, a database or everything
//	Spec.Shape        what its events depend on: streams may share them
//	Spec.Start        from where: a Cursor, which skips what came before
//	Router            which streams an entry concerns, one map look-up an entry
//	Stream.Events     the events an entry makes for one stream
//	Cursor.Pass       is this event behind the resume point?
//	Cursor.Token      the resume token of a batch
//	Split             an event in fragments ($changeStreamSplitLargeEvent)
//
// Each entry makes its events by itself. The entries of a large transaction have
// times of their own, as its events do; txnOpIndex counts within an entry.
//
// # Events
//
// Fields in this order, where they apply:
//
//	_id, operationType, clusterTime, collectionUUID, wallTime, txnNumber, lsid,
//	fullDocument, ns, nsType, to, documentKey, updateDescription,
//	operationDescription, stateBeforeChange, fullDocumentBeforeChange
//
// collectionUUID, nsType, operationDescription, stateBeforeChange and
// updateDescription.disambiguatedPaths are for showExpandedEvents.
//
// # What this package does not know
//
// Storage, time, goroutines, cursors, the stages behind $changeStream. It imports
// oplog, keystring, bsonval and mongoerr. Nothing in it is safe for use by two
// goroutines at a time, but for a Stream, which never changes.
package changestream
