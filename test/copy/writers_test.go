package copy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	writers = 4
	people  = 3000 // documents that the writers change
)

// TestWriters copies from a server that is written to and whose definitions change, and cuts over.
func TestWriters(t *testing.T) {
	from, to := start(t, ""), start(t, "memory")
	source, target, ctx := connect(t, from), connect(t, to), t.Context()
	seedPeople(t, source)
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)

	working, rest := context.WithCancel(ctx)
	defer rest()
	var wg sync.WaitGroup
	errs := make(chan error, writers+1)
	work := func(w int, one func(context.Context, *mongo.Client, *rand.Rand, int) error) {
		rng := rand.New(rand.NewPCG(uint64(seed), uint64(w)))
		for n := 0; working.Err() == nil; n++ {
			if err := one(ctx, source, rng, n); err != nil {
				errs <- fmt.Errorf("writer %d, operation %d: %w", w, n, err)
				return
			}
		}
	}
	for w := range writers {
		wg.Go(func() { work(w, change) })
	}
	wg.Go(func() { work(writers, define) })

	// The copy is killed where it copies and where it follows.
	var c copying
	for _, phase := range []string{"copying", "following", "following"} {
		if c.Program != nil {
			c.Kill()
		}
		c = begin(t, from, to, "--follow", "--verify", "--batch", "50", "--jobs", "3")
		c.await(t, phase)
		select {
		case <-c.Done():
		case <-time.After(time.Duration(rand.IntN(700)) * time.Millisecond): // of changes that are brought over
		}
	}
	rest()
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	want := content(t, source)
	c.Signal(t, syscall.SIGINT)
	if out := c.ended(t, true); !strings.Contains(out, "cut over") {
		t.Errorf("the copy says:\n%s", out)
	}
	got := content(t, target)
	compare(t, want, got)
	if len(want["w.people"]) < 100_000 {
		t.Errorf("the collection of people has %d bytes", len(want["w.people"]))
	}
	if out := begin(t, from, to).ended(t, false); !strings.Contains(out, "complete and cut over") {
		t.Errorf("a copy that is cut over: %s", out)
	}
}

func seedPeople(t *testing.T, client *mongo.Client) {
	t.Helper()
	var docs []any
	for i := range people {
		docs = append(docs, d("_id", i, "place", i, "n", 0, "list", bson.A{1, 2, 3}, "sub", d("a", 1, "b", d("c", 2)), "text", strings.Repeat("x", 300)))
	}
	coll := client.Database("w").Collection("people")
	must(t)(coll.InsertMany(t.Context(), docs))
	must(t)(coll.Indexes().CreateMany(t.Context(), []mongo.IndexModel{
		{Keys: d("place", 1), Options: options.Index().SetUnique(true).SetSparse(true)},
		{Keys: d("list", 1)}, {Keys: d("at", 1), Options: options.Index().SetExpireAfterSeconds(1000)},
	}))
}

// change changes documents in one of many ways.
func change(ctx context.Context, c *mongo.Client, rng *rand.Rand, n int) error {
	coll := c.Database("w").Collection("people")
	id := func() bson.D { return d("_id", rng.IntN(people)) }
	update := func(u any) error {
		_, err := coll.UpdateOne(ctx, id(), u)
		return err
	}
	switch rng.IntN(14) {
	case 0:
		return ignoring(update(d("$inc", d("n", 1), "$set", d("sub.b.c", rng.IntN(9)))), 28) // no way through a number
	case 1:
		return update(d("$push", d("list", rng.IntN(100))))
	case 2:
		return update(d("$pop", d("list", -1)))
	case 3:
		return update(d("$set", d("sub", rng.IntN(5)))) // no document any more
	case 4:
		return update(d("$set", d("sub", d("a", 5, "b", d("c", 1, "d", bson.A{d("x", 1), d("x", 2)})))))
	case 5:
		return ignoring(update(d("$set", d("sub.b.d.1.x", rng.IntN(9), fmt.Sprint("f", rng.IntN(20)), n))), 28) // no way through a number
	case 6:
		return update(d("$unset", d(fmt.Sprint("f", rng.IntN(20)), "")))
	case 7:
		return update(bson.A{d("$set", d("sub", d("$literal", d("dot.ted", 1, "0", 2)), "m", d("$add", bson.A{"$n", 1})))})
	case 8:
		return update(bson.A{d("$replaceWith", d("$setField", d("field", "do.t", "input", "$$ROOT", "value", n)))})
	case 9:
		_, err := coll.ReplaceOne(ctx, id(), d("n", n, "new", true, "list", bson.A{n}))
		return err
	case 10:
		_, err := coll.DeleteOne(ctx, id())
		return err
	case 11: // the same _id, now and then as another type
		var id any = rng.IntN(people)
		if rng.IntN(2) == 0 {
			id = float64(id.(int))
		}
		_, err := coll.InsertOne(ctx, d("_id", id, "n", n, "list", bson.A{}))
		return ignoring(err, 11000)
	case 12:
		_, err := coll.UpdateMany(ctx, d("n", 1+rng.IntN(4)), d("$set", d("list.0", n)))
		return err
	}
	return exchange(ctx, c, coll, rng)
}

