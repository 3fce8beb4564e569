package egress_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/wire"
)

// network makes a real network until the test ends.
func network(t testing.TB, cfg egress.NetworkConfig) *egress.PooledNetwork {
	t.Helper()
	n := egress.NewNetwork(cfg)
	t.Cleanup(n.Close)
	return n
}

func ping(t testing.TB, hosts ...egress.Host) *egress.RequestOnAny {
	return &egress.RequestOnAny{Targets: hosts, Command: command(t, "test", bson.D{{Key: "ping", Value: 1}})}
}

func TestNetworkPools(t *testing.T) {
	s := serve(t, server.State{}, nil)
	n := network(t, egress.NetworkConfig{
		Conn: egress.ConnConfig{Compressors: []wire.CompressorID{wire.CompressorSnappy}},
		Pool: egress.PoolConfig{Controller: egress.NewLimitController(egress.Limits{Max: 4})},
	})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for j := range 20 {
				text := fmt.Sprintf("%d-%d", i, j)
				r := n.Run(t.Context(), &egress.RequestOnAny{
					Targets: []egress.Host{s.host}, Command: command(t, "test", bson.D{{Key: "echo", Value: text}}),
				})
				if r.Err() != nil || r.Body.LookupPath("echo", "echo").Str() != text || r.Target != s.host {
					t.Errorf("%s: %v", text, r.Err())
				}
			}
		})
	}
	all.Wait()
	m := n.Pool().Metrics()[0]
	if m.Created > 4 || m.CheckedOut != 400 || m.InUse != 0 {
		t.Errorf("%+v", m)
	}
	if k := n.Metrics(); k.Succeeded.Load() != 400 || k.Sent.Load() != 400 || k.InProgress.Load() != 0 {
		t.Errorf("%d sent, %d succeeded", k.Sent.Load(), k.Succeeded.Load())
	}
	if r := n.Run(t.Context(), &egress.RequestOnAny{}); r.Status == nil {
		t.Error("a request without targets")
	}
	replies := 0
	req := &egress.RequestOnAny{Targets: []egress.Host{s.host}, Command: command(t, "test", bson.D{{Key: "count", Value: 3}})}
	for r := range n.Stream(t.Context(), req) {
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		replies++
	}
	if replies != 3 {
		t.Errorf("%d replies", replies)
	}
}

func TestExecutorExhaust(t *testing.T) {
	s := serve(t, server.State{}, nil)
	x := egress.NewExecutor(egress.ExecutorConfig{Network: egress.NewNetwork(egress.NetworkConfig{})})
	stream := func(cmd egress.Command, each func(n int)) (seen int, last egress.ResponseOnAny, c *egress.Callback) {
		c = must(x.ScheduleExhaust(&egress.RequestOnAny{Targets: []egress.Host{s.host}, Command: cmd},
			func(_ context.Context, r egress.ResponseOnAny) {
				if seen++; each != nil {
					each(seen)
				}
			},
			func(_ context.Context, r egress.ResponseOnAny) { last = r }))
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		return seen, last, c
	}
	seen, last, _ := stream(command(t, "test", bson.D{{Key: "count", Value: 5}}), nil)
	if n, _ := last.Body.Lookup("n").AsInt64(); seen != 4 || n != 4 || last.MoreToCome || last.Err() != nil {
		t.Errorf("%d replies before the last, which is %v, %v", seen, n, last.Err())
	}
	// A stream without an end ends when it is canceled.
	hello := dial(t, s.host, egress.ConnConfig{}).Hello()
	change := func(int) { s.topology.Update(func(*server.State) {}) }
	time.AfterFunc(50*time.Millisecond, x.Shutdown)
	change(0)
	seen, last, _ = stream(egress.HelloCommand(true, hello.TopologyVersion, time.Minute), func(n int) {
		if n < 3 {
			change(n)
		}
	})
	wantCode(t, last.Status, mongoerr.CallbackCanceled)
	if err := x.Join(t.Context()); err != nil || seen != 3 {
		t.Errorf("%d replies, %v", seen, err)
	}
}

