package pgfaults

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
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
