package pgshared

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestDefinitionsAreSeenAtOnce changes definitions through one process and uses them through the other without any pause.
func TestDefinitionsAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t)
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	ctx, ok := context30(t), check(t)
	for round := range 6 {
		one, two := clients[round%2].Database("d"), clients[(round+1)%2].Database("d")
		name := fmt.Sprintf("c%d", round)
		if n, err := two.Collection(name).CountDocuments(ctx, bson.D{}); n != 0 || err != nil {
			t.Fatalf("%d documents, %v", n, err)
		}
		// A collection that the other does not know yet, with options that count.
		must(t, one.CreateCollection(ctx, name, options.CreateCollection().SetValidator(d("n", d("$gte", 10)))))
		if _, err := two.Collection(name).InsertOne(ctx, d("_id", 1, "n", 1)); !failed(err, 121) {
			t.Fatalf("the other process does not know the validator: %v", err)
		}
		ok(two.Collection(name).InsertOne(ctx, d("_id", 1, "n", 10)))
		must(t, one.RunCommand(ctx, d("collMod", name, "validator", bson.D{})).Err())
		ok(two.Collection(name).InsertOne(ctx, d("_id", 2, "n", 1)))
		if n, err := two.Collection(name).CountDocuments(ctx, d("n", 1)); n != 1 || err != nil {
			t.Fatalf("%d documents, %v", n, err)
		}
		// A unique index: enforced and used at once.
		ok(one.Collection(name).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("n", 1), Options: options.Index().SetUnique(true)}))
		if _, err := two.Collection(name).InsertOne(ctx, d("_id", 3, "n", 1)); !mongo.IsDuplicateKeyError(err) {
			t.Fatalf("the other process does not know the index: %v", err)
		}
		var found bson.M
		must(t, two.Collection(name).FindOne(ctx, d("n", 1), options.FindOne().SetHint("n_1")).Decode(&found))
		// An array in an index that had none: bounds on both sides must not be joined any more.
		ok(two.Collection(name).InsertOne(ctx, d("_id", 4, "n", bson.A{3, 9})))
		if n, err := one.Collection(name).CountDocuments(ctx, d("n", d("$gt", 4, "$lt", 8))); n != 1 || err != nil {
			t.Fatalf("%d documents with an array around the range, %v", n, err)
		}
		must(t, one.Collection(name).Indexes().DropOne(ctx, "n_1"))
		ok(two.Collection(name).InsertOne(ctx, d("_id", 5, "n", 1)))
		if err := two.Collection(name).FindOne(ctx, d("n", 1), options.FindOne().SetHint("n_1")).Err(); !failed(err, 2) {
			t.Fatalf("a hint of an index that is gone: %v", err)
		}
		// Renamed, dropped, made again.
		must(t, one.Client().Database("admin").RunCommand(ctx, d("renameCollection", "d."+name, "to", "d.r"+name)).Err())
		if kept, n := count(t, two.Collection("r"+name)); n != 4 || kept != 4 {
			t.Fatalf("%d documents after a rename, %d counted", n, kept)
		}
		if kept, n := count(t, two.Collection(name)); n != 0 || kept != 0 {
			t.Fatalf("%d documents under the old name, %d counted", n, kept)
		}
		must(t, one.Collection("r"+name).Drop(ctx))
		if kept, n := count(t, two.Collection("r"+name)); n != 0 || kept != 0 {
			t.Fatalf("%d documents after a drop, %d counted", n, kept)
		}
		ok(two.Collection("r"+name).InsertOne(ctx, d("_id", 1)))
		if kept, n := count(t, one.Collection("r"+name)); n != 1 || kept != 1 {
			t.Fatalf("%d documents in the new collection, %d counted", n, kept)
		}
		names, err := two.ListCollectionNames(ctx, d("name", name))
		if err != nil || len(names) != 0 {
			t.Fatalf("%v, %v", names, err)
		}
		must(t, one.CreateView(ctx, "v"+name, "r"+name, mongo.Pipeline{d("$set", d("v", true))}))
		if n, err := two.Collection("v"+name).CountDocuments(ctx, d("v", true)); n != 1 || err != nil {
			t.Fatalf("%d documents of a view, %v", n, err)
		}
		// Settings that are stored.
		concern := []string{"majority", "local"}[round/2%2]
		must(t, one.Client().Database("admin").RunCommand(ctx, d("setDefaultRWConcern", 1, "defaultReadConcern", d("level", concern))).Err())
		var got struct {
			DefaultReadConcern struct{ Level string }
		}
		must(t, two.Client().Database("admin").RunCommand(ctx, d("getDefaultRWConcern", 1)).Decode(&got))
		if got.DefaultReadConcern.Level != concern {
			t.Fatalf("default read concern %q, want %q", got.DefaultReadConcern.Level, concern)
		}
	}
}

