package server

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/wire"
)

func TestMaxConnections(t *testing.T) {
	ts := start(t, State{}, func(c *Config, _ *Mux) { c.MaxConnections = 2 })
	a, b := ts.dial(t), ts.dial(t)
	a.wantOK(ping)
	b.wantOK(ping)
	for range 5 {
		ts.dial(t).wantClosed()
	}
	// A client sees its connection closed before the server has counted it.
	eventually(t, "five connections are rejected", func() bool { return ts.Metrics().ConnectionsRejected.Load() == 5 })
	if n := strings.Count(ts.log.String(), "too many"); n < 1 || n > 2 {
		t.Errorf("%d log lines for 5 rejected connections", n)
	}
	a.wantOK(ping)
	b.c.Close()
	eventually(t, "a connection is free", func() bool { return ts.Metrics().ConnectionsCurrent.Load() == 1 })
	ts.dial(t).wantOK(ping)
}

func TestMaxRequestBytes(t *testing.T) {
	const limit = 64 << 10
	release, started := make(chan struct{}), make(chan struct{}, 1)
	ts := start(t, State{}, func(c *Config, m *Mux) {
		c.MaxRequestBytes = limit
		m.HandleFunc("hold", func(context.Context, *Request, *Reply) error {
			started <- struct{}{}
			<-release
			return nil
		})
	})
	sized := func(name string, n int) bson.D {
		d := bson.D{{Key: name, Value: 1}, {Key: "pad", Value: ""}}
		over := len(must(bson.Marshal(append(d, bson.E{Key: "$db", Value: "test"})))) + wire.MsgBodyOffset
		d[1].Value = strings.Repeat("x", n-over)
		return d
	}
	c := ts.dial(t)
	c.wantOK(sized("ping", limit))
	doc := c.wantCode(462, sized("ping", limit+1))
	labels, _ := doc["errorLabels"].(bson.A)
	if doc["codeName"] != "IngressRequestRateLimitExceeded" || len(labels) != 2 ||
		labels[0] != "SystemOverloadedError" || labels[1] != "RetryableError" {
		t.Errorf("%v", doc)
	}
	// Without an answer wanted there is none, and the connection stays in step.
	c.send(wire.FlagMoreToCome, sized("ping", limit+1))
	c.wantOK(ping)

	holder := ts.dial(t)
	holder.send(0, sized("hold", limit-2000))
	<-started
	c.wantOK(sized("ping", 1<<10)) // lives in the connection's own memory
	c.wantOK(sized("ping", 2000))
	c.wantCode(462, sized("ping", 2001))
	close(release)
	if _, doc := holder.receive(); doc["ok"] != 1.0 {
		t.Errorf("what was admitted did not finish: %v", doc)
	}
	c.wantOK(sized("ping", limit))
	if n := ts.Metrics().RequestsRefused.Load(); n != 3 {
		t.Errorf("%d refused", n)
	}
	if n := ts.Metrics().RequestBytesInFlight.Load(); n != 0 {
		t.Errorf("%d bytes still in flight", n)
	}

	// A compressed message whose content does not fit ends the connection: see Conn.decompress.
	body := must(bson.Marshal(append(sized("ping", limit+100), bson.E{Key: "$db", Value: "test"})))
	c.write(must(wire.AppendCompressed(nil, wire.AppendMsg(nil, 1, 0, 0, body), wire.CompressorZstd)))
	c.wantClosed()
	if n := ts.Metrics().RequestBytesInFlight.Load(); n != 0 {
		t.Errorf("%d bytes still in flight", n)
	}
}

func TestIdleTimeout(t *testing.T) {
	ts := start(t, State{}, func(c *Config, _ *Mux) { c.IdleTimeout = 50 * time.Millisecond })
	c := ts.dial(t)
	c.wantOK(ping)
	c.wantClosed()
}

