package egress_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/wire"
)

// waitLimit bounds every wait for something real.
const waitLimit = 10 * time.Second

// realServer is a running server of package server.
type realServer struct {
	*server.Server
	host     egress.Host
	mux      *server.Mux
	topology *server.Topology
}

// serve runs a server with hello, ping, echo, sleep, count (a stream of replies) and fail until the test ends.
func serve(t testing.TB, state server.State, change func(*server.Config, *server.HelloConfig)) *realServer {
	t.Helper()
	s := &realServer{mux: server.NewMux(), topology: server.NewTopology(state)}
	cfg := server.Config{
		Addresses: []string{"127.0.0.1:0"}, Handler: s.mux, Logger: slog.New(slog.DiscardHandler), ShutdownGrace: time.Millisecond,
	}
	hello := server.HelloConfig{Topology: s.topology}
	if change != nil {
		change(&cfg, &hello)
	}
	server.NewHello(hello).Register(s.mux)
	s.mux.HandleFunc("ping", server.Ping)
	s.mux.HandleFunc("endSessions", server.Ping)
	s.mux.HandleFunc("echo", func(_ context.Context, req *server.Request, reply *server.Reply) error {
		reply.Buf = bsonval.AppendElement(reply.Buf, "echo", bsonval.Document(req.Body))
		for _, seq := range req.Sequences() {
			reply.Buf = bsonval.AppendElement(reply.Buf, string(seq.Name), bsonval.Int32(int32(seq.Count)))
		}
		reply.Buf = bsonval.AppendElement(reply.Buf, "compressor", bsonval.String(req.Compressor.String()))
		return nil
	})
	s.mux.HandleFunc("sleep", func(ctx context.Context, _ *server.Request, _ *server.Reply) error {
		<-ctx.Done()
		return ctx.Err()
	})
	s.mux.HandleFunc("count", func(_ context.Context, req *server.Request, reply *server.Reply) error {
		n, _ := req.Body.Lookup("count").AsInt64()
		for i := range n {
			reply.Buf = bsonval.AppendElement(reply.Buf, "n", bsonval.Int64(i))
			if i < n-1 {
				if err := reply.Send(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	s.mux.HandleFunc("fail", func(context.Context, *server.Request, *server.Reply) error {
		extra := must(bson.Marshal(bson.D{{Key: "detail", Value: 7}}))
		return server.Errorf(96, "it went %s", "wrong").WithLabels("ALabel").WithExtra(extra)
	})
	var err error
	if s.Server, err = server.Listen(cfg); err != nil {
		t.Fatal(err)
	}
	s.host = must(egress.ParseHost(s.Addr().String()))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-served
	})
	return s
}

// users is a store of SCRAM credentials.
type users struct {
	password string
	only     []string // mechanisms
	logins   atomic.Int64
}

type scramKey struct{}

// install makes a server know the users' commands.
func (u *users) install(s *realServer) {
	s.mux.HandleFunc("saslStart", u.handle)
	s.mux.HandleFunc("saslContinue", u.handle)
}

// hello makes hello answer about mechanisms and speculative authentication.
func (u *users) hello(cfg *server.HelloConfig) {
	cfg.SASLMechanisms = func(context.Context, string, string) ([]string, error) { return u.only, nil }
	cfg.Extend = func(_ context.Context, req *server.Request, dst []byte) ([]byte, error) {
		v := req.Body.Lookup("speculativeAuthenticate")
		if v.IsMissing() {
			return dst, nil
		}
		doc, err := u.step(req.Conn, v.Doc())
		if err != nil {
			return dst, nil //nolint:nilerr // hello goes on without it, as MongoDB's does
		}
		return bsonval.AppendElement(dst, "speculativeAuthenticate", bsonval.Document(doc)), nil
	}
}

func (u *users) handle(_ context.Context, req *server.Request, reply *server.Reply) error {
	doc, err := u.step(req.Conn, req.Body)
	reply.AppendDoc(doc)
	return err
}

func (u *users) step(conn *server.Conn, body server.Doc) (server.Doc, error) {
	denied := server.Errorf(18, "Authentication failed.")
	if m := body.Lookup("mechanism"); !m.IsMissing() {
		known := false
		for _, o := range u.only {
			known = known || o == m.Str()
		}
		if !known {
			return nil, server.Errorf(334, "Unsupported mechanism %s", m.Str())
		}
		conn.SetValue(scramKey{}, u.conversation(m.Str()))
	}
	conv, _ := conn.Value(scramKey{}).(*scram.ServerConversation)
	if conv == nil {
		return nil, denied
	}
	payload := ""
	if !conv.Done() {
		var err error
		if payload, err = conv.Step(string(body.Lookup("payload").Bytes())); err != nil {
			return nil, denied
		}
	}
	if conv.Done() {
		u.logins.Add(1)
	}
	return bsonval.NewBuilder().Int32("conversationId", 1).Bool("done", conv.Done()).
		Value("payload", bsonval.Binary(0, []byte(payload))).Build(), nil
}

func (u *users) conversation(mechanism string) *scram.ServerConversation {
	const iterations = 4096
	gen, password := scram.SHA256, u.password
	if mechanism == egress.ScramSHA1 {
		gen, password = scram.SHA1, mongoDigest("user", u.password)
	}
	srv := must(gen.NewServer(func(string) (scram.StoredCredentials, error) {
		c := must(gen.NewClientUnprepped("user", password, ""))
		return c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt-of-16-bytes", Iters: iterations})
	}))
	return srv.NewConversation()
}

// faultProxy is a TCP relay that misbehaves on demand.
type faultProxy struct {
	listener net.Listener
	host     egress.Host
	to       string
	stalled  atomic.Bool
	// garbage, if set, is what clients get instead of replies.
	garbage atomic.Pointer[[]byte]
	// cutAfter, if not negative, cuts a connection when so many bytes of replies have passed.
	cutAfter atomic.Int64

	mu    sync.Mutex // guards the field below
	conns map[net.Conn]struct{}
	done  sync.WaitGroup
}

// interpose puts a proxy before a server until the test ends.
func interpose(t testing.TB, to net.Addr) *faultProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &faultProxy{listener: l, to: to.String(), conns: map[net.Conn]struct{}{}}
	p.host = must(egress.ParseHost(l.Addr().String()))
	p.cutAfter.Store(-1)
	p.done.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.done.Wait()
	})
	return p
}

