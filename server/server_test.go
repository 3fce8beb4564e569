package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/wire"
)

func TestErrorsAreFormattedInOnePlace(t *testing.T) {
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("coded", func(_ context.Context, _ *Request, reply *Reply) error {
			reply.AppendDoc(must(bson.Marshal(bson.D{{Key: "dropped", Value: 1}})))
			extra := must(bson.Marshal(bson.D{{Key: "keyPattern", Value: bson.D{{Key: "a", Value: 1}}}}))
			return Errorf(11000, "dup %s", "key").WithExtra(extra).WithLabels("RetryableWriteError")
		})
		m.HandleFunc("internal", func(context.Context, *Request, *Reply) error { return errors.New("secret detail") })
		m.HandleFunc("panics", func(context.Context, *Request, *Reply) error { panic("boom") })
		m.HandleFunc("huge", func(_ context.Context, _ *Request, reply *Reply) error {
			reply.Buf = append(reply.Buf, 5)
			reply.Buf = append(reply.Buf, "b\x00"...)
			reply.Buf = binary.LittleEndian.AppendUint32(reply.Buf, wire.MaxInternalDocumentSize)
			reply.Buf = append(reply.Buf, make([]byte, wire.MaxInternalDocumentSize+1)...)
			return nil
		})
	})
	c := ts.dial(t)
	doc := c.wantCode(11000, bson.D{{Key: "coded", Value: 1}})
	if doc["errmsg"] != "dup key" || doc["codeName"] != "DuplicateKey" || doc["keyPattern"] == nil || doc["dropped"] != nil {
		t.Errorf("coded error: %v", doc)
	}
	if l, ok := doc["errorLabels"].(bson.A); !ok || len(l) != 1 || l[0] != "RetryableWriteError" {
		t.Errorf("labels: %v", doc["errorLabels"])
	}
	doc = c.wantCode(1, bson.D{{Key: "internal", Value: 1}})
	if strings.Contains(doc["errmsg"].(string), "secret") || !strings.Contains(ts.log.String(), "secret detail") {
		t.Errorf("internal error: %v, log %s", doc, ts.log)
	}
	c.wantCode(1, bson.D{{Key: "panics", Value: 1}})
	if log := ts.log.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "server_test.go") {
		t.Errorf("panic not logged with its stack: %s", log)
	}
	if n := ts.Metrics().HandlerPanics.Load(); n != 1 {
		t.Errorf("%d panics counted", n)
	}
	c.wantCode(10334, bson.D{{Key: "huge", Value: 1}})
	doc = c.wantCode(59, bson.D{{Key: "Ping", Value: 1}})
	if doc["errmsg"] != "no such command: 'Ping'" || doc["codeName"] != "CommandNotFound" {
		t.Errorf("unknown command: %v", doc)
	}
	c.wantOK(ping)
}

