package pgshared

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// tally is what a client was told.
type tally struct {
	increments, inserts, transfers atomic.Int64
	// unknown are operations that have failed: they may have happened or not.
	unknown atomic.Int64
}

// TestKilledUnderLoad kills one of two processes with kill -9 while a client with the addresses of both writes: retryable increments
// and inserts, and transactions. It goes on through the other, every sum is exact, and a process that starts again joins in.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	p := start(t)
	client := p.both()
	ctx, ok := context30(t), check(t)
	db := client.Database("d")
	const writers, accounts = 8, 10
	for w := range writers {
		ok(db.Collection("counters").InsertOne(ctx, d("_id", w, "n", 0)))
	}
	for i := range accounts {
		ok(db.Collection("accounts").InsertOne(ctx, d("_id", i, "balance", 100)))
	}
	ok(db.Collection("log").InsertOne(ctx, d("_id", "first")))
	var told [writers]tally
	var before, after, most atomic.Int64 // operations before and after the kill; the longest one in nanoseconds
	killed, stop := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				err := write(ctx, client, &told[w], w, i, accounts)
				if took := time.Since(began).Nanoseconds(); took > most.Load() {
					most.Store(took)
				}
				if err != nil {
					told[w].unknown.Add(1)
					t.Errorf("writer %d: %v", w, err)
					return
				}
				select {
				case <-killed:
					after.Add(1)
				default:
					before.Add(1)
				}
			}
		})
	}
	reach(t, &before, 200)
	p.a.Kill()
	close(killed)
	reach(t, &after, 200)
	p.a = p.serve() // at another address: the client does not use it
	reach(t, &after, after.Load()+100)
	close(stop)
	all.Wait()
	t.Logf("%d operations after the kill, the longest took %v", after.Load(), time.Duration(most.Load()))
	verify(t, p, &told, accounts)
}

// reach waits until a counter has come to a number.
func reach(t *testing.T, counter *atomic.Int64, n int64) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); counter.Load() < n; <-tick.C {
		if t.Failed() || time.Now().After(deadline) {
			t.Errorf("%d operations, waited for %d", counter.Load(), n)
			return
		}
	}
}

// write is one operation of a writer.
func write(ctx context.Context, client *mongo.Client, told *tally, w, i, accounts int) error {
	db := client.Database("d")
	switch i % 4 {
	case 3:
		var several []mongo.WriteModel
		for range 5 {
			several = append(several, mongo.NewUpdateOneModel().SetFilter(d("_id", w)).SetUpdate(d("$inc", d("n", 1))),
				mongo.NewUpdateOneModel().SetFilter(d("_id", fmt.Sprint("several ", i, w))).SetUpdate(d("$inc", d("n", 1))).SetUpsert(true))
		}
		if _, err := db.Collection("counters").BulkWrite(ctx, several); err != nil {
			return fmt.Errorf("several increments: %w", err)
		}
		told.increments.Add(5)
	case 0:
		if _, err := db.Collection("counters").UpdateOne(ctx, d("_id", w), d("$inc", d("n", 1))); err != nil {
			return fmt.Errorf("increment: %w", err)
		}
		told.increments.Add(1)
	case 1:
		// Without an _id of its own a second insertion would show.
		if _, err := db.Collection("log").InsertMany(ctx, bson.A{d("w", w, "i", i), d("w", w, "i", i)}); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		told.inserts.Add(2)
	default:
		session, err := client.StartSession()
		if err != nil {
			return err
		}
		defer session.EndSession(ctx)
		_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
			from, to := (w+i)%accounts, (w+2*i+1)%accounts
			if _, err := db.Collection("accounts").UpdateOne(ctx, d("_id", from), d("$inc", d("balance", -1))); err != nil {
				return nil, err
			}
			if _, err := db.Collection("accounts").UpdateOne(ctx, d("_id", to), d("$inc", d("balance", 1))); err != nil {
				return nil, err
			}
			return db.Collection("transfers").InsertOne(ctx, d("w", w, "i", i))
		}, options.Transaction().SetWriteConcern(writeconcern.Majority()))
		if err != nil {
			return fmt.Errorf("transaction: %w", err)
		}
		told.transfers.Add(1)
	}
	return nil
}

// verify compares what was told with what is there, through each process.
func verify(t *testing.T, p *pair, told *[8]tally, accounts int) {
	t.Helper()
	ctx := context30(t)
	for _, server := range []string{p.a.URI(), p.b.URI()} {
		client, err := mongo.Connect(options.Client().ApplyURI(server))
		must(t, err)
		defer client.Disconnect(ctx)
		db := client.Database("d")
		var inserts, transfers int64
		for w := range told {
			var counter struct{ N int64 }
			must(t, db.Collection("counters").FindOne(ctx, d("_id", w)).Decode(&counter))
			if counter.N != told[w].increments.Load() {
				t.Errorf("counter %d is %d, acknowledged were %d increments", w, counter.N, told[w].increments.Load())
			}
			inserts += told[w].inserts.Load()
			transfers += told[w].transfers.Load()
		}
		if kept, n := count(t, db.Collection("log")); n != inserts+1 || kept != n {
			t.Errorf("%d documents inserted, %d counted, acknowledged were %d", n, kept, inserts+1)
		}
		if kept, n := count(t, db.Collection("transfers")); n != transfers || kept != n {
			t.Errorf("%d transactions, %d counted, acknowledged were %d", n, kept, transfers)
		}
		cur, err := db.Collection("accounts").Aggregate(ctx, mongo.Pipeline{d("$group", d("_id", nil, "sum", d("$sum", "$balance")))})
		must(t, err)
		var sums []struct{ Sum int }
		must(t, cur.All(ctx, &sums))
		if len(sums) != 1 || sums[0].Sum != 100*accounts {
			t.Errorf("the accounts hold %v, want %d", sums, 100*accounts)
		}
		for _, coll := range []string{"counters", "log", "accounts", "transfers"} {
			validate(t, client, coll)
		}
	}
}

