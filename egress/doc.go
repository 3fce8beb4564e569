// Package egress is the client side of the MongoDB wire protocol: what net/http's Transport and Client are to HTTP. It
// sends commands to servers and brings their replies back; it knows no query language and no collections.
//
// # Layers, from the wire up
//
//	Conn      a connection: hello (in the legacy OP_QUERY first), compression, SCRAM, TLS; one command at a time
//	Pool      lends connections: a pool per host, a Controller that sizes them, generations, tags, events
//	Network   runs a Request on one server or on any one of several: NewNetwork over a Pool, or the simulated one of
//	          package simnet
//	Executor  schedules work: at once, at a time, on an Event, with the response to a remote command
//	Client    a deployment: monitors its servers, finds the primary, follows failovers, selects by read preference,
//	          retries
//
// Each layer can be used by itself. A program that knows its server needs a Network, one that knows a connection string
// a Client:
//
//	client, err := egress.Open("mongodb://a,b,c/?replicaSet=rs0&readPreference=nearest")
//	if err != nil { … }
//	defer client.Close(ctx)
//	cmd, err := egress.NewCommand("shop", bson.D{{"find", "orders"}, {"limit", 10}})
//	if err != nil { … }
//	response := client.Run(ctx, &egress.Operation{Command: cmd})
//	err = response.Decode(&reply)
//
// Whoever runs very many operations one after the other keeps a Caller: Client.Call with it does what Client.Run does, with
// next to no allocations.
//
// # Responses and errors
//
// A Response has a Status, which is nil if a reply came and a *StatusError with MongoDB's code if none did, and a Body,
// which may itself tell of an error; Response.Err looks at both. StatusError.Phase says whether the command can have been
// sent. CodeOf and HasLabel read either kind, and package server answers with the code of either.
//
// # Time
//
// Commands end with their context and after their timeout; where the timeout strikes after the command was sent it may
// have taken effect. All waiting is done with package time, so that testing/synctest runs everything above the sockets in
// virtual time.
//
// # Goroutines
//
// A Pool has one goroutine for each connection being made or refreshed, an Executor up to its number of workers and one
// for each remote command, a Client up to two for each server. None has any when it has nothing to do, but for the
// Client. Close and Join return when all have ended.
//
// The package imports wire, internal/bsonval and internal/mongoerr, SCRAM and, for encoding commands and decoding
// replies at the caller's wish, the BSON package of the MongoDB driver.
package egress
