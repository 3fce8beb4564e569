package archelon_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
	"github.com/archelon-db/archelon/service"
)

// users are accounts whose password is their name; each is "name@db: role@db role@db".
func users(t *testing.T, list ...string) *auth.Memory {
	t.Helper()
	var all []*auth.Account
	for _, u := range list {
		who, granted, _ := strings.Cut(u, ": ")
		name, db, _ := strings.Cut(who, "@")
		var roles []server.UserRole
		for _, r := range strings.Fields(granted) {
			role, of, _ := strings.Cut(r, "@")
			roles = append(roles, server.UserRole{Name: role, DB: of})
		}
		a, err := auth.NewAccount(name, db, name, roles...)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return auth.NewMemory(all...)
}

// as is a client that logs in as a user of the database admin, or not at all. It sends commands as they are: drivers would
// add sessions.
func as(t *testing.T, uri, user string) *egress.Client {
	t.Helper()
	if user != "" {
		uri = "mongodb://" + user + ":" + user + "@" + strings.TrimPrefix(uri, "mongodb://")
	}
	client, err := egress.Open(uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(context.Background()) })
	return client
}

// send runs a command and checks the code of its error; 0 stands for none.
func send(t *testing.T, c *egress.Client, db string, want server.Code, command ...bson.E) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(bson.D(command))
	if err != nil {
		t.Fatal(err)
	}
	r := c.Run(t.Context(), &egress.Operation{Command: egress.Command{DB: db, Body: egress.Doc(raw)}})
	if err := r.Err(); egress.CodeOf(err) != want || (err == nil) != (want == 0) {
		t.Errorf("%v on %s: %v; want code %d", command, db, err, want)
	}
	return bson.Raw(r.Body)
}

// TestUsers: a database with users, and what belongs to each of them.
func TestUsers(t *testing.T) {
	svc := service.New("media", service.Config{})
	type number struct {
		N int `bson:"n"`
	}
	service.Handle(svc, service.Command{Name: "twice"}, func(ctx context.Context, n number) (number, error) {
		if service.FromContext(ctx).User() == nil {
			return n, errors.New("nobody calls")
		}
		return number{2 * n.N}, nil
	})
	service.Handle(svc, service.Command{Name: "public", NoAuth: true}, func(context.Context, struct{}) (number, error) { return number{1}, nil })
	db, err := archelon.Open(archelon.Config{
		Storage: archelon.StorageMemory, Listen: []string{"127.0.0.1:0"},
		Users:  users(t, "root@admin: root@admin", "shop@admin: readWrite@shop call@shop", "other@admin: readWrite@shop"),
		Mounts: []archelon.Mount{{Handler: svc, Commands: svc.Commands(), Database: "shop"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { served <- db.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-served, db.Close()); err != nil {
			t.Error(err)
		}
	})
	nobody, shop, other, root := as(t, db.URI(), ""), as(t, db.URI(), "shop"), as(t, db.URI(), "other"), as(t, db.URI(), "root")
	run := func(c *egress.Client, on string, want server.Code, command ...bson.E) bson.Raw {
		t.Helper()
		return send(t, c, on, want, command...)
	}
	e := func(name string, value any) bson.E { return bson.E{Key: name, Value: value} }

	run(nobody, "admin", 0, e("ping", 1))
	run(nobody, "shop", 13, e("find", "c"))
	run(nobody, "shop", 13, e("buildInfo", 1))
	run(nobody, "shop", 0, e("public", 1))
	run(nobody, "shop", 13, e("twice", 1), e("n", 4))
	run(nobody, "shop", 13, e("find", "$cmd"), e("filter", bson.D{e("twice", 1), e("n", 4)}))
	run(shop, "shop", 0, e("twice", 1), e("n", 4))
	run(other, "shop", 13, e("twice", 1), e("n", 4))
	run(shop, "shop", 0, e("find", "$cmd"), e("filter", bson.D{e("twice", 1), e("n", 4)}))
	run(shop, "shop", 59, e("noSuchCommand", 1))
	run(shop, "bank", 13, e("insert", "c"), e("documents", bson.A{bson.D{}}))
	run(shop, "admin", 13, e("shutdown", 1))
	run(root, "admin", 238, e("createUser", "x"), e("pwd", "y"), e("roles", bson.A{}))

	// Cursors and sessions.
	for i := range 5 {
		run(shop, "shop", 0, e("insert", "c"), e("documents", bson.A{bson.D{e("_id", i)}}))
	}
	id := run(shop, "shop", 0, e("find", "c"), e("batchSize", 1)).Lookup("cursor", "id").Int64()
	run(other, "shop", 13, e("getMore", id), e("collection", "c"))
	run(other, "shop", 13, e("killCursors", "c"), e("cursors", bson.A{id}))
	run(root, "shop", 13, e("getMore", id), e("collection", "c"))
	run(root, "shop", 0, e("killCursors", "c"), e("cursors", bson.A{id}))
	run(shop, "shop", 43, e("getMore", id), e("collection", "c"))
	lsid := bson.D{e("id", bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")})}
	id = run(shop, "shop", 0, e("find", "c"), e("batchSize", 1), e("lsid", lsid)).Lookup("cursor", "id").Int64()
	run(other, "shop", 13, e("getMore", id), e("collection", "c"), e("lsid", lsid))
	run(shop, "shop", 0, e("getMore", id), e("collection", "c"), e("lsid", lsid))
	digest := server.UserDigest("shop", "admin")
	stolen := append(lsid, e("uid", bson.Binary{Data: digest[:]}))
	run(other, "shop", 13, e("find", "c"), e("lsid", stolen))
	run(shop, "shop", 0, e("find", "c"), e("lsid", stolen))

	// A transaction that another user cannot take part in.
	in := func(more ...bson.E) []bson.E {
		return append(more, e("lsid", lsid), e("txnNumber", int64(1)), e("autocommit", false))
	}
	run(shop, "shop", 0, append(in(e("insert", "c"), e("documents", bson.A{bson.D{e("_id", "t")}})), e("startTransaction", true))...)
	run(other, "shop", 251, in(e("insert", "c"), e("documents", bson.A{bson.D{e("_id", "u")}}))...)
	run(shop, "admin", 0, in(e("commitTransaction", 1))...)
	run(other, "admin", 0, e("killSessions", bson.A{}))

	ops := run(root, "admin", 0, e("aggregate", 1), e("pipeline", bson.A{bson.D{e("$currentOp", bson.D{})}, bson.D{e("$match", bson.D{e("effectiveUsers.user", "root")})}}), e("cursor", bson.D{}))
	if got := ops.Lookup("cursor", "firstBatch", "0", "effectiveUsers", "0", "user"); got.Type == 0 || got.StringValue() != "root" {
		t.Errorf("%s", ops)
	}
	listed := run(root, "admin", 0, e("usersInfo", 1))
	if values, err := listed.Lookup("users").Array().Values(); err != nil || len(values) != 3 {
		t.Errorf("%s", listed)
	}
}

func TestMountedServiceHasNoUsers(t *testing.T) {
	svc := service.New("media", service.Config{Auth: auth.NewGuard(users(t), nil)})
	_, err := archelon.Open(archelon.Config{
		Storage: archelon.StorageMemory, Listen: []string{"127.0.0.1:0"}, Mounts: []archelon.Mount{{Handler: svc, Database: "media"}},
	})
	if err == nil || !strings.Contains(err.Error(), "authenticates its clients by itself") {
		t.Error(err)
	}
}
