package gateway_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
)

func doc(t testing.TB, text string) bsonval.Doc {
	t.Helper()
	var d bson.D
	check(t, bson.UnmarshalExtJSON([]byte(text), true, &d))
	raw, err := bson.Marshal(d)
	check(t, err)
	return raw
}

func TestDiff(t *testing.T) {
	now := time.Now().Unix()
	for _, c := range []struct{ command, a, b, want string }{
		{`{"ping":1}`, `{"ok":{"$numberDouble":"1.0"},"operationTime":1}`, `{"ok":{"$numberDouble":"1.0"}}`, ""},
		{`{"ping":1}`, `{"ok":{"$numberDouble":"1.0"}}`, `{"ok":{"$numberInt":"1"}}`, "ok: normal 1.0 (double), proxy 1 (int)"},
		{`{"find":"c"}`, `{"cursor":{"id":{"$numberLong":"5"},"firstBatch":[{"a":1,"b":2}]}}`,
			`{"cursor":{"id":{"$numberLong":"6"},"firstBatch":[{"b":2,"a":1}]}}`, "cursor.firstBatch.0: normal fields a, b, proxy fields b, a"},
		{`{"find":"c"}`, `{"cursor":{"id":{"$numberLong":"0"}}}`, `{"cursor":{"id":{"$numberLong":"6"}}}`, "cursor.id: normal 0 (long), proxy 6 (long)"},
		{`{"find":"c"}`, `{"cursor":{"firstBatch":[1,2]}}`, `{"cursor":{"firstBatch":[2,1]}}`, ""},
		{`{"find":"c","sort":{"a":1}}`, `{"cursor":{"firstBatch":[1,2]}}`, `{"cursor":{"firstBatch":[2,1]}}`,
			"cursor.firstBatch.0: normal 1 (int), proxy 2 (int)\ncursor.firstBatch.1: normal 2 (int), proxy 1 (int)"},
		{`{"aggregate":"c","pipeline":[{"$sort":{"a":1}},{"$group":{"_id":1}}]}`, `{"cursor":{"firstBatch":[1,2]}}`, `{"cursor":{"firstBatch":[2,1]}}`, ""},
		{`{"find":"c"}`, `{"cursor":{"firstBatch":[1]}}`, `{"cursor":{"firstBatch":[1,{"x":1}]}}`, "cursor.firstBatch.1: normal missing, proxy { x: 1 } (object)"},
		{`{"find":"c"}`, `{"code":2,"errmsg":"x"}`, `{"code":2,"errmsg":"y"}`, `errmsg: normal "x" (string), proxy "y" (string)`},
		{`{"find":"c"}`, `{"errmsg":"x Timestamp(5, 1)"}`, `{"errmsg":"x Timestamp(6, 1)"}`,
			`errmsg: normal "x Timestamp(5, 1)" (string), proxy "x Timestamp(6, 1)" (string)`},
		{`{"find":"c"}`, fmt.Sprintf(`{"errmsg":"x Timestamp(%d, 1), y"}`, now), fmt.Sprintf(`{"errmsg":"x Timestamp(%d, 2), y"}`, now), ""},
		{`{"find":"c"}`, fmt.Sprintf(`{"errmsg":"x new Date(%d001) y"}`, now), fmt.Sprintf(`{"errmsg":"x new Date(%d003) z"}`, now),
			fmt.Sprintf(`errmsg: normal "x new Date(%d001) y" (string), proxy "x new Date(%d003) z" (string)`, now, now)},
		{`{"aggregate":"c"}`, `{"errmsg":"collection: d.tmp.agg_out.3 index"}`, `{"errmsg":"collection: d.tmp.agg_out.5 index"}`, ""},
		{`{"listDatabases":1,"filter":{"sizeOnDisk":{"$gt":5}}}`, `{"databases":[]}`, `{"databases":[1]}`, ""},
		{`{"listDatabases":1}`, `{"databases":[]}`, `{"databases":[1]}`, "databases.0: normal missing, proxy 1 (int)"},
		{`{"listCollections":1}`, `{"cursor":{"firstBatch":[{"info":{"uuid":"a"}}]}}`, `{"cursor":{"firstBatch":[{"info":{"uuid":"b"}}]}}`, ""},
	} {
		got := gateway.FormatDiff(gateway.Diff(doc(t, c.command), doc(t, c.a), doc(t, c.b)), "normal", "proxy")
		if got != c.want {
			t.Errorf("%s: %s and %s:\n%s\nwant\n%s", c.command, c.a, c.b, got, c.want)
		}
	}
}

