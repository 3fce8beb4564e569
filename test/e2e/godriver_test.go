package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/archelon-db/archelon/test/harness"
)

// goDriver checks the server with the official Go driver.
func goDriver(t *testing.T, uri string) {
	client := harness.Connect(t, options.Client().ApplyURI(uri).SetServerSelectionTimeout(5*time.Second))
	db := client.Database("e2e_go")
	drop := func() {
		if err := db.Drop(context.Background()); err != nil {
			t.Error(err)
		}
	}
	drop()
	t.Cleanup(drop)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *mongo.Database)
	}{
		{"crud", goCRUD}, {"types", goTypes}, {"bulk", goBulk}, {"client bulk", goClientBulk}, {"indexes", goIndexes}, {"cursors", goCursors},
		{"aggregate", goAggregate}, {"transaction", goTransaction}, {"watch", goWatch}, {"causal", goCausal},
		{"errors", goErrors}, {"unacknowledged", goUnacknowledged},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, db) })
	}
	for _, name := range []string{"zlib", "snappy", "zstd"} {
		t.Run("compression "+name, func(t *testing.T) { goCompression(t, uri, name) })
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b bson.Decimal128) bool { return a == b })); d != "" {
		t.Fatalf("want -, got +:\n%s", d)
	}
}

// wantCode checks for a server error of a code.
func wantCode(t *testing.T, err error, code int) {
	t.Helper()
	var se mongo.ServerError
	if !errors.As(err, &se) || !se.HasErrorCode(code) {
		t.Fatalf("got %v, want code %d", err, code)
	}
}

func all(t *testing.T, cur *mongo.Cursor, err error) []bson.D {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var out []bson.D
	if err := cur.All(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func goCRUD(t *testing.T, db *mongo.Database) {
	ctx, c := t.Context(), db.Collection("crud")
	must(c.InsertMany(ctx, bson.A{bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 1}}, bson.D{{Key: "_id", Value: 2}, {Key: "n", Value: 2}}, bson.D{{Key: "_id", Value: 3}, {Key: "n", Value: 3}}}))(t)
	got := all(t, must(c.Find(ctx, bson.D{{Key: "n", Value: bson.D{{Key: "$gte", Value: 2}}}}, options.Find().SetSort(bson.D{{Key: "n", Value: -1}})))(t), nil)
	same(t, got, []bson.D{{{Key: "_id", Value: int32(3)}, {Key: "n", Value: int32(3)}}, {{Key: "_id", Value: int32(2)}, {Key: "n", Value: int32(2)}}})
	res := must(c.UpdateOne(ctx, bson.D{{Key: "_id", Value: 9}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}}, options.UpdateOne().SetUpsert(true)))(t)
	same(t, res.UpsertedID, any(int32(9)))
	var after bson.D
	opts := options.FindOneAndUpdate().SetReturnDocument(options.After)
	if err := c.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: 9}}, bson.D{{Key: "$mul", Value: bson.D{{Key: "n", Value: 4}}}}, opts).Decode(&after); err != nil {
		t.Fatal(err)
	}
	same(t, after, bson.D{{Key: "_id", Value: int32(9)}, {Key: "n", Value: int64(4)}})
	same(t, must(c.DeleteMany(ctx, bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: 2}}}}))(t).DeletedCount, int64(2))
	same(t, must(c.CountDocuments(ctx, bson.D{}))(t), int64(2))
	var values []int32
	if err := c.Distinct(ctx, "n", bson.D{}).Decode(&values); err != nil {
		t.Fatal(err)
	}
	same(t, values, []int32{1, 2})
}

