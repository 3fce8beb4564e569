package history

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// TestPostgres lets clients work through two processes on one PostgreSQL, which are killed, as is PostgreSQL, while indexes come and go
// and connections between them are cut in every way, and checks what they saw.
func TestPostgres(t *testing.T) {
	random, length := harness.Seed(t, "ARCHELON_HISTORY_SEED"), duration(t)
	r := rand.New(rand.NewPCG(random, 0))
	pg, err := pgharness.Start(map[string]string{"max_connections": "100", "wal_writer_delay": "5s"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	line := cutLine(t, pg.Address(), random)
	url := strings.Replace(pg.URL(), pg.Address(), line.addr, 1)
	binary := harness.Build(t)
	var addrs [2]string
	var servers [2]*harness.Server
	serve := func(i int) {
		servers[i] = harness.StartWith(t, binary, addrs[i], nil, "--listen", addrs[i], "--storage", url)
	}
	for i := range servers {
		addrs[i] = harness.FreeAddr(t)
		serve(i)
	}
	prepare(t, connect(t, addrs[0]))
	w := &workload{began: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for c := range clients {
		client := connect(t, addrs[c%2])
		for n := range threads {
			wg.Go(func() {
				(&worker{workload: w, client: client, r: rand.New(rand.NewPCG(random, uint64(1+c*threads+n)))}).run(ctx)
			})
		}
	}
	wg.Go(func() { define(ctx, connect(t, addrs[0])) })
	line.cutting.Store(true)
	kills := [2]int{}
	for w.now() < length {
		<-time.After(min(time.Duration(500+r.IntN(3000))*time.Millisecond, max(length-w.now(), time.Millisecond)))
		line.cutting.Store(false) // a process that does not reach PostgreSQL does not start
		pause := time.Duration(r.IntN(300)) * time.Millisecond
		if r.IntN(3) == 0 {
			pg.Kill()
			<-time.After(pause)
			if err := pg.Run(); err != nil {
				t.Fatal(err)
			}
			kills[1]++
		} else {
			i := r.IntN(2)
			servers[i].Kill()
			<-time.After(pause)
			serve(i)
			kills[0]++
		}
		line.cutting.Store(true)
	}
	line.cutting.Store(false)
	cancel()
	wg.Wait()
	// What is still open is gone with the processes.
	for i := range servers {
		servers[i].Kill()
		serve(i)
	}
	judge(t, w, connect(t, addrs[1]))
	t.Logf("%d kills of processes and %d of PostgreSQL, %d connections cut in %s: %s", kills[0], kills[1], line.cuts.Load(), length, w.summary())
	for i := range servers {
		servers[i].Stop(t)
	}
}

// define makes and drops indexes of all collections.
func define(ctx context.Context, client *mongo.Client) {
	for ctx.Err() == nil {
		for _, db := range databases(client) {
			for _, name := range []string{"lists", "accounts", "keys"} {
				indexes := db.Collection(name).Indexes()
				_, _ = indexes.CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "other", Value: 1}}}) // may fail: see what is done to it
				_ = indexes.DropOne(ctx, "other_1")
				<-time.After(100 * time.Millisecond)
			}
		}
	}
}

// line passes on what is sent between two addresses, and cuts connections.
type line struct {
	addr    string
	cutting atomic.Bool
	cuts    atomic.Int64

	mu sync.Mutex // guards r
	r  *rand.Rand
}

const (
	cutOneIn = 500 // messages of a client
	lateness = 150 // milliseconds after its connection was cut that the server may get a message
	chunk    = 64 << 10
)

func cutLine(t *testing.T, target string, random uint64) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &line{addr: l.Addr().String(), r: rand.New(rand.NewPCG(random, 1))}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client.(*net.TCPConn), target)
		}
	}()
	return p
}

// fault is what is done to a connection with a message of the client.
type fault struct {
	lost  bool          // the server does not get it
	late  time.Duration // … or gets it when the client's side has been cut for so long
	after time.Duration // the client's side is cut so long after the server has got it
}

// next decides about a message.
func (p *line) next() (f fault, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cutting.Load() || p.r.IntN(cutOneIn) > 0 {
		return f, false
	}
	switch p.r.IntN(4) {
	case 0:
		f.lost = true
	case 1:
		f.late = time.Duration(p.r.IntN(lateness)) * time.Millisecond
	case 2:
		f.after = time.Duration(p.r.IntN(3000)) * time.Microsecond
	}
	return f, true
}

func (p *line) serve(client *net.TCPConn, target string) {
	defer client.Close()
	conn, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	replies := make(chan struct{})
	go func() {
		defer close(replies)
		pass(client, server)
		client.Close()
	}()
	// What the client has sent is still done.
	defer func() {
		server.CloseWrite()
		server.SetReadDeadline(time.Now().Add(time.Second))
		<-replies
		server.Close()
	}()
	buf := make([]byte, chunk)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		f, cut := p.next()
		if cut {
			p.cuts.Add(1)
		}
		if f.lost {
			return
		}
		if f.late > 0 {
			client.Close()
			<-time.After(f.late)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if cut {
			<-time.After(f.after)
			return
		}
	}
}

// pass sends on what comes from the server until either is closed.
func pass(client, server net.Conn) {
	buf := make([]byte, chunk)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