// logs keeps log lines.
type logs struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// beside runs a database with another one beside it.
func beside(t *testing.T, mode gateway.Mode, record string) (client, other *mongo.Client, log *logs, end func()) {
	t.Helper()
	otherURI := startDB(t, archelon.Config{})
	log = &logs{}
	cc := gateway.CompareConfig{Mode: mode, URI: otherURI, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if record != "" {
		r, err := gateway.NewRecorder(record)
		check(t, err)
		cc.Recorder = r
	}
	c, err := gateway.NewCompare(cc)
	check(t, err)
	closed := sync.OnceFunc(func() { check(t, c.Close()) })
	t.Cleanup(closed)
	uri := startDB(t, archelon.Config{Middleware: []server.Middleware{c.Middleware}, Trace: gateway.Trace(cc.Logger)})
	return connect(t, uri), connect(t, otherURI), log, closed
}

// work is what an application may do.
func work(t *testing.T, db *mongo.Database) {
	t.Helper()
	ctx := t.Context()
	c := db.Collection("c")
	var docs []any
	for i := range 250 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "n", Value: i % 7}})
	}
	_, err := c.InsertMany(ctx, docs)
	check(t, err)
	_, err = c.UpdateMany(ctx, bson.D{{Key: "n", Value: 3}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1.5}}}})
	check(t, err)
	_, err = c.UpdateOne(ctx, bson.D{{Key: "x", Value: 1}}, bson.D{{Key: "$set", Value: bson.D{{Key: "y", Value: 1}}}}, options.UpdateOne().SetUpsert(true))
	check(t, err)
	cur, err := c.Find(ctx, bson.D{}, options.Find().SetBatchSize(100))
	check(t, err)
	var all []bson.D
	check(t, cur.All(ctx, &all))
	if len(all) != 251 {
		t.Errorf("%d documents", len(all))
	}
	cur, err = c.Aggregate(ctx, mongo.Pipeline{{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$n"}, {Key: "k", Value: bson.D{{Key: "$sum", Value: 1}}}}}}})
	check(t, err)
	check(t, cur.All(ctx, &all))
	_, err = c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "n", Value: 1}}})
	check(t, err)
	names(t, db)
	_, err = c.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}})
	if !mongo.IsDuplicateKeyError(err) {
		t.Error(err)
	}
	err = db.RunCommand(ctx, bson.D{{Key: "nonsense", Value: 1}}).Err()
	if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 59 {
		t.Error(err)
	}
	s, err := db.Client().StartSession()
	check(t, err)
	defer s.EndSession(ctx)
	cur, err = c.Find(ctx, bson.D{}, options.Find().SetBatchSize(2))
	check(t, err)
	check(t, cur.Close(ctx))
}

func TestModes(t *testing.T) {
	for _, mode := range []gateway.Mode{gateway.ModeDiffNormal, gateway.ModeDiffProxy} {
		t.Run(string(mode), func(t *testing.T) {
			client, other, log, end := beside(t, mode, "")
			work(t, client.Database("d"))
			if strings.Contains(log.String(), "replies differ") {
				t.Errorf("two alike servers differ:\n%s", grep(log.String(), "replies differ"))
			}
			n, err := other.Database("d").Collection("c").CountDocuments(t.Context(), bson.D{})
			if n != 251 || err != nil {
				t.Errorf("the other has %d documents: %v", n, err)
			}
			_, err = other.Database("d").Collection("c").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: 5}}, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: "new"}}}})
			check(t, err)
			var got bson.M
			check(t, client.Database("d").Collection("c").FindOne(t.Context(), bson.D{{Key: "_id", Value: 5}}).Decode(&got))
			if (got["n"] == "new") != (mode == gateway.ModeDiffProxy) {
				t.Errorf("the wrong server answered: %v", got)
			}
			if want := `cursor.firstBatch.0.n: normal 5 (int), proxy \"new\" (string)`; !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, grep(log.String(), "replies differ"))
			}
			var status struct {
				Diff struct {
					Commands map[string]struct{ Compared, Different int64 }
				}
			}
			check(t, client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "serverStatus", Value: 1}}).Decode(&status))
			if f := status.Diff.Commands["find"]; f.Different != 1 || f.Compared < 3 {
				t.Errorf("counts: %+v", status)
			}
			if !strings.Contains(log.String(), "opcode: OP_MSG") || !strings.Contains(log.String(), `\"Kind\":0`) {
				t.Error("messages are not traced")
			}
			end()
			if !strings.Contains(log.String(), "different=1") {
				t.Error("the counts are not logged")
			}
		})
	}
}

