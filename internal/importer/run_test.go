package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore is a server that keeps documents by _id and refuses those with a field "refuse" and repeated "unique".
type fakeStore struct {
	uri string

	mu      sync.Mutex // guards the fields below
	docs    map[string]bson.Raw
	unique  map[string]bool
	inserts int
	onWrite func(batch int) // called before each batch, without mu
}

func startStore(t *testing.T) *fakeStore {
	t.Helper()
	f := &fakeStore{docs: map[string]bson.Raw{}, unique: map[string]bool{}}
	mux := server.NewMux()
	server.NewHello(server.HelloConfig{Topology: server.NewTopology(server.State{Posture: server.Router})}).Register(mux)
	for _, name := range []string{"ping", "endSessions"} {
		mux.HandleFunc(name, server.Ping)
	}
	mux.HandleFunc("insert", f.insert)
	mux.HandleFunc("update", f.update)
	mux.HandleFunc("drop", func(context.Context, *server.Request, *server.Reply) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		clear(f.docs)
		clear(f.unique)
		return nil
	})
	s, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}, Handler: mux, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() { stop(); <-served })
	f.uri = "mongodb://" + s.Addr().String()
	return f
}

func (f *fakeStore) insert(_ context.Context, req *server.Request, reply *server.Reply) error {
	f.mu.Lock()
	f.inserts++
	batch, hook := f.inserts, f.onWrite
	f.mu.Unlock()
	if hook != nil {
		hook(batch)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	seq, _ := req.Sequence("documents")
	i, n := 0, 0
	var failures bson.A
	for doc := range seq.Documents() {
		raw := bson.Raw(bytes.Clone(doc))
		id, unique := raw.Lookup("_id").String(), raw.Lookup("unique").String()
		fail := func(code int, pattern string) {
			failures = append(failures, bson.D{
				{Key: "index", Value: i}, {Key: "code", Value: code}, {Key: "errmsg", Value: "refused " + pattern},
				{Key: "keyPattern", Value: bson.D{{Key: pattern, Value: 1}}},
			})
		}
		switch _, err := raw.LookupErr("refuse"); {
		case f.docs[id] != nil:
			fail(11000, "_id")
		case unique != "" && f.unique[unique]:
			fail(11000, "unique")
		case err == nil:
			fail(121, "validation")
		default:
			f.docs[id] = raw
			f.unique[unique] = true
			n++
		}
		i++
	}
	out := bson.D{{Key: "n", Value: n}}
	if failures != nil {
		out = append(out, bson.E{Key: "writeErrors", Value: failures})
	}
	b, err := bson.Marshal(out)
	reply.AppendDoc(b)
	return err
}

func (f *fakeStore) update(_ context.Context, req *server.Request, reply *server.Reply) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	seq, _ := req.Sequence("updates")
	var upserted bson.A
	i := 0
	for u := range seq.Documents() {
		doc := bytes.Clone(bson.Raw(u).Lookup("u").Document())
		id := bson.Raw(doc).Lookup("_id")
		if f.docs[id.String()] == nil {
			upserted = append(upserted, bson.D{{Key: "index", Value: i}, {Key: "_id", Value: id}})
		}
		f.docs[id.String()] = doc
		i++
	}
	out := bson.D{{Key: "n", Value: i}, {Key: "nModified", Value: i - len(upserted)}}
	if upserted != nil {
		out = append(out, bson.E{Key: "upserted", Value: upserted})
	}
	b, err := bson.Marshal(out)
	reply.AppendDoc(b)
	return err
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func jsonLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"n\":%d}\n", i)
	}
	return b.String()
}

func TestRunReportsAndResumes(t *testing.T) {
	f := startStore(t)
	content := jsonLines(2500) + "broken\n{\"refuse\":1}\n{\"unique\":\"u\"}\n{\"unique\":\"u\"}\n" + jsonLines(10)
	file, errs := write(t, "data.jsonl", content), filepath.Join(t.TempDir(), "errors.txt")
	config := Config{URI: f.uri, DB: "d", File: file, BatchSize: 100, Workers: 3, Errors: errs}
	var out bytes.Buffer
	res, err := Run(t.Context(), config, &out)
	if err != nil {
		t.Fatal(err)
	}
	if res.Read != 2514 || res.Inserted != 2511 || res.Bad != 3 || res.AlreadyThere != 0 || len(f.docs) != 2511 {
		t.Errorf("%+v, %d stored", res, len(f.docs))
	}
	report, _ := os.ReadFile(errs)
	for _, part := range []string{"data.jsonl:2501: expected a document", "data.jsonl:2502: refused by the server: refused validation (code 121)", "(code 11000)"} {
		if !strings.Contains(out.String(), part) || !strings.Contains(string(report), part) {
			t.Errorf("%q is missing in %s and %s", part, &out, report)
		}
	}
	res, err = Run(t.Context(), config, nil)
	if err != nil || res.Inserted != 0 || res.AlreadyThere != 2511 || res.Bad != 3 {
		t.Errorf("second run: %+v, %v", res, err)
	}
	config.Drop = true
	if res, err = Run(t.Context(), config, nil); err != nil || res.Inserted != 2511 {
		t.Errorf("with drop: %+v, %v", res, err)
	}
}

func TestRunInterrupted(t *testing.T) {
	f := startStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.onWrite = func(batch int) {
		if batch == 5 {
			cancel()
		}
	}
	config := Config{URI: f.uri, DB: "d", File: write(t, "data.json", jsonLines(20_000)), BatchSize: 100, Workers: 2}
	var out bytes.Buffer
	res, err := Run(ctx, config, &out)
	if !errors.Is(err, ErrInterrupted) || !res.Interrupted || !strings.Contains(err.Error(), "run the same command again") {
		t.Fatalf("%+v, %v", res, err)
	}
	if res.Inserted != int64(len(f.docs)) || res.Inserted < 400 || res.Inserted > 5000 {
		t.Errorf("%d counted, %d stored", res.Inserted, len(f.docs))
	}
	f.onWrite = nil
	again, err := Run(t.Context(), config, nil)
	if err != nil || again.AlreadyThere != res.Inserted || again.Inserted+again.AlreadyThere != 20_000 {
		t.Errorf("resumed: %+v, %v", again, err)
	}
}

func TestRunUpsert(t *testing.T) {
	f := startStore(t)
	config := Config{URI: f.uri, DB: "d", File: write(t, "data.csv", "code,name\nA,one\nB,two\n"), IDField: "code", Upsert: true}
	res, err := Run(t.Context(), config, nil)
	if err != nil || res.Inserted != 2 || res.Replaced != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	config.File = write(t, "data.csv", "code,name\nB,other\nC,three\n")
	res, err = Run(t.Context(), config, nil)
	if err != nil || res.Inserted != 1 || res.Replaced != 1 || len(f.docs) != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	if name := f.docs[`"B"`].Lookup("name").StringValue(); name != "other" {
		t.Errorf("B is %s", name)
	}
}

func TestRunStrict(t *testing.T) {
	f := startStore(t)
	config := Config{URI: f.uri, DB: "d", File: write(t, "data.jsonl", "{\"a\":1}\nbad\n"+jsonLines(50_000)), Strict: true, BatchSize: 10}
	res, err := Run(t.Context(), config, nil)
	if err == nil || res.Bad < 1 || res.Inserted > 40_000 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRunServerGone(t *testing.T) {
	f := startStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Config{URI: f.uri, DB: "d", File: write(t, "data.json", "[]")}, nil); err == nil {
		t.Error("no error with an ended context")
	}
}
