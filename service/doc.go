// Package service turns Go functions into commands of the MongoDB wire protocol: what net/http's handlers are to HTTP.
// Every driver and shell is a client, the debugging tools of one link are those of all, and drivers find, retry and fail
// over to other instances by themselves.
//
// # A service in a few lines
//
//	svc := service.New("echo", service.Config{Logger: logger})
//	service.Handle(svc, service.Command{Name: "ping", Help: "Answers what it is sent."},
//		func(ctx context.Context, req bson.D) (Pong, error) { return Pong{req}, nil })
//	err := svc.ListenAndServe(ctx, server.Config{Addresses: []string{"127.0.0.1:27017"}})
//
//	> db.runCommand({ping: 1, hello: 'world'})
//	{ pong: { ping: 1, hello: 'world' }, ok: 1 }
//
// # Commands
//
// The first field of a command document names the command, in any case of letters; the others are its arguments. What
// MongoDB defines for every command ($db, lsid, txnNumber, maxTimeMS, comment, readConcern, writeConcern,
// $readPreference, $clusterTime, apiVersion, help) is not among them: a handler finds it by FromContext. Legacy clients
// may send commands as OP_QUERY on `$cmd`, wrapped in `$query`, or as find on the collection `$cmd`; the last gives
// streams the cursors that drivers have for queries, and commands the retries that drivers have for reads: a command that
// must not run twice is better called by itself.
//
// Handle registers a function of a request to a reply. Both are structs with bson tags, or documents of any kind (bson.D,
// bson.Raw, maps). The request is checked against its type before the function runs: unknown, missing and repeated fields
// and wrong types are answered with MongoDB's codes and the path. If the request has a field called as the command, it
// is the value of the first field. A request with a method Validate() error is asked, too. Stream registers a function
// of a request to a sequence, which clients read with a cursor; HandleRaw one of bytes to bytes.
//
// AddSubprocess registers commands that a program in another language answers.
//
// # Callers
//
// Every MongoDB driver is a client. Go programs may also use Client, whose calls have the types of the handlers: Invoke,
// InvokeOnce and Follow for streams.
//
// # Errors
//
// An Error (Errorf) reaches the client with code, name, message and labels, and so does one that the official driver
// returned from another service. Any other error, and a panic, is logged and answered as InternalError.
//
// # Contexts
//
// A handler's context ends with maxTimeMS, the client's connection, killOp, killCursors and the end of a drain; its
// error is what the client would get. Streams outlive the command that opened them: their context ends with the
// cursor, which an unused one does after Config.CursorTimeout.
//
// # Stopping
//
// A service drains in steps: if Config.Lean says so, drivers get to prefer other instances without an error; then hello
// fails with ShutdownInProgress, so that drivers turn to other instances, while late calls are still answered
// (Config.Quiesce); then new calls are refused with an error that drivers retry elsewhere, and what runs may finish; then
// the rest is cancelled. A service that has drained does not start again: a new one is made.
//
// # Failover
//
// By default every instance is as good as another: clients name several, and their drivers spread calls and turn away
// from those that are gone. With UseLease one instance is active at a time and the instances look like a replica set.
//
// # Limits
//
// Connections and bytes are bounded by server.Config, cursors by Config.MaxCursors, remembered results of commands that
// run once by the ResultStore.
//
// # Access
//
// TLS is the server's. Config.Auth authenticates clients, with SCRAM or certificates, and lets them call what their roles
// allow (package server/auth); Config.Authorize may look closer, at Call.User and the arguments. Cursors and sessions
// belong to their users.
//
// The package imports server and server/auth, egress (for its clients), internal/bsonval, internal/mongoerr and the driver's bson
// package. Each stream has a goroutine, which ends with its context; Run owns those of subprocesses and of the lease.
package service
