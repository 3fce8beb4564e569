package pgfaults

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/archelon-db/archelon/test/harness"
)

// TestWriteConcern has PostgreSQL wait for a synchronous standby that is not there: a write of the default concern waits
// with it, one of {w: 1, j: false} does not.
func TestWriteConcern(t *testing.T) {
	pg := ownServer(t)
	s := serve(t, pg.URL())
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetRetryWrites(false).SetDirect(true))
	safe := client.Database("faults").Collection("docs")
	off := false
	fast := client.Database("faults").Collection("docs", options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: 1, Journal: &off}))
	insert := func(coll *mongo.Collection, id string, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: id}})
		return err
	}
	if err := insert(safe, "before", recovery); err != nil {
		t.Fatal(err)
	}
	standbys := func(names string) {
		if _, err := pg.SQL(pg.URL(), "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'"); err != nil {
			t.Fatal(err)
		}
		if _, err := pg.SQL(pg.URL(), "SELECT pg_reload_conf()"); err != nil {
			t.Fatal(err)
		}
		<-time.After(200 * time.Millisecond) // each of its processes reads the settings by itself
	}
	standbys("nobody")
	if err := insert(fast, "fast", recovery); err != nil {
		t.Errorf("w: 1, j: false: %v", err)
	}
	if err := insert(safe, "safe", time.Second); err == nil {
		t.Error("a write was acknowledged that the standby does not have")
	}
	standbys("")
	if err := insert(safe, "after", recovery); err != nil {
		t.Error(err)
	}
	if n, err := safe.CountDocuments(t.Context(), bson.D{}); err != nil || n != 4 {
		t.Errorf("%d documents, %v", n, err)
	}
}

// TestReadConcern kills PostgreSQL as soon as one process has read what another one has written without waiting for the
// disk: a read of concern majority is not undone by that.
func TestReadConcern(t *testing.T) {
	pg := ownServer(t)
	off := false
	connect := func() *mongo.Client {
		return harness.Connect(t, options.Client().ApplyURI(serve(t, pg.URL()).URI()).SetDirect(true))
	}
	writer := connect().Database("faults").Collection("docs", options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: 1, Journal: &off}))
	reader := connect().Database("faults").Collection("docs", options.Collection().SetReadConcern(readconcern.Majority()))
	if _, err := writer.InsertOne(t.Context(), bson.D{{Key: "_id", Value: -1}}); err != nil {
		t.Fatal(err)
	}
	<-time.After(1500 * time.Millisecond) // the processes have heard of each other
	for i := range 3 {
		// The first write after a failure finds the connections cut.
		await(t, func() bool { return writer.FindOne(t.Context(), bson.D{}).Err() == nil }, "the writer does not reach PostgreSQL")
		await(t, func() bool { return reader.FindOne(t.Context(), bson.D{}).Err() == nil }, "the reader does not reach PostgreSQL")
		if _, err := writer.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}}); err != nil {
			t.Fatal(err)
		}
		if err := reader.FindOne(t.Context(), bson.D{{Key: "_id", Value: i}}).Err(); err != nil {
			t.Fatal(err)
		}
		pg.Kill()
		<-time.After(100 * time.Millisecond)
		if err := pg.Run(); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return reader.FindOne(t.Context(), bson.D{}).Err() == nil }, "the reader does not reach PostgreSQL")
		if err := reader.FindOne(t.Context(), bson.D{{Key: "_id", Value: i}}).Err(); err != nil {
			t.Errorf("document %d was read with concern majority: %v", i, err)
		}
	}
}
