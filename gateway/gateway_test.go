package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/server"
)

// three is a gateway over two databases and a service.
func three(t *testing.T) (g *gateway.Gateway, through, shop, logs *mongo.Client) {
	t.Helper()
	shopURI, logsURI := startDB(t, archelon.Config{}), startDB(t, archelon.Config{})
	g, uri := startGateway(t, gateway.Table{
		Upstreams: map[string]gateway.Upstream{"shop": {URI: shopURI}, "logs": {URI: logsURI}, "echo": {URI: startService(t)}},
		Routes: []gateway.Route{
			{Command: gateway.Patterns{"ECHO"}, Upstream: "echo"},
			{Database: gateway.Patterns{"shop"}, Collection: gateway.Patterns{"log_*", "audit"}, Upstream: "logs"},
			{Database: gateway.Patterns{"logs*"}, Upstream: "logs"},
			{Upstream: "shop"},
		},
	})
	return g, connect(t, uri), connect(t, shopURI), connect(t, logsURI)
}

func names(t *testing.T, db *mongo.Database) []string {
	t.Helper()
	out, err := db.ListCollectionNames(t.Context(), bson.D{})
	check(t, err)
	slices.Sort(out)
	return out
}

func TestRoutes(t *testing.T) {
	_, c, shop, logs := three(t)
	ctx := t.Context()
	for _, ns := range [][2]string{{"shop", "orders"}, {"shop", "log_a"}, {"shop", "audit"}, {"logs1", "x"}, {"other", "y"}} {
		_, err := c.Database(ns[0]).Collection(ns[1]).InsertOne(ctx, bson.D{{Key: "a", Value: 1}})
		check(t, err)
	}
	for _, want := range []struct {
		of     *mongo.Client
		db     string
		expect []string
	}{
		{shop, "shop", []string{"orders"}}, {logs, "shop", []string{"audit", "log_a"}}, {logs, "logs1", []string{"x"}},
		{shop, "other", []string{"y"}}, {shop, "logs1", nil}, {c, "shop", []string{"audit", "log_a", "orders"}},
	} {
		if got := names(t, want.of.Database(want.db)); !slices.Equal(got, want.expect) {
			t.Errorf("%s has %v, want %v", want.db, got, want.expect)
		}
	}
	dbs, err := c.ListDatabaseNames(ctx, bson.D{{Key: "name", Value: bson.D{{Key: "$nin", Value: bson.A{"admin", "local", "config"}}}}})
	check(t, err)
	if !slices.Equal(dbs, []string{"logs1", "other", "shop"}) {
		t.Errorf("databases: %v", dbs)
	}
	var pong struct{ Pong bson.M }
	check(t, c.Database("any").RunCommand(ctx, bson.D{{Key: "echo", Value: 1}, {Key: "x", Value: "y"}}).Decode(&pong))
	if pong.Pong["x"] != "y" {
		t.Errorf("echo: %v", pong)
	}
	var hello bson.M
	check(t, c.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello))
	if hello["msg"] != "isdbgrid" || hello["setName"] != nil {
		t.Errorf("hello: %v", hello)
	}
}

// TestMergedBatches reads a merged listCollections in batches.
func TestMergedBatches(t *testing.T) {
	_, c, _, _ := three(t)
	for i := range 5 {
		check(t, c.Database("shop").CreateCollection(t.Context(), fmt.Sprint("c", i)))
		check(t, c.Database("shop").CreateCollection(t.Context(), fmt.Sprint("log_", i)))
	}
	cur, err := c.Database("shop").ListCollections(t.Context(), bson.D{}, options.ListCollections().SetBatchSize(3))
	check(t, err)
	var all []bson.M
	check(t, cur.All(t.Context(), &all))
	if len(all) != 10 {
		t.Errorf("%d collections", len(all))
	}
}

