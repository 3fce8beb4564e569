// Package uuid makes random UUIDs (RFC 9562, version 4): of sessions, collections and connections. It imports the standard
// library alone.
package uuid
