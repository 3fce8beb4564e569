package service_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
)

// guarded is a service with users whose passwords are their names.
func guarded(t *testing.T) *running {
	t.Helper()
	var list []*auth.Account
	for name, role := range map[string]string{"caller": "call", "other": "call", "reader": "read", "operator": "dbOwner"} {
		a, err := auth.NewAccount(name, "admin", name, server.UserRole{Name: role, DB: "media"})
		if err != nil {
			t.Fatal(err)
		}
		if name == "operator" {
			a.Roles = append(a.Roles, server.UserRole{Name: "clusterAdmin", DB: "admin"})
		}
		list = append(list, a)
	}
	svc := service.New("media", service.Config{Auth: auth.NewGuard(auth.NewMemory(list...), nil), Quiesce: -1})
	type none struct{}
	type who struct {
		User string `bson:"user"`
	}
	service.Handle(svc, service.Command{Name: "whoAmI"}, func(ctx context.Context, _ none) (who, error) {
		return who{service.FromContext(ctx).User().String()}, nil
	})
	// It has the name of a command that everybody may run elsewhere.
	service.Handle(svc, service.Command{Name: "ping"}, func(context.Context, bson.D) (who, error) { return who{"pong"}, nil })
	service.Handle(svc, service.Command{Name: "public", NoAuth: true}, func(context.Context, none) (who, error) { return who{"anybody"}, nil })
	service.Stream(svc, service.Command{Name: "count"}, func(context.Context, none) iter.Seq2[who, error] {
		return func(yield func(who, error) bool) {
			for range 500 {
				if !yield(who{"x"}, nil) {
					return
				}
			}
		}
	})
	return start(t, svc)
}

func (r *running) as(t *testing.T, user string) *mongo.Client {
	t.Helper()
	o := options.Client().ApplyURI("mongodb://" + r.addr + "/")
	if user != "" {
		o.SetAuth(options.Credential{Username: user, Password: user})
	}
	return harness.Connect(t, o)
}

func TestServiceAuthenticates(t *testing.T) {
	r := guarded(t)
	run := func(user string, db string, want int32, command bson.D) bson.Raw {
		t.Helper()
		raw, err := r.as(t, user).Database(db).RunCommand(t.Context(), command).Raw()
		var ce mongo.CommandError
		if got := errors.As(err, &ce); want == 0 && err != nil || want != 0 && (!got || ce.Code != want) {
			t.Errorf("%s: %v on %s: %v; want code %d", user, command, db, err, want)
		}
		return raw
	}
	one := func(name string) bson.D { return bson.D{{Key: name, Value: 1}} }
	for _, c := range []struct {
		user, db, command string
		want              int32
	}{
		{"", "media", "whoAmI", 13}, {"", "media", "WHOAMI", 13}, {"", "media", "ping", 13}, {"", "media", "public", 0}, {"", "media", "hello", 0},
		{"", "media", "listCommands", 0}, {"", "admin", "serverStatus", 13},
		{"caller", "media", "whoAmI", 0}, {"caller", "media", "whoami", 0}, {"caller", "media", "ping", 0}, {"caller", "other", "whoAmI", 13},
		{"caller", "admin", "serverStatus", 13}, {"caller", "media", "nothing", 59}, {"caller", "media", "buildInfo", 0},
		{"reader", "media", "whoAmI", 13}, {"operator", "admin", "serverStatus", 0}, {"operator", "admin", "currentOp", 0},
		{"operator", "media", "whoAmI", 13},
	} {
		run(c.user, c.db, c.want, one(c.command))
	}
	wrapped := func(inner bson.D) bson.D { return bson.D{{Key: "find", Value: "$cmd"}, {Key: "filter", Value: inner}} }
	run("", "media", 13, wrapped(one("whoAmI")))
	run("reader", "media", 13, wrapped(bson.D{{Key: "$query", Value: one("whoAmI")}}))
	run("caller", "media", 0, wrapped(one("whoAmI")))
	run("caller", "admin", 13, wrapped(bson.D{{Key: "KillOp", Value: 1}, {Key: "op", Value: 1}}))
	run("caller", "media", 0, bson.D{{Key: "$query", Value: one("whoAmI")}})
	if got := run("caller", "media", 0, one("whoAmI")).Lookup("user").StringValue(); got != "caller@admin" {
		t.Errorf("the handler was called by %q", got)
	}
	if got := run("caller", "media", 0, one("connectionStatus")).Lookup("authInfo", "authenticatedUsers", "0", "user"); got.Type == 0 || got.StringValue() != "caller" {
		t.Errorf("connectionStatus has %v", got)
	}
	id := run("caller", "media", 0, one("count")).Lookup("cursor", "id").Int64()
	more := bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "$cmd.count"}}
	run("other", "media", 13, more)
	run("other", "media", 13, bson.D{{Key: "killCursors", Value: "$cmd.count"}, {Key: "cursors", Value: bson.A{id}}})
	client := r.as(t, "caller")
	cur, err := client.Database("media").RunCommandCursor(t.Context(), one("count"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for cur.Next(t.Context()) {
		n++
	}
	if n != 500 || cur.Err() != nil {
		t.Errorf("%d documents, %v", n, cur.Err())
	}
}

// TestClientAuthenticates: the project's own client, which names its user in the connection string.
func TestClientAuthenticates(t *testing.T) {
	r := guarded(t)
	for user, ok := range map[string]bool{"caller:caller@": true, "caller:wrong@": false, "reader:reader@": false} {
		servers, err := egress.Open("mongodb://" + user + r.addr + "/?serverSelectionTimeoutMS=2000")
		if err != nil {
			t.Fatal(err)
		}
		reply, err := service.Invoke[bson.D, bson.M](t.Context(), service.NewClient(servers, "media"), "whoAmI", bson.D{})
		if (err == nil) != ok {
			t.Errorf("%s: %v, %v", user, reply, err)
		}
		servers.Close(context.Background())
	}
}
