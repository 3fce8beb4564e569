package command

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/wire"
)

func TestDriverTails(t *testing.T) {
	client := newFixture(t).serve()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	db := client.Database("d")
	if err := db.CreateCollection(ctx, "log", options.CreateCollection().SetCapped(true).SetSizeInBytes(4096)); err != nil {
		t.Fatal(err)
	}
	c := db.Collection("log")
	if _, err := c.InsertOne(ctx, bson.D{{Key: "_id", Value: 0}}); err != nil {
		t.Fatal(err)
	}
	cur, err := c.Find(ctx, bson.D{}, options.Find().SetCursorType(options.TailableAwait).SetMaxAwaitTime(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close(ctx)
	for i := range 5 {
		if !cur.Next(ctx) {
			t.Fatalf("document %d: %v", i, cur.Err())
		}
		if got := cur.Current.Lookup("_id").AsInt64(); got != int64(i) {
			t.Fatalf("got document %d, want %d", got, i)
		}
		var late sync.WaitGroup
		late.Go(func() {
			if _, err := c.InsertOne(ctx, bson.D{{Key: "_id", Value: i + 1}}); err != nil {
				t.Error(err)
			}
		})
		defer late.Wait()
	}
}

func TestGetMoreOfTailable(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("create", "log"), field("capped", true), field("size", 4096)})
	f.must("d", bson.D{field("insert", "log"), field("documents", bson.A{bson.D{}})})
	cursor := func(await bool) int64 {
		return f.must("d", bson.D{field("find", "log"), field("tailable", true), field("awaitData", await)}).
			Lookup("cursor").Doc().Lookup("id").Int64()
	}
	plain, awaiting := cursor(false), cursor(true)
	more := func(id int64) bson.D { return bson.D{field("getMore", id), field("collection", "log")} }
	if code := f.code("d", append(more(plain), field("maxTimeMS", 5))); code != mongoerr.BadValue {
		t.Errorf("maxTimeMS for a cursor that does not wait: code %d", code)
	}
	f.must("d", more(plain))
	start := time.Now()
	reply := f.must("d", append(more(awaiting), field("maxTimeMS", 50)))
	if took := time.Since(start); took < 40*time.Millisecond || took > 5*time.Second {
		t.Errorf("waited %s", took)
	}
	if id := reply.Lookup("cursor").Doc().Lookup("id").Int64(); id != awaiting {
		t.Errorf("cursor %d became %d", awaiting, id)
	}
}

// A client that allows it gets the batches of a cursor as a stream.
func TestExhaustGetMore(t *testing.T) {
	f := newFixture(t)
	docs := bson.A{}
	for i := range 7 {
		docs = append(docs, bson.D{field("_id", i)})
	}
	f.must("d", bson.D{field("insert", "c"), field("documents", docs)})
	conn := f.dial()
	first := exchange(t, conn, 0, bson.D{field("find", "c"), field("batchSize", 1), field("$db", "d")})
	id := first[0].Lookup("cursor").Doc().Lookup("id").Int64()
	var sizes []int
	for _, reply := range exchange(t, conn, wire.FlagExhaustAllowed, bson.D{
		field("getMore", id), field("collection", "c"), field("batchSize", 4), field("$db", "d"),
	}) {
		if reply.Lookup("ok").AsDouble() != 1 || reply.Lookup("operationTime").IsMissing() {
			t.Errorf("reply %s", bsonval.FormatDoc(reply))
		}
		sizes = append(sizes, reply.Lookup("cursor").Doc().Lookup("nextBatch").Doc().Len())
	}
	if len(sizes) != 2 || sizes[0] != 4 || sizes[1] != 2 {
		t.Errorf("batches of %v", sizes)
	}
}

// dial connects to a fixture's commands without a driver.
func (f *fixture) dial() net.Conn {
	f.t.Helper()
	srv, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}, Handler: f.cs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(ctx); err != nil {
			f.t.Error(err)
		}
	})
	conn, err := net.Dial("tcp", srv.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		conn.Close()
		stop()
		serving.Wait()
	})
	return conn
}

// exchange sends a command and returns all replies to it.
func exchange(t *testing.T, conn net.Conn, flags wire.MsgFlags, cmd bson.D) (replies []bsonval.Doc) {
	t.Helper()
	body, err := bson.Marshal(cmd)
	if err != nil {
		t.Fatal(err)
	}
	msg := make([]byte, wire.HeaderLen+5, wire.HeaderLen+5+len(body))
	binary.LittleEndian.PutUint32(msg, uint32(cap(msg)))
	binary.LittleEndian.PutUint32(msg[4:], 1)
	binary.LittleEndian.PutUint32(msg[12:], uint32(wire.OpMsg))
	binary.LittleEndian.PutUint32(msg[16:], uint32(flags))
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(append(msg, body...)); err != nil {
		t.Fatal(err)
	}
	for {
		head := make([]byte, wire.HeaderLen+5)
		if _, err := io.ReadFull(conn, head); err != nil {
			t.Fatal(err)
		}
		reply := make([]byte, int(binary.LittleEndian.Uint32(head))-len(head))
		if _, err := io.ReadFull(conn, reply); err != nil {
			t.Fatal(err)
		}
		replies = append(replies, bsonval.Doc(reply))
		if wire.MsgFlags(binary.LittleEndian.Uint32(head[16:]))&wire.FlagMoreToCome == 0 {
			return replies
		}
	}
}
