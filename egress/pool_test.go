package egress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeWorld makes connections for pool tests.
type fakeWorld struct {
	mu      sync.Mutex
	delay   time.Duration // of setups
	err     error         // of setups
	refresh error         // of refreshes
	open    int
	most    int // open at a time
	setups  int
	making  int
	mostNew int // made at a time
	events  []PoolEvent
}

type fakeConn struct {
	w      *fakeWorld
	closed atomic.Bool
	broken atomic.Bool
	dead   atomic.Bool // the other side has closed it, which nobody has seen
}

func (w *fakeWorld) connect(ctx context.Context, host Host) (Connection, error) {
	w.mu.Lock()
	w.setups++
	w.making++
	w.mostNew = max(w.mostNew, w.making)
	delay, err := w.delay, w.err
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.making--
		w.mu.Unlock()
	}()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, errorOf(ctx, host, PhaseHandshake, "connect", ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open++
	w.most = max(w.most, w.open)
	return &fakeConn{w: w}, nil
}

func (c *fakeConn) Refresh(ctx context.Context) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.w.refresh
}
func (c *fakeConn) Alive() bool  { return !c.dead.Load() }
func (c *fakeConn) Broken() bool { return c.broken.Load() }
func (c *fakeConn) Close() error {
	if c.closed.Swap(true) {
		return errors.New("closed twice")
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.open--
	return nil
}

// pool makes a pool whose events are kept.
func (w *fakeWorld) pool(change func(*PoolConfig)) *Pool {
	cfg := PoolConfig{Name: "test", Connect: w.connect, Listener: func(e PoolEvent) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
	if change != nil {
		change(&cfg)
	}
	return NewPool(cfg)
}

func (w *fakeWorld) count(kind PoolEventType, reason string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Type == kind && (reason == "" || e.Reason == reason) {
			n++
		}
	}
	return n
}

func (w *fakeWorld) openNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

// pass lets the time of a bubble pass.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // virtual time

func mustOut(t *testing.T, p *Pool, hosts ...Host) *Lease {
	t.Helper()
	l, err := p.CheckOutAny(t.Context(), hosts)
	if err != nil {
		t.Fatal("check out: ", err)
	}
	return l
}

func wantCode(t *testing.T, err error, code Code) {
	t.Helper()
	if CodeOf(err) != code {
		t.Fatalf("got %v (code %d), want %s", err, CodeOf(err), code.Name())
	}
}

const (
	hostA Host = "a.test:27017"
	hostB Host = "b.test:27017"
	hostC Host = "c.test:27017"
)

var unreachable = &StatusError{Code: mongoerr.HostUnreachable, Phase: PhaseHandshake, Message: "connect", Err: errors.New("refused")}

func TestPoolReusesConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{delay: time.Second}
		p := w.pool(nil)
		start := time.Now()
		a := mustOut(t, p, hostA)
		if d := time.Since(start); d != time.Second {
			t.Errorf("setup took %s", d)
		}
		a.Done(nil)
		a.Done(errors.New("a second time has no effect"))
		b := mustOut(t, p, hostA)
		if b.Conn() != a.Conn() {
			t.Error("idle connection was not lent again")
		}
		b.Done(errors.New("broken"))
		if w.openNow() != 0 {
			t.Error("connection given back with an error is open")
		}
		p.Close()
		var got []PoolEventType
		for _, e := range w.events {
			got = append(got, e.Type)
		}
		want := []PoolEventType{
			EventCheckOutStarted, EventPoolCreated, EventConnectionCreated, EventConnectionReady, EventCheckedOut, EventCheckedIn,
			EventCheckOutStarted, EventCheckedOut, EventCheckedIn, EventConnectionClosed, EventPoolClosed,
		}
		if !slices.Equal(got, want) {
			t.Errorf("events\n got %v\nwant %v", got, want)
		}
		_, err := p.CheckOut(t.Context(), hostA)
		wantCode(t, err, mongoerr.ShutdownInProgress)
	})
}

func TestPoolHostTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{}
		p := w.pool(func(c *PoolConfig) { c.HostTimeout = time.Minute; c.RefreshRequirement = time.Hour })
		defer p.Close()
		mustOut(t, p, hostA).Done(nil)
		pass(59 * time.Second)
		if len(p.Metrics()) != 1 {
			t.Fatal("host was dropped too early")
		}
		l := mustOut(t, p, hostA) // lifts the expiry
		pass(time.Hour)
		if len(p.Metrics()) != 1 || w.openNow() != 1 {
			t.Fatal("host was dropped while a connection is lent")
		}
		l.Done(nil)
		pass(61 * time.Second)
		if m := p.Metrics(); len(m) != 0 || w.openNow() != 0 {
			t.Fatalf("host is still there: %v, %d connections", m, w.openNow())
		}
		mustOut(t, p, hostA).Done(nil) // comes back when needed
	})
}

func TestPoolGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{delay: time.Second}
		p := w.pool(nil)
		defer p.Close()
		lent, idle := mustOut(t, p, hostA), mustOut(t, p, hostA)
		idle.Done(nil)
		p.Clear(hostA, unreachable)
		if w.openNow() != 1 {
			t.Fatal("idle connection of the old generation is open")
		}
		lent.Done(nil)
		synctest.Wait() // events can be another goroutine's to tell
		if w.openNow() != 0 || w.count(EventConnectionClosed, ReasonStale) != 2 {
			t.Fatal("lent connection of the old generation was not closed when it came back")
		}
		fresh := mustOut(t, p, hostA)
		if fresh.Generation() != 1 {
			t.Fatalf("generation %d", fresh.Generation())
		}
		fresh.Done(nil)
		if !p.clearGeneration(hostA, 0, nil) || w.openNow() != 1 {
			t.Fatal("a failure of an old connection cleared the pool")
		}

		// A setup that a clear overtakes ends in a closed connection, and who waits gets one of the new generation.
		held := mustOut(t, p, hostA)
		got := make(chan *Lease)
		go func() { got <- mustOut(t, p, hostA) }()
		synctest.Wait()
		p.Clear(hostA, unreachable)
		l := <-got
		if l.Generation() != 2 {
			t.Fatalf("generation %d", l.Generation())
		}
		l.Done(nil)
		held.Done(nil)
	})
}

func TestPoolLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{delay: time.Second}
		p := w.pool(func(c *PoolConfig) {
			c.Controller = NewLimitController(Limits{Min: 2, Max: 5, MaxConnecting: 2})
			c.MaxWaiting = 20
		})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				l := mustOut(t, p, hostA)
				pass(10 * time.Second)
				l.Done(nil)
			})
		}
		synctest.Wait()
		_, err := p.CheckOut(t.Context(), hostA)
		wantCode(t, err, mongoerr.PooledConnectionAcquisitionExceededTimeLimit)
		all.Wait()
		if w.most != 5 || w.mostNew != 2 {
			t.Errorf("%d connections, %d made at a time", w.most, w.mostNew)
		}
		pass(61 * time.Second) // the surplus goes when it would be refreshed
		if m := p.Metrics(); len(m) != 1 || m[0].Available != 2 || m[0].Refreshed != 2 || w.count(EventConnectionClosed, ReasonIdle) != 3 {
			t.Errorf("after idling: %+v", m)
		}
		p.Close()
		if w.openNow() != 0 {
			t.Error("connections are left")
		}
	})
}

func TestPoolRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{}
		p := w.pool(func(c *PoolConfig) {
			c.Controller = NewLimitController(Limits{Min: 1})
			c.HostTimeout = time.Hour
		})
		defer p.Close()
		mustOut(t, p, hostA).Done(nil)
		pass(10*time.Minute + time.Second)
		if m := p.Metrics()[0]; m.Refreshed != 10 || m.Created != 1 {
			t.Errorf("%+v", m)
		}
		w.mu.Lock()
		w.refresh = unreachable
		w.err = unreachable
		w.mu.Unlock()
		pass(time.Minute)
		if m := p.Metrics()[0]; m.Open() != 0 || m.Generation == 0 {
			t.Errorf("after a failed refresh: %+v", m)
		}
		w.mu.Lock()
		setups := w.setups
		w.refresh, w.err = nil, nil
		w.mu.Unlock()
		pass(6 * time.Second) // the minimum is restored without anybody asking
		if m := p.Metrics()[0]; m.Available != 1 || w.setups > setups+2 {
			t.Errorf("after the host came back: %+v, %d setups", m, w.setups-setups)
		}
	})
}

func TestPoolChecksIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{}
		p := w.pool(nil)
		defer p.Close()
		l := mustOut(t, p, hostA)
		l.Done(nil)
		l.Conn().(*fakeConn).dead.Store(true)
		pass(6 * time.Second)
		if again := mustOut(t, p, hostA); again.Conn() == l.Conn() {
			t.Error("a dead connection was lent")
		} else {
			again.Done(nil)
		}
	})
}

func TestPoolSetupFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{delay: time.Second, err: unreachable}
		p := w.pool(nil)
		defer p.Close()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				start := time.Now()
				_, err := p.CheckOut(t.Context(), hostA)
				wantCode(t, err, mongoerr.HostUnreachable)
				if time.Since(start) != time.Second {
					t.Errorf("told after %s", time.Since(start))
				}
			})
		}
		all.Wait()
		if w.setups > 4 {
			t.Errorf("%d setups", w.setups)
		}
		pass(time.Minute)
		w.mu.Lock()
		w.err = nil
		w.mu.Unlock()
		mustOut(t, p, hostA).Done(nil)
	})
}

func TestPoolCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{delay: time.Minute}
		p := w.pool(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.CheckOut(ctx, hostA)
		wantCode(t, err, mongoerr.PooledConnectionAcquisitionExceededTimeLimit)
		_, err = p.checkOutUntil(t.Context(), []Host{hostA}, time.Now().Add(time.Second))
		wantCode(t, err, mongoerr.PooledConnectionAcquisitionExceededTimeLimit)
		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			pass(time.Second)
			cancel()
		}()
		_, err = p.CheckOut(ctx, hostA)
		wantCode(t, err, mongoerr.CallbackCanceled)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if m := p.Metrics()[0]; m.Waiting != 0 || m.Failed != 3 {
			t.Errorf("%+v", m)
		}
		go func() {
			pass(time.Second)
			p.Close()
		}()
		_, err = p.CheckOut(t.Context(), hostA)
		wantCode(t, err, mongoerr.ShutdownInProgress)
	})
}

func TestPoolPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{}
		p := w.pool(func(c *PoolConfig) { c.PauseOnClear = true })
		defer p.Close()
		_, err := p.CheckOut(t.Context(), hostA)
		wantCode(t, err, mongoerr.PooledConnectionsDropped)
		p.Ready(hostA)
		mustOut(t, p, hostA).Done(nil)
		p.Clear(hostA, unreachable)
		_, err = p.CheckOut(t.Context(), hostA)
		wantCode(t, err, mongoerr.PooledConnectionsDropped)
		if !errors.Is(err, unreachable.Err) {
			t.Errorf("the cause is not told: %v", err)
		}
		p.Ready(hostA)
		mustOut(t, p, hostA).Done(nil)
		pass(6 * time.Minute) // the host's pool is dropped; that it is ready is not forgotten
		mustOut(t, p, hostA).Done(nil)
		if w.count(EventPoolReady, "") != 2 || w.count(EventPoolCleared, "") != 1 {
			t.Error("events of ready and clear")
		}
	})
}

func TestPoolOnAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &fakeWorld{}
		p := NewPool(PoolConfig{Connect: func(ctx context.Context, h Host) (Connection, error) {
			d := map[Host]time.Duration{hostA: time.Hour, hostB: 2 * time.Second, hostC: time.Second}[h]
			if h == hostC {
				return nil, unreachable
			}
			select {
			case <-time.After(d):
				return slow.connect(ctx, h)
			case <-ctx.Done():
				return nil, errorOf(ctx, h, PhaseHandshake, "connect", ctx.Err())
			}
		}})
		defer p.Close()
		start := time.Now()
		l := mustOut(t, p, hostA, hostC, hostB)
		if l.Host() != hostB || time.Since(start) != 2*time.Second {
			t.Errorf("got %s after %s", l.Host(), time.Since(start))
		}
		l.Done(nil)
		l = mustOut(t, p, hostA, hostB) // an idle one at once, though it is not of the first
		if l.Host() != hostB {
			t.Errorf("got %s", l.Host())
		}
		l.Done(nil)
		_, err := p.CheckOutAny(t.Context(), []Host{hostC, hostC})
		wantCode(t, err, mongoerr.HostUnreachable)
		for _, m := range p.Metrics() {
			if m.Waiting != 0 {
				t.Errorf("%s: %d wait", m.Host, m.Waiting)
			}
		}
	})
}

func TestPoolGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{}
		p := w.pool(func(c *PoolConfig) {
			c.Controller = NewGroupController(Limits{}, func(h Host) string {
				if h == hostC {
					return "alone"
				}
				return "set"
			})
			c.HostTimeout = time.Minute
			c.RefreshRequirement = time.Hour
		})
		defer p.Close()
		mustOut(t, p, hostB).Done(nil)
		mustOut(t, p, hostC).Done(nil)
		var lent []*Lease
		for range 7 {
			lent = append(lent, mustOut(t, p, hostA))
		}
		synctest.Wait()
		open := map[Host]int{}
		for _, m := range p.Metrics() {
			open[m.Host] = m.Open()
		}
		if open[hostA] != 7 || open[hostB] != 7 || open[hostC] != 1 {
			t.Errorf("connections %v: the group follows its busiest host", open)
		}
		pass(2 * time.Minute)
		if m := p.Metrics(); len(m) != 2 {
			t.Errorf("%v: the set is in use, the other host not", m)
		}
		for _, l := range lent {
			l.Done(nil)
		}
		pass(61 * time.Second)
		if m := p.Metrics(); len(m) != 0 || w.openNow() != 0 {
			t.Errorf("%v: no host is in use", m)
		}
	})
}

