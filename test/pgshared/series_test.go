package pgshared

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// Commands with many statements run these in series: together, until one fails.

// randomStatements are those of an update, or of a delete: by _id and by other fields, of few
// and of many documents, with upserts and with errors.
func randomStatements(rng *rand.Rand) (command, argument string, list bson.A) {
	filter := func() (f bson.D, byID bool) {
		switch id := rng.IntN(60); rng.IntN(15) {
		case 0:
			return d("k", rng.IntN(8)), false
		case 1:
			return d("u", rng.IntN(80)), false
		case 2:
			return d("_id", id, "k", rng.IntN(8)), true
		case 3:
			return d("_id", id, "u", rng.IntN(80)), true // an upsert may meet either
		case 4:
			return d("tags", rng.IntN(6)), false
		case 5:
			return d("_id", d("$in", bson.A{id, id + 1})), false
		default:
			return d("_id", id), true
		}
	}
	n := 1 + rng.IntN(40)
	if rng.IntN(3) == 0 {
		for range n {
			limit := 1
			if rng.IntN(30) == 0 {
				limit = 0
			}
			f, _ := filter()
			list = append(list, d("q", f, "limit", limit))
		}
		return "delete", "deletes", list
	}
	for range n {
		f, byID := filter()
		s := d("q", f)
		switch rng.IntN(15) {
		case 5:
			s = with(s, "u", d("$set", d("tags", bson.A{rng.IntN(6), rng.IntN(6)}, "items", bson.A{d("q", rng.IntN(4)), d("q", rng.IntN(4))})))
		case 6:
			s = with(s, "u", d("$push", d("tags", rng.IntN(6))))
		case 7:
			s = with(s, "u", d("$set", d("tags.$", rng.IntN(6)))) // fails unless the filter is about tags
		case 8:
			s = with(s, "u", d("$inc", d("items.$[e].r", 1)), "arrayFilters", bson.A{d("e.q", rng.IntN(4))})
		case 9:
			s = with(s, "u", d("$inc", d("n", 1)), "hint", "_id_", "collation", d("locale", "en", "strength", 2))
		case 0:
			s = with(s, "u", d("k", rng.IntN(8), "u", rng.IntN(4000))) // the whole document
		case 1:
			s = with(s, "u", d("$set", d("u", rng.IntN(80)))) // may be there already
		case 2:
			s = with(s, "u", bson.A{d("$set", d("s", d("$add", bson.A{"$k", 1})))})
		case 3:
			s = with(s, "u", d("$inc", d("word", 1))) // fails where it is a word
		case 4:
			s = with(s, "u", d("$set", d("word", "w")))
		default:
			s = with(s, "u", d("$inc", d("k", 1, "n", 1)))
		}
		if byID && rng.IntN(3) == 0 {
			s = with(s, "upsert", true)
			if rng.IntN(4) == 0 {
				s = with(s, "hint", d("$natural", 1))
			}
		} else if rng.IntN(30) == 0 && s[1].Value != nil {
			if u, ok := s[1].Value.(bson.D); ok && u[0].Key[0] == '$' {
				s = with(s, "multi", true)
			}
		}
		list = append(list, s)
	}
	return "update", "updates", list
}

// bulkOf is statements as operations of bulkWrite.
func bulkOf(list bson.A) (ops bson.A) {
	for _, s := range list {
		op := d("delete", 0)
		for _, e := range s.(bson.D) {
			switch e.Key {
			case "q":
				op = with(op, "filter", e.Value)
			case "u":
				op[0].Key = "update"
				op = with(op, "updateMods", e.Value)
			case "limit":
				op = with(op, "multi", e.Value == 0)
			default:
				op = with(op, e.Key, e.Value)
			}
		}
		ops = append(ops, op)
	}
	return ops
}

// isRetryable says whether each of the statements is about one document.
func isRetryable(list bson.A) bool {
	for _, s := range list {
		for _, e := range s.(bson.D) {
			if e.Key == "multi" || e.Key == "limit" && e.Value == 0 {
				return false
			}
		}
	}
	return true
}