func TestMalformedMessages(t *testing.T) {
	body := must(bson.Marshal(bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "test"}}))
	badElement := bytes.Clone(body)
	badElement[4] = 0x63
	deep := []byte{5, 0, 0, 0, 0}
	for range 300 {
		outer := append([]byte{0, 0, 0, 0, 3, 'a', 0}, deep...)
		outer = append(outer, 0)
		binary.LittleEndian.PutUint32(outer, uint32(len(outer)))
		deep = outer
	}
	header := func(length int32, op wire.OpCode) []byte {
		return wire.AppendHeader(nil, wire.Header{Length: length, RequestID: 1, OpCode: op})
	}
	legacy := func(op wire.OpCode) []byte {
		return wire.FinishMessage(append(header(0, op), make([]byte, 40)...), 0)
	}
	noDB := must(bson.Marshal(ping))
	numDB := must(bson.Marshal(bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: 1}}))
	for _, tc := range []struct {
		name string
		in   []byte
		code int32 // of the answer; 0: the connection is closed
	}{
		{"length 15", header(15, wire.OpMsg), 0},
		{"length negative", header(-1, wire.OpMsg), 0},
		{"length past the limit", header(wire.MaxMessageSize+1, wire.OpMsg), 0},
		{"header only", header(16, wire.OpMsg), 0},
		{"unknown opcode", header(16, 99), 0},
		{"OP_GET_MORE", legacy(wire.OpGetMore), 0},
		{"OP_INSERT", legacy(wire.OpInsert), 0},
		{"OP_KILL_CURSORS", legacy(wire.OpKillCursors), 0},
		{"unknown flag", wire.AppendMsg(nil, 1, 0, 1<<3, body), 0},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), 0},
		{"compressed garbage", wire.FinishMessage(append(header(0, wire.OpCompressed),
			0xDD, 7, 0, 0, 50, 0, 0, 0, 1, 9, 9, 9, 9), 0), 0},
		{"no body", wire.FinishMessage(append(header(0, wire.OpMsg), 0, 0, 0, 0), 0), 40587},
		{"unknown element type", wire.AppendMsg(nil, 1, 0, 0, badElement), 22},
		{"too deep", wire.AppendMsg(nil, 1, 0, 0, deep), 15},
		{"bad document in sequence", wire.FinishMessage(wire.AppendSequence(
			append(wire.AppendMsgStart(nil, 1, 0, 0), body...), "documents", badElement), 0), 22},
		{"no $db", wire.AppendMsg(nil, 1, 0, 0, noDB), 40571},
		{"$db is a number", wire.AppendMsg(nil, 1, 0, 0, numDB), 14},
		{"empty document", wire.AppendMsg(nil, 1, 0, 0, []byte{5, 0, 0, 0, 0}), 40571},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ts := start(t, State{}, nil)
			neighbour := ts.dial(t)
			neighbour.wantOK(ping)
			c := ts.dial(t)
			c.write(tc.in)
			if tc.code == 0 {
				c.wantClosed()
			} else {
				if _, doc := c.receive(); doc["code"] != tc.code {
					t.Errorf("got %v, want code %d", doc, tc.code)
				}
				c.wantOK(ping)
			}
			neighbour.wantOK(ping)
		})
	}
}

func TestPipelinedAndSplitMessages(t *testing.T) {
	ts := start(t, State{}, nil)
	c := ts.dial(t)
	var all []byte
	for i := range 50 {
		body := must(bson.Marshal(bson.D{{Key: "echo", Value: 1}, {Key: "msg", Value: strings.Repeat("x", i*i)}, {Key: "$db", Value: "d"}}))
		all = wire.AppendMsg(all, int32(i+1), 0, wire.FlagChecksumPresent*wire.MsgFlags(i%2), body)
	}
	go func() {
		for len(all) > 0 {
			n := min(len(all), 333)
			c.c.Write(all[:n])
			all = all[n:]
		}
	}()
	for i := range 50 {
		m, doc := c.receive()
		if m.Header.ResponseTo != int32(i+1) || len(doc["msg"].(string)) != i*i {
			t.Fatalf("reply %d: to %d, %d bytes", i, m.Header.ResponseTo, len(doc["msg"].(string)))
		}
	}
}

func TestNoReplyWanted(t *testing.T) {
	ran := make(chan string, 10)
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("write", func(_ context.Context, req *Request, _ *Reply) error {
			ran <- req.DB
			if req.WantsReply() {
				return nil
			}
			return Errorf(2, "nobody sees this")
		})
	})
	c := ts.dial(t)
	c.send(wire.FlagMoreToCome, bson.D{{Key: "write", Value: 1}})
	c.send(wire.FlagMoreToCome, bson.D{{Key: "unknown", Value: 1}})
	c.wantOK(bson.D{{Key: "write", Value: 1}})
	if len(ran) != 2 {
		t.Errorf("%d commands ran", len(ran))
	}
}

