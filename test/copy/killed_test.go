package copy

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/archelon-db/archelon/test/harness"
)

// progress is what the state says of ranges.
type progress struct {
	ID   string `bson:"_id"`
	Docs int64  `bson:"docs"`
	Done bool   `bson:"done"`
}

func ranges(t *testing.T, target *mongo.Client) map[string]progress {
	t.Helper()
	var all []progress
	cur, err := target.Database("archelon_copy").Collection("state").Find(t.Context(), d("_id", bson.Regex{Pattern: "^r/"}))
	if err == nil {
		err = cur.All(t.Context(), &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]progress{}
	for _, p := range all {
		out[p.ID] = p
	}
	return out
}

// inserts is how many documents a server has been given.
func inserts(t *testing.T, client *mongo.Client) int64 {
	t.Helper()
	var status struct {
		Opcounters struct{ Insert int64 }
	}
	if err := client.Database("admin").RunCommand(t.Context(), d("serverStatus", 1)).Decode(&status); err != nil {
		t.Fatal(err)
	}
	return status.Opcounters.Insert
}

// TestKilled kills copies in the middle and goes on, while documents change.
func TestKilled(t *testing.T) {
	const collections, each = 12, 1500
	addr, data := harness.FreeAddr(t), t.TempDir()
	from, to := harness.Start(t, harness.Build(t), addr, data), start(t, "memory")
	source, target, must, ctx := connect(t, from), connect(t, to), must(t), t.Context()
	for i := range collections {
		var docs []any
		for k := range each {
			docs = append(docs, d("_id", k, "u", k, "text", strings.Repeat("x", 500)))
		}
		must(source.Database("k").Collection(fmt.Sprint("c", i)).InsertMany(ctx, docs))
	}
	const total = collections * each

	done := map[string]progress{}
	for kill := range 3 {
		// Small batches make a copy that lasts.
		c := begin(t, from, to, "--batch", "20", "--jobs", "2")
		for end := time.Now().Add(30 * time.Second); inserts(t, target) < int64(total*(kill+1)/4); time.Sleep(2 * time.Millisecond) { //nolint:forbidigo // it is the condition that is waited for
			if time.Now().After(end) {
				t.Fatal("the copy is too slow")
			}
		}
		c.Kill()
		now := ranges(t, target)
		for id, p := range done {
			if p.Done && now[id] != p {
				t.Errorf("range %s was done with %d documents and has been touched: %+v", id, p.Docs, now[id])
			}
		}
		done = now
		coll := source.Database("k").Collection(fmt.Sprint("c", kill))
		must(coll.UpdateMany(ctx, d("_id", d("$lt", 50)), d("$set", d("changed", kill))))
		must(coll.DeleteMany(ctx, d("_id", d("$gte", each-30))))
	}
	finished := int64(0)
	for _, p := range done {
		if p.Done {
			finished += p.Docs
		}
	}
	if finished == 0 {
		t.Error("no range was finished before the last kill")
	}
	before := inserts(t, target)
	last := begin(t, from, to, "--verify", "--batch", "100")
	last.await(t, "copying")
	from.Kill() // a source that is away for a moment is waited for
	from = harness.Start(t, harness.Build(t), addr, data)
	out := last.ended(t, true)
	if !strings.Contains(out, "going on with an earlier copy") {
		t.Errorf("the copy says:\n%s", out)
	}
	if n := inserts(t, target) - before; n > total-finished {
		t.Errorf("%d documents of finished ranges, yet %d of %d were inserted again", finished, n, total)
	}
	compare(t, content(t, source), content(t, target))

	// Documents that were being written when a copy was killed are in its journal.
	state := target.Database("archelon_copy").Collection("state")
	var head struct{ Token bson.Raw }
	var c5 struct {
		ID string `bson:"_id"`
	}
	must(nil, state.FindOne(ctx, d("_id", "copy")).Decode(&head))
	must(nil, state.FindOne(ctx, d("coll", "c5")).Decode(&c5))
	must(target.Database("k").Collection("c5").DeleteOne(ctx, d("_id", 7)))
	must(state.DeleteOne(ctx, d("_id", "s/ready")))
	must(state.InsertMany(ctx, []any{
		d("_id", "s/0", "key", strings.TrimPrefix(c5.ID, "c/"), "id", 7, "doc", d("_id", 7, "u", 7, "text", strings.Repeat("x", 500))),
		d("_id", "s/ready", "n", 1, "from", head.Token, "end", head.Token),
	}))
	begin(t, from, to, "--verify").ended(t, true)
	compare(t, content(t, source), content(t, target))

	// A signal ends a copy in time, with a hint.
	must(nil, target.Database("archelon_copy").Drop(ctx))
	c := begin(t, from, to, "--batch", "10", "--jobs", "1", "--drop")
	c.await(t, "copying")
	c.Signal(t, syscall.SIGINT)
	if out := c.ended(t, false); !strings.Contains(out, "run the same command again") {
		t.Errorf("the copy says:\n%s", out)
	}
}