// TestSeries runs the same commands of many statements on PostgreSQL and in memory, where each
// statement stands for itself, and compares the replies and what is there after them.
func TestSeries(t *testing.T) {
	t.Parallel()
	addr := harness.FreeAddr(t)
	memory := harness.StartWith(t, harness.Build(t), addr, nil, "--listen", addr, "--storage", "memory")
	p := &pair{t: t, url: storeURL(t)}
	served := p.serve()
	wires := [2]*wireClient{dial(t, memory), dial(t, served)}
	both := func(cmd bson.D) (out [2]map[string]any) {
		t.Helper()
		for i, w := range wires {
			db := "d"
			switch cmd[0].Key {
			case "bulkWrite", "commitTransaction", "abortTransaction":
				db = "admin"
			}
			reply, err := w.c.Call(harness.Msg(0, harness.Doc(t, with(cmd, "$db", db)))) // run takes errors of statements for its own
			must(t, err)
			var got bson.M
			must(t, bson.Unmarshal(reply, &got))
			for _, k := range []string{"opTime", "electionId", "$clusterTime", "operationTime", "recoveryToken"} {
				delete(got, k)
			}
			out[i] = got
		}
		return out
	}
	both(d("create", "c"))
	both(d("create", "merged"))
	both(d("createIndexes", "c", "indexes", bson.A{
		d("key", d("u", 1), "name", "u", "unique", true, "sparse", true), d("key", d("k", 1, "n", -1), "name", "k"),
		d("key", d("tags", 1), "name", "tags"), d("key", d("items.q", 1), "name", "items"),
	}))
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	same := func(round int, cmd bson.D) {
		t.Helper()
		replies := both(cmd)
		if a, b := fmt.Sprint(replies[0]), fmt.Sprint(replies[1]); a != b {
			t.Fatalf("seed %d, round %d: %v\nin memory:     %s\non PostgreSQL: %s", seed, round, cmd, a, b)
		}
	}
	number := int64(0)
	for round := range 150 {
		command, argument, list := randomStatements(rng)
		cmd := d(command, "c", argument, list, "ordered", rng.IntN(2) == 0)
		if rng.IntN(3) == 0 {
			cmd = d("bulkWrite", 1, "ops", bulkOf(list), "nsInfo", bson.A{d("ns", "d.c")}, "ordered", rng.IntN(2) == 0)
		}
		if rng.IntN(2) == 0 && isRetryable(list) {
			number++
			cmd = with(cmd, "lsid", lsid(2), "txnNumber", number)
			same(round, cmd)
		}
		same(round, cmd)
		same(round, d("find", "c", "sort", d("_id", 1), "batchSize", 1000))
		if round%8 == 4 { // in a transaction, of a collection that it may have to create
			if rng.IntN(2) == 0 {
				both(d("drop", "fresh"))
			}
			number++
			command, argument, list := randomStatements(rng)
			transaction := d("lsid", lsid(2), "txnNumber", number, "autocommit", false)
			same(round, append(d(command, "fresh", argument, list, "startTransaction", true), transaction...))
			both(append(d([]string{"commitTransaction", "abortTransaction"}[rng.IntN(2)], 1), transaction...))
			same(round, d("find", "fresh", "sort", d("_id", 1), "batchSize", 1000))
		}
		if round%8 == 0 {
			merge := d("into", "merged", "whenMatched", []string{"merge", "replace", "keepExisting", "fail"}[rng.IntN(4)],
				"whenNotMatched", []string{"insert", "discard", "fail"}[rng.IntN(3)])
			if merge[1].Value == "fail" {
				merge[2].Value = "insert"
			}
			same(round, d("aggregate", "c", "pipeline", bson.A{d("$match", d("k", d("$lt", rng.IntN(8)))), d("$sort", d("_id", 1)), d("$merge", merge)}, "cursor", bson.D{}))
			same(round, d("find", "merged", "sort", d("_id", 1), "batchSize", 1000))
		}
	}
	c := p.to(served)
	validate(t, c, "c")
	if kept, n := count(t, c.Database("d").Collection("c")); kept != n {
		t.Errorf("%d documents, %d counted", n, kept)
	}
}

// TestSeriesFailing has statements in a series that fail after they have written something.
func TestSeriesFailing(t *testing.T) {
	t.Parallel()
	p := &pair{t: t, url: storeURL(t)}
	served := p.serve()
	w, c := dial(t, served), p.to(served)
	run := func(cmd bson.D) bson.M {
		t.Helper()
		reply, err := w.c.Call(harness.Msg(0, harness.Doc(t, with(cmd, "$db", "d"))))
		must(t, err)
		var out bson.M
		must(t, bson.Unmarshal(reply, &out))
		return out
	}
	run(d("insert", "c", "documents", bson.A{d("_id", 1, "u", 7, "k", 1)}))
	run(d("createIndexes", "c", "indexes", bson.A{d("key", d("k", 1), "name", "k"), d("key", d("u", 1), "name", "u", "unique", true)}))
	inc := d("q", d("_id", 1), "u", d("$inc", d("n", 1)))
	for i, hint := range []any{"k", "u", d("$natural", 1)} {
		out := run(d("update", "c", "ordered", false, "updates", bson.A{
			inc, d("q", d("u", 7, "k", 3), "u", d("$inc", d("n", 1)), "upsert", true, "hint", hint), inc,
		}))
		var errs struct{ WriteErrors []struct{ Index, Code int } }
		must(t, bson.Unmarshal(harness.Doc(t, out), &errs))
		if out["n"] != int32(2) || len(errs.WriteErrors) != 1 || errs.WriteErrors[0].Index != 1 || errs.WriteErrors[0].Code != 11000 {
			t.Errorf("an upsert in the way of a unique key, hint %v: %v", hint, out)
		}
		if _, n := count(t, c.Database("d").Collection("c")); n != 1 {
			t.Errorf("hint %v: %d documents", hint, n)
		}
		out = run(d("update", "c", "updates", bson.A{inc, inc, inc}, "lsid", lsid(3), "txnNumber", int64(i), "stmtIds", bson.A{int32(4), int32(5), int32(4)}))
		if fmt.Sprint(out["retriedStmtIds"]) != "[4]" {
			t.Errorf("a statement twice in a command: %v", out)
		}
	}
	validate(t, c, "c")
	if n, err := c.Database("d").Collection("c").CountDocuments(t.Context(), d("n", 12)); n != 1 || err != nil {
		t.Errorf("%d documents have been counted up to 12, %v", n, err)
	}
}