func TestSequences(t *testing.T) {
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("count", func(_ context.Context, req *Request, reply *Reply) error {
			s, ok := req.Sequence("documents")
			if !ok || len(req.Sequences()) != 1 {
				return Errorf(2, "no documents")
			}
			reply.AppendDoc(must(bson.Marshal(bson.D{{Key: "n", Value: s.Count}, {Key: "size", Value: req.Size}})))
			return nil
		})
	})
	c := ts.dial(t)
	b := wire.AppendMsgStart(nil, 1, 0, 0)
	b = append(b, must(bson.Marshal(bson.D{{Key: "count", Value: "c"}, {Key: "$db", Value: "d"}}))...)
	d := must(bson.Marshal(bson.D{{Key: "a", Value: strings.Repeat("x", 500)}}))
	b = wire.FinishMessage(wire.AppendSequence(b, "documents", d, d, d), 0)
	c.write(b)
	if _, doc := c.receive(); doc["n"] != int32(3) || doc["size"] != int32(len(b)) {
		t.Errorf("%v", doc)
	}
}

// The largest message passes, one byte more does not.
func TestMessageBoundary(t *testing.T) {
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("count", func(_ context.Context, req *Request, reply *Reply) error {
			s, _ := req.Sequence("d")
			reply.AppendDoc(must(bson.Marshal(bson.D{{Key: "n", Value: s.Count}, {Key: "size", Value: req.Size}})))
			return nil
		})
	})
	start := append(wire.AppendMsgStart(nil, 1, 0, 0), must(bson.Marshal(bson.D{{Key: "count", Value: 1}, {Key: "$db", Value: "d"}}))...)
	start = append(start, 1, 0, 0, 0, 0, 'd', 0)
	at := len(start) - 6
	room := wire.MaxMessageSize - len(start)
	for _, n := range []int{room / 3, room / 3, room - 2*(room/3)} {
		d := make([]byte, n)
		binary.LittleEndian.PutUint32(d, uint32(n))
		d[4] = 5
		d[5] = 0
		binary.LittleEndian.PutUint32(d[6:], uint32(n-12))
		start = append(start, d...)
	}
	binary.LittleEndian.PutUint32(start[at:], uint32(len(start)-at))
	full := wire.FinishMessage(start, 0)
	if len(full) != wire.MaxMessageSize {
		t.Fatal("test is wrong: ", len(full))
	}
	c := ts.dial(t)
	c.write(full)
	if _, doc := c.receive(); doc["n"] != int32(3) || doc["size"] != int32(wire.MaxMessageSize) {
		t.Errorf("%v", doc)
	}
	if n := ts.Metrics().RequestBytesInFlight.Load(); n != 0 {
		t.Errorf("%d bytes still in flight", n)
	}
	binary.LittleEndian.PutUint32(full, wire.MaxMessageSize+1)
	c.c.Write(full[:16])
	c.wantClosed()
}

func TestOpQuery(t *testing.T) {
	ts := start(t, State{}, nil)
	c := ts.dial(t)
	query := func(ns string, cmd bson.D) (wire.Reply, bson.M) {
		t.Helper()
		b := wire.AppendQuery(nil, 9, ns, must(bson.Marshal(cmd)))
		if name, plain := strings.CutSuffix(ns, "!"); plain {
			b = bytes.Replace(wire.AppendQuery(nil, 9, name, must(bson.Marshal(cmd))), []byte(".$cmd"), []byte(".coll"), 1)
		}
		c.write(b)
		m, _, err := wire.ReadMessage(c.c)
		if err != nil {
			t.Fatal(err)
		}
		var r wire.Reply
		if err := r.Parse(m.B); err != nil {
			t.Fatal(err)
		}
		if r.Header.ResponseTo != 9 || r.Documents.Count != 1 {
			t.Fatalf("%+v", r)
		}
		var doc bson.M
		if err := bson.Unmarshal(r.Documents.Bytes, &doc); err != nil {
			t.Fatal(err)
		}
		return r, doc
	}
	r, doc := query("admin", bson.D{{Key: "isMaster", Value: 1}, {Key: "helloOk", Value: true}})
	if doc["ismaster"] != true || doc["helloOk"] != true || doc["ok"] != 1.0 || r.Flags != wire.ReplyAwaitCapable {
		t.Errorf("isMaster: %v flags %d", doc, r.Flags)
	}
	_, doc = query("admin", bson.D{{Key: "$query", Value: bson.D{{Key: "ismaster", Value: 1}}},
		{Key: "$readPreference", Value: bson.D{{Key: "mode", Value: "secondary"}}}})
	if doc["ismaster"] != true {
		t.Errorf("wrapped: %v", doc)
	}
	if _, doc = query("admin", ping); doc["code"] != int32(352) || doc["codeName"] != "UnsupportedOpQueryCommand" {
		t.Errorf("ping: %v", doc)
	}
	r, doc = query("admin!", bson.D{})
	if doc["code"] != int32(5739101) || doc["$err"] == nil || r.Flags != wire.ReplyQueryFailure {
		t.Errorf("find: %v flags %d", doc, r.Flags)
	}
	c.wantOK(ping)
}

