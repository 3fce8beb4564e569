package archelon_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/test/pgharness"
)

// TestPostgres uses a database in PostgreSQL through a driver, closes it and opens
// it again.
func TestPostgres(t *testing.T) {
	pg, err := pgharness.Start(map[string]string{"fsync": "off"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	for round := range 2 {
		db, err := archelon.Open(archelon.Config{Storage: pg.URL(), Listen: []string{"127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- db.Serve(context.Background()) }()
		usePostgres(t, db.URI(), round)
		if err := errors.Join(db.Close(), <-done); err != nil {
			t.Fatal(err)
		}
	}
}

func usePostgres(t *testing.T, uri string, round int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(ctx)
	coll := client.Database("Shop").Collection("a long name with ünicode " + strings.Repeat("x", 100))
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var docs []any
	for i := range 300 {
		docs = append(docs, bson.D{{Key: "_id", Value: fmt.Sprintf("%d/%d", round, i)}, {Key: "n", Value: i}, {Key: "round", Value: round}})
	}
	must(coll.InsertMany(ctx, docs))
	must(coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "round", Value: 1}, {Key: "n", Value: -1}}}))
	if _, err := coll.InsertOne(ctx, docs[7]); !mongo.IsDuplicateKeyError(err) {
		t.Fatalf("a second document with the same _id: %v", err)
	}
	must(coll.UpdateMany(ctx, bson.D{{Key: "n", Value: bson.D{{Key: "$lt", Value: 10}}}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "hits", Value: 1}}}}))
	must(coll.DeleteMany(ctx, bson.D{{Key: "n", Value: bson.D{{Key: "$gte", Value: 290}}}}))

	session, err := client.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(ctx)
	must(session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		if _, err := coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: fmt.Sprintf("%d/5", round)}}, bson.D{{Key: "$set", Value: bson.D{{Key: "t", Value: true}}}}); err != nil {
			return nil, err
		}
		return coll.InsertOne(ctx, bson.D{{Key: "_id", Value: fmt.Sprintf("%d/t", round)}})
	}))

	n, err := coll.CountDocuments(ctx, bson.D{{Key: "n", Value: bson.D{{Key: "$exists", Value: true}}}})
	if err != nil || n != int64(290*(round+1)) {
		t.Fatalf("%d documents, %v", n, err)
	}
	cur, err := coll.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "round", Value: round}}}},
		{{Key: "$group", Value: bson.D{{Key: "_id", Value: nil}, {Key: "sum", Value: bson.D{{Key: "$sum", Value: "$n"}}}, {Key: "hits", Value: bson.D{{Key: "$sum", Value: "$hits"}}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []struct{ Sum, Hits int }
	if err := cur.All(ctx, &out); err != nil || len(out) != 1 || out[0].Sum != 290*289/2 || out[0].Hits != 10 {
		t.Fatalf("%+v, %v", out, err)
	}
}