// TestSeriesOfLarge has statements and documents that are committed apart because they are large.
func TestSeriesOfLarge(t *testing.T) {
	t.Parallel()
	const n, size = 12, 1 << 20
	p := &pair{t: t, url: storeURL(t)}
	served := p.serve()
	w, c := dial(t, served), p.to(served)
	run := func(cmd bson.D) bson.M {
		t.Helper()
		out, err := w.run("d", cmd)
		must(t, err)
		return out
	}
	commits := func() int64 {
		var out struct {
			StorageEngine struct{ Commits int64 }
		}
		must(t, c.Database("d").RunCommand(t.Context(), d("serverStatus", 1)).Decode(&out))
		return out.StorageEngine.Commits
	}
	run(d("create", "c", "changeStreamPreAndPostImages", d("enabled", true)))
	var small, statements bson.A
	for i := range n {
		run(d("insert", "c", "documents", bson.A{d("_id", i, "large", strings.Repeat("x", size))}))
		small = append(small, d("_id", i, "small", true))
		statements = append(statements, d("q", d("_id", i), "u", d("$inc", d("n", 1))))
	}
	run(d("insert", "small", "documents", small))
	for _, test := range []struct {
		cmd   bson.D
		least int64 // commits
	}{
		{d("update", "c", "updates", statements), n / 2},
		{d("update", "c", "updates", bson.A{d("q", bson.D{}, "u", d("$inc", d("n", 1)), "multi", true)}), n / 2},
		{d("aggregate", "small", "pipeline", bson.A{d("$merge", "c")}, "cursor", bson.D{}), n / 2},
		{d("delete", "c", "deletes", bson.A{d("q", d("n", 2, "small", true), "limit", 0)}), n / 4},
	} {
		before := commits()
		out := run(test.cmd)
		if got := commits() - before; got < test.least {
			t.Errorf("%v: %d commits, want %d", test.cmd[0], got, test.least)
		}
		if done, ok := out["n"]; ok && done != int32(n) {
			t.Errorf("%v: %v", test.cmd[0], out)
		}
	}
	validate(t, c, "c")
}

// TestSeriesMeet lets clients of both processes add to the same documents, many in one command,
// alone and in transactions: what they were told adds up.
func TestSeriesMeet(t *testing.T) {
	t.Parallel()
	p := start(t)
	const docs, workers, rounds, size = 30, 4, 12, 40
	ctx := context30(t)
	setUp := p.to(p.a).Database("d").Collection("c")
	var list []any
	for i := range docs {
		list = append(list, d("_id", i, "n", 0))
	}
	check(t)(setUp.InsertMany(ctx, list))
	var wg sync.WaitGroup
	var mu sync.Mutex
	added, modified := 0, int64(0)
	for w := range workers {
		client := p.to([]*harness.Server{p.a, p.b}[w%2])
		coll := client.Database("d").Collection("c")
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			for range rounds {
				var models []mongo.WriteModel
				for range size {
					models = append(models, mongo.NewUpdateOneModel().SetFilter(d("_id", rng.IntN(docs))).SetUpdate(d("$inc", d("n", 1))))
				}
				write := func(ctx context.Context) (any, error) { return coll.BulkWrite(ctx, models) }
				var out any
				var err error
				if w < 2 {
					out, err = write(ctx)
				} else {
					var session *mongo.Session
					if session, err = client.StartSession(); err == nil {
						out, err = session.WithTransaction(ctx, write, options.Transaction())
						session.EndSession(ctx)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				added, modified = added+size, modified+out.(*mongo.BulkWriteResult).ModifiedCount
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	cur, err := setUp.Aggregate(ctx, bson.A{d("$group", d("_id", nil, "n", d("$sum", "$n")))})
	must(t, err)
	var sum []struct{ N int }
	must(t, errors.Join(cur.All(ctx, &sum)))
	if len(sum) != 1 || sum[0].N != added || modified != int64(added) {
		t.Errorf("the documents have %v, %d were added, %d told", sum, added, modified)
	}
}
