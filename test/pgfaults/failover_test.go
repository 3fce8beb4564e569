package pgfaults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// TestStandbyPromoted kills a primary whose commits wait for a streaming standby, and promotes that, while a driver
// inserts and counts with retryable writes: nothing acknowledged is lost, nothing happens twice, and writes go on within
// ten seconds.
func TestStandbyPromoted(t *testing.T) {
	if server == nil {
		t.Skip(pgharness.ErrNotInstalled)
	}
	primary, err := pgharness.Start(map[string]string{"synchronous_standby_names": "*", "synchronous_commit": "local"})
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	standby, err := primary.Standby()
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	s := serve(t, fmt.Sprintf("postgres://archelon@%s,%s/postgres?sslmode=disable&synchronous_commit=on", primary.Address(), standby.Address()))
	coll := harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("faults").Collection("docs")
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "sum"}, {Key: "n", Value: 0}}); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var written, unknown, counted atomic.Int64
	var mu sync.Mutex
	var ids []string
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				_, err := coll.InsertOne(context.Background(), bson.D{{Key: "_id", Value: id}})
				if err == nil {
					mu.Lock()
					ids = append(ids, id)
					mu.Unlock()
					written.Add(1)
				}
				_, err = coll.UpdateByID(context.Background(), "sum", bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}})
				if err == nil {
					counted.Add(1)
				} else {
					unknown.Add(1)
				}
			}
		})
	}
	await(t, func() bool { return written.Load() > 50 }, "no writes before the failover")
	primary.Kill()
	killed, before := time.Now(), written.Load()
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return written.Load() > before+20 }, "writes did not go on")
	took := time.Since(killed)
	t.Logf("%d inserts before, writes went on after %v, %d increments of unknown outcome", before, took, unknown.Load())
	if took > 10*time.Second {
		t.Errorf("writes went on after %v only", took)
	}
	stop()
	work.Wait()

	for _, id := range ids {
		if err := coll.FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Err(); err != nil {
			if errors.Is(err, mongo.ErrNoDocuments) {
				t.Errorf("the acknowledged %s is lost", id)
				continue
			}
			t.Fatal(err)
		}
	}
	var sum struct{ N int64 }
	if err := coll.FindOne(t.Context(), bson.D{{Key: "_id", Value: "sum"}}).Decode(&sum); err != nil {
		t.Fatal(err)
	}
	if sum.N < counted.Load() || sum.N > counted.Load()+unknown.Load() {
		t.Errorf("the sum is %d after %d acknowledged increments and %d of unknown outcome", sum.N, counted.Load(), unknown.Load())
	}
	validate(t, coll)
}
