package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs programs: run without -short")
	}
}

// TestKilledUpstream kills the database behind a gateway while clients write: what was acknowledged is there, once, and
// the drivers carry on.
func TestKilledUpstream(t *testing.T) {
	skipShort(t)
	binary, data := harness.Build(t), t.TempDir()
	dbAddr, addr := harness.FreeAddr(t), harness.FreeAddr(t)
	db := harness.Start(t, binary, dbAddr, data)
	config := filepath.Join(t.TempDir(), "routes.yaml")
	write(t, config, fmt.Sprintf("listen: %s\nupstreams:\n  db: {uri: 'mongodb://%s/?maxPoolSize=4&serverSelectionTimeoutMS=2000'}\nroutes: [{upstream: db}]\n", addr, dbAddr))
	harness.Serve(t, addr, binary, "gateway", "--config", config)
	client := harness.Connect(t, options.Client().ApplyURI("mongodb://"+addr+"/"))
	coll := client.Database("d").Collection("c")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var acknowledged sync.Map
	var n, refused atomic.Int64
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				started := time.Now()
				_, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}})
				if took := time.Since(started); took > 10*time.Second {
					t.Errorf("an insert took %s", took)
				}
				switch e := (mongo.CommandError{}); {
				case err == nil:
					acknowledged.Store(id, true)
					n.Add(1)
				case errors.As(err, &e) && e.HasErrorLabel("RetryableWriteError"):
					refused.Add(1)
				default:
					t.Errorf("insert: %v", err)
				}
			}
		})
	}
	progress := func() {
		t.Helper()
		before := n.Load()
		for began := time.Now(); n.Load() < before+50; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // it is the condition that is waited for
			if time.Since(began) > 20*time.Second {
				t.Fatal("clients do not get on")
			}
		}
	}
	for range 2 {
		progress()
		db.Kill()
		db = harness.Start(t, binary, dbAddr, data)
		progress()
	}
	cancel()
	writers.Wait()
	cur, err := coll.Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var docs []struct {
		ID string `bson:"_id"`
	}
	if err := cur.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		acknowledged.Delete(d.ID)
	}
	acknowledged.Range(func(id, _ any) bool {
		t.Errorf("%v was acknowledged and is lost", id)
		return true
	})
	t.Logf("%d inserts, %d refused", n.Load(), refused.Load())
}

// TestReloadOfTheFile changes the routes of a running gateway.
func TestReloadOfTheFile(t *testing.T) {
	skipShort(t)
	binary := harness.Build(t)
	one, two, addr := harness.FreeAddr(t), harness.FreeAddr(t), harness.FreeAddr(t)
	for _, a := range []string{one, two} {
		harness.StartWith(t, binary, a, nil, "--listen", a, "--storage", "memory")
	}
	config := filepath.Join(t.TempDir(), "routes.yaml")
	routes := func(db string) string {
		return fmt.Sprintf("listen: %s\nupstreams: {db: {uri: 'mongodb://%s/'}}\nroutes: [{upstream: db}]\n", addr, db)
	}
	write(t, config, routes(one))
	p := harness.Serve(t, addr, binary, "gateway", "--config", config, "--reload", "50ms", "--quiesce", "0s")
	client := harness.Connect(t, options.Client().ApplyURI("mongodb://"+addr+"/"))
	coll := client.Database("d").Collection("c")
	if _, err := coll.InsertOne(t.Context(), bson.D{}); err != nil {
		t.Fatal(err)
	}
	await := func(want int64) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // it is the condition that is waited for
			n, err := coll.CountDocuments(t.Context(), bson.D{})
			if err != nil {
				t.Fatal(err)
			}
			if n == want {
				return
			}
			if time.Since(began) > 10*time.Second {
				t.Fatalf("still %d documents\n%s", n, p.Log())
			}
		}
	}
	write(t, config, routes(two)+"# changed\n")
	await(0)
	write(t, config, "upstreams: oops")
	for began := time.Now(); !strings.Contains(p.Log(), "not taken up"); time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // it is the condition that is waited for
		if time.Since(began) > 10*time.Second {
			t.Fatal("a broken file goes unnoticed")
		}
	}
	await(0)
	write(t, config, routes(one))
	p.Signal(t, syscall.SIGHUP)
	await(1)
}

// TestStack runs the example of three levels.
func TestStack(t *testing.T) {
	skipShort(t)
	addr := harness.FreeAddr(t)
	harness.Serve(t, addr, harness.Compile(t, "./examples/stack"), "-listen", addr)
	client := harness.Connect(t, options.Client().ApplyURI("mongodb://"+addr+"/"))
	var reply struct{ Number, Left int32 }
	err := client.Database("test").RunCommand(t.Context(), bson.D{{Key: "order", Value: "pump"}, {Key: "quantity", Value: 2}}).Decode(&reply)
	if err != nil || reply.Number != 1 || reply.Left != 8 {
		t.Errorf("%+v %v", reply, err)
	}
	err = client.Database("test").RunCommand(t.Context(), bson.D{{Key: "order", Value: "pump"}, {Key: "quantity", Value: 9}}).Err()
	if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 20_001 {
		t.Errorf("an order of too many: %v", err)
	}
	n, err := client.Database("shop").Collection("orders").CountDocuments(t.Context(), bson.D{{Key: "article", Value: "pump"}})
	if n != 1 || err != nil {
		t.Errorf("%d orders: %v", n, err)
	}
}

// TestSideBySide compares two servers as docs/gateway.md says, records and replays.
func TestSideBySide(t *testing.T) {
	skipShort(t)
	binary := harness.Build(t)
	other, addr := harness.FreeAddr(t), harness.FreeAddr(t)
	record := filepath.Join(t.TempDir(), "record.jsonl")
	harness.StartWith(t, binary, other, nil, "--listen", other, "--storage", "memory")
	s := harness.StartWith(t, binary, addr, nil, "--listen", addr, "--storage", "memory",
		"--mode", "diff-normal", "--proxy-addr", "mongodb://"+other+"/", "--record", record)
	coll := harness.Connect(t, options.Client().ApplyURI("mongodb://"+addr+"/")).Database("d").Collection("c")
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	direct := harness.Connect(t, options.Client().ApplyURI("mongodb://"+other+"/")).Database("d").Collection("c")
	if _, err := direct.UpdateOne(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 2}}}}); err != nil {
		t.Fatal(err)
	}
	if err := coll.FindOne(t.Context(), bson.D{}).Err(); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	if want := `cursor.firstBatch.0.a: normal 1 (int), proxy 2 (int)`; !strings.Contains(s.Log(), want) {
		t.Errorf("the log lacks %q:\n%s", want, s.Log())
	}
	fresh := harness.FreeAddr(t)
	harness.StartWith(t, binary, fresh, nil, "--listen", fresh, "--storage", "memory")
	out, err := exec.Command(binary, "replay", record, "--uri", "mongodb://"+fresh+"/").CombinedOutput()
	if err != nil || !strings.Contains(string(out), " 0 different, 0 failed") {
		t.Errorf("replay: %v\n%s", err, out)
	}
}
