package copier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/internal/copier"
)

// serve runs a database in memory until the test ends.
func serve(t *testing.T) (uri string, client *mongo.Client) {
	t.Helper()
	db, err := archelon.Open(archelon.Config{Storage: "memory", Listen: []string{"127.0.0.1:0"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- db.Serve(context.Background()) }()
	client, err = mongo.Connect(options.Client().ApplyURI(db.URI()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Disconnect(context.Background())
		if err := errors.Join(db.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return db.URI(), client
}

// watcher is an io.Writer that closes a channel when something has been said.
type watcher struct {
	mu    sync.Mutex // guards the fields below
	out   bytes.Buffer
	await map[string]chan struct{}
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.out.Write(p)
	for text, said := range w.await {
		if strings.Contains(w.out.String(), text) {
			close(said)
			delete(w.await, text)
		}
	}
	return n, err
}

func doc(pairs ...any) bson.D {
	out := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return out
}

// TestRun copies, follows writers, stops, goes on and cuts over.
func TestRun(t *testing.T) {
	from, source := serve(t)
	to, target := serve(t)
	ctx := t.Context()
	coll := source.Database("d").Collection("c")
	var docs []any
	for i := range 3000 {
		docs = append(docs, doc("_id", i, "u", i, "list", bson.A{1, 2}))
	}
	if _, err := coll.InsertMany(ctx, docs); err != nil {
		t.Fatal(err)
	}
	index := mongo.IndexModel{Keys: doc("u", 1), Options: options.Index().SetUnique(true)}
	if _, err := coll.Indexes().CreateOne(ctx, index); err != nil {
		t.Fatal(err)
	}

	// Without --follow a copy that is told to end while it copies is to be continued.
	config := copier.Config{From: from, To: to, Batch: 10, Jobs: 4, Verify: true}
	stop := make(chan struct{})
	said := make(chan struct{})
	go func() { <-said; close(stop) }()
	_, err := copier.Run(ctx, config, copier.Control{Progress: &watcher{await: map[string]chan struct{}{"copying": said}}, CutOver: stop})
	if !errors.Is(err, copier.ErrInterrupted) {
		t.Fatalf("stopped: %v", err)
	}

	var writers sync.WaitGroup
	working, rest := context.WithCancel(ctx)
	defer rest()
	for w := range 3 {
		writers.Go(func() {
			for n := 0; working.Err() == nil; n++ {
				id := doc("_id", (n*7+w*1000)%3000)
				var err error
				switch n % 4 {
				case 0:
					_, err = coll.UpdateOne(ctx, id, doc("$push", doc("list", n), "$set", doc("n", n)))
				case 1:
					_, err = coll.UpdateOne(ctx, id, doc("$unset", doc("n", 1)))
				case 2:
					_, err = coll.DeleteOne(ctx, id)
				default:
					_, err = coll.InsertOne(ctx, doc("_id", fmt.Sprintf("%d-%d", w, n), "u", fmt.Sprint(w, n)))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	config.Follow, config.Batch = true, 500
	stop, said = make(chan struct{}), make(chan struct{})
	go func() {
		<-said
		time.Sleep(300 * time.Millisecond) //nolint:forbidigo // what is followed meanwhile is what is tested
		rest()
		writers.Wait()
		close(stop)
	}()
	result, err := copier.Run(ctx, config, copier.Control{Progress: &watcher{await: map[string]chan struct{}{"following": said}}, CutOver: stop})
	if err != nil || !result.CutOver || !result.Resumed || result.Changes == 0 || result.Differences != 0 || result.Indexes != 1 {
		t.Fatalf("%+v, %v", result, err)
	}
	a, _ := coll.CountDocuments(ctx, doc())
	b, _ := target.Database("d").Collection("c").CountDocuments(ctx, doc())
	if a != b || a == 0 {
		t.Errorf("%d documents on the source, %d on the target", a, b)
	}

	// What differs is found.
	if _, err := target.Database("archelon_copy").Collection("state").UpdateOne(ctx, doc("_id", "copy"), doc("$set", doc("phase", "follow"))); err != nil {
		t.Fatal(err)
	}
	for id, change := range map[string]bson.D{"one": doc("_id", "only here", "u", "x"), "two": doc("_id", "nor here", "u", "y")} {
		if _, err := target.Database("d").Collection("c").InsertOne(ctx, change); err != nil {
			t.Fatal(id, err)
		}
	}
	config.Follow = false
	var out bytes.Buffer
	result, err = copier.Run(ctx, config, copier.Control{Progress: &out, Out: io.Discard})
	if !errors.Is(err, copier.ErrDifferent) || result.Differences != 3 || !strings.Contains(out.String(), `document "only here" of d.c, which only the target has`) {
		t.Errorf("%+v, %v\n%s", result, err, &out)
	}
}

// TestRunUsers tells of users that the target does not take over.
func TestRunUsers(t *testing.T) {
	from, source := serve(t)
	to, target := serve(t)
	if _, err := source.Database("admin").Collection("system.users").InsertOne(t.Context(), doc("_id", "admin.ann", "user", "ann")); err != nil {
		t.Fatal(err)
	}
	result, err := copier.Run(t.Context(), copier.Config{From: from, To: to}, copier.Control{})
	if err != nil || len(result.Notes) != 1 || !strings.Contains(result.Notes[0], "admin.ann") {
		t.Errorf("%+v, %v", result, err)
	}
	if names, _ := target.Database("admin").ListCollectionNames(t.Context(), doc()); len(names) > 0 {
		t.Errorf("left on the target: %v", names)
	}
}
