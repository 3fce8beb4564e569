package auth

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
)

// FuzzCommands sends documents to a server with users: none may let a client in or through.
func FuzzCommands(f *testing.F) {
	for _, d := range []bson.D{
		{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: SCRAMSHA256}, {Key: "payload", Value: []byte("n,,n=alice,r=x")}},
		{{Key: "saslContinue", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "payload", Value: "YQ=="}},
		{{Key: "authenticate", Value: 1}, {Key: "mechanism", Value: X509}, {Key: "user", Value: "CN=x"}},
		{{Key: "hello", Value: 1}, {Key: "speculativeAuthenticate", Value: bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: SCRAMSHA1}, {Key: "payload", Value: []byte{}}}}},
		{{Key: "$query", Value: bson.D{{Key: "find", Value: "$cmd"}, {Key: "filter", Value: bson.D{{Key: "secret", Value: 1}}}}}},
		{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$merge", Value: bson.D{{Key: "into", Value: 1}}}}, 5}}},
		{{Key: "bulkWrite", Value: 1}, {Key: "ops", Value: bson.A{bson.D{{Key: "insert", Value: 7}}}}, {Key: "nsInfo", Value: bson.A{bson.D{}}}},
		{{Key: "renameCollection", Value: 1}, {Key: "to", Value: ".."}}, {{Key: "usersInfo", Value: bson.A{1}}}, {{Key: "explain", Value: bson.D{}}},
	} {
		raw, err := bson.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, false)
		f.Add(raw, true)
	}
	alice := account(f, "alice", "admin", "secret", roles("read@shop"))
	g := NewGuard(NewMemory(alice), nil)
	hello := server.NewHello(server.HelloConfig{Topology: server.NewTopology(server.State{}), SASLMechanisms: g.Mechanisms, Extend: g.Speculate})
	var reached string
	h := g.Protect(server.HandlerFunc(func(ctx context.Context, req *server.Request, reply *server.Reply) error {
		if req.Command == "hello" || req.Command == "isMaster" || req.Command == "ismaster" {
			return hello.Handle(ctx, req, reply)
		}
		reached = req.Command
		return nil
	}), func(_, command string) Access { return map[string]Access{"secret": Callable}[command] })
	f.Fuzz(func(t *testing.T, raw []byte, in bool) {
		d := server.Doc(raw)
		if bsonval.ValidateCommand(d) != nil {
			return
		}
		reached = ""
		conn := server.NewLocalConn()
		if in {
			g.client(conn).accept(conn, alice, g.store.Version())
		}
		for range 2 {
			reply, err := server.Call(t.Context(), h, server.NewRequest(conn, "shop", d))
			if err != nil {
				t.Fatal(err)
			}
			if bsonval.Validate(reply) != nil {
				t.Fatalf("malformed reply %x", []byte(reply))
			}
		}
		if !in && conn.User() != nil {
			t.Fatal("let in")
		}
		if open, _ := Known(reached); !in && reached != "" && !open || reached == "secret" {
			t.Fatalf("let %q through", reached)
		}
	})
}

func FuzzParseUsers(f *testing.F) {
	text, err := FormatUsers(account(f, "alice", "admin", "secret", roles("read@shop")), &Account{Name: "CN=x", DB: ExternalDB})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("users: [{user: a, roles: [root, {role: 5}], credentials: {SCRAM-SHA-1: {}}}]")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseUsers([]byte(text))
		if err != nil {
			return
		}
		again, err := FormatUsers(list...)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseUsers(again); err != nil || len(back) != len(list) {
			t.Fatalf("%q became %q: %v", text, again, err)
		}
	})
}
