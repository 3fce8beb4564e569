package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitLimit bounds every wait of the tests.
const waitLimit = 10 * time.Second

// logBuffer collects a log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testServer is a running server.
type testServer struct {
	*Server
	mux      *Mux
	topology *Topology
	hello    *Hello
	log      *logBuffer
	cancel   context.CancelFunc
	served   chan error
}

// start runs a server with hello, ping and echo until the test ends.
func start(t testing.TB, state State, change func(*Config, *Mux)) *testServer {
	t.Helper()
	ts := &testServer{mux: NewMux(), topology: NewTopology(state), log: &logBuffer{}, served: make(chan error, 1)}
	ts.hello = NewHello(HelloConfig{Topology: ts.topology})
	ts.hello.Register(ts.mux)
	ts.mux.HandleFunc("ping", Ping)
	ts.mux.HandleFunc("endSessions", Ping)
	ts.mux.HandleFunc("echo", func(_ context.Context, req *Request, reply *Reply) error {
		it := req.Body.Iter()
		for it.Next() {
			if k := it.KeyStr(); k == "msg" {
				reply.AppendDoc(must(bson.Marshal(bson.D{{Key: "msg", Value: it.Value().Str()}})))
			}
		}
		return nil
	})
	cfg := Config{
		Addresses: []string{"127.0.0.1:0"}, Handler: ts.mux,
		Logger: slog.New(slog.NewTextHandler(ts.log, nil)),
	}
	if change != nil {
		change(&cfg, ts.mux)
	}
	var err error
	if ts.Server, err = Listen(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ts.cancel = cancel
	go func() { ts.served <- ts.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ts.served:
		case <-time.After(2 * waitLimit):
			t.Error("server did not stop")
		}
	})
	return ts
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// rawClient speaks the protocol by hand.
type rawClient struct {
	t    testing.TB
	c    net.Conn
	last int32
}

func (ts *testServer) dial(t testing.TB) *rawClient {
	t.Helper()
	c, err := net.Dial(ts.Addr().Network(), ts.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(3 * waitLimit))
	return &rawClient{t: t, c: c}
}

// send sends an OP_MSG with the command for the database test.
func (r *rawClient) send(flags wire.MsgFlags, cmd bson.D) int32 {
	r.t.Helper()
	r.last++
	body := must(bson.Marshal(append(cmd, bson.E{Key: "$db", Value: "test"})))
	r.write(wire.AppendMsg(nil, r.last, 0, flags, body))
	return r.last
}

func (r *rawClient) write(b []byte) {
	r.t.Helper()
	if _, err := r.c.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// receive reads one reply.
func (r *rawClient) receive() (wire.Msg, bson.M) {
	r.t.Helper()
	b, _, err := wire.ReadMessage(r.c)
	if err != nil {
		r.t.Fatal("read reply: ", err)
	}
	var m wire.Msg
	if err := m.Parse(b.B); err != nil {
		r.t.Fatal(err)
	}
	var doc bson.M
	if err := bson.Unmarshal(m.Body, &doc); err != nil {
		r.t.Fatal(err)
	}
	return m, doc
}

// run sends a command and returns its reply.
func (r *rawClient) run(cmd bson.D) bson.M {
	r.t.Helper()
	id := r.send(0, cmd)
	m, doc := r.receive()
	if m.Header.ResponseTo != id {
		r.t.Fatalf("reply to %d, want %d", m.Header.ResponseTo, id)
	}
	return doc
}

// wantCode runs a command that has to fail.
func (r *rawClient) wantCode(code int32, cmd bson.D) bson.M {
	r.t.Helper()
	doc := r.run(cmd)
	if doc["ok"] != 0.0 || doc["code"] != code {
		r.t.Fatalf("%v: got %v, want code %d", cmd, doc, code)
	}
	return doc
}

// wantOK runs a command that has to succeed.
func (r *rawClient) wantOK(cmd bson.D) bson.M {
	r.t.Helper()
	doc := r.run(cmd)
	if doc["ok"] != 1.0 {
		r.t.Fatalf("%v: got %v", cmd, doc)
	}
	return doc
}

// wantClosed waits for the server to close the connection.
func (r *rawClient) wantClosed() {
	r.t.Helper()
	n, err := io.Copy(io.Discard, r.c)
	if n > 0 {
		r.t.Fatalf("got %d bytes instead of the end of the connection", n)
	}
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		r.t.Fatal("connection was not closed")
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(waitLimit); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("never happened: ", what)
		}
	}
}

var ping = bson.D{{Key: "ping", Value: 1}}