func TestForeignCollectionsAreRefused(t *testing.T) {
	_, c, _, _ := three(t)
	orders := c.Database("shop").Collection("orders")
	for _, stage := range []bson.D{
		{{Key: "$lookup", Value: bson.D{{Key: "from", Value: "log_a"}, {Key: "pipeline", Value: bson.A{}}, {Key: "as", Value: "x"}}}},
		{{Key: "$unionWith", Value: "audit"}},
		{{Key: "$facet", Value: bson.D{{Key: "a", Value: bson.A{bson.D{{Key: "$unionWith", Value: bson.D{{Key: "coll", Value: "audit"}}}}}}}}},
		{{Key: "$merge", Value: bson.D{{Key: "into", Value: bson.D{{Key: "db", Value: "logs"}, {Key: "coll", Value: "x"}}}}}},
		{{Key: "$out", Value: bson.D{{Key: "db", Value: "logs"}, {Key: "coll", Value: "x"}}}},
	} {
		_, err := orders.Aggregate(t.Context(), mongo.Pipeline{stage})
		if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 238 {
			t.Errorf("%v: %v", stage, err)
		}
	}
	_, err := orders.Aggregate(t.Context(), mongo.Pipeline{{{Key: "$unionWith", Value: "items"}}})
	check(t, err)
}

// TestCursors reads cursors of two upstreams through one gateway, more clients than connections.
func TestCursors(t *testing.T) {
	a, b := startDB(t, archelon.Config{}), startDB(t, archelon.Config{})
	_, uri := startGateway(t, gateway.Table{
		Upstreams: map[string]gateway.Upstream{"a": {URI: a + "?maxPoolSize=3"}, "b": {URI: b + "?maxPoolSize=3"}},
		Routes:    []gateway.Route{{Database: gateway.Patterns{"a"}, Upstream: "a"}, {Upstream: "b"}},
	})
	c := connect(t, uri, options.Client().SetMaxPoolSize(200))
	for _, db := range []string{"a", "b"} {
		var docs []any
		for i := range 500 {
			docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "db", Value: db}})
		}
		_, err := c.Database(db).Collection("c").InsertMany(t.Context(), docs)
		check(t, err)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			db := []string{"a", "b"}[i%2]
			cur, err := c.Database(db).Collection("c").Find(t.Context(), bson.D{}, options.Find().SetBatchSize(50).SetSort(bson.D{{Key: "_id", Value: 1}}))
			if err != nil {
				t.Error(err)
				return
			}
			var got []struct {
				ID int    `bson:"_id"`
				DB string `bson:"db"`
			}
			if err := cur.All(t.Context(), &got); err != nil {
				t.Error(err)
				return
			}
			for j, d := range got {
				if d.ID != j || d.DB != db {
					t.Errorf("%s %d: %+v", db, j, d)
					return
				}
			}
			if len(got) != 500 {
				t.Errorf("%d documents", len(got))
			}
		})
	}
	wg.Wait()
	var status struct {
		Gateway struct {
			Cursors   int64
			Upstreams map[string]struct {
				Servers map[string]struct{ ConnectionsCreated int64 }
			}
		}
	}
	check(t, c.Database("admin").RunCommand(t.Context(), bson.D{{Key: "serverStatus", Value: 1}}).Decode(&status))
	if status.Gateway.Cursors != 0 {
		t.Errorf("%d cursors are left", status.Gateway.Cursors)
	}
	for name, u := range status.Gateway.Upstreams {
		for h, s := range u.Servers {
			if s.ConnectionsCreated > 3 || s.ConnectionsCreated == 0 {
				t.Errorf("%s at %s: %d connections", name, h, s.ConnectionsCreated)
			}
		}
	}
}

