package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/wire"
)

const (
	// roleEnv makes the test binary one of the processes that TestHop measures, targetEnv tells it whom to talk to and
	// profileEnv where to write a profile of its processor time.
	roleEnv    = "ARCHELON_HOP_ROLE"
	targetEnv  = "ARCHELON_HOP_TARGET"
	profileEnv = "ARCHELON_HOP_PROFILE"

	// hopPromise is how much longer than through a relay a point find may take through a gateway.
	hopPromise = 1.15

	// Rounds are short and many: what else the machine does then hits both sides alike.
	hopRounds = 61
	hopRound  = 200 * time.Millisecond
	hopDocs   = 1000
)

// hopRoles are the processes of TestHop. They print their address and live until standard input ends.
var hopRoles = map[string]func(ctx context.Context, target string, ready func(addr string)) error{
	"server": func(ctx context.Context, _ string, ready func(string)) error {
		db, err := archelon.Open(archelon.Config{
			Storage: archelon.StorageMemory, Listen: []string{"127.0.0.1:0"}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		ready(strings.TrimSuffix(strings.TrimPrefix(db.URI(), "mongodb://"), "/"))
		if err := db.Serve(ctx); err != nil {
			return err
		}
		return db.Close()
	},
	"relay": func(ctx context.Context, target string, ready func(string)) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		ready(l.Addr().String())
		go relay(l, target, func(net.Conn) {})
		<-ctx.Done()
		return l.Close()
	},
	"gateway": func(ctx context.Context, target string, ready func(string)) error {
		g, err := gateway.New(gateway.Config{
			Table: gateway.Table{
				Upstreams: map[string]gateway.Upstream{"main": {URI: "mongodb://" + target + "/"}},
				Routes: []gateway.Route{
					{Command: gateway.Patterns{"echo", "thumbnail"}, Upstream: "main"},
					{Database: gateway.Patterns{"logs_*"}, Upstream: "main"},
					{Upstream: "main"},
				},
			},
			Logger: slog.New(slog.DiscardHandler), Quiesce: -1,
		})
		if err != nil {
			return err
		}
		defer g.Close()
		return g.Serve(ctx, server.Config{Addresses: []string{"127.0.0.1:0"}}, func(s *server.Server) { ready(s.Addr().String()) })
	},
}

// playRole is the life of a process of TestHop.
func playRole(role string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if name := os.Getenv(profileEnv); name != "" {
		f, err := os.Create(name + "." + role)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return hopRoles[role](ctx, os.Getenv(targetEnv), func(addr string) { fmt.Fprintln(os.Stdout, addr) })
}

// place is a process of TestHop.
type place struct {
	name, addr string
	pid        int
	clients    []*hopClient
	took, used []float64 // the median time of a call, and the process's own for each, in microseconds, by round
}

// startRole starts a process of TestHop. It ends with the test.
func startRole(t *testing.T, role, target string) *place {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, targetEnv+"="+target)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not start: %v", role, err)
	}
	return &place{name: role, addr: strings.TrimSpace(addr), pid: cmd.Process.Pid}
}

// processorTime is how long a process has run, in microseconds; 0 where that is not to be had.
func processorTime(pid int) float64 {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0
	}
	total := 0.0
	for _, name := range threads {
		var ns float64
		if b, err := os.ReadFile(name); err == nil {
			if _, err := fmt.Sscan(string(b), &ns); err == nil {
				total += ns / 1000
			}
		}
	}
	return total
}

// hopClient is a connection that does nothing but one find again and again.
type hopClient struct {
	conn net.Conn
	out  []byte
	in   []byte
}

func dialHop(t *testing.T, addr string) *hopClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	return &hopClient{conn: conn, in: make([]byte, 64<<10)}
}

// set makes body the message of the client.
func (c *hopClient) set(body bsonval.Doc) {
	c.out = wire.FinishMessage(append(wire.AppendMsgStart(nil, 1, 0, 0), body...), 0)
}

