package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

const (
	writers    = 8
	database   = "crash"
	checkBound = 30 * time.Second
)

// journal is what one writer knows: what was acknowledged, and what the kill left open.
//
// A writer inserts documents {_id: "w-n", unique: the same, group} and, after each, raises its own counter document to
// n. Writes are sequential, so at most one is open when the server dies.
type journal struct {
	inserted int64 // documents 1 to inserted were acknowledged
	counter  int64 // last acknowledged value of the counter
	several  int64 // the same of those that are written by one command
}

func TestKill(t *testing.T) {
	r := rand.New(rand.NewPCG(harness.Seed(t, "ARCHELON_CRASH_SEED"), 0))
	binary := harness.Build(t)
	data := filepath.Join(t.TempDir(), "data")
	addr := harness.FreeAddr(t)
	journals := make([]journal, writers)
	s := harness.Start(t, binary, addr, data)
	prepare(t, s)
	for round := range harness.Rounds(t, "ARCHELON_CRASH_ROUNDS", 3, 50) {
		life := time.Duration(20+r.IntN(400)) * time.Millisecond
		load(t, s, journals, life)
		s = harness.Start(t, binary, addr, data)
		verify(t, s, journals)
		if t.Failed() {
			t.Fatalf("round %d, killed after %s", round, life)
		}
	}
	total := int64(0)
	for _, j := range journals {
		total += j.inserted
	}
	if total < writers {
		t.Errorf("only %d inserts were acknowledged in all rounds: the test tested nothing", total)
	}
	t.Logf("%d acknowledged inserts survived", total)
	s.Stop(t)
}

// connect makes a client without retries, so that a writer's journal knows what was sent once. The caller disconnects
// it: a client that outlived its round would keep dialling the servers of later ones.
func connect(t *testing.T, s *harness.Server) (client *mongo.Client, disconnect func()) {
	t.Helper()
	opts := options.Client().ApplyURI(s.URI()).SetDirect(true).SetRetryWrites(false).SetServerSelectionTimeout(5 * time.Second)
	client, err := mongo.Connect(opts)
	if err != nil {
		t.Fatal(err)
	}
	return client, func() { _ = client.Disconnect(context.Background()) }
}

func prepare(t *testing.T, s *harness.Server) {
	t.Helper()
	client, disconnect := connect(t, s)
	defer disconnect()
	_, err := client.Database(database).Collection("docs").Indexes().CreateMany(t.Context(), []mongo.IndexModel{
		{Keys: bson.D{{Key: "unique", Value: 1}}, Options: options.Index().SetUnique(true)},
		{Keys: bson.D{{Key: "group", Value: 1}, {Key: "n", Value: -1}}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// load lets every writer work until the server is killed.
func load(t *testing.T, s *harness.Server, journals []journal, life time.Duration) {
	t.Helper()
	client, disconnect := connect(t, s)
	defer disconnect()
	var wg sync.WaitGroup
	for w := range journals {
		wg.Go(func() {
			if err := write(t.Context(), client.Database(database), w, &journals[w]); err != nil {
				t.Error(err)
			}
		})
	}
	<-time.After(life) // the moment of death is the random input, not a wait for something
	s.Kill()
	wg.Wait()
}

// write works until the connection breaks; a server error is a failure of the test.
func write(ctx context.Context, db *mongo.Database, w int, j *journal) error {
	for {
		n := j.inserted + 1
		key := fmt.Sprintf("%d-%d", w, n)
		_, err := db.Collection("docs").InsertOne(ctx, bson.D{
			{Key: "_id", Value: key}, {Key: "unique", Value: key}, {Key: "group", Value: n % 7}, {Key: "n", Value: n}, {Key: "w", Value: w},
		})
		if err != nil {
			return unlessBroken(err)
		}
		j.inserted = n
		update := bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}, {Key: "$inc", Value: bson.D{{Key: "changes", Value: 1}}}}
		_, err = db.Collection("counters").UpdateOne(ctx, bson.D{{Key: "_id", Value: w}}, update, options.UpdateOne().SetUpsert(true))
		if err != nil {
			return unlessBroken(err)
		}
		j.counter = n
		var several []mongo.WriteModel // in one command, which waits for the disk once
		for i := range severals {
			several = append(several, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: severalID(w, i)}}).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}}).SetUpsert(true))
		}
		if _, err := db.Collection("counters").BulkWrite(ctx, several); err != nil {
			return unlessBroken(err)
		}
		j.several = n
		if n%5 == 0 {
			_, err = db.Collection("docs").UpdateOne(ctx, bson.D{{Key: "_id", Value: key}}, bson.D{{Key: "$set", Value: bson.D{{Key: "group", Value: -1}}}})
			if err != nil {
				return unlessBroken(err)
			}
		}
	}
}