func TestPoolTags(t *testing.T) {
	const configured, member Tag = 1, 2
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{}
		p := w.pool(nil)
		defer p.Close()
		var m TagCloserManager
		m.Add(p)
		for _, h := range []Host{hostA, hostB, hostC} {
			mustOut(t, p, h).Done(nil)
		}
		m.MutateTags(hostA, func(Tag) Tag { return configured | member })
		m.MutateTags(hostB, func(old Tag) Tag { return old | member })
		available := func() (out []Host) {
			for _, m := range p.Metrics() {
				if m.Available > 0 {
					out = append(out, m.Host)
				}
			}
			return out
		}
		m.DropConnections(member)
		if got := available(); !slices.Equal(got, []Host{hostA, hostB}) {
			t.Errorf("kept %v", got)
		}
		m.DropTagged(configured)
		if got := available(); !slices.Equal(got, []Host{hostB}) {
			t.Errorf("kept %v", got)
		}
		m.DropHost(hostB)
		if got := available(); len(got) != 0 {
			t.Errorf("kept %v", got)
		}
		m.Remove(p)
		mustOut(t, p, hostA).Done(nil)
		m.DropConnections(0)
		if len(available()) != 1 {
			t.Error("a removed closer was called")
		}
	})
}

// TestPoolListenerMayCallThePool: events are delivered outside of the lock.
func TestPoolListenerMayCallThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorld{}
		var p *Pool
		seen := 0
		p = w.pool(func(c *PoolConfig) {
			c.Listener = func(e PoolEvent) {
				seen++
				if e.Type == EventCheckedIn {
					p.Clear(e.Host, nil)
				}
			}
		})
		mustOut(t, p, hostA).Done(nil)
		if w.openNow() != 0 || seen < 6 {
			t.Errorf("%d open, %d events", w.openNow(), seen)
		}
		p.Close()
	})
}

// TestPoolProperty checks what always holds under random use, failures and clears.
func TestPoolProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const most = 3
		seed := rapid.SliceOfN(rapid.IntRange(0, 9), 10, 80).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			w := &fakeWorld{delay: 100 * time.Millisecond}
			p := w.pool(func(c *PoolConfig) {
				c.Controller = NewLimitController(Limits{Max: most})
				c.HostTimeout, c.RefreshRequirement = 30*time.Second, 10*time.Second
			})
			var users sync.WaitGroup
			for i, step := range seed {
				host := Host(fmt.Sprintf("h%d:1", i%2))
				switch step {
				case 0:
					p.Clear(host, nil)
				case 1:
					w.mu.Lock()
					w.err, w.refresh = unreachable, unreachable
					w.mu.Unlock()
				case 2:
					w.mu.Lock()
					w.err, w.refresh = nil, nil
					w.mu.Unlock()
				case 3:
					pass(15 * time.Second)
				default:
					users.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(step)*time.Second)
						defer cancel()
						l, err := p.CheckOutAny(ctx, []Host{host, "h0:1"})
						if err != nil {
							return
						}
						if l.Conn().(*fakeConn).closed.Load() {
							t.Error("a closed connection was lent")
						}
						pass(time.Duration(step) * time.Second)
						if step == 4 {
							err = errors.New("bad")
						}
						l.Done(err)
					})
				}
				for _, m := range p.Metrics() {
					if m.Open() > most {
						t.Errorf("%+v: more than %d connections", m, most)
					}
				}
			}
			users.Wait()
			p.mu.Lock()
			if p.waiting != 0 || p.leases != nil {
				t.Errorf("%d wait, lent: %v", p.waiting, p.leases)
			}
			p.mu.Unlock()
			pass(2 * time.Minute)
			if m := p.Metrics(); len(m) != 0 {
				t.Errorf("hosts are left: %+v", m)
			}
			p.Close()
			if w.openNow() != 0 {
				t.Errorf("%d connections are left", w.openNow())
			}
		})
	})
}
