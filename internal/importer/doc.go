// Package importer loads JSON, JSON-lines, CSV and BSON files into a collection of any server that speaks the MongoDB
// wire protocol.
//
// A file streams through three stages: a source cuts it into records (one document's text each, with its line number),
// workers turn records into BSON and send them in unordered batches, and the caller's goroutine counts and reports.
// Memory is bounded by the batches in flight, not by the file.
//
// A record that cannot be read, or that the server refuses, is reported with its line and reason; the others are
// loaded. Every document has a predictable _id (its own, one taken from a field, or one derived from the file's content
// and the record's position), so that running an interrupted import again skips what is already there.
//
// The package is a client: it may import the official driver and nothing of the server.
package importer