func TestNetworkOnAny(t *testing.T) {
	s := serve(t, server.State{}, nil)
	closed := must(net.Listen("tcp", "127.0.0.1:0"))
	dead := must(egress.ParseHost(closed.Addr().String()))
	closed.Close()
	stalled := interpose(t, s.Addr())
	stalled.stalled.Store(true)
	n := network(t, egress.NetworkConfig{Conn: egress.ConnConfig{ConnectTimeout: waitLimit}})
	r := n.Run(t.Context(), ping(t, stalled.host, dead, s.host))
	if r.Err() != nil || r.Target != s.host || r.Elapsed > waitLimit/2 {
		t.Errorf("got %s after %s: %v", r.Target, r.Elapsed, r.Err())
	}
	wantCode(t, n.Run(t.Context(), ping(t, dead, dead)).Status, mongoerr.HostUnreachable)
	req := ping(t, stalled.host)
	req.Timeout = 50 * time.Millisecond
	wantCode(t, n.Run(t.Context(), req).Status, mongoerr.PooledConnectionAcquisitionExceededTimeLimit)
	if n.Metrics().TimedOut.Load() != 1 || n.Metrics().Failed.Load() != 1 {
		t.Error("metrics")
	}
}

func TestNetworkFaults(t *testing.T) {
	s := serve(t, server.State{}, nil)
	p := interpose(t, s.Addr())
	n := network(t, egress.NetworkConfig{})
	// Several idle connections are cut at once: one failure clears them all.
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { n.Run(t.Context(), ping(t, p.host)) })
	}
	all.Wait()
	eventually(t, "all connections made", func() bool { return n.Pool().Metrics()[0].Connecting == 0 })
	p.cut()
	wantCode(t, n.Run(t.Context(), ping(t, p.host)).Status, mongoerr.HostUnreachable)
	if m := n.Pool().Metrics()[0]; m.Available != 0 || m.Generation != 1 {
		t.Errorf("after the cut: %+v", m)
	}
	if r := n.Run(t.Context(), ping(t, p.host)); r.Err() != nil {
		t.Error("after the cut: ", r.Err())
	}
	// A command that runs when the network is closed ends.
	other := egress.NewNetwork(egress.NetworkConfig{})
	got := make(chan error, 1)
	go func() {
		r := other.Run(context.Background(), &egress.RequestOnAny{Targets: []egress.Host{p.host}, Command: command(t, "test", bson.D{{Key: "sleep", Value: 1}})})
		got <- r.Status
	}()
	eventually(t, "the command is sent", func() bool { return other.Metrics().Sent.Load() == 1 })
	other.Close()
	wantCode(t, <-got, mongoerr.ShutdownInProgress)
	wantCode(t, other.Run(t.Context(), ping(t, p.host)).Status, mongoerr.ShutdownInProgress)
}

// TestNetworkUnderFire runs commands while connections are cut, stalled and fed with garbage: every call ends within its
// timeout, and once the trouble is over all of them succeed.
func TestNetworkUnderFire(t *testing.T) {
	s := serve(t, server.State{}, nil)
	p := interpose(t, s.Addr())
	n := network(t, egress.NetworkConfig{Conn: egress.ConnConfig{ConnectTimeout: time.Second}})
	const timeout = 300 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var good, bad atomic.Int64
	for range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				req := ping(t, p.host)
				req.Timeout = timeout
				r := n.Run(context.Background(), req)
				if r.Elapsed > timeout+5*time.Second {
					t.Errorf("took %s", r.Elapsed)
				}
				if r.Err() == nil {
					good.Add(1)
				} else {
					bad.Add(1)
				}
			}
		})
	}
	garbage := garbageReplies()
	for name, g := range garbage {
		before := bad.Load()
		p.garbage.Store(&g)
		eventually(t, name+" does harm", func() bool { return bad.Load() > before })
		p.garbage.Store(nil)
		p.cut()
		before = good.Load()
		eventually(t, "recovery from "+name, func() bool { return good.Load() > before+20 })
	}
	before := bad.Load()
	p.stalled.Store(true)
	eventually(t, "a stall does harm", func() bool { return bad.Load() > before })
	p.stalled.Store(false)
	p.cut()
	before = good.Load()
	eventually(t, "recovery from a stall", func() bool { return good.Load() > before+20 })
	cancel()
	all.Wait()
	for range 50 {
		if r := n.Run(t.Context(), ping(t, p.host)); r.Err() != nil {
			t.Fatal(r.Err())
		}
	}
}

