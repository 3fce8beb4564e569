package service_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
)

// till is a service that counts what it was paid.
type till struct {
	paid atomic.Int64
	// hook, if set, runs in the handler.
	hook func(ctx context.Context) error
}

func (p *till) service(results service.ResultStore) *service.Service {
	svc := service.New("till", service.Config{Results: results, Quiesce: -1})
	service.Handle(svc, service.Command{Name: "pay", Once: true}, func(ctx context.Context, req struct{ Amount int64 }) (bson.D, error) {
		if p.hook != nil {
			if err := p.hook(ctx); err != nil {
				return nil, err
			}
		}
		return bson.D{{Key: "paid", Value: p.paid.Add(req.Amount)}}, nil
	})
	service.Handle(svc, service.Command{Name: "insert", Once: true}, func(_ context.Context, req struct {
		Insert    string
		Documents []bson.Raw
		Ordered   bool `bson:",omitempty"`
	}) (bson.D, error) {
		p.paid.Add(int64(len(req.Documents)))
		return bson.D{{Key: "n", Value: int32(len(req.Documents))}}, nil
	})
	return svc
}

// pay is a call with a transaction number in a session.
func pay(session byte, txn int64, amount int) string {
	return fmt.Sprintf(`{"pay": 1, "amount": %d, "txnNumber": {"$numberLong": "%d"}, "lsid": {"id": {"$binary": {"base64": "%s", "subType": "04"}}}}`,
		amount, txn, base64.StdEncoding.EncodeToString([]byte{15: session}))
}

// checkOnce runs the same calls on two instances that share a store, or on one.
func checkOnce(t *testing.T, p *till, a, b *running) {
	for range 3 {
		same(t, a.run(t, pay(0, 1, 5)), `{"paid": {"$numberLong": "5"}, "ok": 1.0}`)
		same(t, b.run(t, pay(0, 1, 5)), `{"paid": {"$numberLong": "5"}, "ok": 1.0}`)
	}
	same(t, b.run(t, pay(0, 2, 5)), `{"paid": {"$numberLong": "10"}, "ok": 1.0}`)
	failed(t, a.run(t, pay(0, 1, 5)), 225, "newer retryable write with txnNumber 2")
	same(t, a.run(t, pay(1, 1, 5)), `{"paid": {"$numberLong": "15"}, "ok": 1.0}`)

	// A failure is a result, too, but for one that says that it had no effect.
	p.hook = func(context.Context) error { p.paid.Add(100); return service.Errorf(10_000_002, "no money") }
	failed(t, a.run(t, pay(0, 3, 5)), 10_000_002, "no money")
	failed(t, b.run(t, pay(0, 3, 5)), 10_000_002, "no money")
	p.hook = func(context.Context) error { return service.Errorf(91, "not now").WithLabels("RetryableWriteError") }
	failed(t, a.run(t, pay(0, 4, 5)), 91, "not now")
	p.hook = nil
	same(t, b.run(t, pay(0, 4, 5)), `{"paid": {"$numberLong": "120"}, "ok": 1.0}`)
	p.hook = func(context.Context) error { p.paid.Add(1000); panic("ouch") }
	failed(t, a.run(t, pay(0, 5, 5)), 1, "panicked")
	failed(t, b.run(t, pay(0, 5, 5)), 1, "panicked")
	if got := p.paid.Load(); got != 1120 {
		t.Errorf("paid %d", got)
	}

	// A retry that comes while the call runs waits for it.
	begun, gate := make(chan struct{}), make(chan struct{})
	p.hook = func(context.Context) error { close(begun); <-gate; return nil }
	var calls sync.WaitGroup
	replies := make([]bson.Raw, 2)
	calls.Go(func() { replies[0] = a.runOn(t, harness.Dial(t, a.addr), pay(0, 6, 5)) })
	<-begun
	calls.Go(func() { replies[1] = b.runOn(t, harness.Dial(t, b.addr), pay(0, 6, 5)) })
	eventually(t, "the retry waits", func() bool { n, _ := pays(a, b); return n == 2 })
	close(gate)
	calls.Wait()
	for _, r := range replies {
		same(t, r, `{"paid": {"$numberLong": "1125"}, "ok": 1.0}`)
	}
	p.hook = nil

	// The driver's own retryable writes.
	res, err := a.client(t).Database("test").Collection("jobs").InsertMany(t.Context(), []any{bson.D{{Key: "a", Value: 1}}, bson.D{{Key: "a", Value: 2}}})
	if err != nil || len(res.InsertedIDs) != 2 || p.paid.Load() != 1127 {
		t.Errorf("%v %v %d", res, err, p.paid.Load())
	}
	if _, m := pays(a, b); m != 8 {
		t.Errorf("%d replayed", m)
	}
}

// pays is how many calls of pay run, and how many were replayed.
func pays(a, b *running) (runs, replayed int64) {
	for _, r := range slices.Compact([]*running{a, b}) {
		for _, m := range r.Metrics() {
			if m.Name == "pay" {
				runs += m.Running
				replayed += m.Replayed
			}
		}
	}
	return runs, replayed
}

func TestOnceInMemory(t *testing.T) {
	p := &till{}
	r := start(t, p.service(nil))
	checkOnce(t, p, r, r)
}

// driverRunner is what it takes to make the official driver a service.Runner.
type driverRunner struct{ client *mongo.Client }

func (r driverRunner) RunCommand(ctx context.Context, db string, command bson.Raw) (bson.Raw, error) {
	return r.client.Database(db).RunCommand(ctx, command).Raw()
}

func TestOnceInCollection(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	db := harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	client := harness.Connect(t, options.Client().ApplyURI(db.URI()))
	p := &till{}
	var instances [2]*running
	for i := range instances {
		store, err := service.NewCollectionResults(t.Context(), driverRunner{client}, "till", "results")
		if err != nil {
			t.Fatal(err)
		}
		instances[i] = start(t, p.service(store))
	}
	checkOnce(t, p, instances[0], instances[1])
}
