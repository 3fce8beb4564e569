package service_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology.(*pool).maintain"))
}

// waiting bounds whatever a test waits for, grace what may run when a service stops.
const (
	waiting = 10 * time.Second
	grace   = 300 * time.Millisecond
)

// running is a service that listens until the test ends.
type running struct {
	*service.Service
	addr  string
	conn  *harness.Conn
	stop  context.CancelFunc
	ended chan struct{}
}

func start(t testing.TB, svc *service.Service) *running {
	t.Helper()
	return startOn(t, svc, "127.0.0.1:0")
}

func startOn(t testing.TB, svc *service.Service, addr string) *running {
	t.Helper()
	i, err := svc.Listen(server.Config{Addresses: []string{addr}, ShutdownGrace: grace})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Service: svc, addr: i.Addr(), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		if err := i.Serve(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-r.ended
	})
	r.conn = harness.Dial(t, r.addr)
	return r
}

func doc(t testing.TB, json string) bson.D {
	t.Helper()
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(json), false, &d); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return d
}

// run sends a command as Extended JSON on the test's connection.
func (r *running) run(t testing.TB, json string) bson.Raw {
	t.Helper()
	return r.runOn(t, r.conn, json)
}

func (r *running) runOn(t testing.TB, c *harness.Conn, json string) bson.Raw {
	t.Helper()
	d := doc(t, json)
	reply, err := c.Call(harness.Msg(0, harness.Doc(t, append(d, bson.E{Key: "$db", Value: dbOf(d)}))))
	if err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return reply
}

// dbOf is the database a command is for.
func dbOf(d bson.D) string {
	switch d[0].Key {
	case "currentOp", "killOp", "aggregate":
		return "admin"
	}
	return "test"
}

func (r *running) client(t testing.TB) *mongo.Client {
	t.Helper()
	return harness.Connect(t, options.Client().ApplyURI("mongodb://"+r.addr+"/"))
}

func same(t testing.TB, got bson.Raw, want string) {
	t.Helper()
	w := harness.Doc(t, doc(t, want))
	if string(got) != string(w) {
		t.Errorf("got  %s\nwant %s", got, bson.Raw(w))
	}
}

// failed checks a reply's code and a part of its message.
func failed(t testing.TB, reply bson.Raw, code int32, part string) {
	t.Helper()
	if got := harness.Code(reply); got != code || !strings.Contains(reply.Lookup("errmsg").String(), part) {
		t.Errorf("got %s\nwant code %d and %q", reply, code, part)
	}
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	end := time.Now().Add(waiting)
	for tick := time.NewTicker(2 * time.Millisecond); !condition(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s did not come true", what)
		}
	}
}

type pong struct {
	Pong bson.D `bson:"pong"`
}

// newEcho is the service of the source text.
func newEcho(cfg service.Config) *service.Service {
	svc := service.New("echo", cfg)
	service.Handle(svc, service.Command{Name: "ping", Help: "Answers what it is sent."}, func(_ context.Context, req bson.D) (pong, error) {
		return pong{req}, nil
	})
	return svc
}

func TestEcho(t *testing.T) {
	r := start(t, newEcho(service.Config{}))
	const want = `{"pong": {"ping": 1, "hello": "world"}, "ok": 1.0}`
	same(t, r.run(t, `{"ping": 1, "hello": "world"}`), want)
	same(t, r.run(t, `{"ping": 1, "lsid": {"id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}}}, "maxTimeMS": 1000, "hello": "world", "comment": 1}`), want)
	same(t, r.run(t, `{"PiNg": 1, "hello": "world"}`), `{"pong": {"PiNg": 1, "hello": "world"}, "ok": 1.0}`)
	same(t, r.run(t, `{"$query": {"ping": 1, "hello": "world"}, "$readPreference": {"mode": "nearest"}}`), want)
	for _, wrapped := range []string{`{"ping": 1, "hello": "world"}`, `{"$query": {"ping": 1, "hello": "world"}}`} {
		same(t, r.run(t, `{"find": "$cmd", "filter": `+wrapped+`, "limit": 1, "singleBatch": true}`),
			`{"cursor": {"firstBatch": [`+want+`], "id": {"$numberLong": "0"}, "ns": "test.$cmd"}, "ok": 1.0}`)
		reply, err := r.conn.Call(harness.Query("test.$cmd", harness.Doc(t, doc(t, wrapped))))
		if err != nil {
			t.Fatal(err)
		}
		same(t, reply, want)
	}
	var reply bson.Raw
	if err := r.client(t).Database("test").RunCommand(t.Context(), doc(t, `{"ping": 1, "hello": "world"}`)).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	same(t, reply, want)
	var found bson.Raw
	if err := r.client(t).Database("test").Collection("$cmd").FindOne(t.Context(), doc(t, `{"ping": 1, "hello": "world"}`)).Decode(&found); err != nil {
		t.Fatal(err)
	}
	same(t, found, want)
}