// openFiles counts the process's file descriptors, 0 where that cannot be told.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// TestNetworkTenThousandConnections: neither goroutines nor sockets are left of connections that come and go.
func TestNetworkTenThousandConnections(t *testing.T) {
	cycles := 10_000
	if testing.Short() {
		cycles = 1_000
	}
	s := serve(t, server.State{}, nil)
	p := egress.NewPool(egress.PoolConfig{Connect: func(ctx context.Context, h egress.Host) (egress.Connection, error) {
		return egress.Connect(ctx, h, &egress.ConnConfig{})
	}})
	cycle := func() {
		l, err := p.CheckOut(t.Context(), s.host)
		if err != nil {
			t.Error(err)
			return
		}
		cmd := command(t, "test", bson.D{{Key: "ping", Value: 1}})
		if r := l.Conn().(*egress.Conn).Run(t.Context(), &cmd); r.Err() != nil {
			t.Error(r.Err())
		}
		l.Done(context.Canceled) // which closes the connection
	}
	cycle()
	eventually(t, "the server closes the connection", func() bool { return s.Metrics().ConnectionsCurrent.Load() == 0 })
	goroutines, files := runtime.NumGoroutine(), openFiles()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range cycles / 4 {
				cycle()
			}
		})
	}
	all.Wait()
	eventually(t, "the server closes all connections", func() bool { return s.Metrics().ConnectionsCurrent.Load() == 0 })
	if total := s.Metrics().ConnectionsTotal.Load(); total < int64(cycles) {
		t.Errorf("%d connections only", total)
	}
	p.Close()
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if n := openFiles(); n > files {
		t.Errorf("%d files open, %d before", n, files)
	}
}

// serveSet runs a replica set of real servers.
func serveSet(t *testing.T, proxied bool) (members []*realServer, proxies []*faultProxy, names []egress.Host) {
	t.Helper()
	for range 3 {
		s := serve(t, server.State{Posture: server.ReplicaSet, SetName: "rs", Role: server.RoleSecondary}, nil)
		s.mux.HandleFunc("insert", func(_ context.Context, _ *server.Request, reply *server.Reply) error {
			if s.topology.State().Role != server.RolePrimary {
				return server.Errorf(mongoerr.NotWritablePrimary, "not primary").WithLabels(mongoerr.LabelRetryableWrite)
			}
			return nil
		})
		name := s.host
		if proxied {
			p := interpose(t, s.Addr())
			proxies = append(proxies, p)
			name = p.host
		}
		members, names = append(members, s), append(names, name)
	}
	electReal(members, names, 0, 1)
	return members, proxies, names
}

// electReal makes a member the primary.
func electReal(members []*realServer, names []egress.Host, primary int, term int64) {
	var list []string
	for _, n := range names {
		list = append(list, string(n))
	}
	for i, m := range members {
		m.topology.Update(func(st *server.State) {
			st.Hosts, st.Me, st.Role, st.Primary = list, list[i], server.RoleSecondary, list[primary]
			if i == primary {
				st.Role, st.ElectionID = server.RolePrimary, server.ElectionIDForTerm(term)
			}
		})
	}
}

// TestClientRealFailover writes while a real replica set elects, is cut off and comes back.
func TestClientRealFailover(t *testing.T) {
	members, proxies, names := serveSet(t, true)
	c := must(egress.Open("mongodb://" + string(names[1]) + "/?replicaSet=rs&heartbeatFrequencyMS=500&compressors=snappy&connectTimeoutMS=2000"))
	defer c.Close(t.Context())
	insert := func(what string) egress.Host {
		t.Helper()
		r := c.Run(t.Context(), insert(t, "x"))
		if r.Err() != nil {
			t.Fatalf("%s: %v", what, r.Err())
		}
		return r.Target
	}
	if got := insert("at first"); got != names[0] {
		t.Errorf("the primary is %s, not %s", names[0], got)
	}
	for i := range 6 {
		electReal(members, names, (i+1)%3, int64(i+2))
		if got := insert("after an election"); got != names[(i+1)%3] {
			t.Errorf("wrote to %s", got)
		}
	}
	// The primary (0) is cut off: its proxy cuts all connections again and again until the set has another.
	proxies[0].cutAfter.Store(0)
	proxies[0].cut()
	time.AfterFunc(100*time.Millisecond, func() { electReal(members, names, 2, 9) })
	if got := insert("after a cut"); got != names[2] {
		t.Errorf("wrote to %s", got)
	}
	proxies[0].cutAfter.Store(-1)
	eventually(t, "the member comes back", func() bool {
		d := c.Topology().Servers[names[0]]
		return d != nil && d.Kind == egress.ServerSecondary
	})
	read := &egress.ReadPreference{Mode: egress.Secondary}
	for range 20 {
		r := c.Run(t.Context(), &egress.Operation{Command: command(t, "test", bson.D{{Key: "echo", Value: 1}}), ReadPreference: read})
		if r.Err() != nil || r.Target == names[2] {
			t.Errorf("read from %s: %v", r.Target, r.Err())
		}
	}
}

