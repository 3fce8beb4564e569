package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/archelon-db/archelon/test/harness"
)

const (
	clients   = 3
	threads   = 3 // of each client
	shownErrs = 5
)

func duration(t *testing.T) time.Duration {
	if s := os.Getenv("ARCHELON_HISTORY"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			t.Fatalf("ARCHELON_HISTORY=%s: want a duration", s)
		}
		return d
	}
	if testing.Short() {
		return 5 * time.Second
	}
	return 2 * time.Minute
}

func connect(t *testing.T, addr string) *mongo.Client {
	t.Helper()
	return harness.Connect(t, options.Client().ApplyURI("mongodb://"+addr+"/").SetDirect(true).
		SetServerSelectionTimeout(5*time.Second).SetTimeout(opPatience).
		SetReadConcern(readconcern.Majority()).SetWriteConcern(writeconcern.Majority()))
}

// TestHistory lets clients work while the server is killed again and again, and
// checks what they saw.
func TestHistory(t *testing.T) {
	random, length := harness.Seed(t, "ARCHELON_HISTORY_SEED"), duration(t)
	r := rand.New(rand.NewPCG(random, 0))
	binary, addr, data := harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data")
	server := harness.Start(t, binary, addr, data)
	prepare(t, connect(t, addr))
	w := &workload{began: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for c := range clients {
		client := connect(t, addr)
		for n := range threads {
			wg.Go(func() {
				(&worker{workload: w, client: client, r: rand.New(rand.NewPCG(random, uint64(1+c*threads+n)))}).run(ctx)
			})
		}
	}
	kills := 0
	for w.now() < length {
		<-time.After(min(time.Duration(1000+r.IntN(7000))*time.Millisecond, max(length-w.now(), time.Millisecond)))
		server.Kill()
		server = harness.Start(t, binary, addr, data)
		kills++
	}
	cancel()
	wg.Wait()
	// What is still open is gone with the process.
	server.Kill()
	server = harness.Start(t, binary, addr, data)
	judge(t, w, connect(t, addr))
	t.Logf("%d kills in %s: %s", kills, length, w.summary())
	server.Stop(t)
}

func prepare(t *testing.T, client *mongo.Client) {
	t.Helper()
	for n := range accounts {
		_, err := databases(client)[n%2].Collection("accounts").InsertOne(t.Context(), bson.D{{Key: "_id", Value: n}, {Key: "n", Value: int64(fortune)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, db := range databases(client) {
		if err := db.CreateCollection(t.Context(), "lists"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.Database("even").Collection("keys").Indexes().CreateOne(t.Context(),
		mongo.IndexModel{Keys: bson.D{{Key: "u", Value: 1}}, Options: options.Index().SetUnique(true)})
	if err != nil {
		t.Fatal(err)
	}
}

// judge reads the state at the end and checks everything.
func judge(t *testing.T, w *workload, client *mongo.Client) {
	t.Helper()
	final := map[string][]int64{}
	for _, db := range databases(client) {
		for _, d := range all[document](t, db.Collection("lists"), bson.D{}) {
			final[d.ID] = d.L
		}
	}
	keys := map[int64][]int64{}
	for _, d := range all[struct {
		ID int64 `bson:"_id"`
		U  int64
	}](t, client.Database("even").Collection("keys"), bson.D{}) {
		keys[d.U] = append(keys[d.U], d.ID)
	}
	end := Total{Start: w.now()}
	for _, db := range databases(client) {
		for _, d := range all[struct{ N int64 }](t, db.Collection("accounts"), bson.D{}) {
			end.Sum += d.N
			end.Accounts++
		}
	}
	show(t, w.errs)
	show(t, Check(w.txns, final))
	show(t, CheckLinear(w.txns, final))
	show(t, CheckKeys(w.inserts, keys))
	if err := CheckTotals(append(w.totals, end), accounts*fortune, accounts); err != nil {
		t.Error(err)
	}
	committed := 0
	for _, txn := range w.txns {
		if txn.Outcome == Committed {
			committed++
		}
	}
	if committed < 100 || len(keys) == 0 || len(final) < 2 {
		t.Errorf("only %d operations committed, %d keys, %d lists: the test tested nothing", committed, len(keys), len(final))
	}
}

func all[T any](t *testing.T, coll *mongo.Collection, filter bson.D) []T {
	t.Helper()
	cur, err := coll.Find(t.Context(), filter)
	if err != nil {
		t.Fatal(err)
	}
	var docs []T
	if err := cur.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	return docs
}

func show(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		if i == shownErrs {
			t.Errorf("and %d more", len(errs)-i)
			return
		}
		t.Error(err)
	}
}

// summary counts what was done, by outcome.
func (w *workload) summary() string {
	var txns, inserts [3]int
	for _, t := range w.txns {
		txns[t.Outcome]++
	}
	for _, in := range w.inserts {
		inserts[in.Outcome]++
	}
	return fmt.Sprintf("committed, aborted and unknown: %v transactions and operations on lists, %v inserts; %d totals", txns, inserts, len(w.totals))
}