func TestClientGoneCancelsCommand(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("wait", func(ctx context.Context, req *Request, _ *Reply) error {
			close(started)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		})
	})
	c := ts.dial(t)
	closed := make(chan struct{})
	c.send(0, bson.D{{Key: "wait", Value: 1}})
	<-started
	ts.eachConn(func(sc *Conn) { sc.OnClose(func() { close(closed) }) })
	c.c.Close()
	select {
	case err := <-ended:
		if err != ErrClientGone {
			t.Errorf("cause %v", err)
		}
	case <-time.After(waitLimit):
		t.Fatal("command was not cancelled")
	}
	<-closed
	eventually(t, "connection count is zero", func() bool { return ts.Metrics().ConnectionsCurrent.Load() == 0 })
}

// A command that outlives the watcher's delay, with the next message already sent, loses no byte.
func TestWatcherKeepsPipelinedBytes(t *testing.T) {
	release := make(chan struct{})
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("slow", func(context.Context, *Request, *Reply) error { <-release; return nil })
	})
	c := ts.dial(t)
	for range 3 {
		first := c.send(0, bson.D{{Key: "slow", Value: 1}})
		time.AfterFunc(3*watchDelay, func() {
			c.send(0, ping)
			release <- struct{}{}
		})
		for i := range int32(2) {
			if m, doc := c.receive(); m.Header.ResponseTo != first+i || doc["ok"] != 1.0 {
				t.Fatalf("reply to %d: %v", m.Header.ResponseTo, doc)
			}
		}
		c.wantOK(ping)
	}
}

func TestExhaustReplies(t *testing.T) {
	var sendErr error
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("stream", func(_ context.Context, _ *Request, reply *Reply) error {
			for i := range 3 {
				reply.AppendDoc(must(bson.Marshal(bson.D{{Key: "i", Value: i}})))
				if i < 2 {
					if sendErr = reply.Send(); sendErr != nil {
						return nil //nolint:nilerr // the test looks at sendErr
					}
				}
			}
			return nil
		})
	})
	c := ts.dial(t)
	to := c.send(wire.FlagExhaustAllowed, bson.D{{Key: "stream", Value: 1}})
	for i := range int32(3) {
		m, doc := c.receive()
		more := m.Flags&wire.FlagMoreToCome != 0
		if doc["i"] != i || m.Header.ResponseTo != to || more != (i < 2) || doc["ok"] != 1.0 {
			t.Fatalf("reply %d: %v to %d flags %v", i, doc, m.Header.ResponseTo, m.Flags)
		}
		to = m.Header.RequestID
	}
	c.wantOK(bson.D{{Key: "stream", Value: 1}})
	if sendErr != ErrNoExhaust {
		t.Errorf("Send without exhaustAllowed: %v", sendErr)
	}
}