// TestOutputs runs what writes collections of its own on the way, and changes their definitions while others do.
func TestOutputs(t *testing.T) {
	t.Parallel()
	p := start(t)
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	ctx, ok := context30(t), check(t)
	docs := make([]any, 300)
	for i := range docs {
		docs[i] = d("_id", i, "g", i%10)
	}
	ok(clients[0].Database("d").Collection("in").InsertMany(ctx, docs))
	group := d("$group", d("_id", "$g", "n", d("$sum", 1)))
	var all sync.WaitGroup
	for w := range 4 {
		db := clients[w%2].Database("d")
		all.Go(func() {
			for range 5 {
				for _, last := range []bson.D{d("$out", fmt.Sprintf("out%d", w)), d("$merge", fmt.Sprintf("merged%d", w)), d("$out", "both")} {
					if _, err := db.Collection("in").Aggregate(ctx, mongo.Pipeline{group, last}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	must(t, clients[0].Database("d").RunCommand(ctx, d("convertToCapped", "both", "size", 1<<20)).Err())
	must(t, clients[1].Database("admin").RunCommand(ctx, d("renameCollection", "d.merged0", "to", "e.moved")).Err())
	for _, name := range []string{"out0", "out1", "out2", "out3", "merged1", "merged2", "both"} {
		for _, c := range clients {
			if kept, n := count(t, c.Database("d").Collection(name)); n != 10 || kept != 10 {
				t.Errorf("%s: %d documents, %d counted", name, n, kept)
			}
		}
	}
	if kept, n := count(t, clients[0].Database("e").Collection("moved")); n != 10 || kept != 10 {
		t.Errorf("moved: %d documents, %d counted", n, kept)
	}
	if names, err := clients[0].Database("d").ListCollectionNames(ctx, d("name", bson.Regex{Pattern: "^tmp"})); err != nil || len(names) > 0 {
		t.Errorf("temporary collections are left: %v, %v", names, err)
	}
}

// TestUniqueRace lets both processes insert the same keys.
func TestUniqueRace(t *testing.T) {
	t.Parallel()
	p := start(t)
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	ctx := context30(t)
	check(t)(clients[0].Database("d").Collection("u").Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("k", 1), Options: options.Index().SetUnique(true)}))
	const keys = 60
	var won [keys]atomic.Int64
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			coll := clients[w%2].Database("d").Collection("u")
			for k := range keys {
				switch _, err := coll.InsertOne(ctx, d("k", k, "w", w)); {
				case err == nil:
					won[k].Add(1)
				case !mongo.IsDuplicateKeyError(err):
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for k := range won {
		if n := won[k].Load(); n != 1 {
			t.Errorf("key %d was inserted %d times", k, n)
		}
	}
	if kept, n := count(t, clients[1].Database("d").Collection("u")); n != keys || kept != keys {
		t.Errorf("%d documents, %d counted", n, kept)
	}
	validate(t, clients[0], "u")
}

// TestDefinitionRaces changes definitions in both processes while both write.
func TestDefinitionRaces(t *testing.T) {
	t.Parallel()
	p := start(t)
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	ctx := context30(t)
	until := time.Now().Add(4 * time.Second)
	var all sync.WaitGroup
	var writes, changes atomic.Int64
	for w := range 6 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for time.Now().Before(until) {
				coll := clients[w%2].Database("d").Collection(fmt.Sprintf("r%d", random.IntN(3)))
				var err error
				switch random.IntN(5) {
				case 0:
					_, err = coll.InsertMany(ctx, bson.A{d("x", random.IntN(50)), d("x", bson.A{1, random.IntN(50)})})
				case 1:
					_, err = coll.UpdateOne(ctx, d("x", random.IntN(50)), d("$set", d("x", random.IntN(50), "y", random.IntN(9))))
				case 2:
					_, err = coll.DeleteOne(ctx, d("x", random.IntN(50)))
				default:
					_, err = coll.InsertOne(ctx, d("x", random.IntN(50), "y", random.IntN(9)))
				}
				// The collection was dropped on the way.
				if err != nil && !failed(err, 175, 112) {
					t.Errorf("write: %v", err)
				}
				writes.Add(1)
			}
		})
	}
	for w := range 4 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(w)))
			for time.Now().Before(until) {
				coll := clients[w%2].Database("d").Collection(fmt.Sprintf("r%d", random.IntN(3)))
				var err error
				switch random.IntN(6) {
				case 0:
					err = coll.Drop(ctx)
				case 1, 2:
					_, err = coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("x", 1)})
				case 3, 4:
					_, err = coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("y", 1, "x", -1)})
				default:
					err = coll.Indexes().DropAll(ctx)
				}
				// Dropped meanwhile: no namespace, no index, the build ended.
				if err != nil && !failed(err, 26, 27, 276, 175, 112, 12587, 48) {
					t.Errorf("change: %v", err)
				}
				changes.Add(1)
				<-time.After(20 * time.Millisecond) // writes are to happen in between
			}
		})
	}
	all.Wait()
	t.Logf("%d writes, %d changes", writes.Load(), changes.Load())
	for i := range 3 {
		name := fmt.Sprintf("r%d", i)
		for _, c := range clients {
			if names, err := c.Database("d").ListCollectionNames(ctx, d("name", name)); err != nil || len(names) == 0 {
				continue
			}
			validate(t, c, name)
			if kept, n := count(t, c.Database("d").Collection(name)); kept != n {
				t.Errorf("%s: %d documents, %d counted", name, n, kept)
			}
		}
	}
}

