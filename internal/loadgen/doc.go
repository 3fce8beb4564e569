// Package loadgen makes documents and load: a seeded generator of mixed documents, and fixed workloads that measure
// any server that speaks the MongoDB wire protocol.
//
// The document at a position depends on the seed and the position alone, so that runs on different servers and days
// compare, and a reader knows what to expect of a document it looks up.
//
// The package is a client: it may import the official driver and nothing of the server.
package loadgen
