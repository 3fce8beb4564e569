package service_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
)

type item struct {
	N int32 `bson:"n"`
}

// streams is a service of streams that tells what happens to their handlers.
type streams struct {
	*running
	ended chan error  // gets the context's cause when a handler ends
	feed  chan int32  // feeds the live stream
	gate  chan string // lets "slow" go on
}

func startStreams(t *testing.T, cfg service.Config) *streams {
	s := &streams{ended: make(chan error, 100), feed: make(chan int32), gate: make(chan string)}
	svc := service.New("streams", cfg)
	service.Stream(svc, service.Command{Name: "count"}, func(ctx context.Context, req struct {
		To   int32
		Fail int32  `bson:",omitempty"`
		Pad  int    `bson:",omitempty"`
		Text string `bson:",omitempty"`
	}) iter.Seq2[bson.D, error] {
		return func(yield func(bson.D, error) bool) {
			defer func() { s.ended <- context.Cause(ctx) }()
			for n := range req.To {
				if req.Fail > 0 && n == req.Fail {
					yield(nil, service.Errorf(96, "failed at %d", n))
					return
				}
				d := bson.D{{Key: "n", Value: n}}
				if req.Pad > 0 {
					d = append(d, bson.E{Key: "pad", Value: make([]byte, req.Pad)})
				}
				if !yield(d, nil) {
					return
				}
			}
		}
	})
	service.Stream(svc, service.Command{Name: "slow"}, func(ctx context.Context, _ struct{}) iter.Seq2[item, error] {
		return func(yield func(item, error) bool) {
			defer func() { s.ended <- context.Cause(ctx) }()
			for n := int32(0); ; n++ {
				select {
				case what := <-s.gate:
					if what == "panic" {
						panic("ouch")
					}
					if what == "end" || !yield(item{n}, nil) {
						return
					}
				case <-ctx.Done():
					yield(item{}, ctx.Err())
					return
				}
			}
		}
	})
	service.Stream(svc, service.Command{Name: "news", Live: true}, func(ctx context.Context, _ struct{}) iter.Seq2[item, error] {
		return func(yield func(item, error) bool) {
			defer func() { s.ended <- context.Cause(ctx) }()
			for {
				select {
				case n := <-s.feed:
					if !yield(item{n}, nil) {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}
	})
	s.running = start(t, svc)
	return s
}

// batch is a cursor reply.
type batch struct {
	Cursor struct {
		First []item `bson:"firstBatch"`
		Next  []item `bson:"nextBatch"`
		ID    int64
		NS    string
	}
	OK float64
}

func (s *streams) batch(t *testing.T, command string) batch {
	t.Helper()
	reply := s.run(t, command)
	var b batch
	if err := bson.Unmarshal(reply, &b); err != nil || b.OK != 1 {
		t.Fatalf("%s: %v %s", command, err, reply)
	}
	return b
}

func (s *streams) more(t *testing.T, b batch, arguments string) bson.Raw {
	t.Helper()
	_, coll, _ := strings.Cut(b.Cursor.NS, ".")
	return s.run(t, fmt.Sprintf(`{"getMore": {"$numberLong": "%d"}, "collection": "%s" %s}`, b.Cursor.ID, coll, arguments))
}

func (s *streams) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(waiting):
		t.Fatal("the handler did not end")
		return nil
	}
}

func TestStream(t *testing.T) {
	s := startStreams(t, service.Config{})
	b := s.batch(t, `{"count": 1, "to": 5}`)
	if len(b.Cursor.First) != 5 || b.Cursor.ID != 0 || b.Cursor.NS != "test.$cmd.count" {
		t.Errorf("%+v", b)
	}
	b = s.batch(t, `{"count": 1, "to": 5, "cursor": {"batchSize": 2}}`)
	if len(b.Cursor.First) != 2 || b.Cursor.ID == 0 {
		t.Fatalf("%+v", b)
	}
	next := s.more(t, b, `, "batchSize": 2`)
	if next.Lookup("cursor", "nextBatch", "1", "n").Int32() != 3 || next.Lookup("cursor", "id").Int64() != b.Cursor.ID {
		t.Errorf("%s", next)
	}
	next = s.more(t, b, "")
	if next.Lookup("cursor", "nextBatch", "0", "n").Int32() != 4 || next.Lookup("cursor", "id").Int64() != 0 {
		t.Errorf("%s", next)
	}
	failed(t, s.more(t, b, ""), 43, "not found")
	failed(t, s.run(t, `{"count": 1, "to": 5, "batchSize": -1}`), 2, "count.batchSize")
	failed(t, s.run(t, `{"count": 1, "to": 5, "cursor": {"size": 1}}`), 40415, "count.cursor.size")
	failed(t, s.run(t, `{"count": 1, "to": "x"}`), 14, "count.to")
}

func TestStreamByDriver(t *testing.T) {
	s := startStreams(t, service.Config{})
	db := s.client(t).Database("test")
	read := func(what string, next func(context.Context) bool, decode func(any) error, want int) {
		n := 0
		for next(t.Context()) {
			var i item
			if err := decode(&i); err != nil || int(i.N) != n {
				t.Errorf("%s: document %d is %v (%v)", what, n, i, err)
			}
			n++
		}
		if n != want {
			t.Errorf("%s: %d documents, want %d", what, n, want)
		}
	}
	cur, err := db.RunCommandCursor(t.Context(), bson.D{{Key: "count", Value: 1}, {Key: "to", Value: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	read("runCommand", cur.Next, cur.Decode, 1000)
	cur, err = db.Collection("$cmd").Find(t.Context(), bson.D{{Key: "count", Value: 1}, {Key: "to", Value: 1000}}, options.Find().SetBatchSize(7))
	if err != nil {
		t.Fatal(err)
	}
	read("find", cur.Next, cur.Decode, 1000)
	cur, err = db.Collection("$cmd").Find(t.Context(), bson.D{{Key: "count", Value: 1}, {Key: "to", Value: 1000}}, options.Find().SetBatchSize(7).SetLimit(20))
	if err != nil {
		t.Fatal(err)
	}
	read("find with a limit", cur.Next, cur.Decode, 20)
	var one item
	if err := db.Collection("$cmd").FindOne(t.Context(), bson.D{{Key: "count", Value: 1}, {Key: "to", Value: 1000}}).Decode(&one); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		s.end(t)
	}
}

func TestStreamOfLargeDocuments(t *testing.T) {
	s := startStreams(t, service.Config{})
	cur, err := s.client(t).Database("test").RunCommandCursor(t.Context(), bson.D{{Key: "count", Value: 1}, {Key: "to", Value: 8}, {Key: "pad", Value: 9 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for cur.Next(t.Context()) {
		n++
	}
	if n != 8 || cur.Err() != nil {
		t.Errorf("%d documents, %v", n, cur.Err())
	}
	failed(t, s.run(t, `{"count": 1, "to": 1, "pad": 16777216}`), 10334, "more than the limit")
}

func TestStreamErrors(t *testing.T) {
	s := startStreams(t, service.Config{})
	b := s.batch(t, `{"count": 1, "to": 9, "fail": 3}`)
	if len(b.Cursor.First) != 3 || b.Cursor.ID == 0 {
		t.Fatalf("%+v", b)
	}
	failed(t, s.more(t, b, ""), 96, "failed at 3")
	failed(t, s.more(t, b, ""), 43, "not found")
	b = s.batch(t, `{"slow": 1, "batchSize": 0}`)
	go func() { s.gate <- "panic" }()
	failed(t, s.more(t, b, ""), 1, "panicked")
}

// TestProgress: a document goes to the client when it is there, not when a batch is full.
func TestProgress(t *testing.T) {
	s := startStreams(t, service.Config{})
	b := s.batch(t, `{"slow": 1, "batchSize": 0}`)
	for i := range 3 {
		go func() { s.gate <- "go" }()
		next := s.more(t, b, "")
		if got := next.Lookup("cursor", "nextBatch", "0", "n").Int32(); got != int32(i) {
			t.Errorf("%s", next)
		}
	}
	go func() { s.gate <- "end" }()
	if next := s.more(t, b, ""); next.Lookup("cursor", "id").Int64() != 0 {
		t.Errorf("%s", next)
	}
}

func TestLive(t *testing.T) {
	s := startStreams(t, service.Config{})
	b := s.batch(t, `{"news": 1}`)
	if b.Cursor.ID == 0 || len(b.Cursor.First) != 0 {
		t.Fatalf("%+v", b)
	}
	began := time.Now()
	quiet := s.more(t, b, `, "maxTimeMS": 30`)
	if took := time.Since(began); took < 30*time.Millisecond || quiet.Lookup("cursor", "id").Int64() != b.Cursor.ID {
		t.Errorf("%s: %s", took, quiet)
	}
	go func() { s.feed <- 7 }()
	if next := s.more(t, b, `, "maxTimeMS": 5000`); next.Lookup("cursor", "nextBatch", "0", "n").Int32() != 7 {
		t.Errorf("%s", next)
	}
	_, coll, _ := strings.Cut(b.Cursor.NS, ".")
	killed := s.run(t, fmt.Sprintf(`{"killCursors": "%s", "cursors": [{"$numberLong": "%d"}, {"$numberLong": "5"}]}`, coll, b.Cursor.ID))
	if killed.Lookup("cursorsKilled", "0").Int64() != b.Cursor.ID || killed.Lookup("cursorsNotFound", "0").Int64() != 5 {
		t.Errorf("%s", killed)
	}
	s.end(t)

	cur, err := s.client(t).Database("test").Collection("$cmd").Find(t.Context(), bson.D{{Key: "news", Value: 1}},
		options.Find().SetCursorType(options.TailableAwait).SetMaxAwaitTime(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if cur.TryNext(t.Context()) {
		t.Error("no news yet")
	}
	go func() { s.feed <- 8 }()
	var i item
	if !cur.Next(t.Context()) || cur.Decode(&i) != nil || i.N != 8 {
		t.Errorf("%v %v", i, cur.Err())
	}
	if err := cur.Close(t.Context()); err != nil {
		t.Error(err)
	}
	s.end(t)
}

func TestIdleCursorsEnd(t *testing.T) {
	s := startStreams(t, service.Config{CursorTimeout: 30 * time.Millisecond})
	b := s.batch(t, `{"slow": 1, "batchSize": 0}`)
	s.end(t)
	failed(t, s.more(t, b, ""), 43, "not found")
}

func TestCursorsEnd(t *testing.T) {
	s := startStreams(t, service.Config{})
	failed(t, s.run(t, `{"slow": 1, "maxTimeMS": 20}`), 50, "time limit")
	s.end(t)
	b := s.batch(t, `{"slow": 1, "batchSize": 0, "maxTimeMS": 20}`)
	failed(t, s.more(t, b, ""), 50, "time limit")
	s.end(t)
	b = s.batch(t, `{"slow": 1, "batchSize": 0}`)
	failed(t, s.more(t, b, `, "maxTimeMS": 5`), 2, "cannot set maxTimeMS on getMore")

	const session = `"lsid": {"id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}}}`
	b = s.batch(t, `{"slow": 1, "batchSize": 0, `+session+`}`)
	failed(t, s.more(t, b, ""), 50737, "without an lsid")
	failed(t, s.run(t, fmt.Sprintf(`{"getMore": {"$numberLong": "%d"}, "collection": "other"}`, b.Cursor.ID)), 13, "different namespace")
	s.run(t, `{"endSessions": [{"id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}}}]}`)
	s.end(t)
}

func TestMaxCursors(t *testing.T) {
	s := startStreams(t, service.Config{MaxCursors: 2})
	s.batch(t, `{"news": 1}`)
	s.batch(t, `{"news": 1}`)
	reply := s.run(t, `{"news": 1}`)
	failed(t, reply, 462, "too many open cursors")
	if reply.Lookup("errorLabels", "0").StringValue() != "SystemOverloadedError" {
		t.Errorf("%s", reply)
	}
	s.stop() // the streams do not end by themselves, but when the time to drain is over
	for range 2 {
		if err := s.end(t); err == nil || err.Error() != "interrupted at shutdown" {
			t.Errorf("%v", err)
		}
	}
}

// TestGoneClient: a client that goes away while it waits takes its stream along.
func TestGoneClient(t *testing.T) {
	s := startStreams(t, service.Config{})
	gone := harness.Dial(t, s.addr)
	if err := gone.Send(harness.Msg(0, harness.Doc(t, bson.D{{Key: "slow", Value: 1}, {Key: "$db", Value: "test"}}))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the call runs", func() bool { return s.runs("slow") == 1 })
	gone.Close()
	s.end(t)
}
