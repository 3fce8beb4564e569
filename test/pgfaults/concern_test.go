package pgfaults

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// TestWriteConcern has PostgreSQL wait for a synchronous standby that is not there: a write of the default concern waits
// with it, one of {w: 1, j: false} does not.
func TestWriteConcern(t *testing.T) {
	pg := ownServer(t)
	s := serve(t, pg.URL())
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetRetryWrites(false).SetDirect(true))
	safe := client.Database("faults").Collection("docs")
	off := false
	fast := client.Database("faults").Collection("docs", options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: 1, Journal: &off}))
	insert := func(coll *mongo.Collection, id string, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: id}})
		return err
	}
	if err := insert(safe, "before", recovery); err != nil {
		t.Fatal(err)
	}
	waitForStandbys(t, pg, "nobody")
	if err := insert(fast, "fast", recovery); err != nil {
		t.Errorf("w: 1, j: false: %v", err)
	}
	if err := insert(safe, "safe", time.Second); err == nil {
		t.Error("a write was acknowledged that the standby does not have")
	}
	waitForStandbys(t, pg, "")
	if err := insert(safe, "after", recovery); err != nil {
		t.Error(err)
	}
	if n, err := safe.CountDocuments(t.Context(), bson.D{}); err != nil || n != 4 {
		t.Errorf("%d documents, %v", n, err)
	}
}

// waitForStandbys has PostgreSQL wait with each commit for the standbys with some names.
func waitForStandbys(t *testing.T, pg *pgharness.Server, names string) {
	t.Helper()
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + names + "'", "SELECT pg_reload_conf()"} {
		if _, err := pg.SQL(pg.URL(), statement); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(200 * time.Millisecond) // each of its processes reads the settings by itself
}

// TestReadsWaitForStandby reads what the process is writing, which PostgreSQL shows before the synchronous standby has it: a read of
// concern majority waits, too.
func TestReadsWaitForStandby(t *testing.T) {
	pg := ownServer(t)
	client := harness.Connect(t, options.Client().ApplyURI(serve(t, pg.URL()).URI()).SetDirect(true))
	coll := client.Database("faults").Collection("docs")
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "before"}}); err != nil {
		t.Fatal(err)
	}
	waitForStandbys(t, pg, "nobody")
	id := bson.D{{Key: "_id", Value: "x"}}
	written := make(chan error, 1)
	go func() {
		_, err := coll.InsertOne(t.Context(), id)
		written <- err
	}()
	await(t, func() bool { return coll.FindOne(t.Context(), id).Err() == nil }, "the document is not seen")
	type read struct {
		how string
		err error
	}
	reads := make(chan read, 2)
	go func() {
		safe := coll.Database().Collection("docs", options.Collection().SetReadConcern(readconcern.Majority()))
		reads <- read{"a find of concern majority", safe.FindOne(t.Context(), id).Err()}
	}()
	go func() { reads <- read{"a transaction", inTransaction(t, coll, id)} }()
	select {
	case err := <-written:
		t.Fatalf("the write was acknowledged, %v", err)
	case r := <-reads:
		t.Errorf("%s has seen what the standby does not have, %v", r.how, r.err)
		reads <- r
	case <-time.After(time.Second):
	}
	waitForStandbys(t, pg, "")
	if err := <-written; err != nil {
		t.Error(err)
	}
	for range 2 {
		if r := <-reads; r.err != nil {
			t.Errorf("%s: %v", r.how, r.err)
		}
	}
}

// inTransaction looks for a document in a transaction.
func inTransaction(t *testing.T, coll *mongo.Collection, filter bson.D) error {
	session, err := coll.Database().Client().StartSession()
	if err != nil {
		return err
	}
	defer session.EndSession(t.Context())
	_, err = session.WithTransaction(t.Context(), func(ctx context.Context) (any, error) { return nil, coll.FindOne(ctx, filter).Err() },
		options.Transaction().SetReadConcern(readconcern.Snapshot()).SetWriteConcern(writeconcern.Majority()))
	return err
}

