package archelon_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The regular-expression library's clock stops a while after its last use.
		goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"))
}

// start serves a database until the test ends.
func start(t testing.TB, cfg archelon.Config) (*archelon.DB, *mongo.Client) {
	t.Helper()
	cfg.Listen = []string{"127.0.0.1:0"}
	db, err := archelon.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- db.Serve(context.Background()) }()
	client, err := mongo.Connect(options.Client().ApplyURI(db.URI()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Disconnect(context.Background()); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return db, client
}

// TestStartsFast holds the promise of an instance for every test: 50 ms from
// nothing to the first acknowledged write. On a busy machine it takes a few
// tries to see it.
func TestStartsFast(t *testing.T) {
	best := time.Hour
	for try := 0; try < 20 && best > 50*time.Millisecond; try++ {
		began := time.Now()
		_, client := start(t, archelon.Config{Storage: archelon.StorageMemory})
		if _, err := client.Database("d").Collection("c").InsertOne(t.Context(), bson.D{{Key: "a", Value: 1}}); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	if best > 50*time.Millisecond {
		t.Errorf("the best of twenty starts took %v", best)
	}
}

// TestDataSurvivesRestart writes, closes, opens again and reads.
func TestDataSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		db, err := archelon.Open(archelon.Config{Data: dir, Listen: []string{"127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- db.Serve(ctx) }()
		client, err := mongo.Connect(options.Client().ApplyURI(db.URI()))
		if err != nil {
			t.Fatal(err)
		}
		c := client.Database("d").Collection("c")
		n, err := c.CountDocuments(t.Context(), bson.D{})
		if err != nil || n != int64(round) {
			t.Errorf("round %d: %d documents, %v", round, n, err)
		}
		if n, err := c.EstimatedDocumentCount(t.Context()); err != nil || n != int64(round) {
			t.Errorf("round %d: %d documents estimated, %v", round, n, err)
		}
		if _, err := c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: round}}); err != nil {
			t.Fatal(err)
		}
		if err := client.Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := errors.Join(<-served, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenErrorsSayWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "letter.txt"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	held := t.TempDir()
	holder, err := archelon.Open(archelon.Config{Data: held, Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	for name, c := range map[string]struct {
		cfg  archelon.Config
		is   error
		says string
	}{
		"port in use":   {archelon.Config{Storage: "memory", Listen: []string{taken.Addr().String()}}, nil, "in use"},
		"folder locked": {archelon.Config{Data: held}, pebblestore.ErrLocked, held},
		"not a store":   {archelon.Config{Data: foreign}, pebblestore.ErrNotAStore, foreign},
		"bad storage":   {archelon.Config{Storage: "paper"}, nil, "paper"},
		"bad advertise": {archelon.Config{Storage: "memory", Advertise: "here"}, nil, "host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.cfg.Listen == nil {
				c.cfg.Listen = []string{"127.0.0.1:0"}
			}
			c.cfg.Logger = slog.New(slog.DiscardHandler)
			db, err := archelon.Open(c.cfg)
			if err == nil {
				db.Close()
				t.Fatal("opened")
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error: %v", err)
			}
		})
	}
}