func (p *faultProxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.done.Go(func() { p.relay(out, in, false) })
		p.done.Go(func() { p.relay(in, out, true) })
	}
}

// relay copies from one side to the other until an end.
func (p *faultProxy) relay(to, from net.Conn, replies bool) {
	defer to.Close()
	defer from.Close()
	passed := int64(0)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if p.stalled.Load() {
			io.Copy(io.Discard, from)
			return
		}
		if err != nil {
			return
		}
		out := buf[:n]
		if g := p.garbage.Load(); replies && g != nil {
			out = *g
		}
		if limit := p.cutAfter.Load(); replies && limit >= 0 {
			out = out[:min(int64(len(out)), max(limit-passed, 0))]
		}
		passed += int64(len(out))
		if _, err := to.Write(out); err != nil || len(out) < n && p.garbage.Load() == nil {
			return
		}
	}
}

// cut closes all connections.
func (p *faultProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
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

// garbageReplies are what a server should not send.
func garbageReplies() map[string][]byte {
	body := must(bson.Marshal(bson.D{{Key: "ok", Value: 1}}))
	broken := bytes.Clone(body)
	broken[4] = 0x7e // an unknown type
	return map[string][]byte{
		"http":           []byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
		"huge length":    {0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 1, 0, 0, 0, 0xdd, 7, 0, 0},
		"tiny length":    {3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0xdd, 7, 0, 0},
		"other id":       wire.AppendMsg(nil, 1, 99, 0, body),
		"malformed BSON": wire.AppendMsg(nil, 1, 2, 0, broken),
		"unasked stream": wire.AppendMsg(nil, 1, 2, wire.FlagMoreToCome, body),
		"a request":      wire.AppendQuery(nil, 1, "admin", body),
	}
}