// TestReadConcern kills PostgreSQL as soon as one process has read what another one has written without waiting for the
// disk: a read of concern majority is not undone by that, nor one in a transaction.
func TestReadConcern(t *testing.T) {
	t.Run("majority", func(t *testing.T) {
		readAndKill(t, func(coll *mongo.Collection, id bson.D) error { return coll.FindOne(t.Context(), id).Err() })
	})
	t.Run("transaction", func(t *testing.T) {
		readAndKill(t, func(coll *mongo.Collection, id bson.D) error { return inTransaction(t, coll, id) })
	})
}

func readAndKill(t *testing.T, read func(coll *mongo.Collection, id bson.D) error) {
	t.Helper()
	pg := ownServer(t)
	off := false
	connect := func() *mongo.Client {
		return harness.Connect(t, options.Client().ApplyURI(serve(t, pg.URL()).URI()).SetDirect(true))
	}
	writer := connect().Database("faults").Collection("docs", options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: 1, Journal: &off}))
	reader := connect().Database("faults").Collection("docs", options.Collection().SetReadConcern(readconcern.Majority()))
	if _, err := writer.InsertOne(t.Context(), bson.D{{Key: "_id", Value: -1}}); err != nil {
		t.Fatal(err)
	}
	<-time.After(1500 * time.Millisecond) // the processes have heard of each other
	for i := range 3 {
		// The first write after a failure finds the connections cut.
		await(t, func() bool { return writer.FindOne(t.Context(), bson.D{}).Err() == nil }, "the writer does not reach PostgreSQL")
		await(t, func() bool { return reader.FindOne(t.Context(), bson.D{}).Err() == nil }, "the reader does not reach PostgreSQL")
		if _, err := writer.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}}); err != nil {
			t.Fatal(err)
		}
		if err := read(reader, bson.D{{Key: "_id", Value: i}}); err != nil {
			t.Fatal(err)
		}
		pg.Kill()
		<-time.After(100 * time.Millisecond)
		if err := pg.Run(); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return reader.FindOne(t.Context(), bson.D{}).Err() == nil }, "the reader does not reach PostgreSQL")
		if err := reader.FindOne(t.Context(), bson.D{{Key: "_id", Value: i}}).Err(); err != nil {
			t.Errorf("document %d was read: %v", i, err)
		}
	}
}

