package archelon_test

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/server"
)

// A program (or a test) can hold a database of its own.
func Example() {
	db, err := archelon.Open(archelon.Config{Storage: archelon.StorageMemory, Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- db.Serve(ctx) }()

	client, err := mongo.Connect(options.Client().ApplyURI(db.URI()))
	if err != nil {
		fmt.Println(err)
		return
	}
	places := client.Database("world").Collection("places")
	_, err = places.InsertMany(ctx, []any{
		bson.D{{Key: "name", Value: "Turin"}, {Key: "country", Value: "IT"}},
		bson.D{{Key: "name", Value: "Lyon"}, {Key: "country", Value: "FR"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var place struct{ Name string }
	err = places.FindOne(ctx, bson.D{{Key: "country", Value: "FR"}}).Decode(&place)
	fmt.Println(place.Name, err)

	fmt.Println(client.Disconnect(ctx))
	stop()
	fmt.Println(<-served, db.Close())
	// Output:
	// Lyon <nil>
	// <nil>
	// <nil> <nil>
}

// A database is a handler: commands can be run in the process, without a network.
func ExampleDB_Handler() {
	db, err := archelon.Open(archelon.Config{Storage: archelon.StorageMemory, Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	conn := server.NewLocalConn() // is to the database what one client's connection is
	run := func(command bson.D) bson.Raw {
		body, err := bson.Marshal(command)
		if err != nil {
			return nil
		}
		reply, err := server.Call(context.Background(), db.Handler(), server.NewRequest(conn, "world", body))
		if err != nil {
			fmt.Println(err)
		}
		return bson.Raw(reply)
	}
	fmt.Println(run(bson.D{{Key: "insert", Value: "places"}, {Key: "documents", Value: bson.A{
		bson.D{{Key: "_id", Value: 1}, {Key: "name", Value: "Turin"}},
	}}}).Lookup("n"))
	fmt.Println(run(bson.D{{Key: "find", Value: "places"}}).Lookup("cursor", "firstBatch"))
	fmt.Println(run(bson.D{{Key: "fnid", Value: "places"}}).Lookup("codeName"))
	fmt.Println(db.Close())
	// Output:
	// {"$numberInt":"1"}
	// [{"_id": {"$numberInt":"1"},"name": "Turin"}]
	// "CommandNotFound"
	// <nil>
}
