package auth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/server"
)

// account makes a user with a password, by both mechanisms unless some are named.
func account(t testing.TB, name, db, password string, roles []server.UserRole, only ...string) *Account {
	t.Helper()
	a := &Account{Name: name, DB: db, Roles: roles, Keys: map[string]*Keys{}}
	if len(only) == 0 {
		only = []string{SCRAMSHA256, SCRAMSHA1}
	}
	for _, m := range only {
		keys, err := DeriveKeys(m, name, password)
		if err != nil {
			t.Fatal(err)
		}
		a.Keys[m] = keys
	}
	return a
}

// usersOf writes a users file.
func usersOf(t testing.TB, path string, list ...*Account) {
	t.Helper()
	text, err := FormatUsers(list...)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	alice := account(t, "alice", "admin", "secret", []server.UserRole{{Name: "readWrite", DB: "shop"}, {Name: "root", DB: "admin"}})
	usersOf(t, path, alice, &Account{Name: "CN=app", DB: ExternalDB})
	f, err := LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Account(t.Context(), "admin", "alice")
	if err != nil || got == nil || len(got.Roles) != 2 || got.Roles[0] != alice.Roles[0] ||
		string(got.Keys[SCRAMSHA256].StoredKey) != string(alice.Keys[SCRAMSHA256].StoredKey) {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, missing := range [][2]string{{"shop", "alice"}, {"admin", "Alice"}, {"admin", "CN=app"}} {
		if a, err := f.Account(t.Context(), missing[0], missing[1]); a != nil || err != nil {
			t.Errorf("%v: %+v, %v", missing, a, err)
		}
	}
	before := f.Version()
	if err := os.WriteFile(path, []byte("users: [{user: x}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil || f.Version() != before || len(f.Accounts()) != 2 {
		t.Errorf("a file with a mistake was taken up: %v", err)
	}
	usersOf(t, path, alice)
	if err := f.Reload(); err != nil || f.Version() == before || len(f.Accounts()) != 1 {
		t.Errorf("a changed file was not taken up: %v", err)
	}
}

func TestFileMistakes(t *testing.T) {
	const keys = `{iterationCount: 15000, salt: "YWJjZGVmZ2hpag==", storedKey: "YWJjZGVmZ2hpamtsbW5vcHFyc3Q=", serverKey: "YWJjZGVmZ2hpamtsbW5vcHFyc3Q="}`
	for text, want := range map[string]string{
		`users: [{user: a, credentials: {SCRAM-SHA-1: ` + keys + `}}]`:                          "",
		`users: [{user: a, roles: [read], db: shop, credentials: {SCRAM-SHA-1: ` + keys + `}}]`: "",
		``: "",
		`users: [{user: a, roles: [reed], credentials: {SCRAM-SHA-1: ` + keys + `}}]`:           `no role "reed"`,
		`users: [{user: a, db: shop, roles: [root], credentials: {SCRAM-SHA-1: ` + keys + `}}]`: "of the database admin",
		`users: [{user: a, roles: [{rol: root}], credentials: {SCRAM-SHA-1: ` + keys + `}}]`:    `no field "rol"`,
		`users: [{user: a, pwd: secret}]`:                                                                                   "pwd",
		`users: [{user: a}]`:                                                                                                "no credentials",
		`users: [{db: admin, credentials: {SCRAM-SHA-1: ` + keys + `}}]`:                                                    "no name",
		`users: [{user: a, db: $external, credentials: {SCRAM-SHA-1: ` + keys + `}}]`:                                       "certificates",
		`users: [{user: a, credentials: {SCRAM-SHA-256: ` + keys + `}}]`:                                                    "instead of 32",
		`users: [{user: a, credentials: {PLAIN: ` + keys + `}}]`:                                                            `mechanism "PLAIN"`,
		`users: [{user: a, credentials: {SCRAM-SHA-1: ` + strings.Replace(keys, "15000", "5", 1) + `}}]`:                    "iterationCount",
		`users: [{user: a, credentials: {SCRAM-SHA-1: ` + strings.Replace(keys, "YWJj", "!!", 1) + `}}]`:                    "base64",
		`users: [{user: a, credentials: {SCRAM-SHA-1: ` + keys + `}}, {user: a, credentials: {SCRAM-SHA-1: ` + keys + `}}]`: "twice",
	} {
		_, err := ParseUsers([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestDeriveKeys(t *testing.T) {
	for _, c := range []struct {
		mechanism, password string
		ok                  bool
	}{
		{SCRAMSHA256, "secret", true}, {SCRAMSHA1, "secret", true}, {SCRAMSHA256, "", false}, {"PLAIN", "secret", false},
		{SCRAMSHA256, "I\u00adX", true}, {SCRAMSHA256, "a\u0007b", false},
	} {
		if _, err := DeriveKeys(c.mechanism, "u", c.password); (err == nil) != c.ok {
			t.Errorf("%s %q: %v", c.mechanism, c.password, err)
		}
	}
	m := find(SCRAMSHA256)
	a, err := m.prepare("", "I\u00adX") // the example of RFC 4013
	if err != nil || a != "IX" {
		t.Errorf("%q, %v", a, err)
	}
}
