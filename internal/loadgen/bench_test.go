package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
)

// startFake serves just enough for the bench: inserts are counted, reads answer with documents of the right number.
func startFake(t *testing.T, failing string) (uri string, loaded *atomic.Int64) {
	t.Helper()
	loaded = &atomic.Int64{}
	mux := server.NewMux()
	server.NewHello(server.HelloConfig{Topology: server.NewTopology(server.State{Posture: server.Router})}).Register(mux)
	for _, name := range []string{"ping", "endSessions", "drop", "dropDatabase", "createIndexes"} {
		mux.HandleFunc(name, server.Ping)
	}
	answer := func(name string, reply func(*server.Request) bson.D) {
		mux.HandleFunc(name, func(_ context.Context, req *server.Request, out *server.Reply) error {
			if name == failing {
				return server.Errorf(2, "%s fails", name)
			}
			b, err := bson.Marshal(reply(req))
			out.AppendDoc(b)
			return err
		})
	}
	answer("insert", func(req *server.Request) bson.D {
		seq, _ := req.Sequence("documents")
		loaded.Add(int64(seq.Count))
		return bson.D{{Key: "n", Value: seq.Count}}
	})
	answer("update", func(*server.Request) bson.D { return bson.D{{Key: "n", Value: 1}, {Key: "nModified", Value: 1}} })
	cursor := func(n int) bson.D {
		docs := make(bson.A, n)
		for i := range docs {
			docs[i] = bson.D{{Key: "_id", Value: i}, {Key: "n", Value: 1}}
		}
		return bson.D{{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)}, {Key: "ns", Value: "d.c"}, {Key: "firstBatch", Value: docs}}}}
	}
	answer("find", func(req *server.Request) bson.D {
		if _, err := bson.Raw(req.Body).LookupErr("filter", "customer"); err == nil {
			return cursor(perCustomer)
		}
		return cursor(1)
	})
	answer("aggregate", func(*server.Request) bson.D { return cursor(1) })
	s, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}, Handler: mux, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() { stop(); <-served })
	return "mongodb://" + s.Addr().String(), loaded
}

func TestRun(t *testing.T) {
	uri, loaded := startFake(t, "")
	config := Config{URI: uri, Docs: 2010, Batch: 100, Connections: 3, Duration: 20 * time.Millisecond, JSON: true, Workloads: []string{"find_id", "update_id", "group", "count"}}
	var out bytes.Buffer
	if err := Run(t.Context(), config, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if loaded.Load() != 2010 {
		t.Errorf("%d documents loaded", loaded.Load())
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		var r Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if r.Ops == 0 || r.Errors != 0 || r.P50Ms <= 0 || r.P50Ms > r.P99Ms || r.P99Ms > r.MaxMs {
			t.Errorf("%+v", r)
		}
		names = append(names, r.Workload)
	}
	if got := strings.Join(names, " "); got != "load index_customer index_region find_id update_id group count" {
		t.Errorf("ran %s", got)
	}
}

func TestRunAll(t *testing.T) {
	uri, _ := startFake(t, "")
	var out bytes.Buffer
	if err := Run(t.Context(), Config{URI: uri, Docs: 200, Connections: 2, Duration: 5 * time.Millisecond}, &out); err != nil {
		t.Fatal(err)
	}
	names, _ := Workloads()
	for _, name := range names {
		if !strings.Contains(out.String(), "\n"+name+" ") {
			t.Errorf("%s is missing in:\n%s", name, &out)
		}
	}
}

func TestRunFails(t *testing.T) {
	for failing, part := range map[string]string{"insert": "load: ", "update": "operations failed"} {
		uri, _ := startFake(t, failing)
		var out bytes.Buffer
		err := Run(t.Context(), Config{URI: uri, Docs: 100, Connections: 2, Duration: 5 * time.Millisecond, Workloads: []string{"update_id"}}, &out)
		if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(out.String(), failing+" fails") {
			t.Errorf("%s fails: %v\n%s", failing, err, &out)
		}
	}
}