// TestBuildMeetsOtherWriters builds indexes in one process on what the other is writing.
func TestBuildMeetsOtherWriters(t *testing.T) {
	t.Parallel()
	p := start(t)
	one, two := p.to(p.a).Database("d"), p.to(p.b).Database("d")
	ctx, ok := context30(t), check(t)
	docs := make([]any, 8000)
	for i := range docs {
		docs[i] = d("_id", i, "a", i%100, "b", "x")
	}
	ok(one.Collection("big").InsertMany(ctx, docs))
	stop := make(chan struct{})
	var all sync.WaitGroup
	var n atomic.Int64
	for w := range 4 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(3, uint64(w)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := two.Collection("big").UpdateOne(ctx, d("_id", random.IntN(len(docs))), d("$set", d("a", random.IntN(1000))))
				if err == nil {
					_, err = two.Collection("big").InsertOne(ctx, d("a", random.IntN(1000), "w", w))
				}
				if err != nil {
					t.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	for _, key := range []bson.D{d("a", 1), d("b", 1, "a", -1)} {
		ok(one.Collection("big").Indexes().CreateOne(ctx, mongo.IndexModel{Keys: key}))
	}
	close(stop)
	all.Wait()
	t.Logf("%d writes during the builds", n.Load())
	validate(t, one.Client(), "big")
	validate(t, two.Client(), "big")
}

// TestSameCollectionTwice creates the same things in both processes at the same moment.
func TestSameCollectionTwice(t *testing.T) {
	t.Parallel()
	p := start(t)
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	ctx := context30(t)
	for round := range 12 {
		name := fmt.Sprintf("s%d", round)
		var all sync.WaitGroup
		for w := range 6 {
			all.Go(func() {
				coll := clients[w%2].Database("d").Collection(name)
				var err error
				switch w / 2 {
				case 0:
					_, err = coll.InsertOne(ctx, d("w", w))
				case 1:
					_, err = coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("w", 1)})
				default:
					err = clients[w%2].Database("d").CreateCollection(ctx, name)
				}
				if err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		all.Wait()
		if kept, n := count(t, clients[0].Database("d").Collection(name)); n != 2 || kept != 2 {
			t.Errorf("round %d: %d documents, %d counted", round, n, kept)
		}
		validate(t, clients[1], name)
	}
}

// TestCapped inserts into a capped collection through both processes: its order and bounds are those of one.
func TestCapped(t *testing.T) {
	t.Parallel()
	p := start(t)
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	ctx, ok := context30(t), check(t)
	must(t, clients[0].Database("d").CreateCollection(ctx, "cap", options.CreateCollection().SetCapped(true).SetSizeInBytes(1<<20).SetMaxDocuments(150)))
	ok(clients[1].Database("d").Collection("cap").InsertOne(ctx, d("first", true)))
	tail, err := clients[0].Database("d").Collection("cap").Find(ctx, bson.D{}, options.Find().SetCursorType(options.TailableAwait).SetMaxAwaitTime(2*time.Second))
	must(t, err)
	defer tail.Close(ctx)
	if !tail.Next(ctx) {
		t.Fatal(errors.Join(errors.New("nothing to tail"), tail.Err()))
	}
	const each = 40
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range each {
				if _, err := clients[w%2].Database("d").Collection("cap").InsertOne(ctx, d("w", w, "i", i)); err != nil {
					t.Error(err)
				}
				<-time.After(time.Millisecond) // so that the two processes alternate
			}
		})
	}
	last := map[int32]int32{}
	seen := 0
	for seen < 4*each && tail.Next(ctx) {
		var doc struct{ W, I int32 }
		must(t, tail.Decode(&doc))
		if before, met := last[doc.W]; met && doc.I != before+1 {
			t.Errorf("writer %d: %d after %d", doc.W, doc.I, before)
		}
		last[doc.W] = doc.I
		seen++
	}
	all.Wait()
	if seen != 4*each {
		t.Errorf("%d documents followed of %d: %v", seen, 4*each, tail.Err())
	}
	if kept, n := count(t, clients[1].Database("d").Collection("cap")); n != 150 || kept != 150 {
		t.Errorf("%d documents, %d counted", n, kept)
	}
}
