package gateway_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
	"github.com/archelon-db/archelon/test/harness"
)

func newAccount(t *testing.T, name string, roles ...server.UserRole) *auth.Account {
	t.Helper()
	a, err := auth.NewAccount(name, "admin", name, roles...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestUsers: the gateway has users of its own, and is a user of its upstreams.
func TestUsers(t *testing.T) {
	upstream := startDB(t, archelon.Config{Users: auth.NewMemory(newAccount(t, "gateway", server.UserRole{Name: "root", DB: "admin"}))})
	echo := startService(t)
	guard := auth.NewGuard(auth.NewMemory(
		newAccount(t, "alice", server.UserRole{Name: "readWrite", DB: "shop"}, server.UserRole{Name: "call", DB: "shop"}),
		newAccount(t, "bob", server.UserRole{Name: "readWrite", DB: "shop"}),
	), nil)
	g, err := gateway.New(gateway.Config{
		Logger: slog.New(slog.DiscardHandler), Quiesce: -1, Auth: guard,
		Table: gateway.Table{
			Upstreams: map[string]gateway.Upstream{
				"db": {URI: "mongodb://gateway:gateway@" + upstream[len("mongodb://"):]}, "echo": {URI: echo},
			},
			Routes: []gateway.Route{{Command: gateway.Patterns{"echo", "listCommands"}, Upstream: "echo"}, {Upstream: "db"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	s, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}, Handler: g, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s.Serve)
	as := func(user string) *egress.Client {
		if user != "" {
			user += ":" + user + "@"
		}
		client, err := egress.Open("mongodb://" + user + s.Addr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close(context.Background()) })
		return client
	}
	nobody, alice, bob := as(""), as("alice"), as("bob")
	e := func(name string, value any) bson.E { return bson.E{Key: name, Value: value} }
	// Commands go as they are: a driver would add sessions.
	run := func(c *egress.Client, on string, want server.Code, command ...bson.E) bson.Raw {
		t.Helper()
		raw, err := bson.Marshal(bson.D(command))
		if err != nil {
			t.Fatal(err)
		}
		r := c.Run(t.Context(), &egress.Operation{Command: egress.Command{DB: on, Body: egress.Doc(raw)}})
		if err := r.Err(); egress.CodeOf(err) != want || (err == nil) != (want == 0) {
			t.Errorf("%v on %s: %v; want code %d", command, on, err, want)
		}
		return bson.Raw(r.Body)
	}
	run(nobody, "shop", 0, e("ping", 1))
	run(nobody, "shop", 13, e("find", "c"))
	run(nobody, "shop", 13, e("echo", 1))
	run(nobody, "shop", 13, e("listCommands", 1)) // the upstream's
	run(alice, "shop", 0, e("echo", 1))
	run(bob, "shop", 13, e("echo", 1))
	run(alice, "bank", 13, e("find", "c"))
	run(alice, "admin", 13, e("serverStatus", 1))
	run(alice, "shop", 0, e("listCommands", 1))
	for i := range 5 {
		run(alice, "shop", 0, e("insert", "c"), e("documents", bson.A{bson.D{e("_id", i)}}))
	}
	driver := harness.Connect(t, options.Client().ApplyURI("mongodb://alice:alice@"+s.Addr().String()+"/"))
	names, err := driver.ListDatabaseNames(t.Context(), bson.D{})
	if err != nil || !slices.Equal(names, []string{"shop"}) {
		t.Errorf("%v, %v", names, err)
	}
	id := run(alice, "shop", 0, e("find", "c"), e("batchSize", 1)).Lookup("cursor", "id").Int64()
	run(bob, "shop", 13, e("getMore", id), e("collection", "c"))
	run(bob, "shop", 13, e("killCursors", "c"), e("cursors", bson.A{id}))

	// A transaction of alice's, which bob cannot take part in by naming its session.
	lsid := bson.D{e("id", bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")})}
	in := func(more ...bson.E) []bson.E {
		return append(more, e("lsid", lsid), e("txnNumber", int64(1)), e("autocommit", false))
	}
	run(alice, "shop", 0, append(in(e("insert", "c"), e("documents", bson.A{bson.D{e("_id", "t")}})), e("startTransaction", true))...)
	run(bob, "shop", 251, in(e("insert", "c"), e("documents", bson.A{bson.D{e("_id", "u")}}))...)
	run(bob, "admin", 0, e("endSessions", bson.A{lsid}))
	run(alice, "admin", 0, in(e("commitTransaction", 1))...)
	if n := run(bob, "shop", 0, e("count", "c")).Lookup("n").AsInt64(); n != 6 {
		t.Errorf("%d documents", n)
	}
	if got := run(alice, "admin", 0, e("connectionStatus", 1)).Lookup("authInfo", "authenticatedUsers", "0", "user"); got.Type == 0 || got.StringValue() != "alice" {
		t.Errorf("connectionStatus has %v", got)
	}
	// A whole session of the driver, with a transaction.
	session, err := driver.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(t.Context())
	if _, err := session.WithTransaction(t.Context(), func(ctx context.Context) (any, error) {
		return driver.Database("shop").Collection("c").InsertOne(ctx, bson.D{e("_id", "driver")})
	}); err != nil {
		t.Error(err)
	}
}