// TestStandbysMissing has synchronous standbys missing: what need not have them goes on, and what waits for them ends when the
// client, or who stops the process, wants that.
func TestStandbysMissing(t *testing.T) {
	pg := ownServer(t)
	addr := harness.FreeAddr(t)
	first := harness.StartWith(t, harness.Build(t), addr, nil, "--listen", addr, "--storage", pg.URL(), "--shutdown-grace", "1s")
	client := harness.Connect(t, options.Client().ApplyURI(first.URI()).SetDirect(true).SetRetryWrites(false).SetRetryReads(false))
	db := client.Database("faults")
	coll := db.Collection("docs")
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "before"}}); err != nil {
		t.Fatal(err)
	}
	waitForStandbys(t, pg, "nobody")
	waiting := make(chan error, 1)
	go func() {
		_, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "waiting"}})
		waiting <- err
	}()
	await(t, func() bool { return coll.FindOne(t.Context(), bson.D{{Key: "_id", Value: "waiting"}}).Err() == nil }, "the document is not seen")

	limited, cancel := context.WithTimeout(t.Context(), 3*recovery)
	defer cancel()
	off := false
	fast := db.Collection("docs", options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: 1, Journal: &off}))
	if _, err := fast.InsertOne(limited, bson.D{{Key: "_id", Value: "fast"}}); err != nil {
		t.Errorf("w: 1, j: false, beside a write that waits: %v", err)
	}
	many := make([]any, 3000) // more than record ids are asked for at once
	for i := range many {
		many[i] = bson.D{}
	}
	if _, err := fast.InsertMany(limited, many); err != nil {
		t.Errorf("many of w: 1, j: false: %v", err)
	}
	// The driver would set its own maxTimeMS.
	run := func(command ...bson.E) error { return db.RunCommand(t.Context(), bson.D(command)).Err() }
	insert := func(id string) bson.E {
		return bson.E{Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: id}}}}
	}
	concern := func(limit int) bson.E {
		return bson.E{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}, {Key: "wtimeout", Value: limit}}}
	}
	updates := bson.A{}
	for _, id := range []string{"before", "fast"} {
		updates = append(updates, bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: id}}}, {Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: 1}}}}}})
	}
	for name, c := range map[string]struct {
		err  error
		code int
	}{
		"an insert with maxTimeMS": {run(bson.E{Key: "insert", Value: "docs"}, insert("limited"), bson.E{Key: "maxTimeMS", Value: 300}), 50},
		"an insert with wtimeout":  {run(bson.E{Key: "insert", Value: "docs"}, insert("timeout"), concern(300)), 64},
		"updates with wtimeout":    {run(bson.E{Key: "update", Value: "docs"}, bson.E{Key: "updates", Value: updates}, concern(300)), 64},
	} {
		var e mongo.WriteException
		if !errors.As(c.err, &e) || e.WriteConcernError == nil || e.WriteConcernError.Code != c.code {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if n, err := coll.CountDocuments(t.Context(), bson.D{}); err != nil || n != 3005 {
		t.Errorf("%d documents, %v", n, err)
	}
	err := run(bson.E{Key: "find", Value: "docs"}, bson.E{Key: "readConcern", Value: bson.D{{Key: "level", Value: "majority"}}}, bson.E{Key: "maxTimeMS", Value: 300})
	var e mongo.CommandError
	if !errors.As(err, &e) || e.Code != 50 {
		t.Errorf("a find of concern majority with maxTimeMS: %v", err)
	}

	second := serve(t, pg.URL())
	other := harness.Connect(t, options.Client().ApplyURI(second.URI()).SetDirect(true)).Database("faults").Collection("docs")
	if n, err := other.CountDocuments(limited, bson.D{}); err != nil || n != 3005 {
		t.Errorf("in another process: %d documents, %v", n, err)
	}
	second.Stop(t)
	first.Stop(t)
	if err := <-waiting; err == nil {
		t.Error("a write was acknowledged that the standby does not have")
	}
}

// TestCommitWithStandbysMissing commits a transaction while synchronous standbys are missing, and asks again: the client is told when
// wtimeout is over, and when the standbys have it.
func TestCommitWithStandbysMissing(t *testing.T) {
	pg := ownServer(t)
	s := serve(t, pg.URL())
	if _, err := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetDirect(true)).Database("faults").Collection("docs").InsertOne(t.Context(), bson.D{}); err != nil {
		t.Fatal(err)
	}
	conn := harness.Dial(t, s.Addr)
	call := func(command bson.D, more ...bson.E) bson.Raw {
		t.Helper()
		command = append(command, bson.E{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}}}},
			bson.E{Key: "txnNumber", Value: int64(1)}, bson.E{Key: "autocommit", Value: false})
		reply, err := conn.Call(harness.Msg(0, harness.Doc(t, append(command, more...))))
		if err != nil {
			t.Fatal(err)
		}
		if reply.Lookup("ok").AsInt64() != 1 {
			t.Fatal(reply)
		}
		return reply
	}
	insert := func(n int32) bson.D {
		return bson.D{{Key: "insert", Value: "docs"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: n}}}}, {Key: "$db", Value: "faults"}}
	}
	first := bson.E{Key: "startTransaction", Value: true}
	commit := func() bson.Raw {
		t.Helper()
		return call(bson.D{{Key: "commitTransaction", Value: 1}, {Key: "$db", Value: "admin"}},
			bson.E{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}, {Key: "wtimeout", Value: 300}}})
	}
	waitForStandbys(t, pg, "nobody")
	<-time.After(200 * time.Millisecond) // the process has heard of it
	call(insert(1), first)
	call(insert(2))
	for range 2 {
		if reply := commit(); reply.Lookup("writeConcernError", "code").AsInt64() != 64 {
			t.Errorf("a commit that the standby does not have: %s", reply)
		}
	}
	waitForStandbys(t, pg, "")
	if reply := commit(); !reply.Lookup("writeConcernError").IsZero() {
		t.Errorf("a commit that the standby has: %s", reply)
	}
}

