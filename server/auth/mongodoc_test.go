package auth

import (
	"encoding/base64"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
)

// stored are keys as MongoDB keeps them.
func stored(t *testing.T, mechanism, name, password string) bson.D {
	t.Helper()
	k, err := DeriveKeys(mechanism, name, password)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString
	return bson.D{{Key: "iterationCount", Value: int32(k.Iterations)}, {Key: "salt", Value: text(k.Salt)},
		{Key: "storedKey", Value: text(k.StoredKey)}, {Key: "serverKey", Value: text(k.ServerKey)}}
}

func role(name, db string) bson.D { return bson.D{{Key: "role", Value: name}, {Key: "db", Value: db}} }

func TestAccountOf(t *testing.T) {
	credentials := bson.D{{Key: SCRAMSHA1, Value: stored(t, SCRAMSHA1, "ann", "secret")}, {Key: SCRAMSHA256, Value: stored(t, SCRAMSHA256, "ann", "secret")}}
	for name, c := range map[string]struct {
		doc  bson.D
		keys int
		left string
		err  string
	}{
		"whole": {bson.D{{Key: "_id", Value: "shop.ann"}, {Key: "user", Value: "ann"}, {Key: "db", Value: "shop"}, {Key: "credentials", Value: credentials},
			{Key: "roles", Value: bson.A{role("readWrite", "shop"), role("root", "admin")}}, {Key: "authenticationRestrictions", Value: bson.A{}}}, 2, "", ""},
		"own role": {bson.D{{Key: "user", Value: "ann"}, {Key: "db", Value: "shop"}, {Key: "credentials", Value: credentials[1:]},
			{Key: "roles", Value: bson.A{role("mine", "shop"), role("root", "shop"), role("read", "shop")}}}, 1, "the role mine of shop, the role root of shop", ""},
		"certificate": {bson.D{{Key: "user", Value: "CN=ann"}, {Key: "db", Value: "$external"}, {Key: "credentials", Value: bson.D{{Key: "external", Value: true}}},
			{Key: "roles", Value: bson.A{role("read", "shop")}}}, 0, "", ""},
		"restricted": {bson.D{{Key: "user", Value: "ann"}, {Key: "db", Value: "shop"}, {Key: "credentials", Value: credentials},
			{Key: "authenticationRestrictions", Value: bson.A{bson.D{{Key: "clientSource", Value: bson.A{"127.0.0.1"}}}}}}, 0, "", "authenticationRestrictions"},
		"no keys":  {bson.D{{Key: "user", Value: "ann"}, {Key: "db", Value: "shop"}}, 0, "", "no credentials"},
		"no db":    {bson.D{{Key: "user", Value: "ann"}}, 0, "", "no db"},
		"bad key":  {bson.D{{Key: "user", Value: "ann"}, {Key: "db", Value: "shop"}, {Key: "credentials", Value: bson.D{{Key: SCRAMSHA1, Value: bson.D{{Key: "salt", Value: "?"}}}}}}, 0, "", "base64"},
		"bad role": {bson.D{{Key: "user", Value: "ann"}, {Key: "db", Value: "shop"}, {Key: "roles", Value: bson.A{"read"}}}, 0, "", "not a document"},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := bson.Marshal(c.doc)
			if err != nil {
				t.Fatal(err)
			}
			a, left, err := AccountOf(server.Doc(raw))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%+v, %v", a, err)
				}
				return
			}
			if err != nil || len(a.Keys) != c.keys || strings.Join(left, ", ") != c.left {
				t.Fatalf("%+v, %q, %v", a, left, err)
			}
			text, err := FormatUsers(a)
			if err != nil {
				t.Fatal(err)
			}
			if list, err := ParseUsers(text); err != nil || len(list) != 1 || list[0].Name != a.Name || len(list[0].Roles) != len(a.Roles) {
				t.Errorf("%v, %v\n%s", list, err, text)
			}
		})
	}
}

func FuzzAccountOf(f *testing.F) {
	for _, d := range []bson.D{
		{{Key: "user", Value: "ann"}, {Key: "db", Value: "shop"}, {Key: "roles", Value: bson.A{role("read", "shop")}}},
		{{Key: "user", Value: "ann"}, {Key: "db", Value: "$external"}, {Key: "credentials", Value: bson.D{{Key: "external", Value: true}}}},
		{{Key: "user", Value: 1}, {Key: "db", Value: "a"}, {Key: "credentials", Value: bson.D{{Key: SCRAMSHA256, Value: bson.D{{Key: "iterationCount", Value: 1.5}}}}}},
	} {
		raw, err := bson.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bson.Raw(raw).Validate() != nil {
			return
		}
		a, _, err := AccountOf(server.Doc(raw))
		if err != nil {
			return
		}
		text, err := FormatUsers(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseUsers(text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	})
}