func TestKillCursors(t *testing.T) {
	_, c, _, _ := three(t)
	var ids bson.A
	for _, name := range []string{"orders", "audit"} {
		coll := c.Database("shop").Collection(name)
		_, err := coll.InsertMany(t.Context(), []any{bson.D{}, bson.D{}, bson.D{}})
		check(t, err)
		cur, err := coll.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(1))
		check(t, err)
		ids = append(ids, cur.ID())
	}
	var got struct {
		CursorsKilled, CursorsNotFound []int64
	}
	cmd := bson.D{{Key: "killCursors", Value: "orders"}, {Key: "cursors", Value: append(ids, int64(7))}}
	check(t, c.Database("shop").RunCommand(t.Context(), cmd).Decode(&got))
	// The cursor of `audit` is not one of `orders`: its server may know better.
	if len(got.CursorsKilled)+len(got.CursorsNotFound) != 3 || len(got.CursorsKilled) < 1 || !slices.Contains(got.CursorsNotFound, 7) {
		t.Errorf("%+v", got)
	}
	err := c.Database("shop").RunCommand(t.Context(), bson.D{{Key: "getMore", Value: ids[0]}, {Key: "collection", Value: "orders"}}).Err()
	if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 43 {
		t.Errorf("getMore on a killed cursor: %v", err)
	}
}

func TestTransactions(t *testing.T) {
	_, c, shop, _ := three(t)
	ctx := t.Context()
	orders, items := c.Database("shop").Collection("orders"), c.Database("shop").Collection("items")
	s, err := c.StartSession()
	check(t, err)
	defer s.EndSession(ctx)
	_, err = s.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		if _, err := orders.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}}); err != nil {
			return nil, err
		}
		n, err := orders.CountDocuments(ctx, bson.D{})
		if err != nil || n != 1 {
			return nil, fmt.Errorf("count %d: %w", n, err)
		}
		_, err = items.InsertOne(ctx, bson.D{{Key: "_id", Value: 2}})
		return nil, err
	})
	check(t, err)
	n, err := shop.Database("shop").Collection("items").CountDocuments(ctx, bson.D{})
	if err != nil || n != 1 {
		t.Errorf("%d items: %v", n, err)
	}

	check(t, s.StartTransaction())
	check(t, mongo.WithSession(ctx, s, func(ctx context.Context) error {
		if _, err := orders.InsertOne(ctx, bson.D{{Key: "_id", Value: 3}}); err != nil {
			return err
		}
		_, err := c.Database("shop").Collection("audit").InsertOne(ctx, bson.D{})
		if e := (mongo.CommandError{}); !errors.As(err, &e) || e.Code != 263 {
			t.Errorf("a transaction over two upstreams: %v", err)
		}
		return s.AbortTransaction(ctx)
	}))
	n, err = orders.CountDocuments(ctx, bson.D{})
	if err != nil || n != 1 {
		t.Errorf("%d orders after an abort: %v", n, err)
	}
}

// TestRecoveryToken commits on another gateway than the one the transaction ran on.
func TestRecoveryToken(t *testing.T) {
	a, b := startDB(t, archelon.Config{}), startDB(t, archelon.Config{})
	table := gateway.Table{
		Upstreams: map[string]gateway.Upstream{"a": {URI: a}, "b": {URI: b}},
		Routes:    []gateway.Route{{Database: gateway.Patterns{"a"}, Upstream: "a"}, {Upstream: "b"}},
	}
	_, one := startGateway(t, table)
	_, two := startGateway(t, table)
	first, second := ask(t, one), ask(t, two)
	lsid := bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}}}
	var reply struct{ RecoveryToken bson.Raw }
	check(t, first("a", bson.D{
		{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: 1}}}}, {Key: "lsid", Value: lsid},
		{Key: "txnNumber", Value: int64(1)}, {Key: "autocommit", Value: false}, {Key: "startTransaction", Value: true},
	}).Decode(&reply))
	commit := bson.D{{Key: "commitTransaction", Value: 1}, {Key: "lsid", Value: lsid}, {Key: "txnNumber", Value: int64(1)}, {Key: "autocommit", Value: false}}
	if r := second("admin", commit); egress.CodeOf(r.Err()) != 251 {
		t.Errorf("commit without a token: %v", r.Err())
	}
	check(t, second("admin", append(commit, bson.E{Key: "recoveryToken", Value: reply.RecoveryToken})).Err())
	n, err := connect(t, two).Database("a").Collection("c").CountDocuments(t.Context(), bson.D{})
	if n != 1 || err != nil {
		t.Errorf("%d documents: %v", n, err)
	}
}