// severals is how many statements a command of several has.
const severals = 3

func severalID(w, i int) string { return fmt.Sprintf("several %d %d", w, i) }

// unlessBroken drops the errors that a killed server causes.
func unlessBroken(err error) error {
	var command mongo.CommandError
	var write mongo.WriteException
	if errors.As(err, &write) || errors.As(err, &command) && !command.HasErrorLabel("NetworkError") {
		return fmt.Errorf("under load: %w", err)
	}
	return nil
}

// verify checks the journals against the restarted server and takes over what was open: a write that was not
// acknowledged may have happened or not, but wholly.
func verify(t *testing.T, s *harness.Server, journals []journal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), checkBound)
	defer cancel()
	client, disconnect := connect(t, s)
	defer disconnect()
	db := client.Database(database)
	for w := range journals {
		if err := verifyWriter(ctx, db, w, &journals[w]); err != nil {
			t.Errorf("writer %d: %v", w, err)
		}
	}
	for _, name := range []string{"docs", "counters"} {
		raw, err := db.RunCommand(ctx, bson.D{{Key: "validate", Value: name}, {Key: "full", Value: true}}).Raw()
		if missing(err) {
			continue // killed before its first write
		}
		valid, _ := raw.Lookup("valid").BooleanOK()
		if err != nil || !valid {
			t.Errorf("validate %s: %v %s", name, err, raw)
		}
	}
}

// missing says whether the collection does not exist (yet).
func missing(err error) bool {
	var se mongo.ServerError
	return errors.As(err, &se) && se.HasErrorCode(26)
}

func verifyWriter(ctx context.Context, db *mongo.Database, w int, j *journal) error {
	cur, err := db.Collection("docs").Find(ctx, bson.D{{Key: "w", Value: w}}, options.Find().SetSort(bson.D{{Key: "n", Value: 1}}))
	if err != nil {
		return err
	}
	defer cur.Close(ctx)
	n := int64(0)
	for cur.Next(ctx) {
		n++
		if id, _ := cur.Current.Lookup("_id").StringValueOK(); id != fmt.Sprintf("%d-%d", w, n) {
			return fmt.Errorf("document %q where %d was due: an acknowledged one is lost", id, n)
		}
	}
	if err := cur.Err(); err != nil {
		return err
	}
	if n < j.inserted || n > j.inserted+1 {
		return fmt.Errorf("%d documents, %d were acknowledged", n, j.inserted)
	}
	if n > 0 {
		if err := throughIndex(ctx, db, w, n); err != nil {
			return err
		}
	}
	var counter struct{ N int64 }
	err = db.Collection("counters").FindOne(ctx, bson.D{{Key: "_id", Value: w}}).Decode(&counter)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return err
	}
	if counter.N < j.counter || counter.N > j.inserted {
		return fmt.Errorf("counter %d, acknowledged %d, last insert %d", counter.N, j.counter, j.inserted)
	}
	for i := range severals {
		var counter struct{ N int64 }
		err = db.Collection("counters").FindOne(ctx, bson.D{{Key: "_id", Value: severalID(w, i)}}).Decode(&counter)
		if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
			return err
		}
		if counter.N < j.several || counter.N > j.inserted {
			return fmt.Errorf("counter %d of several is at %d, acknowledged %d, last insert %d", i, counter.N, j.several, j.inserted)
		}
	}
	j.inserted, j.counter = n, counter.N
	return nil
}

// throughIndex looks the last document up by the unique index, and checks that its key cannot be taken again.
func throughIndex(ctx context.Context, db *mongo.Database, w int, n int64) error {
	key := fmt.Sprintf("%d-%d", w, n)
	found, err := db.Collection("docs").CountDocuments(ctx, bson.D{{Key: "unique", Value: key}}, options.Count().SetHint("unique_1"))
	if err != nil || found != 1 {
		return fmt.Errorf("%d documents with key %s in the unique index: %v", found, key, err)
	}
	_, err = db.Collection("docs").InsertOne(ctx, bson.D{{Key: "unique", Value: key}})
	if !mongo.IsDuplicateKeyError(err) {
		return fmt.Errorf("key %s could be taken again: %v", key, err)
	}
	return nil
}
