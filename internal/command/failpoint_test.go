package command

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// newFailing is a fixture whose fail points can be set.
func newFailing(t testing.TB) *fixture {
	f := newFixture(t)
	if err := f.cs.SetParameter("enableTestCommands", "1"); err != nil {
		t.Fatal(err)
	}
	return f
}

// fail sets a fail point and returns how often it has fired.
func (f *fixture) fail(point string, mode any, data bson.D) int32 {
	f.t.Helper()
	return f.must("admin", bson.D{field("configureFailPoint", point), field("mode", mode), field("data", data)}).Lookup("count").Int32()
}

// failOnce makes failCommand fire once.
func (f *fixture) failOnce(command string, more ...bson.E) {
	f.t.Helper()
	f.fail("failCommand", bson.D{field("times", 1)}, append(bson.D{field("failCommands", bson.A{command})}, more...))
}

func TestFailPointsAreRefused(t *testing.T) {
	f := newFixture(t)
	cmd := bson.D{field("configureFailPoint", "failCommand"), field("mode", "off")}
	if code := f.code("admin", cmd); code != mongoerr.CommandNotFound {
		t.Errorf("without enableTestCommands: %d", code)
	}
	if code := f.code("admin", bson.D{field("setParameter", 1), field("enableTestCommands", true)}); code != mongoerr.IllegalOperation {
		t.Errorf("enableTestCommands at runtime: %d", code)
	}
	if !f.must("admin", bson.D{field("listCommands", 1)}).LookupPath("commands", "configureFailPoint").IsMissing() {
		t.Error("configureFailPoint is listed")
	}
	f = newFailing(t)
	for _, c := range []struct {
		cmd  bson.D
		code mongoerr.Code
	}{
		{cmd, 0},
		{bson.D{field("configureFailPoint", "failEverything"), field("mode", "off")}, mongoerr.FailPointSetFailed},
		{bson.D{field("waitForFailPoint", "failEverything"), field("timesEntered", 1)}, mongoerr.FailPointSetFailed},
		{bson.D{field("configureFailPoint", "failCommand")}, mongoerr.IllegalOperation},
		{bson.D{field("configureFailPoint", "failCommand"), field("mode", "on")}, mongoerr.BadValue},
		{append(cmd, field("data", 1)), mongoerr.TypeMismatch},
		{append(cmd, field("data", bson.D{field("failCommand", "x")})), 40415},
		{append(cmd, field("data", bson.D{field("failCommands", "x")})), mongoerr.TypeMismatch},
	} {
		if code := f.code("admin", c.cmd); code != c.code {
			t.Errorf("%v: %d, want %d", c.cmd, code, c.code)
		}
	}
	if !f.must("admin", bson.D{field("getParameter", 1), field("enableTestCommands", 1)}).Lookup("enableTestCommands").Truthy() {
		t.Error("enableTestCommands is not shown")
	}
}

