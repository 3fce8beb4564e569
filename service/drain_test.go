package service_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
)

// gated is a service whose calls wait for a gate.
func gated(cfg service.Config) (*service.Service, chan struct{}) {
	gate := make(chan struct{})
	svc := service.New("gated", cfg)
	service.Handle(svc, service.Command{Name: "work"}, func(ctx context.Context, _ struct{}) (bson.D, error) {
		select {
		case <-gate:
			return bson.D{{Key: "done", Value: true}}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return svc, gate
}

func TestDrain(t *testing.T) {
	svc, gate := gated(service.Config{Quiesce: 1500 * time.Millisecond})
	r := start(t, svc)
	awaiting, working, idle := harness.Dial(t, r.addr), harness.Dial(t, r.addr), harness.Dial(t, r.addr)
	hello := r.run(t, `{"hello": 1}`)
	version := hello.Lookup("topologyVersion")
	news := make(chan bson.Raw, 1)
	go func() {
		reply, _ := awaiting.Call(harness.Msg(0, harness.Doc(t, bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: version}, {Key: "maxAwaitTimeMS", Value: 60_000}, {Key: "$db", Value: "admin"}})))
		news <- reply
	}()
	done := make(chan bson.Raw, 1)
	go func() { done <- r.runOn(t, working, `{"work": 1}`) }()
	eventually(t, "the call runs", func() bool { return r.runs("work") == 1 })

	began := time.Now()
	r.stop()
	failed(t, <-news, 91, "quiesce mode")
	if took := time.Since(began); took > 1200*time.Millisecond {
		t.Errorf("drivers hear of it after %s", took)
	}
	reply := r.run(t, `{"hello": 1}`)
	failed(t, reply, 91, "quiesce mode")
	if reply.Lookup("topologyVersion", "counter").Int64() != version.Document().Lookup("counter").Int64()+1 {
		t.Errorf("%s", reply)
	}
	if late := r.run(t, `{"ping": 1}`); harness.Code(late) != 0 {
		t.Errorf("a late call in the time of quiet: %s", late)
	}
	var refused bson.Raw
	eventually(t, "new work is refused", func() bool {
		refused = r.run(t, `{"ping": 1}`)
		return harness.Code(refused) != 0
	})
	failed(t, refused, 91, "shutting down")
	if l := refused.Lookup("errorLabels").String(); !strings.Contains(l, "RetryableWriteError") || !strings.Contains(l, "SystemOverloadedError") || !strings.Contains(l, "RetryableError") {
		t.Errorf("labels %s", l)
	}
	close(gate)
	same(t, <-done, `{"done": true, "ok": 1.0}`)
	<-r.ended
	if _, err := idle.Receive(); err == nil {
		t.Error("idle connections have to be closed")
	}
}

// TestForcedStop: what does not end in time is cancelled and answered with an error to retry elsewhere.
func TestForcedStop(t *testing.T) {
	svc, _ := gated(service.Config{Quiesce: -1})
	r := start(t, svc)
	done := make(chan bson.Raw, 1)
	go func() { done <- r.run(t, `{"work": 1}`) }()
	eventually(t, "the call runs", func() bool { return r.runs("work") == 1 })
	began := time.Now()
	r.stop()
	failed(t, <-done, 11600, "interrupted at shutdown")
	<-r.ended
	if took := time.Since(began); took < grace || took > waiting {
		t.Errorf("stopped after %s", took)
	}
}

// TestCursorsFinish: an open cursor is work that began.
func TestCursorsFinish(t *testing.T) {
	s := startStreams(t, service.Config{Quiesce: -1})
	b := s.batch(t, `{"count": 1, "to": 3, "batchSize": 1}`)
	s.stop()
	eventually(t, "new work is refused", func() bool { return harness.Code(s.run(t, `{"count": 1, "to": 3}`)) == 91 })
	if next := s.more(t, b, ""); next.Lookup("cursor", "nextBatch", "1", "n").Int32() != 2 {
		t.Errorf("%s", next)
	}
	<-s.ended
}

// TestLean: probes of the round-trip time take long while the service leans, calls do not.
func TestLean(t *testing.T) {
	r := start(t, newThings(t, service.Config{Lean: waiting, Quiesce: -1}))
	version := r.run(t, `{"hello": 1}`).Lookup("topologyVersion", "counter").Int64()
	r.stop()
	eventually(t, "the topology changes", func() bool {
		return r.run(t, `{"hello": 1}`).Lookup("topologyVersion", "counter").Int64() > version
	})
	began := time.Now()
	if hello := r.run(t, `{"hello": 1}`); harness.Code(hello) != 0 || time.Since(began) < 200*time.Millisecond {
		t.Errorf("after %s: %s", time.Since(began), hello)
	}
	same(t, r.run(t, `{"resize": "cat", "width": 5}`), `{"text": "cat@5", "ok": 1.0}`)
	if s := r.run(t, `{"serverStatus": 1}`).Lookup("service", "phase").StringValue(); s != "leaning" {
		t.Errorf("phase %s", s)
	}
	r.conn.Close() // nobody is left to wait for
	<-r.ended
}

// fleet is three instances of a service, any of which can be replaced by a new one on the same address.
type fleet struct {
	addrs     [3]string
	instances [3]*running
	served    [3]atomic.Int64
	paid      atomic.Int64
}

func (f *fleet) start(t *testing.T, i int, addr string) {
	svc := service.New("fleet", service.Config{Lean: 1500 * time.Millisecond, Quiesce: 300 * time.Millisecond})
	service.Handle(svc, service.Command{Name: "echo"}, func(_ context.Context, req struct{ N int64 }) (bson.D, error) {
		f.served[i].Add(1)
		return bson.D{{Key: "n", Value: req.N}}, nil
	})
	service.Handle(svc, service.Command{Name: "insert", Once: true}, func(_ context.Context, req struct {
		Insert    string
		Documents []bson.Raw
		Ordered   bool `bson:",omitempty"`
	}) (bson.D, error) {
		f.paid.Add(1)
		return bson.D{{Key: "n", Value: int32(len(req.Documents))}}, nil
	})
	f.instances[i] = startOn(t, svc, addr)
	f.addrs[i] = f.instances[i].addr
}

// TestRollingRestart: three instances are restarted one after the other under load, and a stock driver does not see one
// failed call.
func TestRollingRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds: run without -short")
	}
	f := &fleet{}
	for i := range f.addrs {
		f.start(t, i, "127.0.0.1:0")
	}
	var known sync.Map // address → the driver takes it for a router
	client := harness.Connect(t, options.Client().ApplyURI("mongodb://"+strings.Join(f.addrs[:], ",")+"/").
		SetHeartbeatInterval(500*time.Millisecond).SetServerMonitor(&event.ServerMonitor{
		ServerDescriptionChanged: func(e *event.ServerDescriptionChangedEvent) {
			known.Store(e.Address.String(), e.NewDescription.Kind == "Mongos")
		},
	}))
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var calls, inserts atomic.Int64
	run := func(what string, call func(ctx context.Context, n int64) error) {
		load.Go(func() {
			for n := int64(0); ctx.Err() == nil; n++ {
				err := call(t.Context(), n)
				calls.Add(1)
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	db := client.Database("test")
	for range 4 {
		run("runCommand", func(ctx context.Context, n int64) error {
			return check(n, db.RunCommand(ctx, bson.D{{Key: "echo", Value: 1}, {Key: "n", Value: n}}))
		})
		run("find", func(ctx context.Context, n int64) error {
			return check(n, db.Collection("$cmd").FindOne(ctx, bson.D{{Key: "echo", Value: 1}, {Key: "n", Value: n}}))
		})
		run("insert", func(ctx context.Context, n int64) error {
			_, err := db.Collection("jobs").InsertOne(ctx, bson.D{{Key: "n", Value: n}})
			if err == nil {
				inserts.Add(1)
			}
			return err
		})
	}
	for i := range f.addrs {
		eventually(t, "the driver uses all instances", func() bool { return f.usable(&known) })
		before := f.served[i].Load()
		f.instances[i].stop()
		<-f.instances[i].ended
		f.start(t, i, f.addrs[i])
		eventually(t, "the new instance serves", func() bool { return f.served[i].Load() > before+100 })
	}
	stop()
	load.Wait()
	if f.paid.Load() != inserts.Load() {
		t.Errorf("%d inserts ran %d times", inserts.Load(), f.paid.Load())
	}
	t.Logf("%d calls", calls.Load())
}

func (f *fleet) usable(known *sync.Map) bool {
	for _, a := range f.addrs {
		if ok, _ := known.Load(a); ok != true {
			return false
		}
	}
	return true
}

func check(n int64, r interface{ Decode(any) error }) error {
	var got struct{ N int64 }
	if err := r.Decode(&got); err != nil {
		return err
	}
	if got.N != n {
		return fmt.Errorf("echo of %d is %d", n, got.N)
	}
	return nil
}