// ignoring leaves out errors with a code.
func ignoring(err error, code int) error {
	var se mongo.ServerError
	if errors.As(err, &se) && se.HasErrorCode(code) {
		return nil
	}
	return err
}

// exchange lets two documents change places in the unique index.
func exchange(ctx context.Context, c *mongo.Client, coll *mongo.Collection, rng *rand.Rand) error {
	session, err := c.StartSession()
	if err != nil {
		return err
	}
	defer session.EndSession(ctx)
	x, y := rng.IntN(people), rng.IntN(people)
	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		var a, b struct{ Place *int }
		for id, to := range map[int]any{x: &a, y: &b} {
			if err := coll.FindOne(ctx, d("_id", id)).Decode(to); err != nil {
				return nil, err
			}
		}
		if x == y || a.Place == nil || b.Place == nil {
			return nil, nil
		}
		for _, step := range []struct {
			id int
			u  bson.D
		}{{x, d("$unset", d("place", ""))}, {y, d("$set", d("place", *a.Place))}, {x, d("$set", d("place", *b.Place))}} {
			if _, err := coll.UpdateOne(ctx, d("_id", step.id), step.u); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil
	}
	return err
}

// define changes collections, indexes and views.
func define(ctx context.Context, c *mongo.Client, rng *rand.Rand, n int) error {
	defer time.Sleep(5 * time.Millisecond) //nolint:forbidigo // definitions do not change all the time
	db := c.Database("w")
	name := func() string { return fmt.Sprint("coll", rng.IntN(6)) }
	run := func(command bson.D) error { return db.RunCommand(ctx, command).Err() }
	some := func(coll string) error {
		var docs []any
		for i := range 30 {
			docs = append(docs, d("k", i, "n", n))
		}
		_, err := db.Collection(coll).InsertMany(ctx, docs)
		return err
	}
	switch rng.IntN(11) {
	case 0, 1, 2:
		return some(name())
	case 3:
		return db.Collection(name()).Drop(ctx)
	case 4:
		from, to := name(), name()
		err := c.Database("admin").RunCommand(ctx, d("renameCollection", "w."+from, "to", "w."+to, "dropTarget", true)).Err()
		return ignoring(ignoring(err, 26), 20) // no such collection; the same one
	case 5:
		_, err := db.Collection(name()).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("k", 1, fmt.Sprint("x", rng.IntN(3)), 1)})
		return err
	case 6:
		return ignoring(ignoring(run(d("dropIndexes", name(), "index", "*")), 26), 27)
	case 7:
		return ignoring(run(d("collMod", name(), "validator", d("n", d("$gte", -rng.IntN(10))))), 26)
	case 8:
		_, err := db.Collection("people").Aggregate(ctx, bson.A{d("$limit", 50), d("$out", name())})
		return err
	case 9:
		coll := fmt.Sprint("capped", n)
		if err := run(d("create", coll, "capped", true, "size", 1<<16, "max", 20)); err != nil {
			return err
		}
		return some(coll)
	}
	coll := name()
	if err := ignoring(run(d("createIndexes", coll, "indexes", bson.A{d("key", d("u", 1), "name", "u_1", "expireAfterSeconds", 500)})), 85); err != nil {
		return err
	}
	return ignoring(ignoring(run(d("collMod", coll, "index", d("name", "u_1", "hidden", n%2 == 0, "expireAfterSeconds", 600))), 26), 27)
}