func TestFailCommand(t *testing.T) {
	f := newFailing(t)
	find := bson.D{field("find", "c")}
	f.fail("failCommand", bson.D{field("skip", 1)}, bson.D{field("failCommands", bson.A{"find"}), field("errorCode", 2)})
	for i, want := range []mongoerr.Code{0, 2, 2} {
		if code := f.code("d", find); code != want {
			t.Errorf("find %d: %d, want %d", i, code, want)
		}
	}
	if code := f.code("d", bson.D{field("count", "c")}); code != 0 {
		t.Errorf("another command: %d", code)
	}
	if n := f.fail("failCommand", "off", nil); n != 2 {
		t.Errorf("fired %d times", n)
	}
	f.must("d", find)

	block := bson.D{field("failCommands", bson.A{"find"}), field("blockConnection", true), field("blockTimeMS", 30)}
	f.fail("failCommand", "alwaysOn", block)
	start := time.Now()
	f.must("d", find)
	if took := time.Since(start); took < 30*time.Millisecond {
		t.Errorf("blocked for %s", took)
	}
	block[2].Value = 10_000
	f.fail("failCommand", "alwaysOn", block)
	if code := f.code("d", append(find, field("maxTimeMS", 5))); code != mongoerr.MaxTimeMSExpired {
		t.Errorf("time limit while blocked: %d", code)
	}
	f.fail("failCommand", "alwaysOn", bson.D{field("failAllCommands", true), field("errorCode", 91), field("namespace", "d.x")})
	f.must("d", find)
	if code := f.code("d", bson.D{field("find", "x")}); code != 91 {
		t.Errorf("namespace: %d", code)
	}
	f.fail("failCommand", "alwaysOn", bson.D{field("failAllCommands", true), field("errorCode", 91), field("threadName", "conn77")})
	f.must("d", find)
	f.fail("failCommand", "off", nil)

	// The count of earlier firings stands.
	done := make(chan mongoerr.Code)
	n := f.fail("failCommand", "alwaysOn", bson.D{field("failCommands", bson.A{"ping"}), field("errorCode", 91)})
	other := *f
	other.conn = server.NewLocalConn() // a connection runs one command at a time
	go func() {
		done <- other.code("admin", bson.D{field("waitForFailPoint", "failCommand"), field("timesEntered", n+1), field("maxTimeMS", 10_000)})
	}()
	f.code("d", bson.D{field("ping", 1)})
	if code := <-done; code != 0 {
		t.Errorf("waitForFailPoint: %d", code)
	}
	if code := f.code("admin", bson.D{field("waitForFailPoint", "failCommand"), field("timesEntered", n+2), field("maxTimeMS", 5)}); code != mongoerr.MaxTimeMSExpired {
		t.Errorf("waitForFailPoint in vain: %d", code)
	}
}

// hasLabel says whether a reply has a label.
func hasLabel(reply bsonval.Doc, label string) bool {
	it := reply.Lookup("errorLabels").Doc().Iter()
	for !reply.Lookup("errorLabels").IsMissing() && it.Next() {
		if it.Value().Str() == label {
			return true
		}
	}
	return false
}

