package server_test

import (
	"context"
	"fmt"
	"log/slog"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/server"
)

// A service with one command of its own, called with an official driver.
func Example() {
	mux := server.NewMux()
	topology := server.NewTopology(server.State{Posture: server.Router})
	server.NewHello(server.HelloConfig{Topology: topology}).Register(mux)
	mux.HandleFunc("ping", server.Ping)
	mux.HandleFunc("endSessions", server.Ping)
	mux.HandleFunc("greet", func(_ context.Context, req *server.Request, reply *server.Reply) error {
		var args struct{ Name string }
		if err := bson.Unmarshal(req.Body, &args); err != nil {
			return server.Errorf(9, "%v", err)
		}
		if args.Name == "" {
			return server.Errorf(2, "greet needs a name")
		}
		out, err := bson.Marshal(bson.D{{Key: "greeting", Value: "hello " + args.Name}})
		reply.AppendDoc(out)
		return err
	})
	s, err := server.Listen(server.Config{
		Addresses: []string{"127.0.0.1:0"}, Handler: mux, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.Serve(ctx) }()
	defer func() { stop(); <-served }()

	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + s.Addr().String()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Disconnect(ctx)
	for _, cmd := range []bson.D{{{Key: "greet", Value: 1}, {Key: "name", Value: "world"}}, {{Key: "greet", Value: 1}}} {
		var out struct{ Greeting string }
		err := client.Database("svc").RunCommand(ctx, cmd).Decode(&out)
		fmt.Printf("%q %v\n", out.Greeting, err)
	}
	// Output:
	// "hello world" <nil>
	// "" (BadValue) greet needs a name
}