// ask returns a function that runs commands as they are.
func ask(t *testing.T, uri string) func(db string, cmd bson.D) egress.ResponseOnAny {
	t.Helper()
	c, err := egress.Open(uri)
	check(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	return func(db string, cmd bson.D) egress.ResponseOnAny {
		command, err := egress.NewCommand(db, cmd)
		check(t, err)
		return c.Run(t.Context(), &egress.Operation{Command: command})
	}
}

func TestUnacknowledgedWrites(t *testing.T) {
	_, uri := startGateway(t, to(startDB(t, archelon.Config{})))
	c := connect(t, uri, options.Client().SetMaxPoolSize(1))
	quiet := c.Database("d").Collection("c", options.Collection().SetWriteConcern(writeconcern.Unacknowledged()))
	for i := range 20 {
		_, err := quiet.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}})
		check(t, err)
	}
	n, err := c.Database("d").Collection("c").CountDocuments(t.Context(), bson.D{})
	if n != 20 || err != nil {
		t.Errorf("%d documents: %v", n, err)
	}
}

// TestStandaloneUpstream writes with a driver that numbers its writes.
func TestStandaloneUpstream(t *testing.T) {
	_, uri := startGateway(t, to(startDB(t, archelon.Config{Standalone: true})))
	c := connect(t, uri)
	_, err := c.Database("d").Collection("c").InsertOne(t.Context(), bson.D{})
	check(t, err)
}

func TestChangeStreamAndTailable(t *testing.T) {
	_, c, _, _ := three(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	coll := c.Database("shop").Collection("audit")
	stream, err := coll.Watch(ctx, mongo.Pipeline{})
	check(t, err)
	defer stream.Close(ctx)
	_, err = coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "a"}})
	check(t, err)
	if !stream.Next(ctx) {
		t.Fatal(stream.Err())
	}
	if op := stream.Current.Lookup("operationType").StringValue(); op != "insert" {
		t.Error(op)
	}
	check(t, c.Database("shop").CreateCollection(ctx, "log_tail", options.CreateCollection().SetCapped(true).SetSizeInBytes(1<<16)))
	tail := c.Database("shop").Collection("log_tail")
	_, err = tail.InsertOne(ctx, bson.D{{Key: "_id", Value: 0}})
	check(t, err)
	cur, err := tail.Find(ctx, bson.D{}, options.Find().SetCursorType(options.TailableAwait).SetMaxAwaitTime(time.Second))
	check(t, err)
	defer cur.Close(ctx)
	for i := range 3 {
		if !cur.Next(ctx) {
			t.Fatal(cur.Err())
		}
		_, err = tail.InsertOne(ctx, bson.D{{Key: "_id", Value: i + 1}})
		check(t, err)
	}
}

func TestCompression(t *testing.T) {
	_, uri := startGateway(t, to(startDB(t, archelon.Config{})+"?compressors=zstd"))
	c := connect(t, uri, options.Client().SetCompressors([]string{"snappy"}))
	doc := bson.D{{Key: "_id", Value: 1}, {Key: "text", Value: fmt.Sprint(make([]int, 10_000))}}
	_, err := c.Database("d").Collection("c").InsertOne(t.Context(), doc)
	check(t, err)
	var got bson.D
	check(t, c.Database("d").Collection("c").FindOne(t.Context(), bson.D{}).Decode(&got))
	if fmt.Sprint(got) != fmt.Sprint(doc) {
		t.Error("the document has changed")
	}
}