func TestFailCommandLabels(t *testing.T) {
	f := newFailing(t)
	number := int64(0)
	insert := func() bsonval.Doc {
		number++
		return f.run("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}}), field("lsid", lsid(1)), field("txnNumber", number)})
	}
	f.failOnce("insert", field("errorCode", 91))
	if reply := insert(); !hasLabel(reply, mongoerr.LabelRetryableWrite) || reply.Lookup("operationTime").IsMissing() {
		t.Errorf("server's label: %s", bsonval.FormatDoc(reply))
	}
	f.failOnce("insert", field("errorCode", 91), field("errorLabels", bson.A{}))
	if reply := insert(); !reply.Lookup("errorLabels").IsMissing() {
		t.Errorf("no labels: %s", bsonval.FormatDoc(reply))
	}
	f.failOnce("insert", field("errorCode", 2), field("errorLabels", bson.A{"Foo"}))
	if reply := insert(); !hasLabel(reply, "Foo") {
		t.Errorf("own label: %s", bsonval.FormatDoc(reply))
	}
	wce := bson.D{field("code", 91), field("errmsg", "gone")}
	f.failOnce("insert", field("writeConcernError", wce))
	reply := insert()
	if !hasLabel(reply, mongoerr.LabelRetryableWrite) || reply.Lookup("ok").AsDouble() != 1 || reply.LookupPath("writeConcernError", "errmsg").Str() != "gone" {
		t.Errorf("write concern error: %s", bsonval.FormatDoc(reply))
	}
	f.failOnce("insert", field("writeConcernError", bson.D{field("code", 64)}))
	if reply := insert(); !reply.Lookup("errorLabels").IsMissing() || reply.Lookup("writeConcernError").IsMissing() {
		t.Errorf("write concern error of another code: %s", bsonval.FormatDoc(reply))
	}
	f.failOnce("insert", field("writeConcernError", wce), field("errorLabels", bson.A{"Bar"}))
	if reply := insert(); !hasLabel(reply, "Bar") || hasLabel(reply, mongoerr.LabelRetryableWrite) {
		t.Errorf("write concern error with own label: %s", bsonval.FormatDoc(reply))
	}
	f.failOnce("find", field("writeConcernError", wce))
	if reply := f.must("d", bson.D{field("find", "c")}); !reply.Lookup("writeConcernError").IsMissing() {
		t.Errorf("a find has a write concern error: %s", bsonval.FormatDoc(reply))
	}
}

// TestRetries drives the driver's retries through fail points.
func TestRetries(t *testing.T) {
	f := newFailing(t)
	client := f.serve(options.Client().SetHeartbeatInterval(500 * time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := client.Database("d").Collection("c")
	insert := func() error { _, err := c.InsertOne(ctx, bson.D{}); return err }
	want := int64(0)
	for _, fail := range []struct {
		name string
		data []bson.E
	}{
		{"error code", []bson.E{field("errorCode", 189)}},
		{"lost connection", []bson.E{field("closeConnection", true)}},
		{"write concern error", []bson.E{field("writeConcernError", bson.D{field("code", 91), field("errmsg", "gone")})}},
	} {
		f.failOnce("insert", fail.data...)
		if err := insert(); err != nil {
			t.Errorf("%s: %v", fail.name, err)
		}
		if want++; f.count("d", "c", bson.D{}) != want {
			t.Errorf("%s: %d documents, want %d", fail.name, f.count("d", "c", bson.D{}), want)
		}
	}
	f.failOnce("insert", field("errorCode", 189), field("errorLabels", bson.A{}))
	if err := insert(); err == nil {
		t.Error("retried without a label")
	}
	for _, data := range []bson.D{
		{},
		{field("failBeforeCommitExceptionCode", 91)},
		{field("failBeforeCommitExceptionCode", 91), field("closeConnection", false)},
		{field("failBeforeCommitExceptionCode", 10107), field("closeConnection", false)},
	} {
		f.fail("onPrimaryTransactionalWrite", bson.D{field("times", 1)}, data)
		if err := insert(); err != nil {
			t.Errorf("onPrimaryTransactionalWrite %v: %v", data, err)
		}
		if want++; f.count("d", "c", bson.D{}) != want {
			t.Errorf("onPrimaryTransactionalWrite %v: %d documents, want %d", data, f.count("d", "c", bson.D{}), want)
		}
	}
	if _, err := c.UpdateOne(ctx, bson.D{}, bson.D{field("$set", bson.D{field("n", 0)})}); err != nil {
		t.Fatal(err)
	}
	f.fail("onPrimaryTransactionalWrite", bson.D{field("times", 1)}, bson.D{})
	if _, err := c.UpdateOne(ctx, bson.D{field("n", bson.D{field("$exists", true)})}, bson.D{field("$inc", bson.D{field("n", 1)})}); err != nil {
		t.Errorf("update: %v", err)
	}
	if n := f.count("d", "c", bson.D{field("n", 1)}); n != 1 {
		t.Errorf("%d documents were incremented once", n)
	}

	f.failOnce("find", field("errorCode", 11600))
	if err := c.FindOne(ctx, bson.D{}).Err(); err != nil {
		t.Errorf("retried read: %v", err)
	}
	f.failOnce("find", field("closeConnection", true))
	if err := c.FindOne(ctx, bson.D{}).Err(); err != nil {
		t.Errorf("read after a lost connection: %v", err)
	}
	f.failOnce("find", field("errorCode", 2))
	if err := c.FindOne(ctx, bson.D{}).Err(); err == nil {
		t.Error("BadValue was retried")
	}
}

// TestTransactionRetries drives withTransaction through fail points.
func TestTransactionRetries(t *testing.T) {
	f := newFailing(t)
	client := f.serve(options.Client().SetHeartbeatInterval(500 * time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	f.must("d", bson.D{field("create", "c")})
	for i, c := range []struct {
		name    string
		command string
		data    []bson.E
		runs    int
	}{
		{"statement", "insert", []bson.E{field("errorCode", 251)}, 2},
		{"statement loses its connection", "insert", []bson.E{field("closeConnection", true)}, 2},
		{"commit", "commitTransaction", []bson.E{field("errorCode", 10107)}, 1},
		{"commit loses its connection", "commitTransaction", []bson.E{field("closeConnection", true)}, 1},
		{"commit is not majority committed", "commitTransaction",
			[]bson.E{field("writeConcernError", bson.D{field("code", 64), field("errmsg", "timed out")})}, 1},
		{"commit without primary", "commitTransaction",
			[]bson.E{field("writeConcernError", bson.D{field("code", 91), field("errmsg", "gone")})}, 1},
		{"commit takes too long", "commitTransaction", []bson.E{field("errorCode", 50)}, 1},
	} {
		f.failOnce(c.command, c.data...)
		runs := 0
		err := client.UseSession(ctx, func(ctx context.Context) error {
			_, err := mongo.SessionFromContext(ctx).WithTransaction(ctx, func(ctx context.Context) (any, error) {
				runs++
				return client.Database("d").Collection("c").InsertOne(ctx, bson.D{field("case", i)})
			})
			return err
		})
		if c.data[0].Key == "errorCode" && c.data[0].Value == 50 {
			// The driver gives up on a commit that takes too long; what became of it is unknown.
			var e mongo.CommandError
			if !errors.As(err, &e) || !e.HasErrorLabel("UnknownTransactionCommitResult") {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil || runs != c.runs {
			t.Errorf("%s: %v, the body ran %d times, want %d", c.name, err, runs, c.runs)
		}
		if n := f.count("d", "c", bson.D{field("case", i)}); n != 1 {
			t.Errorf("%s: %d documents", c.name, n)
		}
	}
}

func TestFailGetMoreAndTimeLimits(t *testing.T) {
	f := newFailing(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}, bson.D{}, bson.D{}})})
	f.fail("failGetMoreAfterCursorCheckout", bson.D{field("times", 1)}, bson.D{field("errorCode", 280), field("closeConnection", false)})
	id := f.must("d", bson.D{field("find", "c"), field("batchSize", 1)}).LookupPath("cursor", "id").Int64()
	more := bson.D{field("getMore", id), field("collection", "c")}
	if code := f.code("d", more); code != 280 {
		t.Errorf("getMore: %d", code)
	}
	if code := f.code("d", more); code != mongoerr.CursorNotFound {
		t.Errorf("getMore on a cursor that failed: %d", code)
	}
	limited := bson.D{field("find", "c"), field("maxTimeMS", 100_000)}
	f.fail("maxTimeAlwaysTimeOut", "alwaysOn", nil)
	if code := f.code("d", limited); code != mongoerr.MaxTimeMSExpired {
		t.Errorf("maxTimeAlwaysTimeOut: %d", code)
	}
	f.must("d", limited[:1])
	f.fail("maxTimeAlwaysTimeOut", "off", nil)
	f.fail("maxTimeNeverTimeOut", "alwaysOn", nil)
	f.failOnce("find", field("blockConnection", true), field("blockTimeMS", 30))
	f.must("d", bson.D{field("find", "c"), field("maxTimeMS", 1)})
}

// TestFailAppName fails the commands of one application only, and its streamed hellos.
func TestFailAppName(t *testing.T) {
	f := newFailing(t)
	mine := f.serve(options.Client().SetAppName("mine").SetHeartbeatInterval(500 * time.Millisecond))
	other := f.serve(options.Client().SetAppName("other"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	data := bson.D{field("failCommands", bson.A{"distinct"}), field("errorCode", 2), field("appName", "mine")}
	f.fail("failCommand", "alwaysOn", data)
	if err := mine.Database("d").Collection("c").Distinct(ctx, "x", bson.D{}).Err(); err == nil {
		t.Error("the application is spared")
	}
	if err := other.Database("d").Collection("c").Distinct(ctx, "x", bson.D{}).Err(); err != nil {
		t.Errorf("another application: %v", err)
	}
	n := f.fail("failCommand", bson.D{field("times", 2)},
		bson.D{field("failCommands", bson.A{"hello", "isMaster"}), field("closeConnection", true), field("appName", "mine")})
	f.must("admin", bson.D{field("waitForFailPoint", "failCommand"), field("timesEntered", n+2), field("maxTimeMS", 15_000)})
	if err := mine.Database("d").Collection("c").FindOne(ctx, bson.D{}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("after failed heartbeats: %v", err)
	}
}