func grep(text, part string) string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if strings.Contains(l, part) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func TestProxyMode(t *testing.T) {
	client, other, _, _ := beside(t, gateway.ModeProxy, "")
	work(t, client.Database("d"))
	n, err := other.Database("d").Collection("c").CountDocuments(t.Context(), bson.D{})
	if n != 251 || err != nil {
		t.Errorf("the other has %d documents: %v", n, err)
	}
}

func TestRecordAndReplay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "record.jsonl")
	client, _, _, end := beside(t, gateway.ModeDiffNormal, file)
	work(t, client.Database("d"))
	_ = client.Disconnect(t.Context())
	end()
	record, err := os.ReadFile(file)
	check(t, err)
	fresh := startDB(t, archelon.Config{})
	var out bytes.Buffer
	result, err := gateway.Replay(t.Context(), bytes.NewReader(record), fresh, &out)
	if err != nil || result.Commands < 10 || result.Different+result.Failed > 0 {
		t.Errorf("%+v %v\n%s", result, err, &out)
	}
	out.Reset()
	again, err := gateway.Replay(t.Context(), bytes.NewReader(record), fresh, &out) // the documents are there already
	if err != nil || again.Different == 0 || !strings.Contains(out.String(), "insert") {
		t.Errorf("%+v %v\n%s", again, err, &out)
	}
	if _, err := gateway.Replay(t.Context(), strings.NewReader("{"), fresh, &out); err == nil {
		t.Error("a broken record is accepted")
	}
}

// TestReplayOfLongAgo replays what told the time, of the record and of long before.
func TestReplayOfLongAgo(t *testing.T) {
	line := func(at, told time.Time) string {
		return fmt.Sprintf(`{"time":{"$date":{"$numberLong":"%d"}},"db":"admin","command":{"aggregate":1,"pipeline":[{"$documents":[{"_id":1}]},`+
			`{"$set":{"now":"$$NOW"}}],"cursor":{}},"reply":{"cursor":{"firstBatch":[{"_id":{"$numberInt":"1"},"now":{"$date":{"$numberLong":"%d"}}}],`+
			`"id":{"$numberLong":"0"},"ns":"admin.$cmd.aggregate"},"ok":{"$numberDouble":"1.0"}}}`, at.UnixMilli(), told.UnixMilli())
	}
	db, then := startDB(t, archelon.Config{}), time.Now().Add(-time.Hour)
	for told, different := range map[time.Time]int{then: 0, then.Add(-time.Hour): 1} {
		var out bytes.Buffer
		result, err := gateway.Replay(t.Context(), strings.NewReader(line(then, told)), db, &out)
		if err != nil || result.Different != different || result.Failed > 0 {
			t.Errorf("%+v %v\n%s", result, err, &out)
		}
	}
}

func TestCompareConfiguration(t *testing.T) {
	for _, cfg := range []gateway.CompareConfig{{Mode: "odd"}, {Mode: gateway.ModeProxy}, {Mode: gateway.ModeNormal, URI: "mongodb://h/"}, {Mode: gateway.ModeDiffProxy, URI: "x"}} {
		cfg.Logger = slog.New(slog.DiscardHandler)
		if _, err := gateway.NewCompare(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