// call sends the message and reads the reply.
func (c *hopClient) call() (bsonval.Doc, error) {
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	for have, want := 0, wire.HeaderLen; ; {
		n, err := c.conn.Read(c.in[have:])
		if err != nil {
			return nil, err
		}
		if have += n; have < want {
			continue
		}
		h, err := wire.ParseHeader(c.in)
		if err != nil {
			return nil, err
		}
		if want = int(h.Length); have == want {
			return bsonval.Doc(c.in[wire.MsgBodyOffset:want]), nil
		}
	}
}

// measure lets the clients work for a round and notes the median time of a call.
func (p *place) measure(t *testing.T) {
	t.Helper()
	times, errs := make([][]time.Duration, len(p.clients)), make([]error, len(p.clients))
	before := processorTime(p.pid)
	var work sync.WaitGroup
	for i, c := range p.clients {
		work.Go(func() {
			for start := time.Now(); time.Since(start) < hopRound && errs[i] == nil; {
				began := time.Now()
				_, errs[i] = c.call()
				times[i] = append(times[i], time.Since(began))
			}
		})
	}
	work.Wait()
	for _, err := range errs {
		check(t, err)
	}
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	p.took = append(p.took, all[len(all)/2].Seconds()*1e6)
	p.used = append(p.used, (processorTime(p.pid)-before)/float64(len(all)))
}

// TestHop measures what a hop through a gateway adds to the time of a point find, against a hop through a relay that only
// copies bytes. The server, the relay and the gateway are processes of their own.
func TestHop(t *testing.T) {
	if os.Getenv("ARCHELON_PERF") == "" {
		t.Skip("set ARCHELON_PERF=1 to measure; takes a minute")
	}
	direct := startRole(t, "server", "")
	plain, through := startRole(t, "relay", direct.addr), startRole(t, "gateway", direct.addr)
	fill := dialHop(t, direct.addr)
	for i := range hopDocs {
		doc := bsonval.NewBuilder().Int32("_id", int32(i)).Str("name", "a document of the usual kind").Int32("n", int32(i)).Build()
		fill.set(bsonval.NewBuilder().Str("insert", "c").StartArray("documents").Add(bsonval.Document(doc)).End().Str("$db", "d").Build())
		reply, err := fill.call()
		check(t, err)
		if n, _ := reply.Lookup("n").AsInt64(); n != 1 {
			t.Fatal(bsonval.FormatDoc(reply))
		}
	}
	for _, n := range []int{1, 16} {
		for _, p := range []*place{direct, plain, through} {
			p.connect(t, n)
			p.measure(t) // warms up
			p.took, p.used = nil, nil
		}
		var ratios []float64
		for round := range hopRounds {
			if round%8 == 0 {
				direct.measure(t)
			}
			if round%2 == 0 {
				plain.measure(t)
				through.measure(t)
			} else {
				through.measure(t)
				plain.measure(t)
			}
			ratios = append(ratios, through.took[round]/plain.took[round])
		}
		ratio := middle(ratios)
		t.Logf("%d clients: a find takes %.1f µs, through the relay %.1f µs, through the gateway %.1f µs: %.2f times as long (quarters %.2f, %.2f); "+
			"processor time of the hop %.1f µs and %.1f µs", n, middle(direct.took), middle(plain.took), middle(through.took), ratio,
			quantile(ratios, 0.25), quantile(ratios, 0.75), middle(plain.used), middle(through.used))
		if ratio > hopPromise {
			t.Errorf("%d clients: %.2f times the relay's time, promised %.2f", n, ratio, hopPromise)
		}
	}
}

// connect gives the place so many clients that each read a document of their own.
func (p *place) connect(t *testing.T, n int) {
	t.Helper()
	p.clients = nil
	for k := range n {
		c := dialHop(t, p.addr)
		id := bsonval.Binary(4, fmt.Appendf(nil, "%016d", k))
		c.set(bsonval.NewBuilder().Str("find", "c").StartDoc("filter").Int32("_id", int32(k)).End().Int32("limit", 1).
			Bool("singleBatch", true).StartDoc("lsid").Value("id", id).End().Str("$db", "d").Build())
		reply, err := c.call()
		check(t, err)
		if reply.LookupPath("cursor", "firstBatch").Doc().Len() != 1 {
			t.Fatal(bsonval.FormatDoc(reply))
		}
		p.clients = append(p.clients, c)
	}
}

func middle(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[int(float64(len(v)-1)*q)]
}
