package egress_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/egress/simnet"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

const (
	hostA egress.Host = "a.test:27017"
	hostB egress.Host = "b.test:27017"
	hostC egress.Host = "c.test:27017"
)

// pass lets the time of a bubble pass.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // virtual time

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func command(t testing.TB, db string, body any) egress.Command {
	t.Helper()
	c, err := egress.NewCommand(db, body)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantCode(t testing.TB, err error, code egress.Code) {
	t.Helper()
	if egress.CodeOf(err) != code {
		t.Fatalf("got %v (code %d), want %s", err, egress.CodeOf(err), code.Name())
	}
}

// stop shuts an executor down and joins it.
func stop(t *testing.T, x *egress.Executor) {
	t.Helper()
	x.Shutdown()
	if err := x.Join(t.Context()); err != nil {
		t.Error(err)
	}
}

// record is a callback that keeps what it was told.
type record struct {
	mu     sync.Mutex
	at     []time.Duration
	status []error
	names  []string
	start  time.Time
}

func newRecord() *record { return &record{start: time.Now()} }

func (r *record) work(name string) egress.Work {
	return func(_ context.Context, status error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.at = append(r.at, time.Since(r.start))
		r.status = append(r.status, status)
		r.names = append(r.names, name)
	}
}

func TestExecutorSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := egress.NewExecutor(egress.ExecutorConfig{Workers: 1})
		r := newRecord()
		last := must(x.ScheduleAfter(time.Minute, r.work("minute")))
		must(x.ScheduleAfter(time.Second, r.work("second")))
		must(x.Schedule(r.work("now")))
		must(x.ScheduleAt(time.Now().Add(-time.Hour), r.work("past")))
		if err := last.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := []string{"now", "past", "second", "minute"}; !slices.Equal(r.names, want) {
			t.Errorf("ran %v", r.names)
		}
		if want := []time.Duration{0, 0, time.Second, time.Minute}; !slices.Equal(r.at, want) {
			t.Errorf("ran at %v", r.at)
		}
		stop(t, x)
		_, err := x.Schedule(r.work("late"))
		wantCode(t, err, mongoerr.ShutdownInProgress)
		_, err = x.NewEvent()
		wantCode(t, err, mongoerr.ShutdownInProgress)
	})
}

func TestExecutorCancelStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := egress.NewExecutor(egress.ExecutorConfig{Workers: 1})
		r := newRecord()
		timed := must(x.ScheduleAfter(time.Hour, r.work("timed")))
		event := must(x.NewEvent())
		waiting := must(x.OnEvent(event, r.work("event")))
		hold := make(chan struct{})
		must(x.Schedule(func(context.Context, error) { <-hold }))
		queued := must(x.Schedule(r.work("queued")))
		synctest.Wait()
		for _, c := range []*egress.Callback{timed, waiting, queued} {
			c.Cancel()
			c.Cancel()
			if !c.Canceled() {
				t.Error("not canceled")
			}
		}
		close(hold)
		for _, c := range []*egress.Callback{timed, waiting, queued} {
			if err := c.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Cancel()
		}
		event.Signal()
		synctest.Wait()
		if len(r.status) != 3 || time.Since(r.start) != 0 {
			t.Fatalf("ran %v in %s", r.names, time.Since(r.start))
		}
		for _, s := range r.status {
			wantCode(t, s, mongoerr.CallbackCanceled)
		}
		stop(t, x)
	})
}

func TestExecutorCancelsRunningWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := egress.NewExecutor(egress.ExecutorConfig{})
		var status, cause error
		c := must(x.Schedule(func(ctx context.Context, s error) {
			status = s
			<-ctx.Done()
			cause = ctx.Err()
		}))
		synctest.Wait()
		c.Cancel()
		c.Wait(t.Context())
		if status != nil || !errors.Is(cause, context.Canceled) || c.Canceled() {
			t.Errorf("status %v, cause %v", status, cause)
		}
		stop(t, x)
	})
}

func TestExecutorEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := egress.NewExecutor(egress.ExecutorConfig{Workers: 1})
		defer stop(t, x)
		r := newRecord()
		event := must(x.NewEvent())
		must(x.OnEvent(event, r.work("first")))
		must(x.OnEvent(event, r.work("second")))
		must(x.ScheduleAfter(time.Minute, func(context.Context, error) { event.Signal() }))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := event.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := event.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		event.Signal()
		c := must(x.OnEvent(event, r.work("afterwards")))
		c.Wait(t.Context())
		if want := []string{"first", "second", "afterwards"}; !slices.Equal(r.names, want) || r.at[0] != time.Minute {
			t.Errorf("ran %v at %v", r.names, r.at)
		}
	})
}

func TestExecutorBoundsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := egress.NewExecutor(egress.ExecutorConfig{Workers: 3})
		defer stop(t, x)
		var running, most atomic.Int64
		start := time.Now()
		var last *egress.Callback
		for range 9 {
			last = must(x.Schedule(func(context.Context, error) {
				most.Store(max(most.Load(), running.Add(1)))
				pass(time.Second)
				running.Add(-1)
			}))
		}
		last.Wait(t.Context())
		synctest.Wait()
		if most.Load() != 3 || time.Since(start) != 3*time.Second {
			t.Errorf("%d at a time, %s", most.Load(), time.Since(start))
		}
	})
}

func TestExecutorShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := simnet.New(1)
		net.AddHost(hostA, answer(bson.D{{Key: "ok", Value: 1}}))
		net.Stall(hostA)
		x := egress.NewExecutor(egress.ExecutorConfig{Network: net.From("client")})
		r := newRecord()
		event := must(x.NewEvent())
		must(x.OnEvent(event, r.work("event")))
		must(x.ScheduleAfter(time.Hour, r.work("timed")))
		var status error
		must(x.ScheduleRemote(&egress.RequestOnAny{Targets: []egress.Host{hostA}, Command: command(t, "db", bson.D{{Key: "ping", Value: 1}})},
			func(_ context.Context, resp egress.ResponseOnAny) { status = resp.Status }))
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := x.Join(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("joined before shutdown")
		}
		x.Shutdown()
		x.Shutdown()
		if err := x.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCode(t, status, mongoerr.CallbackCanceled)
		if len(r.status) != 2 {
			t.Fatalf("ran %v", r.names)
		}
		for _, s := range r.status {
			wantCode(t, s, mongoerr.CallbackCanceled)
		}
	})
}

// answer is a simulated host that says the same to everything.
func answer(doc bson.D) simnet.Handler {
	raw := must(bson.Marshal(doc))
	return func(context.Context, *egress.Request) (egress.Doc, bool) { return raw, true }
}

func TestExecutorRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := simnet.New(1)
		for _, h := range []egress.Host{hostA, hostB, hostC} {
			net.AddHost(h, answer(bson.D{{Key: "me", Value: string(h)}, {Key: "ok", Value: 1}}))
		}
		net.SetLink("client", hostB, simnet.Link{Delay: 10 * time.Millisecond})
		net.Kill(hostA)
		x := egress.NewExecutor(egress.ExecutorConfig{Network: net.From("client")})
		defer stop(t, x)
		run := func(timeout time.Duration, targets ...egress.Host) (out egress.ResponseOnAny) {
			cmd := command(t, "db", bson.D{{Key: "ping", Value: 1}})
			cmd.Timeout = timeout
			c := must(x.ScheduleRemote(&egress.RequestOnAny{Targets: targets, Command: cmd},
				func(_ context.Context, r egress.ResponseOnAny) { out = r }))
			c.Wait(t.Context())
			return out
		}
		if r := run(0, hostA, hostB, hostC); r.Err() != nil || r.Target != hostB || r.Elapsed != 20*time.Millisecond {
			t.Errorf("on any: %+v", r)
		}
		wantCode(t, run(0, hostA).Status, mongoerr.HostUnreachable)
		net.Partition([]egress.Host{"client"}, []egress.Host{hostB})
		r := run(time.Second, hostB)
		wantCode(t, r.Status, mongoerr.NetworkInterfaceExceededTimeLimit)
		if r.Elapsed != time.Second {
			t.Errorf("took %s", r.Elapsed)
		}
		net.Heal()
		net.Lose(hostB, "client", 1)
		r = run(0, hostB)
		wantCode(t, r.Status, mongoerr.HostUnreachable)
		if r := run(0, hostB); r.Err() != nil {
			t.Error("only one message was to be lost: ", r.Err())
		}
		net.At(time.Minute, func() { net.Revive(hostA) })
		pass(time.Minute)
		synctest.Wait()
		if r := run(0, hostA, hostB); r.Target != hostA {
			t.Errorf("after the script: %+v", r)
		}
		if r := run(time.Second); r.Status == nil {
			t.Error("no target at all")
		}
		_, err := egress.NewExecutor(egress.ExecutorConfig{}).ScheduleRemote(nil, nil)
		wantCode(t, err, mongoerr.IllegalOperation)
	})
}

// TestSimulationIsReproducible: chance comes from the seed.
func TestSimulationIsReproducible(t *testing.T) {
	history := func(seed uint64) (out []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			net := simnet.New(seed)
			net.AddHost(hostA, answer(bson.D{{Key: "ok", Value: 1}}))
			net.SetLink("client", hostA, simnet.Link{Delay: time.Millisecond, Jitter: time.Second, Loss: 0.2})
			c := net.From("client")
			defer c.Close()
			for range 50 {
				r := egress.Run(t.Context(), c, &egress.Request{Target: hostA, Command: command(t, "db", bson.D{{Key: "ping", Value: 1}})})
				d := r.Elapsed
				if r.Status != nil {
					d = -d
				}
				out = append(out, d)
			}
		})
		return out
	}
	a, b, c := history(1), history(1), history(2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Error("same seed, different history; or different seed, same history")
	}
	if slices.Max(a) <= 0 || slices.Min(a) >= 0 {
		t.Error("a fifth of the messages was to be lost")
	}
}
