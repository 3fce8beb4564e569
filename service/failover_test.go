package service_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
)

// TestFailover: two instances share a lease and the results of calls in a real database. The active one is restarted
// twice under load; a stock driver loses no write, none runs twice, and never do both instances run one.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	db := harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	servers, err := egress.Open(db.URI())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { servers.Close(context.Background()) })
	store, err := service.NewCollectionResults(t.Context(), service.NewRunner(servers), "fleet", "results")
	if err != nil {
		t.Fatal(err)
	}
	var members [2]string
	for i := range members {
		members[i] = harness.FreeAddr(t)
	}
	var ran atomic.Int64
	var mu sync.Mutex // guards busy
	busy := [2]int{}
	begin := func(i, by int) {
		mu.Lock()
		defer mu.Unlock()
		if busy[i] += by; busy[0] > 0 && busy[1] > 0 {
			t.Error("both instances are active")
		}
	}
	launch := func(i int) *running {
		svc := service.New("fleet", service.Config{Quiesce: -1, Results: store})
		service.Handle(svc, service.Command{Name: "insert", Once: true}, func(ctx context.Context, req struct {
			Insert    string
			Documents []bson.Raw
			Ordered   bool `bson:",omitempty"`
		}) (bson.D, error) {
			begin(i, 1)
			defer begin(i, -1)
			ran.Add(1)
			return bson.D{{Key: "n", Value: int32(len(req.Documents))}}, nil
		})
		err := svc.UseLease(service.Lease{
			DB: service.NewRunner(servers), Database: "fleet", Collection: "leases", SetName: "fleet", Me: members[i], Members: members[:], TTL: 3 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		return startOn(t, svc, members[i])
	}
	instances := [2]*running{launch(0), launch(1)}
	client := harness.Connect(t, options.Client().ApplyURI("mongodb://"+members[0]+","+members[1]+"/?replicaSet=fleet").SetHeartbeatInterval(500*time.Millisecond))
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var acknowledged atomic.Int64
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				if _, err := client.Database("test").Collection("jobs").InsertOne(t.Context(), bson.D{{Key: "a", Value: 1}}); err != nil {
					t.Error(err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	leads := func(i int) bool {
		return instances[i].run(t, `{"hello": 1}`).Lookup("isWritablePrimary").Boolean()
	}
	for range 2 {
		i := 0
		eventually(t, "an instance is active", func() bool { i = 1 - i; return leads(i) })
		before := acknowledged.Load()
		eventually(t, "writes go on", func() bool { return acknowledged.Load() > before+20 })
		instances[i].stop()
		<-instances[i].ended
		eventually(t, "the other one is active", func() bool { return leads(1 - i) })
		instances[i] = launch(i)
		before = acknowledged.Load()
		eventually(t, "writes go on", func() bool { return acknowledged.Load() > before+20 })
	}
	stop()
	load.Wait()
	if acknowledged.Load() != ran.Load() {
		t.Errorf("%d writes were acknowledged, %d ran", acknowledged.Load(), ran.Load())
	}
	t.Logf("%d writes", ran.Load())
}