func goTypes(t *testing.T, db *mongo.Database) {
	dec := must(bson.ParseDecimal128("-0.00"))(t)
	doc := bson.D{
		{Key: "_id", Value: bson.NewObjectID()}, {Key: "dec", Value: dec}, {Key: "date", Value: bson.DateTime(-62135596800000)}, {Key: "bin", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}},
		{Key: "old", Value: bson.Binary{Subtype: 2, Data: []byte("old")}}, {Key: "re", Value: bson.Regex{Pattern: "a/b", Options: "i"}}, {Key: "ts", Value: bson.Timestamp{T: 1, I: 2}},
		{Key: "i", Value: int32(1)}, {Key: "l", Value: int64(1)}, {Key: "d", Value: 1.0}, {Key: "nil", Value: nil}, {Key: "sym", Value: bson.Symbol("s")}, {Key: "js", Value: bson.JavaScript("1")}, {Key: "min", Value: bson.MinKey{}},
		{Key: "deep", Value: bson.D{{Key: "a", Value: bson.A{bson.A{}, bson.D{}, "x"}}}}, {Key: "undef", Value: bson.Undefined{}},
	}
	c := db.Collection("types")
	must(c.InsertOne(t.Context(), doc))(t)
	raw := must(c.FindOne(t.Context(), bson.D{{Key: "_id", Value: doc[0].Value}}).Raw())(t)
	if want := bson.Raw(must(bson.Marshal(doc))(t)); want.String() != raw.String() {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
}

func goBulk(t *testing.T, db *mongo.Database) {
	c := db.Collection("bulk")
	res := must(c.BulkWrite(t.Context(), []mongo.WriteModel{
		mongo.NewInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: 1}}), mongo.NewInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: 2}}),
		mongo.NewUpdateManyModel().SetFilter(bson.D{}).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: 1}}}}),
		mongo.NewReplaceOneModel().SetFilter(bson.D{{Key: "_id", Value: 3}}).SetReplacement(bson.D{{Key: "y", Value: 1}}).SetUpsert(true),
		mongo.NewDeleteOneModel().SetFilter(bson.D{{Key: "_id", Value: 1}}),
	}))(t)
	same(t, []int64{res.InsertedCount, res.MatchedCount, res.ModifiedCount, res.UpsertedCount, res.DeletedCount}, []int64{2, 2, 2, 1, 1})
	_, err := c.InsertMany(t.Context(), bson.A{bson.D{{Key: "_id", Value: 4}}, bson.D{{Key: "_id", Value: 2}}, bson.D{{Key: "_id", Value: 5}}})
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || len(bulk.WriteErrors) != 1 || bulk.WriteErrors[0].Index != 1 || bulk.WriteErrors[0].Code != 11000 {
		t.Fatalf("got %v", err)
	}
	same(t, must(c.CountDocuments(t.Context(), bson.D{}))(t), int64(3))
}

func goClientBulk(t *testing.T, db *mongo.Database) {
	a, b := mongo.NewClientInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: 1}}),
		mongo.NewClientUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: 7}}).SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: 1}}}}).SetUpsert(true)
	res := must(db.Client().BulkWrite(t.Context(), []mongo.ClientBulkWrite{
		{Database: db.Name(), Collection: "clientbulk_a", Model: a}, {Database: db.Name(), Collection: "clientbulk_b", Model: b},
	}, options.ClientBulkWrite().SetVerboseResults(true)))(t)
	same(t, []int64{res.InsertedCount, res.UpsertedCount}, []int64{1, 1})
	same(t, res.UpdateResults[1].UpsertedID, any(int32(7)))
}

func goIndexes(t *testing.T, db *mongo.Database) {
	ctx, c := t.Context(), db.Collection("indexes")
	name := must(c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "a", Value: 1}, {Key: "b", Value: -1}}, Options: options.Index().SetUnique(true)}))(t)
	same(t, name, "a_1_b_-1")
	must(c.InsertOne(ctx, bson.D{{Key: "a", Value: 1}, {Key: "b", Value: "x"}}))(t)
	_, err := c.InsertOne(ctx, bson.D{{Key: "a", Value: 1.0}, {Key: "b", Value: "x"}})
	var we mongo.WriteException
	if !errors.As(err, &we) || len(we.WriteErrors) != 1 || we.WriteErrors[0].Code != 11000 {
		t.Fatalf("got %v", err)
	}
	same(t, we.WriteErrors[0].Raw.Lookup("keyPattern").Document().String(), bson.Raw(must(bson.Marshal(bson.D{{Key: "a", Value: 1}, {Key: "b", Value: -1}}))(t)).String())
	specs := must(c.Indexes().ListSpecifications(ctx))(t)
	if len(specs) != 2 || specs[1].Name != name || specs[1].Unique == nil || !*specs[1].Unique {
		t.Errorf("got %+v", specs)
	}
}

