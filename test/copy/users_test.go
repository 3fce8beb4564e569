package copy

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
	"github.com/archelon-db/archelon/test/harness"
)

// TestUsers copies users as MongoDB keeps them into a users file, with which they log in as before.
func TestUsers(t *testing.T) {
	from, to := start(t, "memory"), start(t, "memory")
	source := connect(t, from)
	credentials := bson.D{}
	for _, mechanism := range []string{auth.SCRAMSHA1, auth.SCRAMSHA256} {
		k, err := auth.DeriveKeys(mechanism, "ann", "secret")
		if err != nil {
			t.Fatal(err)
		}
		text := base64.StdEncoding.EncodeToString
		credentials = append(credentials, bson.E{Key: mechanism, Value: bson.D{{Key: "iterationCount", Value: k.Iterations},
			{Key: "salt", Value: text(k.Salt)}, {Key: "storedKey", Value: text(k.StoredKey)}, {Key: "serverKey", Value: text(k.ServerKey)}}})
	}
	role := func(name string) bson.D { return bson.D{{Key: "role", Value: name}, {Key: "db", Value: "shop"}} }
	_, err := source.Database("admin").Collection("system.users").InsertMany(t.Context(), []bson.D{
		{{Key: "_id", Value: "shop.ann"}, {Key: "user", Value: "ann"}, {Key: "db", Value: "shop"}, {Key: "credentials", Value: credentials},
			{Key: "roles", Value: bson.A{role("readWrite"), role("ours")}}},
		{{Key: "_id", Value: "shop.bob"}, {Key: "user", Value: "bob"}, {Key: "db", Value: "shop"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Database("shop").Collection("orders").InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users.yaml")
	log := begin(t, from, to, "--users-file", file).ended(t, true)
	for _, said := range []string{"shop.ann is copied without the role ours of shop", "shop.bob is not copied: there are no credentials", "1 users are in " + file} {
		if !strings.Contains(log, said) {
			t.Errorf("the copy has not said %q:\n%s", said, log)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if log := begin(t, from, to, "--users-file", file).ended(t, false); !strings.Contains(log, "exists already") {
		t.Errorf("a file that is there: %s", log)
	}

	addr := harness.FreeAddr(t)
	s := harness.StartWith(t, harness.Build(t), addr, nil, "--listen", addr, "--storage", "memory", "--users", file)
	for _, mechanism := range []string{auth.SCRAMSHA1, auth.SCRAMSHA256} {
		ann := options.Client().ApplyURI(s.URI()).SetAuth(options.Credential{AuthMechanism: mechanism, AuthSource: "shop", Username: "ann", Password: "secret"})
		if _, err := harness.Connect(t, ann).Database("shop").Collection("orders").InsertOne(t.Context(), bson.D{{Key: "by", Value: mechanism}}); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}

// TestUsersOfFile tells of users that the source has in its users file.
func TestUsersOfFile(t *testing.T) {
	root, err := auth.NewAccount("root", "admin", "secret", server.UserRole{Name: "root", DB: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := auth.FormatUsers(root)
	if err != nil {
		t.Fatal(err)
	}
	file, addr := filepath.Join(t.TempDir(), "users.yaml"), harness.FreeAddr(t)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	harness.StartWith(t, harness.Build(t), addr, nil, "--listen", addr, "--storage", "memory", "--users", file)
	c := copying{harness.Run(t, exec.Command(harness.Build(t), "copy", "--from", "mongodb://root:secret@"+addr+"/", "--to", start(t, "memory").URI()))}
	if log := c.ended(t, true); !strings.Contains(log, "in its users file, which you take along: admin.root") {
		t.Errorf("%s", log)
	}
}
