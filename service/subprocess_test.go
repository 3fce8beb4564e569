package service_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
)

// childVariable makes the test binary the subprocess of the tests.
const childVariable = "ARCHELON_TEST_CHILD"

// child speaks the protocol with encoding/json, as a program in another language would.
func child() {
	var mu sync.Mutex // guards standard output
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, format+"\n", args...)
	}
	cancelled := map[int64]chan struct{}{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 32<<20)
	fmt.Fprintln(os.Stderr, "child is there")
	for in.Scan() {
		var req struct {
			ID      int64
			DB      string
			Command map[string]any
			Cancel  bool
		}
		if err := json.Unmarshal(in.Bytes(), &req); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if req.Cancel {
			close(cancelled[req.ID])
			continue
		}
		gone := make(chan struct{})
		cancelled[req.ID] = gone
		go work(say, req.ID, req.DB, req.Command, gone)
	}
}

func work(say func(string, ...any), id int64, db string, command map[string]any, gone chan struct{}) {
	switch {
	case command["echo"] != nil:
		back, _ := json.Marshal(command)
		say(`{"id":%d,"reply":{"db":%q,"uri":%q,"args":%s}}`, id, db, os.Getenv(service.URIVariable), back)
	case command["fail"] != nil:
		say(`{"id":%d,"error":{"code":10000003,"codeName":"NoLuck","errmsg":"no luck","errorLabels":["RetryableError"],"hint":5}}`, id)
	case command["hang"] != nil:
		<-gone
		fmt.Fprintln(os.Stderr, "cancelled")
	case command["die"] != nil:
		os.Exit(3)
	case command["garbage"] != nil:
		say(`garbage`)
	case command["count"] != nil:
		for n := range int(command["to"].(float64)) {
			say(`{"id":%d,"item":{"n":%d,"id":{"$oid":"00000000000000000000000%d"}}}`, id, n, n%10)
		}
		if command["broken"] == nil {
			say(`{"id":%d,"end":true}`, id)
		} else {
			say(`{"id":%d,"error":{"code":96,"errmsg":"failed"}}`, id)
		}
	}
}

// syncLog is a log that a test can read while others write it.
type syncLog struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *syncLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *syncLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func startChild(t *testing.T) (*running, *syncLog) {
	log := &syncLog{}
	svc := service.New("child", service.Config{Logger: slog.New(slog.NewTextHandler(log, nil)), Quiesce: -1})
	err := svc.AddSubprocess(service.Subprocess{
		Command: os.Args[0], Env: []string{childVariable + "=1"}, URI: "mongodb://host/", MinBackoff: 10 * time.Millisecond,
		Commands: []service.Command{{Name: "echo", Help: "Echoes."}, {Name: "fail"}, {Name: "hang"}, {Name: "die"}, {Name: "garbage"}},
		Streams:  []service.Command{{Name: "count"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return start(t, svc), log
}

func TestSubprocess(t *testing.T) {
	r, log := startChild(t)
	same(t, r.run(t, `{"ECHO": 1, "a": [true, null, {"$date": "2024-05-06T07:08:09Z"}], "comment": "x"}`),
		`{"db": "test", "uri": "mongodb://host/", "args": {"a": [true, null, {"$date": "2024-05-06T07:08:09Z"}], "echo": 1}, "ok": 1.0}`)
	same(t, r.run(t, `{"fail": 1}`),
		`{"ok": 0.0, "errmsg": "no luck", "code": 10000003, "codeName": "NoLuck", "hint": 5, "errorLabels": ["RetryableError"]}`)
	failed(t, r.run(t, `{"hang": 1, "maxTimeMS": 50}`), 50, "time limit")
	eventually(t, "the child is told", func() bool { return log.has("cancelled") })
	eventually(t, "the log has what it says", func() bool { return log.has("child is there") })

	b := r.run(t, `{"count": 1, "to": 5, "cursor": {"batchSize": 2}}`)
	if b.Lookup("cursor", "firstBatch", "1", "n").AsInt64() != 1 || b.Lookup("cursor", "firstBatch", "1", "id").Type != bson.TypeObjectID {
		t.Errorf("%s", b)
	}
	cur, err := r.client(t).Database("test").RunCommandCursor(t.Context(), bson.D{{Key: "count", Value: 1}, {Key: "to", Value: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for cur.Next(t.Context()) {
		n++
	}
	if n != 1000 || cur.Err() != nil {
		t.Errorf("%d documents, %v", n, cur.Err())
	}
	failed(t, r.run(t, `{"count": 1, "to": 0, "broken": 1}`), 96, "failed")
}

// TestSubprocessIsConcurrent: a call that hangs does not hold up others.
func TestSubprocessIsConcurrent(t *testing.T) {
	r, _ := startChild(t)
	var calls sync.WaitGroup
	hang := harness.Dial(t, r.addr)
	calls.Go(func() { failed(t, r.runOn(t, hang, `{"hang": 1, "maxTimeMS": 500}`), 50, "time limit") })
	for range 8 {
		c := harness.Dial(t, r.addr)
		calls.Go(func() {
			for i := range 50 {
				reply := r.runOn(t, c, fmt.Sprintf(`{"echo": %d}`, i))
				if reply.Lookup("args", "echo").AsInt64() != int64(i) {
					t.Errorf("%s", reply)
				}
			}
		})
	}
	calls.Wait()
}

func TestSubprocessRestarts(t *testing.T) {
	r, log := startChild(t)
	for _, end := range []string{`{"die": 1}`, `{"garbage": 1}`, `{"die": 1}`} {
		failed(t, r.run(t, end), 6, "ended while it ran")
		if reply := r.run(t, `{"echo": 1}`); harness.Code(reply) != 0 {
			t.Errorf("%s", reply)
		}
	}
	for _, text := range []string{"exit status 3", "not of the protocol", "restart_in=20ms"} {
		if !log.has(text) {
			t.Errorf("the log does not tell %q:\n%s", text, log.b.String())
		}
	}
}

func TestSubprocessThatDoesNotStart(t *testing.T) {
	svc := service.New("child", service.Config{Quiesce: -1})
	for _, bad := range []service.Subprocess{{}, {Command: "x"}, {Command: "x", Commands: []service.Command{{Name: "y"}}, StopGrace: -1}} {
		if svc.AddSubprocess(bad) == nil {
			t.Errorf("%+v", bad)
		}
	}
	if err := svc.AddSubprocess(service.Subprocess{Command: "/nowhere/program", Commands: []service.Command{{Name: "echo"}}, StartTimeout: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	r := start(t, svc)
	reply := r.run(t, `{"echo": 1}`)
	failed(t, reply, 6, "does not run")
	if reply.Lookup("errorLabels", "0").StringValue() != "RetryableWriteError" {
		t.Errorf("%s", reply)
	}
}