type resize struct {
	Name  string `bson:"resize" doc:"of the picture"`
	Width int32  `bson:"width"`
	Mode  string `bson:"mode,omitempty"`
}

// Validate implements service.Validator.
func (r *resize) Validate() error {
	if r.Width > 100 {
		return errors.New("too wide")
	}
	return nil
}

type resized struct {
	Text string `bson:"text"`
}

// boom is an error of another server, as the official driver returns it.
var boom = mongo.CommandError{Code: 112, Name: "WriteConflict", Message: "try again", Labels: []string{"TransientTransactionError"}}

func newThings(t testing.TB, cfg service.Config) *service.Service {
	svc := service.New("things", cfg)
	service.Handle(svc, service.Command{Name: "resize", Aliases: []string{"scale"}, Help: "Makes a picture smaller."}, func(_ context.Context, r resize) (resized, error) {
		return resized{fmt.Sprintf("%s@%d%s", r.Name, r.Width, r.Mode)}, nil
	})
	service.Handle(svc, service.Command{Name: "fail"}, func(_ context.Context, r struct{ How string }) (bson.M, error) {
		switch r.How {
		case "code":
			e := service.Errorf(10_000_001, "no luck")
			e.Name = "NoLuck"
			return nil, fmt.Errorf("wrapped: %w", e.WithLabels("RetryableError"))
		case "driver":
			return nil, fmt.Errorf("downstream: %w", boom)
		case "panic":
			panic("ouch")
		}
		return nil, errors.New("a secret")
	})
	service.Handle(svc, service.Command{Name: "wait"}, func(ctx context.Context, _ struct{}) (bson.D, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	svc.HandleRaw(service.Command{Name: "who"}, func(ctx context.Context, c *service.Call) error {
		if service.FromContext(ctx) != c {
			t.Error("another call in the context")
		}
		out, err := bson.Marshal(bson.D{{Key: "args", Value: c.Args()}, {Key: "db", Value: c.DB()}, {Key: "command", Value: c.Command()}, {Key: "ok", Value: int32(1)}})
		c.Reply().AppendDoc(out)
		return err
	})
	return svc
}

func TestArguments(t *testing.T) {
	r := start(t, newThings(t, service.Config{}))
	for _, c := range []struct {
		command string
		code    int32 // 0: the next is the reply
		want    string
	}{
		{`{"resize": "cat", "width": 5}`, 0, `{"text": "cat@5", "ok": 1.0}`},
		{`{"RESIZE": "cat", "mode": "!", "width": 5.0}`, 0, `{"text": "cat@5!", "ok": 1.0}`},
		{`{"scale": "cat", "width": 5, "mode": null}`, 0, `{"text": "cat@5", "ok": 1.0}`},
		{`{"resize": "cat"}`, 40414, "BSON field 'resize.width' is missing but a required field"},
		{`{"resize": 1, "width": 5}`, 14, "BSON field 'resize.resize' is the wrong type 'int', expected type 'string'"},
		{`{"scale": "cat", "width": "x"}`, 14, "BSON field 'resize.width' is the wrong type 'string'"},
		{`{"resize": "cat", "width": 5, "color": 1}`, 40415, "BSON field 'resize.color' is an unknown field."},
		{`{"resize": "cat", "width": 5, "width": 5}`, 40413, "BSON field 'resize.width' is a duplicate field"},
		{`{"resize": "cat", "width": 500}`, 2, "resize: too wide"},
		{`{"resize": "cat", "width": 5, "maxTimeMS": "x"}`, 14, "maxTimeMS"},
		{`{"resize": "cat", "width": 5, "maxTimeMS": -1}`, 2, "out of range"},
		{`{"resize": "cat", "width": 5, "lsid": 1}`, 14, "lsid"},
		{`{"resize": "cat", "width": 5, "lsid": {"id": 1}}`, 14, "lsid.id"},
		{`{"resize": "cat", "width": 5, "apiVersion": "2"}`, 322, "API version"},
		{`{"resize": "cat", "width": 5, "apiVersion": "1", "apiStrict": true}`, 323, "not in API Version 1"},
		{`{"resize": "cat", "width": 5, "txnNumber": {"$numberLong": "1"}}`, 72, "session ID"},
		{`{"resize": "cat", "width": 5, "lsid": {"id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}}}, "txnNumber": {"$numberLong": "1"}}`, 50768, "not a retryable write command"},
		{`{"resize": "cat", "width": 5, "lsid": {"id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}}}, "txnNumber": {"$numberLong": "1"}, "autocommit": false}`, 263, "multi-document transaction"},
		{`{"who": 7, "a": 1, "comment": "c"}`, 0, `{"args": {"who": 7, "a": 1}, "db": "test", "command": "who", "ok": 1}`},
		{`{"resiez": "cat"}`, 59, "no such command: 'resiez', did you mean 'resize'?"},
		{`{"xyzzy": 1}`, 59, "no such command: 'xyzzy'\""},
		{`{"find": "things"}`, 115, "no collections"},
		{`{"find": "$cmd", "filter": {"resize": "cat", "width": 1}, "sort": {"a": 1}}`, 238, "find.sort"},
		{`{"find": "$cmd", "filter": {"find": "$cmd"}}`, 9, "find within find"},
		{`{"find": "$cmd", "filter": {"resiez": 1}}`, 59, "resize"},
		{`{"find": "$cmd", "filter": {"resize": "cat"}}`, 40414, "resize.width"},
		{`{"find": "$cmd", "filter": {"resize": "cat", "width": 1}, "tailable": true}`, 2, "no live stream"},
	} {
		reply := r.run(t, c.command)
		if c.code == 0 {
			same(t, reply, c.want)
		} else {
			failed(t, reply, c.code, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	var log strings.Builder
	r := start(t, newThings(t, service.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	same(t, r.run(t, `{"fail": 1, "how": "code"}`),
		`{"ok": 0.0, "errmsg": "no luck", "code": 10000001, "codeName": "NoLuck", "errorLabels": ["RetryableError"]}`)
	same(t, r.run(t, `{"fail": 1, "how": "driver"}`),
		`{"ok": 0.0, "errmsg": "try again", "code": 112, "codeName": "WriteConflict", "errorLabels": ["TransientTransactionError"]}`)
	failed(t, r.run(t, `{"fail": 1, "how": "panic"}`), 1, "internal error")
	if !strings.Contains(log.String(), "ouch") || !strings.Contains(log.String(), "service_test.go") {
		t.Errorf("the log does not tell of the panic:\n%s", &log)
	}
	reply := r.run(t, `{"fail": 1, "how": "plain"}`)
	failed(t, reply, 1, "internal error")
	if strings.Contains(reply.String(), "secret") || !strings.Contains(log.String(), "a secret") {
		t.Errorf("%s\n%s", reply, &log)
	}
	err := r.client(t).Database("test").RunCommand(t.Context(), bson.D{{Key: "fail", Value: 1}, {Key: "how", Value: "code"}}).Err()
	var ce mongo.CommandError
	if !errors.As(err, &ce) || ce.Name != "NoLuck" || !ce.HasErrorLabel("RetryableError") {
		t.Errorf("%v", err)
	}
}

func TestHandlersAreCancelled(t *testing.T) {
	r := start(t, newThings(t, service.Config{}))
	failed(t, r.run(t, `{"wait": 1, "maxTimeMS": 20}`), 50, "time limit")
	failed(t, r.run(t, `{"find": "$cmd", "filter": {"wait": 1}, "maxTimeMS": 20}`), 50, "time limit")

	c := harness.Dial(t, r.addr)
	done := make(chan bson.Raw)
	go func() { done <- r.runOn(t, c, `{"wait": 1}`) }()
	var op bson.RawValue
	eventually(t, "the operation is listed", func() bool {
		ops := r.run(t, `{"currentOp": 1, "command.wait": 1}`)
		op, _ = ops.LookupErr("inprog", "0", "opid")
		return op.Type != 0
	})
	r.run(t, fmt.Sprintf(`{"killOp": 1, "op": %d}`, op.Int32()))
	failed(t, <-done, 11601, "interrupted")

	gone := harness.Dial(t, r.addr)
	if err := gone.Send(harness.Msg(0, harness.Doc(t, bson.D{{Key: "wait", Value: 1}, {Key: "$db", Value: "test"}}))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the call runs", func() bool { return r.runs("wait") == 1 })
	gone.Close()
	eventually(t, "the call is cancelled", func() bool { return r.runs("wait") == 0 })
}

// runs is how many calls of a command run.
func (r *running) runs(command string) int64 {
	for _, m := range r.Metrics() {
		if m.Name == command {
			return m.Running
		}
	}
	return -1
}

func TestIntrospection(t *testing.T) {
	r := start(t, newThings(t, service.Config{Version: "1.2"}))
	help := r.run(t, `{"resize": 1, "help": true}`)
	for path, want := range map[string]string{
		"help": `"help for: resize Makes a picture smaller."`, "request.$jsonSchema.properties.resize.description": `"of the picture"`,
		"request.$jsonSchema.required.1": `"width"`, "reply.$jsonSchema.properties.text.bsonType": `"string"`, "aliases.0": `"scale"`,
	} {
		if got := help.Lookup(strings.Split(path, ".")...).String(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	list := r.run(t, `{"listCommands": 1}`)
	for _, path := range []string{"resize.request.$jsonSchema", "resize.help", "hello.requiresAuth", "getMore.apiVersions.0"} {
		if _, err := list.LookupErr(append([]string{"commands"}, strings.Split(path, ".")...)...); err != nil {
			t.Errorf("listCommands: %s: %v", path, err)
		}
	}
	hello := r.run(t, `{"hello": 1}`)
	if hello.Lookup("msg").StringValue() != "isdbgrid" || !hello.Lookup("isWritablePrimary").Boolean() {
		t.Errorf("%s", hello)
	}
	if loud := r.run(t, `{"HELLO": 1}`); !loud.Lookup("isWritablePrimary").Boolean() {
		t.Errorf("%s", loud)
	}
	for command, path := range map[string]string{
		`{"buildInfo": 1}`: "version", `{"buildinfo": 1}`: "service.name", `{"connectionStatus": 1, "showPrivileges": true}`: "authInfo.authenticatedUserPrivileges",
		`{"whatsmyuri": 1}`: "you", `{"serverStatus": 1}`: "metrics.commands.resize.total", `{"serverStatus": 1, "network": 0}`: "connections.current",
		`{"isMaster": 1}`: "ismaster", `{"aggregate": 1, "pipeline": [{"$currentOp": {"allUsers": true}}], "cursor": {}}`: "cursor.firstBatch.0.command.aggregate",
	} {
		if reply := r.run(t, command); reply.Lookup(strings.Split(path, ".")...).Type == 0 {
			t.Errorf("%s: no %s in %s", command, path, reply)
		}
	}
	failed(t, r.runOn(t, r.conn, `{"currentOp": 1, "microsecs_running": {"$gt": 1}}`), 238, "$gt")
}

func TestAuthorize(t *testing.T) {
	svc := newThings(t, service.Config{Authorize: func(ctx context.Context, c *service.Call) error {
		if service.FromContext(ctx) != c {
			t.Error("another call in the context")
		}
		if c.DB() == "test" {
			return service.Errorf(13, "not authorized on test to execute command %s", c.Command())
		}
		return nil
	}})
	r := start(t, svc)
	failed(t, r.run(t, `{"who": 1}`), 13, "not authorized")
	failed(t, r.run(t, `{"find": "$cmd", "filter": {"who": 1}}`), 13, "not authorized")
	if reply := r.run(t, `{"listCommands": 1}`); harness.Code(reply) != 0 {
		t.Errorf("%s", reply)
	}
}

func TestMistakesOfTheProgram(t *testing.T) {
	type clash struct {
		Comment string `bson:"comment"`
	}
	for name, f := range map[string]func(s *service.Service){
		"taken name": func(s *service.Service) { s.HandleRaw(service.Command{Name: "WHO"}, nil) },
		"fixed name": func(s *service.Service) { s.HandleRaw(service.Command{Name: "getMore"}, nil) },
		"no name":    func(s *service.Service) { s.HandleRaw(service.Command{}, nil) },
		"generic": func(s *service.Service) {
			service.Handle(s, service.Command{Name: "x"}, func(context.Context, clash) (bson.D, error) { return nil, nil })
		},
		"no document": func(s *service.Service) {
			service.Handle(s, service.Command{Name: "x"}, func(context.Context, int) (bson.D, error) { return nil, nil })
		},
		"stream once": func(s *service.Service) {
			service.Stream(s, service.Command{Name: "x", Once: true}, func(context.Context, bson.D) iter.Seq2[bson.D, error] { return nil })
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f(newThings(t, service.Config{}))
		}()
	}
}

func TestMounted(t *testing.T) {
	svc := newThings(t, service.Config{})
	mux := server.NewMux()
	mux.HandleDB("things", svc)
	body := harness.Doc(t, bson.D{{Key: "resize", Value: "cat"}, {Key: "width", Value: 5}})
	got, err := server.Call(t.Context(), mux, server.NewRequest(nil, "things", body))
	if err != nil {
		t.Fatal(err)
	}
	same(t, bson.Raw(got), `{"text": "cat@5", "ok": 1.0}`)
}

// TestSequences: fields may come as document sequences of the message.
func TestSequences(t *testing.T) {
	var n atomic.Int64
	svc := service.New("queue", service.Config{})
	service.Handle(svc, service.Command{Name: "insert"}, func(_ context.Context, req struct {
		Insert    string
		Documents []bson.Raw
		Ordered   bool `bson:",omitempty"`
	}) (bson.D, error) {
		n.Add(int64(len(req.Documents)))
		return bson.D{{Key: "n", Value: int32(len(req.Documents))}}, nil
	})
	r := start(t, svc)
	res, err := r.client(t).Database("test").Collection("jobs").InsertMany(t.Context(), []any{bson.D{{Key: "a", Value: 1}}, bson.D{{Key: "a", Value: 2}}})
	if err == nil || !strings.Contains(err.Error(), "not a retryable write command") {
		t.Fatalf("the driver sends inserts with a transaction number: %v %v", res, err)
	}
	plain := harness.Connect(t, options.Client().ApplyURI("mongodb://"+r.addr+"/?retryWrites=false"))
	if _, err := plain.Database("test").Collection("jobs").InsertMany(t.Context(), []any{bson.D{{Key: "a", Value: 1}}, bson.D{{Key: "a", Value: 2}}}); err != nil {
		t.Fatal(err)
	}
	if n.Load() != 2 {
		t.Errorf("%d documents", n.Load())
	}
}

// FuzzHandle: no command crashes a service, and every one is answered with a document.
func FuzzHandle(f *testing.F) {
	for _, json := range []string{
		`{"ping": 1}`, `{"resize": "cat", "width": 5}`, `{"who": 1, "lsid": {"id": 1}}`, `{"find": "$cmd", "filter": {"$query": {"who": 1}}}`,
		`{"$query": {"$query": {}}}`, `{"getMore": {"$numberLong": "1"}, "collection": "x"}`, `{"killCursors": "x", "cursors": []}`,
		`{"aggregate": 1, "pipeline": [{"$currentOp": {}}], "cursor": {}}`, `{"endSessions": [{}]}`, `{"serverStatus": 1, "metrics": 0}`,
		`{"currentOp": 1, "a": {"$b": 1}}`, `{"connectionStatus": 1, "showPrivileges": "x"}`, `{"who": 1, "txnNumber": {"$numberLong": "1"}}`,
	} {
		f.Add(harness.Doc(f, doc(f, json)))
	}
	svc := newThings(f, service.Config{})
	mux := server.NewMux()
	mux.HandleDB("test", svc)
	f.Fuzz(func(t *testing.T, b []byte) {
		if bson.Raw(b).Validate() != nil || !wellFormed(b) {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		reply, _ := server.Call(ctx, mux, server.NewRequest(nil, "test", b))
		if bson.Raw(reply).Validate() != nil || bson.Raw(reply).Lookup("ok").Type != bson.TypeDouble && bson.Raw(reply).Lookup("ok").Type != bson.TypeInt32 {
			t.Fatalf("%s: %s", bson.Raw(b), bson.Raw(reply))
		}
		for _, m := range svc.Metrics() {
			if m.Panics > 0 && m.Name != "fail" {
				t.Fatalf("%s panicked: %s", m.Name, bson.Raw(b))
			}
		}
	})
}

// wellFormed is what the server checks before a handler sees a document.
func wellFormed(b []byte) bool { return bsonval.ValidateCommand(b) == nil }
