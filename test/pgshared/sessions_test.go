package pgshared

import (
	"context"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/archelon-db/archelon/test/harness"
)

func lsid(n byte) bson.D {
	return d("id", bson.Binary{Subtype: 4, Data: append(make([]byte, 15), n)})
}

func with(cmd bson.D, more ...any) bson.D { return append(cmd, d("", nil, more...)[1:]...) }

// wireClient sends commands with sessions of the test's own, which a driver does not.
type wireClient struct {
	t testing.TB
	c *harness.Conn
}

func dial(t testing.TB, s *harness.Server) *wireClient {
	return &wireClient{t, harness.Dial(t, s.Addr)}
}

// run runs a command. The error is a mongo.CommandError.
func (w *wireClient) run(db string, cmd bson.D) (bson.M, error) {
	reply, err := w.c.Call(harness.Msg(0, harness.Doc(w.t, with(cmd, "$db", db))))
	if err != nil {
		return nil, err
	}
	if code := harness.Code(reply); code != 0 {
		return nil, mongo.CommandError{Code: code, Message: reply.String()}
	}
	var out bson.M
	return out, bson.Unmarshal(reply, &out)
}

// TestRetryAtTheOther sends retryable writes a second time, to the other process.
func TestRetryAtTheOther(t *testing.T) {
	t.Parallel()
	p := start(t)
	dbs := [2]*mongo.Database{p.to(p.a).Database("d"), p.to(p.b).Database("d")}
	wires := [2]*wireClient{dial(t, p.a), dial(t, p.b)}
	ctx := context30(t)
	check(t)(dbs[0].Collection("c").InsertOne(ctx, d("_id", 1, "n", 0)))
	number := int64(0)
	run := func(i int, cmd bson.D) bson.M {
		t.Helper()
		out, err := wires[i].run("d", with(cmd, "lsid", lsid(1), "txnNumber", number))
		must(t, err)
		return out
	}
	inc := func(n int64) bson.D {
		return d("update", "c", "updates", bson.A{d("q", d("_id", 1), "u", d("$inc", d("n", 1)))})
	}
	for i := range 12 {
		number++
		first, again := i%2, (i+1)%2
		run(first, inc(number))
		out := run(again, inc(number))
		if out["n"] != int32(1) || out["retriedStmtIds"] == nil {
			t.Fatalf("a retry at the other process: %v", out)
		}
		if i%3 == 0 { // and once more where it was executed
			run(first, inc(number))
		}
		number++
		insert := d("insert", "c", "documents", bson.A{d("a", 1), d("a", 2)})
		run(first, insert)
		if out := run(again, insert); out["n"] != int32(2) || out["retriedStmtIds"] == nil {
			t.Fatalf("a retried insert at the other process: %v", out)
		}
		number++
		find := d("findAndModify", "c", "query", d("_id", 1), "update", d("$inc", d("m", 1)), "new", true)
		one, two := run(first, find), run(again, find)
		if a, b := one["value"], two["value"]; a == nil || b == nil || two["retriedStmtId"] == nil {
			t.Fatalf("a retried findAndModify at the other process: %v, then %v", one, two)
		}
	}
	var doc struct{ N, M int }
	must(t, dbs[0].Collection("c").FindOne(ctx, d("_id", 1)).Decode(&doc))
	if doc.N != 12 || doc.M != 12 {
		t.Errorf("%+v after 12 of each", doc)
	}
	if kept, n := count(t, dbs[1].Collection("c")); n != 25 || kept != 25 {
		t.Errorf("%d documents, %d counted, want 25", n, kept)
	}
	// A number that is too old, at the process that has not seen the newer ones.
	if _, err := wires[0].run("d", with(inc(1), "lsid", lsid(1), "txnNumber", int64(1))); !failed(err, 225) {
		t.Errorf("an old number: %v", err)
	}
}