func TestShutdownDrains(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("slow", func(context.Context, *Request, *Reply) error {
			close(started)
			<-release
			return nil
		})
	})
	idle, busy := ts.dial(t), ts.dial(t)
	idle.wantOK(ping)
	busy.send(0, bson.D{{Key: "slow", Value: 1}})
	<-started
	down := make(chan error, 1)
	go func() { down <- ts.Shutdown(context.Background()) }()
	idle.wantClosed()
	if c, err := net.Dial("tcp", ts.Addr().String()); err == nil {
		c.SetDeadline(time.Now().Add(waitLimit))
		if n, _ := c.Read(make([]byte, 1)); n != 0 {
			t.Error("new connection served during shutdown")
		}
		c.Close()
	}
	select {
	case err := <-down:
		t.Fatal("shutdown ended before the command did: ", err)
	default:
	}
	close(release)
	if _, doc := busy.receive(); doc["ok"] != 1.0 {
		t.Errorf("%v", doc)
	}
	busy.wantClosed()
	if err := <-down; err != nil {
		t.Error(err)
	}
	if err := ts.Shutdown(context.Background()); err != nil {
		t.Error("second shutdown: ", err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	started, cause := make(chan struct{}), make(chan error, 1)
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("stuck", func(ctx context.Context, _ *Request, _ *Reply) error {
			close(started)
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return ctx.Err()
		})
	})
	c := ts.dial(t)
	c.send(0, bson.D{{Key: "stuck", Value: 1}})
	<-started
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := ts.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := <-cause; err != ErrForcedStop {
		t.Errorf("cause %v", err)
	}
}

func TestConnClose(t *testing.T) {
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("bye", func(_ context.Context, req *Request, _ *Reply) error { req.Conn.Close(); return nil })
	})
	c := ts.dial(t)
	c.wantOK(bson.D{{Key: "bye", Value: 1}})
	c.wantClosed()
}

func TestConnValues(t *testing.T) {
	type key struct{}
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("count", func(_ context.Context, req *Request, reply *Reply) error {
			n, _ := req.Conn.Value(key{}).(int32)
			req.Conn.SetValue(key{}, n+1)
			reply.AppendDoc(must(bson.Marshal(bson.D{{Key: "n", Value: n + 1}, {Key: "ok", Value: 1.0}})))
			return nil
		})
	})
	a, b := ts.dial(t), ts.dial(t)
	for i := range int32(3) {
		if doc := a.wantOK(bson.D{{Key: "count", Value: 1}}); doc["n"] != i+1 {
			t.Errorf("%v", doc)
		}
	}
	if doc := b.wantOK(bson.D{{Key: "count", Value: 1}}); doc["n"] != int32(1) {
		t.Errorf("neighbour: %v", doc)
	}
}

func TestCall(t *testing.T) {
	m := NewMux()
	NewHello(HelloConfig{Topology: NewTopology(State{Posture: Router})}).Register(m)
	m.HandleFunc("fails", func(context.Context, *Request, *Reply) error { return io.ErrNoProgress })
	doc, err := Call(t.Context(), m, NewRequest(nil, "admin", must(bson.Marshal(bson.D{{Key: "hello", Value: 1}}))))
	var got bson.M
	if err != nil || bson.Unmarshal(doc, &got) != nil || got["msg"] != "isdbgrid" || got["ok"] != 1.0 {
		t.Errorf("%v %v", got, err)
	}
	doc, err = Call(t.Context(), m, NewRequest(nil, "admin", must(bson.Marshal(bson.D{{Key: "nope", Value: 1}}))))
	if err != nil || doc.Lookup("code").Int32() != 59 {
		t.Errorf("%v %v", doc, err)
	}
	doc, err = Call(t.Context(), m, NewRequest(nil, "admin", must(bson.Marshal(bson.D{{Key: "fails", Value: 1}}))))
	if err != io.ErrNoProgress || doc.Lookup("code").Int32() != 1 {
		t.Errorf("%v %v", doc, err)
	}
}