func goCursors(t *testing.T, db *mongo.Database) {
	const total = 100_000
	ctx, c := t.Context(), db.Collection("cursors")
	docs := make(bson.A, total)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: i}}
	}
	same(t, len(must(c.InsertMany(ctx, docs))(t).InsertedIDs), total)
	cur := must(c.Find(ctx, bson.D{}, options.Find().SetBatchSize(999).SetSort(bson.D{{Key: "_id", Value: 1}})))(t)
	n := int64(0)
	for ; cur.Next(ctx); n++ {
		if id, _ := cur.Current.Lookup("_id").AsInt64OK(); id != n {
			t.Fatalf("_id %d at position %d", id, n)
		}
	}
	if n != total || cur.Err() != nil {
		t.Fatalf("%d documents, %v", n, cur.Err())
	}
	half := must(c.Find(ctx, bson.D{}, options.Find().SetBatchSize(2)))(t)
	id := half.ID()
	if id == 0 || half.Close(ctx) != nil {
		t.Fatalf("cursor %d", id)
	}
	wantCode(t, db.RunCommand(ctx, bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "cursors"}}).Err(), 43)
}

func goAggregate(t *testing.T, db *mongo.Database) {
	c := db.Collection("agg")
	must(c.InsertMany(t.Context(), bson.A{bson.D{{Key: "k", Value: "a"}, {Key: "v", Value: 1}}, bson.D{{Key: "k", Value: "b"}, {Key: "v", Value: 2}}, bson.D{{Key: "k", Value: "a"}, {Key: "v", Value: 3}}}))(t)
	cur, err := c.Aggregate(t.Context(), mongo.Pipeline{
		{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$k"}, {Key: "sum", Value: bson.D{{Key: "$sum", Value: "$v"}}}, {Key: "avg", Value: bson.D{{Key: "$avg", Value: "$v"}}}}}}, {{Key: "$sort", Value: bson.D{{Key: "_id", Value: 1}}}},
	})
	same(t, all(t, cur, err), []bson.D{
		{{Key: "_id", Value: "a"}, {Key: "sum", Value: int32(4)}, {Key: "avg", Value: 2.0}}, {{Key: "_id", Value: "b"}, {Key: "sum", Value: int32(2)}, {Key: "avg", Value: 2.0}},
	})
}

// goTransaction commits a transaction, aborts one, and loses one to a conflict.
func goTransaction(t *testing.T, db *mongo.Database) {
	ctx, c := t.Context(), db.Collection("txn")
	must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: "a"}, {Key: "n", Value: 1}}))(t)
	session := must(db.Client().StartSession())(t)
	defer session.EndSession(ctx)
	inc := bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}
	byID := bson.D{{Key: "_id", Value: "a"}}
	runs := 0
	must(session.WithTransaction(ctx, func(in context.Context) (any, error) {
		same(t, must(c.CountDocuments(in, bson.D{}))(t), int64(1))
		if runs++; runs == 1 { // somebody is faster, once
			must(c.UpdateOne(ctx, byID, inc))(t)
		}
		if _, err := c.UpdateOne(in, byID, inc); err != nil {
			return nil, err
		}
		return c.InsertOne(in, bson.D{{Key: "_id", Value: "b"}})
	}, options.Transaction().SetReadConcern(readconcern.Snapshot()).SetWriteConcern(writeconcern.Majority())))(t)
	same(t, runs, 2)
	same(t, must(c.CountDocuments(ctx, bson.D{{Key: "n", Value: 3}}))(t), int64(1))
	failure := errors.New("changed my mind")
	_, err := session.WithTransaction(ctx, func(in context.Context) (any, error) {
		must(c.DeleteMany(in, bson.D{}))(t)
		return nil, failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	same(t, must(c.CountDocuments(ctx, bson.D{}))(t), int64(2))
}

func goWatch(t *testing.T, db *mongo.Database) {
	c := db.Collection("watched")
	must(c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 0}}))(t)
	stream := must(c.Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetFullDocument(options.UpdateLookup)))(t)
	defer stream.Close(context.Background())
	must(c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 1}}))(t)
	must(c.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: 2}}}}))(t)
	for _, want := range []string{"insert", "update"} {
		if !stream.Next(t.Context()) {
			t.Fatalf("no %s: %v", want, stream.Err())
		}
		same(t, stream.Current.Lookup("operationType").StringValue(), want)
	}
	same(t, stream.Current.Lookup("fullDocument", "n").Int32(), int32(2))
	must(c.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: 1}}))(t)
	resumed := must(db.Client().Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(stream.ResumeToken())))(t)
	defer resumed.Close(context.Background())
	if !resumed.Next(t.Context()) {
		t.Fatalf("no delete: %v", resumed.Err())
	}
	same(t, resumed.Current.Lookup("operationType").StringValue(), "delete")
}

