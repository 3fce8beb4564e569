// Package server serves the MongoDB wire protocol: what net/http is to HTTP. It listens, reads messages, hands each
// command to a Handler and writes its reply; it knows no database.
//
// # A service in a few lines
//
//	topology := server.NewTopology(server.State{Posture: server.Router})
//	mux := server.NewMux()
//	server.NewHello(server.HelloConfig{Topology: topology}).Register(mux)
//	mux.HandleFunc("ping", server.Ping)
//	mux.HandleFunc("echo", func(ctx context.Context, req *server.Request, reply *server.Reply) error {
//		reply.AppendDoc(req.Body)
//		return nil
//	})
//	s, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:27017"}, Handler: mux, Logger: logger})
//	if err != nil { … }
//	err = s.Serve(ctx) // until ctx ends
//
// Any MongoDB driver or shell can now run {echo: 1, msg: "x"}.
//
// # Requests and replies
//
// A Request holds slices of the connection's read buffer, a Reply appends to a pooled write buffer: both end with
// Handle, and whoever wants to keep bytes of them copies. Documents are raw BSON (Doc), checked to be well-formed
// before a handler sees them; build and read them with any BSON package.
//
// A handler returns nil after writing a reply, or an error. Errors become {ok: 0, errmsg, code, codeName} in one place
// (AppendError); an error made by Errorf keeps its code, any other is logged and answered as InternalError, and so is a
// panic. The connection goes on in all cases.
//
// # Goroutines
//
// Each connection has one goroutine, which reads, runs the handler and writes. While a handler runs longer than
// watchDelay a second one waits for the client to go away and then cancels the context of the connection, which is the
// context handlers get: a request costs no context of its own. Serve returns when all of them have ended.
//
// # Limits
//
// Everything a client can make the server hold is bounded by a field of Config: connections, bytes of requests being
// read or run, time to send a message, time to take a reply. Past a bound the answer is an error that drivers
// understand, or, before there is anything to answer to, a closed connection.
//
// The package imports wire, internal/bsonval and internal/mongoerr.
package server