func TestClientStream(t *testing.T) {
	s := serve(t, server.State{}, nil)
	c := must(egress.Open("mongodb://" + string(s.host) + "/?directConnection=true"))
	op := &egress.Operation{Command: command(t, "test", bson.D{{Key: "count", Value: 4}})}
	replies := 0
	for r := range c.Stream(t.Context(), op) {
		if r.Err() != nil || r.Target != s.host {
			t.Error(r.Target, r.Err())
		}
		replies++
	}
	for range c.Stream(t.Context(), op) {
		break
	}
	c.Close(t.Context())
	for r := range c.Stream(t.Context(), op) {
		wantCode(t, r.Status, mongoerr.ShutdownInProgress)
		replies++
	}
	if replies != 5 {
		t.Errorf("%d replies", replies)
	}
}

// TestClientForgetsMembers: connections to a server that has left the set are closed.
func TestClientForgetsMembers(t *testing.T) {
	members, _, names := serveSet(t, false)
	c := must(egress.Open("mongodb://" + string(names[0]) + "/"))
	defer c.Close(t.Context())
	read := &egress.ReadPreference{Mode: egress.Secondary}
	echo := command(t, "test", bson.D{{Key: "echo", Value: 1}})
	eventually(t, "connections to all members", func() bool {
		c.Run(t.Context(), &egress.Operation{Command: echo, ReadPreference: read})
		for _, m := range members[1:] {
			if m.Metrics().ConnectionsCurrent.Load() < 2 {
				return false
			}
		}
		return true
	})
	members[0].topology.Update(func(st *server.State) { st.Hosts = []string{string(names[0]), string(names[1])} })
	eventually(t, "no connection to the member that left", func() bool {
		return members[2].Metrics().ConnectionsCurrent.Load() == 0
	})
	if r := c.Run(t.Context(), &egress.Operation{Command: echo, ReadPreference: read}); r.Target != names[1] {
		t.Errorf("read from %s: %v", r.Target, r.Err())
	}
}

// TestClientIsNotHeldUpByASilentServer: a command without a timeout, sent to a primary that has gone silent, is repeated
// on the next primary once the monitor has given the first one up.
func TestClientIsNotHeldUpByASilentServer(t *testing.T) {
	members, proxies, names := serveSet(t, true)
	c := must(egress.Open("mongodb://" + string(names[1]) + "/?heartbeatFrequencyMS=500&connectTimeoutMS=300"))
	defer c.Close(t.Context())
	if r := c.Run(t.Context(), insert(t, "x")); r.Err() != nil {
		t.Fatal(r.Err())
	}
	proxies[0].stalled.Store(true)
	time.AfterFunc(100*time.Millisecond, func() { electReal(members, names, 1, 5) })
	r := c.Run(t.Context(), insert(t, "x"))
	if r.Err() != nil || r.Target != names[1] || r.Elapsed > waitLimit {
		t.Errorf("from %s after %s: %v", r.Target, r.Elapsed, r.Err())
	}
}

// TestRoundTripAllocations bounds what a command costs, the server's part included.
func TestRoundTripAllocations(t *testing.T) {
	s := serve(t, server.State{}, nil)
	n := network(t, egress.NetworkConfig{})
	req := ping(t, s.host)
	run := func() {
		if r := n.Run(context.Background(), req); r.Status != nil {
			t.Error(r.Status)
		}
	}
	run()
	if got := testing.AllocsPerRun(200, run); got > 5 {
		t.Errorf("%.0f allocations", got)
	}
}

// BenchmarkRoundTrip is one command on a pooled connection over loopback.
func BenchmarkRoundTrip(b *testing.B) {
	s := serve(b, server.State{}, nil)
	req := ping(b, s.host)
	b.Run("conn", func(b *testing.B) {
		c := dial(b, s.host, egress.ConnConfig{})
		b.ReportAllocs()
		for b.Loop() {
			if r := c.Run(context.Background(), &req.Command); r.Status != nil {
				b.Fatal(r.Status)
			}
		}
	})
	b.Run("network", func(b *testing.B) {
		n := network(b, egress.NetworkConfig{})
		b.ReportAllocs()
		for b.Loop() {
			if r := n.Run(context.Background(), req); r.Status != nil {
				b.Fatal(r.Status)
			}
		}
	})
	b.Run("client", func(b *testing.B) {
		c := must(egress.NewClient(egress.ClientConfig{Seeds: []egress.Host{s.host}, Direct: true}))
		defer c.Close(context.Background())
		op := &egress.Operation{Command: req.Command}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		b.ReportAllocs()
		for b.Loop() {
			if r := c.Run(ctx, op); r.Status != nil {
				b.Fatal(r.Status)
			}
		}
	})
}