func goCausal(t *testing.T, db *mongo.Database) {
	c := db.Collection("causal")
	session := must(db.Client().StartSession(options.Session().SetCausalConsistency(true)))(t)
	defer session.EndSession(context.Background())
	ctx := mongo.NewSessionContext(t.Context(), session)
	must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}}))(t)
	if session.OperationTime() == nil || session.ClusterTime() == nil {
		t.Error("no operation time or no cluster time")
	}
	same(t, must(c.CountDocuments(ctx, bson.D{}))(t), int64(1))

	snapshot := must(db.Client().StartSession(options.Session().SetSnapshot(true)))(t)
	defer snapshot.EndSession(context.Background())
	at := mongo.NewSessionContext(t.Context(), snapshot)
	same(t, must(c.CountDocuments(at, bson.D{}))(t), int64(1))
	must(c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 2}}))(t)
	same(t, must(c.CountDocuments(at, bson.D{}))(t), int64(1))
	same(t, must(c.CountDocuments(t.Context(), bson.D{}))(t), int64(2))
}

func goErrors(t *testing.T, db *mongo.Database) {
	ctx := t.Context()
	wantCode(t, db.RunCommand(ctx, bson.D{{Key: "noSuchCommand", Value: 1}}).Err(), 59)
	wantCode(t, db.Collection("c").FindOne(ctx, bson.D{{Key: "a", Value: bson.D{{Key: "$nope", Value: 1}}}}).Err(), 2)
	if err := db.Collection("c").FindOne(ctx, bson.D{{Key: "_id", Value: "none"}}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("got %v", err)
	}
	names := must(db.Client().ListDatabaseNames(ctx, bson.D{{Key: "name", Value: db.Name()}}))(t)
	same(t, names, []string{db.Name()})
}

func goUnacknowledged(t *testing.T, db *mongo.Database) {
	c := db.Collection("fire", options.Collection().SetWriteConcern(writeconcern.Unacknowledged()))
	if res, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil || res.Acknowledged {
		t.Fatalf("%+v, %v", res, err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for must(db.Collection("fire").CountDocuments(t.Context(), bson.D{}))(t) != 1 {
		if time.Now().After(deadline) {
			t.Fatal("the unacknowledged insert did not arrive")
		}
	}
}

func goCompression(t *testing.T, uri, name string) {
	client := harness.Connect(t, options.Client().ApplyURI(uri).SetCompressors([]string{name}))
	c := client.Database("e2e_go").Collection("compressed_" + name)
	docs := make(bson.A, 2000)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: i}, {Key: "text", Value: "again and again and again and again"}}
	}
	must(c.InsertMany(t.Context(), docs))(t)
	cur, err := c.Find(t.Context(), bson.D{})
	same(t, len(all(t, cur, err)), len(docs))
	var hello struct{ Compression []string }
	if err := client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "hello", Value: 1}, {Key: "compression", Value: bson.A{name}}}).Decode(&hello); err != nil {
		t.Fatal(err)
	}
	same(t, hello.Compression, []string{name})
}
