package streams

import (
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

const historyLost = 286

// TestHistoryLost writes so much that the beginning is cut off from the log: nobody resumes there any more, and an open
// stream that lags fails rather than leave something out.
func TestHistoryLost(t *testing.T) {
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), t.TempDir(), "--oplog-size-mb", "1")
	client, disconnect := dial(t, s, patient)
	defer disconnect()
	ctx, coll := t.Context(), client.Database("lost").Collection("c")
	open := func(opts *options.ChangeStreamOptionsBuilder) (*mongo.ChangeStream, error) {
		return coll.Watch(ctx, mongo.Pipeline{}, opts.SetBatchSize(10).SetMaxAwaitTime(100*time.Millisecond))
	}
	cs, err := open(options.ChangeStream())
	if err != nil {
		t.Fatal(err)
	}
	defer cs.Close(ctx)
	filler, n := strings.Repeat("x", 1000), 0
	fill := func(docs int) {
		var list []any
		for range docs {
			list = append(list, d("_id", n, "filler", filler))
			n++
		}
		if _, err := coll.InsertMany(ctx, list); err != nil {
			t.Fatal(err)
		}
	}
	fill(1)
	if !cs.Next(ctx) {
		t.Fatal(cs.Err())
	}
	first, at := cs.ResumeToken(), bson.Timestamp{}
	at.T, at.I = cs.Current.Lookup("clusterTime").Timestamp()

	oldest := func() (ts bson.Timestamp) {
		var entry struct{ TS bson.Timestamp }
		err := client.Database("local").Collection("oplog.rs").FindOne(ctx, d(), options.FindOne().SetSort(d("$natural", 1))).Decode(&entry)
		if err != nil {
			t.Fatal(err)
		}
		return entry.TS
	}
	for deadline := time.Now().Add(20 * time.Second); !oldest().After(at); fill(1000) {
		if time.Now().After(deadline) {
			t.Fatal("the log is not cut off")
		}
	}
	for name, opts := range map[string]*options.ChangeStreamOptionsBuilder{
		"resumeAfter": options.ChangeStream().SetResumeAfter(first), "startAfter": options.ChangeStream().SetStartAfter(first),
		"startAtOperationTime": options.ChangeStream().SetStartAtOperationTime(&at),
	} {
		lost, err := open(opts)
		if err == nil {
			lost.Close(ctx)
		}
		if !hasCode(err, historyLost) {
			t.Errorf("%s: %v, want %d", name, err, historyLost)
		}
		if se, ok := err.(mongo.CommandError); ok && (se.Name != "ChangeStreamHistoryLost" || !se.HasErrorLabel("NonResumableChangeStreamError")) {
			t.Errorf("%s: name %s, labels %v", name, se.Name, se.Labels)
		}
	}
	seen := int32(1)
	for ; cs.TryNext(ctx); seen++ {
		if id := cs.Current.Lookup("documentKey", "_id").Int32(); id != seen {
			t.Fatalf("event of %d where %d was due: events were left out", id, seen)
		}
	}
	if err := cs.Err(); err == nil && int(seen) != n || err != nil && !hasCode(err, historyLost) {
		t.Errorf("%d of %d events, then %v", seen, n, err)
	}
	t.Logf("%d of %d events, then %v", seen, n, cs.Err())

	// Who resumes where the log still is goes on.
	fresh, err := open(options.ChangeStream())
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close(ctx)
	next := int32(n)
	fill(1)
	if !fresh.Next(ctx) || fresh.Current.Lookup("documentKey", "_id").Int32() != next {
		t.Fatalf("%s, %v", fresh.Current, fresh.Err())
	}
	fill(1)
	resumed, err := open(options.ChangeStream().SetResumeAfter(fresh.ResumeToken()))
	if err != nil {
		t.Fatal(err)
	}
	defer resumed.Close(ctx)
	if !resumed.Next(ctx) || resumed.Current.Lookup("documentKey", "_id").Int32() != next+1 {
		t.Fatalf("%s, %v", resumed.Current, resumed.Err())
	}
}
