package faultproxy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/archelon-db/archelon/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	threads = 8
	// patience is how long the driver goes on with one operation: as long as it
	// takes, so that no outcome stays unknown.
	patience = 2 * time.Minute
)

// writer is one thread; each round it does everything once.
type writer struct {
	n      int
	client *mongo.Client
	db     *mongo.Database
}

func id(v any) bson.D { return bson.D{{Key: "_id", Value: v}} }

func inc(n int) bson.D { return bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: n}}}} }

// tasks are what a writer does in a round. What each leaves behind is checked in
// verify.
var tasks = []struct {
	name string
	do   func(ctx context.Context, w *writer, round int) error
}{
	{"updateOne", func(ctx context.Context, w *writer, _ int) error {
		r, err := w.db.Collection("counters").UpdateOne(ctx, id("shared"), inc(1))
		return one(r, err)
	}},
	{"updateOne with upsert", func(ctx context.Context, w *writer, round int) error {
		_, err := w.db.Collection("counters").UpdateOne(ctx, id(fmt.Sprintf("upsert-%d-%d", w.n, round/2)), inc(1), options.UpdateOne().SetUpsert(true))
		return err
	}},
	{"findOneAndUpdate", func(ctx context.Context, w *writer, round int) error {
		var d struct{ N int }
		err := w.db.Collection("counters").FindOneAndUpdate(ctx, id(w.n), inc(1), options.FindOneAndUpdate().
			SetReturnDocument(options.After).SetUpsert(true)).Decode(&d)
		if err == nil && d.N != round+1 {
			err = fmt.Errorf("the counter is %d, not %d", d.N, round+1)
		}
		return err
	}},
	{"insertOne", func(ctx context.Context, w *writer, round int) error {
		_, err := w.db.Collection("inserts").InsertOne(ctx, id(fmt.Sprintf("one-%d-%d", w.n, round)))
		return err
	}},
	{"insertMany", func(ctx context.Context, w *writer, round int) error {
		docs := make([]bson.D, 5)
		for i := range docs {
			docs[i] = id(fmt.Sprintf("many-%d-%d-%d", w.n, round, i))
		}
		r, err := w.db.Collection("inserts").InsertMany(ctx, docs, options.InsertMany().SetOrdered(round%2 == 0))
		if err == nil && len(r.InsertedIDs) != len(docs) {
			err = fmt.Errorf("%d of %d inserted", len(r.InsertedIDs), len(docs))
		}
		return err
	}},
	{"bulkWrite", func(ctx context.Context, w *writer, round int) error {
		name := fmt.Sprintf("bulk-%d-%d", w.n, round)
		r, err := w.db.Collection("bulk").BulkWrite(ctx, []mongo.WriteModel{
			mongo.NewInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: name}, {Key: "n", Value: 1}}),
			mongo.NewUpdateOneModel().SetFilter(id(name)).SetUpdate(inc(10)),
			mongo.NewUpdateOneModel().SetFilter(id("shared")).SetUpdate(inc(1)),
			mongo.NewInsertOneModel().SetDocument(id(name + "-gone")),
			mongo.NewDeleteOneModel().SetFilter(id(name + "-gone")),
			mongo.NewReplaceOneModel().SetFilter(id(fmt.Sprintf("replaced-%d", w.n))).SetReplacement(bson.D{{Key: "round", Value: round}}).SetUpsert(true),
		})
		if err == nil && (r.InsertedCount != 2 || r.DeletedCount != 1) {
			err = fmt.Errorf("result %+v", r)
		}
		return err
	}},
	{"client bulkWrite", func(ctx context.Context, w *writer, round int) error {
		name := fmt.Sprintf("client-%d-%d", w.n, round)
		r, err := w.client.BulkWrite(ctx, []mongo.ClientBulkWrite{
			{Database: "other", Collection: "bulk", Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: name}, {Key: "n", Value: 1}})},
			{Database: "faults", Collection: "bulk", Model: mongo.NewClientUpdateOneModel().SetFilter(id("shared")).SetUpdate(inc(1))},
		})
		if err == nil && (r.InsertedCount != 1 || r.ModifiedCount != 1) {
			err = fmt.Errorf("result %+v", r)
		}
		return err
	}},
	{"findOneAndDelete", func(ctx context.Context, w *writer, _ int) error {
		var d bson.M
		if err := w.db.Collection("queue").FindOneAndDelete(ctx, bson.D{}, options.FindOneAndDelete().SetSort(id(1))).Decode(&d); err != nil {
			return err
		}
		_, err := w.db.Collection("taken").InsertOne(ctx, d)
		return err
	}},
	{"deleteOne", func(ctx context.Context, w *writer, round int) error {
		r, err := w.db.Collection("victims").DeleteOne(ctx, id(fmt.Sprintf("%d-%d", w.n, round)))
		if err == nil && r.DeletedCount != 1 {
			err = fmt.Errorf("%d deleted", r.DeletedCount)
		}
		return err
	}},
	{"withTransaction", func(ctx context.Context, w *writer, round int) error {
		session, err := w.client.StartSession()
		if err != nil {
			return err
		}
		defer session.EndSession(ctx)
		_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
			if _, err := w.db.Collection("inserts").InsertOne(ctx, id(fmt.Sprintf("txn-%d-%d", w.n, round))); err != nil {
				return nil, err
			}
			if err := one(w.db.Collection("counters").UpdateOne(ctx, id(fmt.Sprintf("txn-%d", w.n%2)), inc(1))); err != nil {
				return nil, err
			}
			return nil, one(w.client.Database("other").Collection("counters").UpdateOne(ctx, id("txn"), inc(1)))
		})
		return err
	}},
}

