package pgshared

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// raceTime is how long definitions change beside writes.
const raceTime = 3 * time.Second

// TestIndexesBesideWrites makes and drops an index through one process while both write, in transactions and without: it has an
// entry for each document and no more.
func TestIndexesBesideWrites(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := t.Context()
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	coll := func(i int) *mongo.Collection { return clients[i].Database("d").Collection("c") }
	_, err := coll(0).InsertMany(ctx, []any{d("_id", 1, "n", 0), d("_id", 2, "n", 0)})
	must(t, err)
	stop := time.Now().Add(raceTime)
	var writing sync.WaitGroup
	var updates, transactions atomic.Int64
	for i := range clients {
		writing.Go(func() {
			for time.Now().Before(stop) {
				if _, err := coll(i).UpdateOne(ctx, d("_id", 1), d("$inc", d("n", 1))); err == nil {
					updates.Add(1)
				}
			}
		})
		writing.Go(func() {
			for time.Now().Before(stop) {
				session, err := clients[i].StartSession()
				if err != nil {
					t.Error(err)
					return
				}
				_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
					return coll(i).UpdateOne(ctx, d("_id", 2), d("$inc", d("n", 1)))
				})
				if err == nil {
					transactions.Add(1)
				}
				session.EndSession(ctx)
			}
		})
	}
	builds := 0
	for time.Now().Before(stop) {
		if _, err := coll(0).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("n", 1), Options: options.Index().SetName("n")}); err != nil {
			continue
		}
		builds++
		for i := range clients {
			if n, err := coll(i).CountDocuments(ctx, d("n", d("$gte", 0))); err == nil && n != 2 {
				t.Fatalf("build %d: %d entries of 2 documents", builds, n)
			}
		}
		_ = coll(0).Indexes().DropOne(ctx, "n")
	}
	writing.Wait()
	if builds < 5 || updates.Load() < 5 || transactions.Load() < 5 {
		t.Errorf("%d builds, %d updates, %d transactions: the test tested nothing", builds, updates.Load(), transactions.Load())
	}
}

// TestRenamesBesideWrites renames a collection to and fro through one process while both write a document of it: what is acknowledged
// has happened.
func TestRenamesBesideWrites(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := t.Context()
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	names := [2]string{"x", "y"}
	_, err := clients[0].Database("d").Collection(names[0]).InsertOne(ctx, d("_id", 1, "n", 0))
	must(t, err)
	stop := time.Now().Add(raceTime)
	var writing sync.WaitGroup
	var acked atomic.Int64
	for i := range 4 {
		writing.Go(func() {
			for n := 0; time.Now().Before(stop); n++ {
				c := clients[i%2].Database("d").Collection(names[n%2])
				if i < 2 {
					if res, err := c.UpdateOne(ctx, d("_id", 1), d("$inc", d("n", 1))); err == nil {
						acked.Add(res.ModifiedCount)
					}
					continue
				}
				err := c.FindOneAndUpdate(ctx, d("_id", 1), d("$inc", d("n", 1))).Err()
				switch {
				case err == nil:
					acked.Add(1)
				case !errors.Is(err, mongo.ErrNoDocuments) && !mongo.IsTimeout(err):
					t.Log(err)
				}
			}
		})
	}
	renames := 0
	for time.Now().Before(stop) {
		from, to := names[renames%2], names[(renames+1)%2]
		if clients[0].Database("admin").RunCommand(ctx, d("renameCollection", "d."+from, "to", "d."+to)).Err() == nil {
			renames++
		}
	}
	writing.Wait()
	var doc struct{ N int64 }
	must(t, clients[1].Database("d").Collection(names[renames%2]).FindOne(ctx, bson.D{}).Decode(&doc))
	if doc.N != acked.Load() {
		t.Errorf("%d updates were acknowledged, %d have happened", acked.Load(), doc.N)
	}
	if renames < 5 || acked.Load() < 5 {
		t.Errorf("%d renames, %d updates: the test tested nothing", renames, acked.Load())
	}
}
