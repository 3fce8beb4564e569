package streams

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/archelon-db/archelon/test/harness"
)

// TestExactlyOnce has consumers follow writers through the deaths of both and of the server.
func TestExactlyOnce(t *testing.T) {
	n := seed(t)
	random := func(i int) *rand.Rand { return rand.New(rand.NewPCG(n, uint64(i))) }
	binary, addr, data := harness.Build(t), harness.FreeAddr(t), t.TempDir()
	s := harness.Start(t, binary, addr, data)
	began := prepare(t, s)

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	consumers := []*consumer{
		{name: "collection", at: places[0]}, {name: "collection, flaky", at: places[0], flaky: true},
		{name: "database, flaky", at: place{db: "streams_a"}, flaky: true}, {name: "other database", at: place{db: "streams_b"}},
		{name: "cluster"}, {name: "cluster, flaky", flaky: true},
	}
	var following sync.WaitGroup
	for i, x := range consumers {
		x.began, x.rng = began, random(100+i)
		client, disconnect := dial(t, s, patient)
		following.Go(func() {
			defer disconnect()
			if err := x.run(ctx, client); err != nil {
				t.Error(err)
				cancel()
			}
		})
	}
	team := make([]*writer, writers)
	for i := range team {
		team[i] = &writer{w: i, rng: random(i)}
	}
	dice, total := random(99), lives(t)
	for life := 1; life < total; life++ {
		ended := work(t, s, team, time.Duration(100+dice.IntN(600))*time.Millisecond, func() {
			if life%2 == 0 {
				s.Stop(t)
			} else {
				s.Kill()
			}
		})
		if !ended {
			return
		}
		s = harness.Start(t, binary, addr, data)
		settle(t, s, team)
	}
	if !work(t, s, team, 500*time.Millisecond, func() {}) {
		return
	}
	client, disconnect := dial(t, s, patient)
	defer disconnect()
	for _, p := range places {
		if _, err := p.of(client).InsertOne(ctx, d("_id", last)); err != nil {
			t.Fatal(err)
		}
	}
	following.Wait()
	if t.Failed() {
		return
	}
	for _, x := range consumers {
		x.compare(t, client, team)
		t.Logf("%s: %d events, opened %d times", x.name, x.seen.Load(), x.opened)
	}
	s.Stop(t)
}

// prepare makes the hot documents and returns a time before them.
func prepare(t *testing.T, s *harness.Server) *bson.Timestamp {
	t.Helper()
	client, disconnect := dial(t, s, patient)
	defer disconnect()
	session, err := client.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(t.Context())
	if err := client.Ping(mongo.NewSessionContext(t.Context(), session), nil); err != nil {
		t.Fatal(err)
	}
	began := session.OperationTime()
	if began == nil {
		t.Fatal("no operationTime")
	}
	for i := range hotDocs {
		if _, err := places[0].of(client).InsertOne(t.Context(), d("_id", hotID(i), "n", int64(0))); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range places[1:] {
		if err := client.Database(p.db).CreateCollection(t.Context(), p.coll); err != nil {
			t.Fatal(err)
		}
	}
	return began
}

// work lets the writers work for a while, then calls end and waits for them.
func work(t *testing.T, s *harness.Server, team []*writer, life time.Duration, end func()) (ok bool) {
	t.Helper()
	client, disconnect := dial(t, s, hasty)
	defer disconnect()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for _, w := range team {
		wg.Go(func() {
			if err := w.run(ctx, client); err != nil {
				t.Error(err)
			}
		})
	}
	<-time.After(life) // the moment of the end is the random input, not a wait for something
	end()
	cancel()
	wg.Wait()
	return !t.Failed()
}

func settle(t *testing.T, s *harness.Server, team []*writer) {
	t.Helper()
	client, disconnect := dial(t, s, patient)
	defer disconnect()
	for _, w := range team {
		if err := w.settle(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
}

// compare compares what a consumer has with what the server and the writers have.
func (x *consumer) compare(t *testing.T, c *mongo.Client, team []*writer) {
	t.Helper()
	mine := x.places()
	data, raised := map[doc]bson.M{}, int64(0)
	for _, p := range mine {
		cur, err := p.of(c).Find(t.Context(), d())
		if err != nil {
			t.Fatal(err)
		}
		var docs []bson.M
		if err := cur.All(t.Context(), &docs); err != nil {
			t.Fatal(err)
		}
		for _, m := range docs {
			data[doc{p, m["_id"].(string)}] = m
		}
	}
	if slices.Contains(mine, places[0]) {
		for i := range hotDocs {
			raised += data[doc{places[0], hotID(i)}]["n"].(int64)
			delete(x.data[doc{places[0], hotID(i)}], "was")
		}
	}
	if diff := cmp.Diff(data, x.data); diff != "" {
		t.Errorf("%s: the server's data -, what the events make +:\n%s", x.name, diff)
	}
	acked := int64(0)
	for i, w := range team {
		acked += w.raised
		var want []step
		for _, s := range w.journal {
			if slices.Contains(mine, s.at) {
				want = append(want, s)
			}
		}
		if diff := cmp.Diff(want, x.steps[i], cmp.AllowUnexported(step{}, place{})); diff != "" {
			t.Errorf("%s: writer %d's changes -, its events +:\n%s", x.name, i, diff)
		}
	}
	if x.raised != raised || slices.Contains(mine, places[0]) && raised < acked {
		t.Errorf("%s: hot documents raised by %d, events of %d, acknowledged %d", x.name, raised, x.raised, acked)
	}
}