func TestReadTimeout(t *testing.T) {
	for _, size := range []int{100, 1 << 20} {
		ts := start(t, State{}, func(c *Config, _ *Mux) { c.ReadTimeout = 50 * time.Millisecond })
		idle, c := ts.dial(t), ts.dial(t)
		idle.wantOK(ping)
		c.write(wire.AppendHeader(nil, wire.Header{Length: int32(size), OpCode: wire.OpMsg}))
		c.wantClosed()
		idle.wantOK(ping)
		if n := ts.Metrics().RequestBytesInFlight.Load(); n != 0 {
			t.Errorf("%d bytes still in flight", n)
		}
	}
}

func TestWriteTimeout(t *testing.T) {
	ts := start(t, State{}, func(c *Config, m *Mux) {
		c.WriteTimeout = 50 * time.Millisecond
		m.HandleFunc("big", func(_ context.Context, _ *Request, reply *Reply) error {
			reply.AppendDoc(must(bson.Marshal(bson.D{{Key: "b", Value: make([]byte, 15<<20)}})))
			return nil
		})
	})
	c := ts.dial(t)
	for range 4 { // more than the sockets buffer
		c.send(0, bson.D{{Key: "big", Value: 1}})
	}
	eventually(t, "connection ends", func() bool { return ts.Metrics().ConnectionsCurrent.Load() == 0 })
}

func TestListenErrors(t *testing.T) {
	ts := start(t, State{}, nil)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	served := filepath.Join(dir, "served.sock")
	l, err := net.Listen("unix", served)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tc := range []struct{ address, want string }{
		{ts.Addr().String(), "the port is in use"},
		{plain, "not a socket"},
		{served, "another server is listening"},
		{filepath.Join(dir, "missing", "x.sock"), "directory does not exist"},
		{"192.0.2.1:0", "no such address"},
		{"", ""},
	} {
		cfg := ts.cfg
		cfg.Addresses = []string{"127.0.0.1:0", tc.address}
		if tc.address == "" {
			cfg.Addresses, tc.want = nil, "no address"
		}
		s, err := Listen(cfg)
		if err == nil {
			s.Shutdown(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.address, err, tc.want)
		}
	}
	if _, err := Listen(Config{MaxConnections: -1}); err == nil || len(strings.Split(err.Error(), "\n")) < 4 {
		t.Errorf("not all problems reported: %v", err)
	}
}

func TestStaleUnixSocketIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	ts := start(t, State{}, func(c *Config, _ *Mux) { c.Addresses = []string{"unix:" + path, "127.0.0.1:0"} })
	ts.dial(t).wantOK(ping)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
	if len(ts.Addrs()) != 2 {
		t.Errorf("%v", ts.Addrs())
	}
}

func TestIdleConnectionsHoldLittle(t *testing.T) {
	ts := start(t, State{}, nil)
	c := ts.dial(t)
	c.wantOK(bson.D{{Key: "echo", Value: 1}, {Key: "msg", Value: strings.Repeat("x", 1<<20)}})
	eventually(t, "connection is idle", func() bool { return ts.Metrics().ConnectionsActive.Load() == 0 })
	seen := 0
	ts.eachConn(func(sc *Conn) {
		seen++
		if sc.reply.buf != nil || sc.reply.Buf != nil {
			t.Error("idle connection holds a reply buffer")
		}
	})
	if size := unsafe.Sizeof(Conn{}); seen != 1 || size > 2<<10 {
		t.Errorf("%d connections of %d bytes", seen, size)
	}
}

// An idle connection costs its goroutine and a small struct.
func TestIdleConnectionMemory(t *testing.T) {
	const n, bound = 300, 16 << 10
	ts := start(t, State{}, nil)
	inUse := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	ts.dial(t).wantOK(ping)
	before := inUse()
	for range n {
		ts.dial(t).wantOK(bson.D{{Key: "echo", Value: 1}, {Key: "msg", Value: strings.Repeat("x", 100_000)}})
	}
	if each := (inUse() - before) / n; each > bound {
		t.Errorf("%d bytes for each idle connection, at most %d wanted", each, bound)
	} else {
		t.Logf("%d bytes for each idle connection", each)
	}
}
