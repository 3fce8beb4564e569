package command

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve offers a fixture's commands on the loopback interface to the official driver.
func (f *fixture) serve(more ...*options.ClientOptions) *mongo.Client {
	f.t.Helper()
	handler := f.handler
	if handler == nil {
		handler = f.cs
	}
	srv, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}, Handler: handler, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(ctx); err != nil {
			f.t.Error(err)
		}
	})
	uri := options.Client().ApplyURI(fmt.Sprintf("mongodb://%s/?serverSelectionTimeoutMS=5000", srv.Addr()))
	client, err := mongo.Connect(append([]*options.ClientOptions{uri}, more...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := client.Disconnect(context.Background()); err != nil {
			f.t.Error(err)
		}
		stop()
		serving.Wait()
	})
	return client
}

func TestDriver(t *testing.T) {
	f := newFixture(t)
	client := f.serve()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := client.Database("d").Collection("c")
	many := make([]bson.D, 300)
	for i := range many {
		many[i] = bson.D{{Key: "_id", Value: i}, {Key: "n", Value: i % 7}}
	}
	if _, err := c.InsertMany(ctx, many); err != nil {
		t.Fatal(err)
	}
	cur, err := c.Find(ctx, bson.D{}, options.Find().SetBatchSize(50).SetSort(bson.D{{Key: "_id", Value: -1}}))
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		ID int `bson:"_id"`
	}
	if err := cur.All(ctx, &all); err != nil || len(all) != 300 || all[0].ID != 299 {
		t.Fatalf("%d documents, %v", len(all), err)
	}
	res, err := c.UpdateOne(ctx, bson.D{{Key: "_id", Value: 3}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 100}}}})
	if err != nil || res.ModifiedCount != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	var got struct{ N int }
	if err := c.FindOne(ctx, bson.D{{Key: "_id", Value: 3}}).Decode(&got); err != nil || got.N != 103 {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = c.InsertOne(ctx, bson.D{{Key: "_id", Value: 3}})
	if !mongo.IsDuplicateKeyError(err) {
		t.Errorf("duplicate: %v", err)
	}
	bulk, err := client.BulkWrite(ctx, []mongo.ClientBulkWrite{
		{Database: "d", Collection: "b", Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: 1}})},
		{Database: "d", Collection: "c", Model: mongo.NewClientDeleteManyModel().SetFilter(bson.D{{Key: "n", Value: 1}})},
	})
	if err != nil || bulk.InsertedCount != 1 || bulk.DeletedCount == 0 {
		t.Errorf("%+v, %v", bulk, err)
	}
	n, err := c.CountDocuments(ctx, bson.D{{Key: "n", Value: 2}})
	if err != nil || n != 43 {
		t.Errorf("count %d, %v", n, err)
	}
}

// TestKillOp interrupts an operation of another connection that waits for its session's turn.
func TestKillOp(t *testing.T) {
	f := newFixture(t)
	s, err := f.cs.cfg.Sessions.Touch(mustLSID(t, 9))
	if err != nil {
		t.Fatal(err)
	}
	turn, err := s.Begin(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer turn.End()
	got := make(chan mongoerr.Code, 1)
	go func() {
		client := *f
		client.conn = server.NewLocalConn()
		got <- client.code("d", retryable(bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}})}, 1))
	}()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if time.Now().After(deadline) {
			t.Fatal("the operation does not show")
		}
		id := int32(0)
		f.cs.operations.Each(func(op *operation) {
			if op.command.Name == "insert" {
				id = op.ID
			}
		})
		if id != 0 {
			f.must("admin", bson.D{field("killOp", 1), field("op", id)})
			break
		}
		<-time.After(time.Millisecond)
	}
	if code := <-got; code != mongoerr.Interrupted {
		t.Errorf("code %d", code)
	}
}