// one checks that an update found its document.
func one(r *mongo.UpdateResult, err error) error {
	if err == nil && r.MatchedCount != 1 {
		err = fmt.Errorf("%d matched", r.MatchedCount)
	}
	return err
}

// TestExactlyOnce writes through a proxy that loses requests and replies.
func TestExactlyOnce(t *testing.T) {
	random, rounds := harness.Seed(t, "ARCHELON_FAULT_SEED"), harness.Rounds(t, "ARCHELON_FAULT_ROUNDS", 10, 100)
	addr := harness.FreeAddr(t)
	server := harness.Start(t, harness.Build(t), addr, filepath.Join(t.TempDir(), "data"))
	direct := harness.Connect(t, options.Client().ApplyURI(server.URI()).SetDirect(true))
	prepare(t, direct, rounds)
	proxy, err := Start(addr, Faults{NoRequest: .03, HalfReq: .02, NoReply: .08, HalfReply: .02, SlowReply: .01}, random)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	var wg sync.WaitGroup
	for n := range threads {
		client := harness.Connect(t, options.Client().ApplyURI("mongodb://"+proxy.Addr()+"/").SetDirect(true).
			SetRetryWrites(true).SetTimeout(patience).SetWriteConcern(writeconcern.Majority()))
		wg.Go(func() {
			w := &writer{n: n, client: client, db: client.Database("faults")}
			for round := range rounds {
				for _, task := range tasks {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					if err := task.do(ctx, w, round); err != nil {
						t.Errorf("writer %d, round %d, %s: %v", n, round, task.name, err)
					}
					cancel()
				}
			}
		})
	}
	wg.Wait()
	for f := NoRequest; f < faultKinds; f++ {
		if proxy.Count(f) == 0 {
			t.Errorf("fault %d never happened", f)
		}
	}
	t.Logf("%d requests, %d not sent, %d cut, %d replies lost, %d cut", proxy.Count(None), proxy.Count(NoRequest), proxy.Count(HalfReq),
		proxy.Count(NoReply), proxy.Count(HalfReply))
	verify(t, direct, rounds)
	server.Stop(t)
}

func prepare(t *testing.T, client *mongo.Client, rounds int) {
	t.Helper()
	db := client.Database("faults")
	insert := func(c *mongo.Collection, docs []bson.D) {
		if _, err := c.InsertMany(t.Context(), docs); err != nil {
			t.Fatal(err)
		}
	}
	insert(db.Collection("counters"), []bson.D{id("shared"), id("txn-0"), id("txn-1")})
	insert(db.Collection("bulk"), []bson.D{id("shared")})
	insert(client.Database("other").Collection("counters"), []bson.D{id("txn")})
	var queue, victims []bson.D
	for n := range threads * rounds {
		queue = append(queue, id(n))
		victims = append(victims, id(fmt.Sprintf("%d-%d", n%threads, n/threads)))
	}
	insert(db.Collection("queue"), queue)
	insert(db.Collection("victims"), victims)
}

// verify compares the sums with what they must be.
func verify(t *testing.T, client *mongo.Client, rounds int) {
	t.Helper()
	faults, other := client.Database("faults"), client.Database("other")
	all := threads * rounds
	for _, c := range []struct {
		coll   *mongo.Collection
		filter bson.D
		count  int
		sum    int
	}{
		{faults.Collection("counters"), id("shared"), 1, all},
		{faults.Collection("counters"), id(bson.D{{Key: "$regex", Value: "^upsert"}}), threads * ((rounds + 1) / 2), all},
		{faults.Collection("counters"), id(bson.D{{Key: "$regex", Value: "^txn"}}), 2, all},
		{other.Collection("counters"), id("txn"), 1, all},
		{faults.Collection("counters"), id(bson.D{{Key: "$type", Value: "number"}}), threads, all},
		{faults.Collection("inserts"), id(bson.D{{Key: "$regex", Value: "^one"}}), all, 0},
		{faults.Collection("inserts"), id(bson.D{{Key: "$regex", Value: "^many"}}), 5 * all, 0},
		{faults.Collection("inserts"), id(bson.D{{Key: "$regex", Value: "^txn"}}), all, 0},
		{faults.Collection("bulk"), id("shared"), 1, 2 * all},
		{faults.Collection("bulk"), id(bson.D{{Key: "$regex", Value: "^bulk"}}), all, 11 * all},
		{faults.Collection("bulk"), id(bson.D{{Key: "$regex", Value: "^replaced"}}), threads, 0},
		{faults.Collection("bulk"), bson.D{{Key: "round", Value: rounds - 1}}, threads, 0},
		{other.Collection("bulk"), bson.D{}, all, all},
		{faults.Collection("queue"), bson.D{}, 0, 0},
		{faults.Collection("taken"), bson.D{}, all, 0},
		{faults.Collection("victims"), bson.D{}, 0, 0},
	} {
		cur, err := c.coll.Find(t.Context(), c.filter)
		if err != nil {
			t.Fatal(err)
		}
		var docs []struct{ N int }
		if err := cur.All(t.Context(), &docs); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, d := range docs {
			sum += d.N
		}
		if len(docs) != c.count || sum != c.sum {
			t.Errorf("%s.%s %v: %d documents with the sum %d, want %d with %d", c.coll.Database().Name(), c.coll.Name(), c.filter,
				len(docs), sum, c.count, c.sum)
		}
	}
}