// TestCausalConsistency reads and writes two deployments, whose clocks differ, in one session.
func TestCausalConsistency(t *testing.T) {
	_, c, shop, _ := three(t)
	ctx := t.Context()
	for i := range 50 { // moves one clock
		_, err := shop.Database("other").Collection("x").InsertOne(ctx, bson.D{{Key: "_id", Value: i}})
		check(t, err)
	}
	s, err := c.StartSession(options.Session().SetCausalConsistency(true))
	check(t, err)
	defer s.EndSession(ctx)
	check(t, mongo.WithSession(ctx, s, func(ctx context.Context) error {
		for i := range 5 {
			for _, name := range []string{"orders", "audit"} {
				coll := c.Database("shop").Collection(name)
				if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: i}}); err != nil {
					return err
				}
				if err := coll.FindOne(ctx, bson.D{{Key: "_id", Value: i}}).Err(); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// TestOfGateways stacks gateways, the upper with two lower ones as one upstream.
func TestOfGateways(t *testing.T) {
	db := startDB(t, archelon.Config{})
	_, one := startGateway(t, to(db))
	_, two := startGateway(t, to(db))
	_, top := startGateway(t, to("mongodb://"+one[len("mongodb://"):len(one)-1]+","+two[len("mongodb://"):]))
	c := connect(t, top)
	coll := c.Database("d").Collection("c")
	for i := range 10 {
		check(t, c.UseSession(t.Context(), func(ctx context.Context) error {
			_, err := mongo.SessionFromContext(ctx).WithTransaction(ctx, func(ctx context.Context) (any, error) {
				if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: 2 * i}}); err != nil {
					return nil, err
				}
				return coll.InsertOne(ctx, bson.D{{Key: "_id", Value: 2*i + 1}})
			})
			return err
		}))
	}
	cur, err := coll.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(2))
	check(t, err)
	var all []bson.D
	check(t, cur.All(t.Context(), &all))
	if len(all) != 20 {
		t.Errorf("%d documents", len(all))
	}
}

func TestReload(t *testing.T) {
	a, b := startDB(t, archelon.Config{}), startDB(t, archelon.Config{})
	g, uri := startGateway(t, to(a))
	c := connect(t, uri)
	coll := c.Database("d").Collection("c")
	_, err := coll.InsertMany(t.Context(), []any{bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}}, bson.D{{Key: "_id", Value: 3}}})
	check(t, err)
	cur, err := coll.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(1))
	check(t, err)
	if err := g.Reload(gateway.Table{}); err == nil {
		t.Error("an empty table is accepted")
	}
	check(t, g.Reload(to(b)))
	n, err := coll.CountDocuments(t.Context(), bson.D{})
	if n != 0 || err != nil {
		t.Errorf("%d documents after the reload: %v", n, err)
	}
	var rest []bson.D
	check(t, cur.All(t.Context(), &rest))
	if len(rest) != 3 {
		t.Errorf("the cursor had %d documents", len(rest))
	}
	drained := to(b)
	drained.Upstreams["main"] = gateway.Upstream{URI: b, Drain: true}
	check(t, g.Reload(drained))
	if err := coll.FindOne(t.Context(), bson.D{}).Err(); !mongo.IsNetworkError(err) && code(err) != 6 {
		t.Errorf("find on a draining upstream: %v", err)
	}
}

func code(err error) int32 {
	if e := (mongo.CommandError{}); errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// TestExhaust takes the replies to one getMore in a stream.
func TestExhaust(t *testing.T) {
	_, uri := startGateway(t, to(startDB(t, archelon.Config{})))
	coll := connect(t, uri).Database("d").Collection("c")
	for i := range 10 {
		_, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}})
		check(t, err)
	}
	conn, err := egress.Connect(t.Context(), egress.Host(uri[len("mongodb://"):len(uri)-1]), &egress.ConnConfig{})
	check(t, err)
	defer conn.Close()
	find, err := egress.NewCommand("d", bson.D{{Key: "find", Value: "c"}, {Key: "batchSize", Value: 2}})
	check(t, err)
	var reply struct {
		Cursor struct {
			ID        int64
			NextBatch []bson.Raw
		}
	}
	check(t, conn.Run(t.Context(), &find).Decode(&reply))
	more, err := egress.NewCommand("d", bson.D{{Key: "getMore", Value: reply.Cursor.ID}, {Key: "collection", Value: "c"}, {Key: "batchSize", Value: 3}})
	check(t, err)
	replies, docs := 0, 0
	for r := range conn.Stream(t.Context(), &more) {
		check(t, r.Decode(&reply))
		replies++
		docs += len(reply.Cursor.NextBatch)
	}
	if docs != 8 || replies < 3 || reply.Cursor.ID != 0 {
		t.Errorf("%d documents in %d replies", docs, replies)
	}
}