// TestSameWriteAtBoth sends one retryable write to both processes at the same time.
func TestSameWriteAtBoth(t *testing.T) {
	t.Parallel()
	p := start(t)
	dbs := [2]*mongo.Database{p.to(p.a).Database("d"), p.to(p.b).Database("d")}
	ctx := context30(t)
	check(t)(dbs[0].Collection("c").InsertOne(ctx, d("_id", 1, "n", 0)))
	const rounds = 40
	wires := [4]*wireClient{dial(t, p.a), dial(t, p.b), dial(t, p.a), dial(t, p.b)}
	for round := range int64(rounds) {
		var all sync.WaitGroup
		for w := range 4 {
			all.Go(func() {
				_, err := wires[w].run("d", d("update", "c", "updates", bson.A{d("q", d("_id", 1), "u", d("$inc", d("n", 1)))},
					"lsid", lsid(2), "txnNumber", round))
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	var doc struct{ N int }
	must(t, dbs[0].Collection("c").FindOne(ctx, d("_id", 1)).Decode(&doc))
	if doc.N != rounds {
		t.Errorf("%d increments of %d writes", doc.N, rounds)
	}
}

// TestCommitAtTheOther asks one process to commit what was begun at the other.
func TestCommitAtTheOther(t *testing.T) {
	t.Parallel()
	p := start(t)
	one, two := dial(t, p.a), dial(t, p.b)
	coll := p.to(p.b).Database("d").Collection("c")
	ctx := context30(t)
	check(t)(p.to(p.a).Database("d").Collection("c").InsertOne(ctx, d("_id", 0)))
	number := int64(0)
	insert := func() bson.M {
		t.Helper()
		number++
		out, err := one.run("d", d("insert", "c", "documents", bson.A{d("_id", number)}, "lsid", lsid(3), "txnNumber", number,
			"startTransaction", true, "autocommit", false))
		must(t, err)
		return out
	}
	end := func(c *wireClient, name string, token any) error {
		_, err := c.run("admin", d(name, 1, "lsid", lsid(3), "txnNumber", number, "autocommit", false, "recoveryToken", token))
		return err
	}
	// Committed, and asked for again at the other.
	token := insert()["recoveryToken"]
	if token == nil {
		t.Fatal("a statement's reply has no recoveryToken")
	}
	must(t, end(one, "commitTransaction", token))
	must(t, end(two, "commitTransaction", token))
	must(t, end(one, "commitTransaction", token))
	// Not committed: the other does not know it, and from then on it cannot be committed any more.
	token = insert()["recoveryToken"]
	if err := end(two, "commitTransaction", token); !failed(err, 251) {
		t.Fatalf("commit at the other process: %v", err)
	}
	if err := end(one, "commitTransaction", token); !failed(err, 251, 112) {
		t.Fatalf("a commit after that: %v", err)
	}
	if err := end(one, "commitTransaction", token); !failed(err, 251) {
		t.Fatalf("and once more: %v", err)
	}
	if n, err := coll.CountDocuments(ctx, bson.D{}); n != 2 || err != nil {
		t.Errorf("%d documents, %v", n, err)
	}
	insert()
	must(t, end(one, "commitTransaction", token))
}

// TestRouters looks at what both present themselves as, and what a plain server refuses.
func TestRouters(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := context30(t)
	for _, s := range []*harness.Server{p.a, p.b} {
		var hello struct {
			Msg     string
			SetName string
		}
		must(t, p.to(s).Database("admin").RunCommand(ctx, d("hello", 1)).Decode(&hello))
		if hello.Msg != "isdbgrid" || hello.SetName != "" {
			t.Errorf("hello: %+v", hello)
		}
	}
	var written sync.WaitGroup
	client := p.both()
	for range 4 {
		written.Go(func() {
			session, err := client.StartSession()
			if err != nil {
				t.Error(err)
				return
			}
			defer session.EndSession(ctx)
			_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
				return client.Database("d").Collection("t").InsertMany(ctx, bson.A{bson.D{}, bson.D{}})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	written.Wait()
	if kept, n := count(t, client.Database("d").Collection("t")); n != 8 || kept != 8 {
		t.Errorf("%d documents, %d counted", n, kept)
	}
}

// TestTransactionBeginsWith begins a transaction with each kind of statement.
func TestTransactionBeginsWith(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := context30(t)
	client := p.to(p.a)
	db := client.Database("d")
	_, err := db.Collection("c").InsertOne(ctx, d("_id", 1, "a", 1))
	must(t, err)
	group := d("$group", d("_id", "$a"))
	for name, statement := range map[string]bson.D{
		"find":               d("find", "c"),
		"distinct":           d("distinct", "c", "key", "a"),
		"pipeline":           d("aggregate", "c", "pipeline", bson.A{group}, "cursor", bson.D{}),
		"pipeline, counting": d("aggregate", "c", "pipeline", bson.A{d("$count", "n")}, "cursor", bson.D{}),
		"$lookup": d("aggregate", "c", "pipeline", bson.A{d("$lookup", d("from", "c", "pipeline", bson.A{group}, "as", "l"))},
			"cursor", bson.D{}),
		"insert":        d("insert", "c", "documents", bson.A{d("_id", 2)}),
		"update":        d("update", "c", "updates", bson.A{d("q", d("a", 1), "u", d("$inc", d("a", 1)))}),
		"findAndModify": d("findAndModify", "c", "query", d("a", 1), "remove", true),
		"bulkWrite":     d("bulkWrite", 1, "ops", bson.A{d("delete", 0, "filter", d("a", 1))}, "nsInfo", bson.A{d("ns", "d.c")}),
	} {
		session, err := client.StartSession()
		must(t, err)
		must(t, session.StartTransaction())
		to := db
		if statement[0].Key == "bulkWrite" {
			to = client.Database("admin")
		}
		if err := to.RunCommand(mongo.NewSessionContext(ctx, session), statement).Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		must(t, session.AbortTransaction(ctx))
		session.EndSession(ctx)
	}
}
