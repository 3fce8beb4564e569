// Package gateway puts one address in front of several servers that speak the MongoDB wire protocol: databases, services
// and other gateways. It also has what runs two servers side by side: Compare, Recorder, Replay and Trace.
//
// # The router
//
// A Table names upstreams by connection string and lists routes: the first that matches a command's database, collection
// and name says where it goes. A Gateway is a server.Handler that does so:
//
//	call ─▶ own command? ─▶ answered here (hello, ping, serverStatus …) or asked of several upstreams and merged
//	     ─▶ cursor?      ─▶ the server that has it; ids are the gateway's own
//	     ─▶ transaction? ─▶ the upstream, and where that is of routers the very one, that the first statement went to
//	     ─▶ first route that matches ─▶ egress.Client ─▶ reply, as it came but for ids of cursors
//
// Clients see a router (`msg: isdbgrid`): there are no hosts to discover, and any number of gateways are alike. Requests
// are looked at no further than to their top-level fields, and replies to the field `cursor`; the bytes of both are passed
// on as they are. A connection's goroutine does all of it itself, in memory that its hop keeps.
//
// # Failures
//
// An upstream that cannot be reached, hangs or talks nonsense is answered for with the codes and labels that make drivers
// try again: HostUnreachable, NetworkTimeout, RetryableWriteError, TransientTransactionError. What egress can repeat
// safely it has repeated by then. Errors by which a server tells of its own state (NotWritablePrimary and the like) are
// rewritten, as mongos does, since they are not about the gateway.
//
// # Goroutines
//
// A Gateway has those of its upstreams' clients, and one for each upstream that a reload has removed and that is still
// in use. Close returns when all have ended.
//
// The package imports server, egress, wire, internal/bsonval and internal/mongoerr, the BSON package of the MongoDB driver
// for Extended JSON, and a YAML reader.
package gateway