// TestRollingRestart stops one of two gateways under load: drivers turn to the other, and no call that a gateway has got
// fails. The Go driver fails the calls that wait for a connection at the moment when it clears its pool, instead of
// repeating them on the other gateway; those never got to a gateway.
func TestRollingRestart(t *testing.T) {
	db := startDB(t, archelon.Config{})
	_, stays := startGateway(t, to(db))
	g, err := gateway.New(gateway.Config{Table: to(db), Logger: slog.New(slog.DiscardHandler), Quiesce: 500 * time.Millisecond})
	check(t, err)
	t.Cleanup(g.Close)
	ready := make(chan net.Addr, 1)
	stop := serve(t, func(ctx context.Context) error {
		return g.Serve(ctx, server.Config{Addresses: []string{"127.0.0.1:0"}}, func(s *server.Server) { ready <- s.Addr() })
	})
	c := connect(t, stays[:len(stays)-1]+","+(<-ready).String()+"/", options.Client().SetLocalThreshold(time.Second))
	coll := c.Database("d").Collection("c")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fail := func(err error) {
		if err != nil && !strings.Contains(err.Error(), "was cleared because another operation failed") {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: fmt.Sprint(w, "-", i)}})
				fail(err)
				if err := coll.FindOne(t.Context(), bson.D{}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
					fail(err)
				}
				fail(c.Database("d").RunCommand(t.Context(), bson.D{{Key: "count", Value: "c"}}).Err()) // never retried by drivers
			}
		})
	}
	time.Sleep(300 * time.Millisecond) //nolint:forbidigo // load before and
	stop()
	time.Sleep(200 * time.Millisecond) //nolint:forbidigo // after the stop
	cancel()
	wg.Wait()
}

// TestOwnCommands runs what shells ask first, and what must not reach shared connections.
func TestOwnCommands(t *testing.T) {
	_, c, _, _ := three(t)
	admin := c.Database("admin")
	for _, name := range []string{"ping", "buildInfo", "connectionStatus", "whatsmyuri", "isdbgrid", "serverStatus", "startSession", "getLog"} {
		cmd := bson.D{{Key: name, Value: 1}}
		if name == "getLog" {
			cmd = bson.D{{Key: name, Value: "startupWarnings"}}
		}
		if err := admin.RunCommand(t.Context(), cmd).Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]int32{"saslStart": 18, "authenticate": 18, "replSetGetStatus": 59, "shutdown": 59} {
		if err := admin.RunCommand(t.Context(), bson.D{{Key: name, Value: 1}}).Err(); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := c.Database("shop").RunCommand(t.Context(), bson.D{{Key: "find", Value: "c"}, {Key: "$readPreference", Value: bson.D{{Key: "mode", Value: "far"}}}}).Err()
	if err == nil {
		t.Error("an unknown read preference is accepted")
	}
	admin = c.Database("admin")
	if err := admin.RunCommand(t.Context(), bson.D{{Key: "renameCollection", Value: "shop.orders"}, {Key: "to", Value: "shop.audit"}}).Err(); code(err) != 238 {
		t.Errorf("rename to another upstream: %v", err)
	}
	_, err = c.BulkWrite(t.Context(), []mongo.ClientBulkWrite{
		{Database: "shop", Collection: "orders", Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{})},
		{Database: "shop", Collection: "audit", Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{})},
	})
	if err == nil || !strings.Contains(err.Error(), "different upstreams") {
		t.Errorf("bulkWrite on two upstreams: %v", err)
	}
	_, err = c.BulkWrite(t.Context(), []mongo.ClientBulkWrite{
		{Database: "shop", Collection: "orders", Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: 1}})},
		{Database: "shop", Collection: "items", Model: mongo.NewClientInsertOneModel().SetDocument(bson.D{{Key: "_id", Value: 1}})},
	})
	check(t, err)
}