// TestLeftBehind kills a process that builds an index: another one finds out, and builds it when it is asked to.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	p := start(t)
	one, two := p.to(p.a).Database("d"), p.to(p.b).Database("d")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ok := check(t)
	docs := make([]any, 20000)
	for i := range docs {
		docs[i] = d("_id", i, "a", i%100, "b", bson.A{i, i + 1, i + 2})
	}
	ok(one.Collection("c").InsertMany(ctx, docs))
	index := mongo.IndexModel{Keys: d("a", 1, "b", 1)}
	go func() { _, _ = one.Collection("c").Indexes().CreateOne(ctx, index) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for building := false; !building; <-tick.C {
		var stats struct{ IndexBuilds []string }
		must(t, two.RunCommand(ctx, d("collStats", "c")).Decode(&stats))
		building = len(stats.IndexBuilds) > 0
	}
	p.a.Kill()
	ok(two.Collection("c").InsertOne(ctx, d("_id", "new", "a", 1)))
	ok(two.Collection("c").Indexes().CreateOne(ctx, index))
	validate(t, two.Client(), "c")
	if kept, n := count(t, two.Collection("c")); n != 20001 || kept != n {
		t.Errorf("%d documents, %d counted", n, kept)
	}
}

// TestCursorOfDeadProcess reads a cursor on after its process has died.
func TestCursorOfDeadProcess(t *testing.T) {
	t.Parallel()
	p := start(t)
	one, two := p.to(p.a), p.to(p.b)
	ctx := context30(t)
	docs := make([]any, 300)
	for i := range docs {
		docs[i] = d("_id", i)
	}
	check(t)(one.Database("d").Collection("c").InsertMany(ctx, docs))
	var opened struct{ Cursor struct{ ID int64 } }
	must(t, one.Database("d").RunCommand(ctx, d("find", "c", "batchSize", 2)).Decode(&opened))
	p.a.Kill()
	err := two.Database("d").RunCommand(ctx, d("getMore", opened.Cursor.ID, "collection", "c")).Err()
	if !failed(err, 43) {
		t.Fatalf("a dead process's cursor: %v", err)
	}
}

// TestStreamGoesOn kills the process whose change stream is read; the driver resumes it at the other, and nothing is missed or
// seen twice.
func TestStreamGoesOn(t *testing.T) {
	p := start(t)
	ctx := context30(t)
	writer := p.to(p.b).Database("d").Collection("c")
	check(t)(writer.InsertOne(ctx, d("n", -1)))
	// The first address is the one that the driver asks as long as it is there.
	client := p.both()
	var stream *mongo.ChangeStream
	var err error
	for try := 0; ; try++ { // until it is with the process that will be killed
		if stream, err = client.Database("d").Collection("c").Watch(ctx, mongo.Pipeline{}); err != nil {
			t.Fatal(err)
		}
		if openStreams(t, p.to(p.a)) == 1 {
			break
		}
		stream.Close(ctx)
		if try == 30 {
			t.Fatal("the driver always asks the other process")
		}
	}
	defer stream.Close(ctx)
	const events = 300
	go func() {
		for i := range events {
			if _, err := writer.InsertOne(ctx, d("n", i)); err != nil {
				t.Error(err)
			}
			if i == events/3 {
				p.a.Kill()
			}
		}
	}()
	for want := 0; want < events; want++ {
		if !stream.Next(ctx) {
			t.Fatal(errors.Join(fmt.Errorf("the stream ended before event %d", want), stream.Err()))
		}
		var e struct{ FullDocument struct{ N int } }
		must(t, stream.Decode(&e))
		if e.FullDocument.N != want {
			t.Fatalf("event %d, want %d", e.FullDocument.N, want)
		}
	}
}

// openStreams is the number of change streams that are open in a process.
func openStreams(t *testing.T, c *mongo.Client) int {
	t.Helper()
	cur, err := c.Database("admin").Aggregate(context30(t), mongo.Pipeline{
		d("$currentOp", d("idleCursors", true)), d("$match", d("cursor.originatingCommand.pipeline.0.$changeStream", d("$exists", true))),
	})
	must(t, err)
	var ops []bson.M
	must(t, cur.All(context30(t), &ops))
	if len(ops) > 0 {
		return len(ops)
	}
	var status struct {
		Metrics struct {
			Cursor struct{ Open struct{ Total int } }
		}
	}
	must(t, c.Database("admin").RunCommand(context30(t), d("serverStatus", 1)).Decode(&status))
	return status.Metrics.Cursor.Open.Total
}