// TestWaitCanceled cancels what waits for a synchronous standby that is missing: it is committed by that, and not acknowledged.
func TestWaitCanceled(t *testing.T) {
	pg := ownServer(t)
	client := harness.Connect(t, options.Client().ApplyURI(serve(t, pg.URL()).URI()).SetDirect(true).SetRetryWrites(false))
	coll := client.Database("faults").Collection("docs")
	if _, err := coll.InsertOne(t.Context(), bson.D{}); err != nil {
		t.Fatal(err)
	}
	waitForStandbys(t, pg, "nobody")
	written := make(chan error, 1)
	go func() {
		_, err := coll.InsertOne(t.Context(), bson.D{})
		written <- err
	}()
	for canceled := 0; canceled < 3; {
		out, err := pg.SQL(pg.URL(), "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(out) != "0" {
			canceled++
		}
		select {
		case err := <-written:
			if err == nil {
				t.Fatal("the write was acknowledged")
			}
			written <- err
		case <-time.After(50 * time.Millisecond):
		}
	}
	waitForStandbys(t, pg, "")
	var e mongo.ServerError
	if err := <-written; !errors.As(err, &e) || !e.HasErrorCode(6) {
		t.Error(err)
	}
	if n, err := coll.CountDocuments(t.Context(), bson.D{}); err != nil || n != 2 {
		t.Errorf("%d documents, %v", n, err)
	}
}

// TestRetryWaitsForStandby sends a write to the other process again that is not acknowledged, because the standby does not have it:
// nor is it there.
func TestRetryWaitsForStandby(t *testing.T) {
	pg := ownServer(t)
	servers := [2]*harness.Server{serve(t, pg.URL()), serve(t, pg.URL())}
	for _, s := range servers {
		coll := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetDirect(true)).Database("faults").Collection("docs")
		if _, err := coll.InsertOne(t.Context(), bson.D{}); err != nil {
			t.Fatal(err)
		}
	}
	waitForStandbys(t, pg, "nobody")
	insert := harness.Msg(0, harness.Doc(t, bson.D{{Key: "insert", Value: "docs"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: "x"}}}},
		{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}}}},
		{Key: "txnNumber", Value: int64(1)}, {Key: "$db", Value: "faults"}}))
	for i, s := range servers {
		replied := make(chan bson.Raw, 1)
		conn := harness.Dial(t, s.Addr)
		go func() {
			reply, _ := conn.Call(insert)
			replied <- reply
		}()
		select {
		case reply := <-replied:
			t.Errorf("process %d answers %s", i, reply)
		case <-time.After(time.Second):
		}
	}
	waitForStandbys(t, pg, "")
}

// TestReadAcrossRestart restarts PostgreSQL after a command of read concern majority has read and before it is answered: what it has
// seen may have been lost, so it is answered with an error.
func TestReadAcrossRestart(t *testing.T) {
	pg := ownServer(t)
	client := harness.Connect(t, options.Client().ApplyURI(serve(t, pg.URL()).URI()).SetDirect(true).SetRetryReads(false))
	coll := client.Database("faults").Collection("docs", options.Collection().SetReadConcern(readconcern.Majority()))
	if _, err := coll.InsertOne(t.Context(), bson.D{}); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		busy := bson.D{{Key: "body", Value: "function() { const end = Date.now() + 4000; while (Date.now() < end); }"}, {Key: "args", Value: bson.A{}}, {Key: "lang", Value: "js"}}
		cur, err := coll.Aggregate(t.Context(), bson.A{bson.D{{Key: "$addFields", Value: bson.D{{Key: "x", Value: bson.D{{Key: "$function", Value: busy}}}}}}})
		if err == nil {
			err = cur.Close(t.Context())
		}
		read <- err
	}()
	<-time.After(500 * time.Millisecond)
	pg.Kill()
	if err := pg.Run(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return coll.FindOne(t.Context(), bson.D{}).Err() == nil }, "the reader does not reach PostgreSQL")
	var e mongo.CommandError
	if err := <-read; !errors.As(err, &e) || e.Code != 6 {
		t.Errorf("got %v", err)
	}
}
