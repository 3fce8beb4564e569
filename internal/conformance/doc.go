// Package conformance runs the conformance corpus against a server and says where the server's answers differ from
// the ones MongoDB 8.2 gives.
//
// The corpus is a folder of JSON-lines files, one case per line: set-up commands, then commands with expectations on
// their replies. [Load] reads it, [Run] plays it over plain TCP connections with an OP_MSG client of its own, so that
// no driver behaviour (sessions, retries, command rewriting) stands between the case and the server, and [CLI] is the
// command line around both.
//
// The package is a client: it may import the BSON value types of the official driver and nothing of the server, so
// that it can never agree with the server by sharing its code.
//
// # Invariants
//
//   - Values are compared by BSON type first; numeric types are never interchangeable.
//   - A case owns its databases: they are dropped before and after it, and cases marked serial run alone.
//   - Anything unexpected (a closed connection, a malformed reply, silence longer than the time-out) fails the case.
package conformance
