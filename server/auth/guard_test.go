package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a protected server.
type fixture struct {
	users *File
	path  string
	guard *Guard
	addr  string
}

// start runs a server with a few commands until the test ends.
func start(t *testing.T, secure *tls.Config, list ...*Account) *fixture {
	t.Helper()
	f := &fixture{path: filepath.Join(t.TempDir(), "users.yaml")}
	usersOf(t, f.path, list...)
	var err error
	if f.users, err = LoadFile(f.path); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	f.guard = NewGuard(f.users, log)
	mux := server.NewMux()
	server.NewHello(server.HelloConfig{
		Topology: server.NewTopology(server.State{Posture: server.Standalone}), SASLMechanisms: f.guard.Mechanisms, Extend: f.guard.Speculate,
	}).Register(mux)
	for _, name := range []string{"ping", "find", "insert", "thumbnail", "endSessions", "dropDatabase"} {
		mux.HandleFunc(name, server.Ping)
	}
	mux.HandleFunc("connectionStatus", func(_ context.Context, req *server.Request, reply *server.Reply) error {
		raw, err := bson.Marshal(bson.D{{Key: "authInfo", Value: bson.Raw(Info(req.Conn, req.Body.Lookup("showPrivileges").Truthy()))}})
		reply.AppendDoc(raw)
		return err
	})
	mux.HandleFunc("listDatabases", func(_ context.Context, _ *server.Request, reply *server.Reply) error {
		databases := bson.A{}
		for _, name := range []string{"admin", "bank", "config", "local", "shop"} {
			databases = append(databases, bson.D{{Key: "name", Value: name}, {Key: "sizeOnDisk", Value: int64(1 << 20)}})
		}
		raw, err := bson.Marshal(bson.D{{Key: "databases", Value: databases}, {Key: "totalSize", Value: int64(5 << 20)}, {Key: "totalSizeMb", Value: int64(5)}})
		reply.AppendDoc(raw)
		return err
	})
	services := func(_, command string) Access {
		return map[string]Access{"thumbnail": Callable}[command]
	}
	s, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}, Handler: f.guard.Protect(mux, services), Logger: log, TLS: secure})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	f.addr = s.Addr().String()
	return f
}

// connect is a client of the official driver.
func (f *fixture) connect(t testing.TB, c *options.Credential, change func(*options.ClientOptions)) *mongo.Client {
	t.Helper()
	o := options.Client().ApplyURI("mongodb://" + f.addr + "/").SetServerSelectionTimeout(5 * time.Second)
	if c != nil {
		o.SetAuth(*c)
	}
	if change != nil {
		change(o)
	}
	client, err := mongo.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client
}

func run(t testing.TB, c *mongo.Client, db string, command bson.D) (bson.Raw, error) {
	t.Helper()
	return c.Database(db).RunCommand(t.Context(), command).Raw()
}

// code is an error's code, 0 for none.
func code(err error) int32 {
	var ce mongo.CommandError
	if errors.As(err, &ce) {
		return ce.Code
	}
	if err != nil {
		return -1
	}
	return 0
}

func roles(pairs ...string) []server.UserRole {
	var out []server.UserRole
	for _, p := range pairs {
		name, db, _ := strings.Cut(p, "@")
		out = append(out, server.UserRole{Name: name, DB: db})
	}
	return out
}

var one = func(name string) bson.D { return bson.D{{Key: name, Value: 1}} }

func TestDriverAuthenticates(t *testing.T) {
	f := start(t, nil,
		account(t, "alice", "admin", "secret", roles("read@shop", "call@media")), account(t, "old", "shop", "pw", roles("readWrite@shop"), SCRAMSHA1),
		account(t, "a,b=c", "admin", "I\u00adX", roles("root@admin")))
	for _, c := range []struct {
		name string
		cred options.Credential
		ok   bool
	}{
		{"the best", options.Credential{Username: "alice", Password: "secret"}, true},
		{"SHA-256", options.Credential{Username: "alice", Password: "secret", AuthMechanism: SCRAMSHA256}, true},
		{"SHA-1", options.Credential{Username: "alice", Password: "secret", AuthMechanism: SCRAMSHA1}, true},
		{"SHA-1 only", options.Credential{Username: "old", Password: "pw", AuthSource: "shop"}, true},
		{"odd name, prepared password", options.Credential{Username: "a,b=c", Password: "IX"}, true},
		{"wrong password", options.Credential{Username: "alice", Password: "Secret"}, false},
		{"unknown user", options.Credential{Username: "bob", Password: "secret"}, false},
		{"other database", options.Credential{Username: "alice", Password: "secret", AuthSource: "shop"}, false},
		{"mechanism the user has not", options.Credential{Username: "old", Password: "pw", AuthSource: "shop", AuthMechanism: SCRAMSHA256}, false},
		{"PLAIN", options.Credential{Username: "alice", Password: "secret", AuthMechanism: "PLAIN", AuthSource: "$external"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := f.connect(t, &c.cred, nil)
			reply, err := run(t, client, "admin", one("connectionStatus"))
			if !c.ok {
				if err == nil || !strings.Contains(err.Error(), "Authentication failed") && c.cred.AuthMechanism != "PLAIN" {
					t.Fatalf("got in: %s %v", reply, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := reply.Lookup("authInfo", "authenticatedUsers", "0", "user").StringValue(); got != c.cred.Username {
				t.Errorf("authenticated as %q", got)
			}
		})
	}
	if f.guard.Succeeded.Load() == 0 || f.guard.Failed.Load() == 0 {
		t.Error("attempts were not counted")
	}
}

// TestEgressAuthenticates uses the project's own client.
func TestEgressAuthenticates(t *testing.T) {
	f := start(t, nil, account(t, "alice", "admin", "secret", roles("root@admin")), account(t, "old", "shop", "pw", roles("readWrite@shop"), SCRAMSHA1))
	for uri, ok := range map[string]bool{
		"alice:secret@": true, "alice:wrong@": false, "old:pw@": false, "bob:x@": false,
	} {
		u, err := egress.ParseURI("mongodb://" + uri + f.addr + "/?serverSelectionTimeoutMS=2000")
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := u.ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		client, err := egress.NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r := client.Run(t.Context(), &egress.Operation{Command: egress.Command{DB: "shop", Body: doc(t, `{"insert": "c"}`)}})
		if err := r.Err(); (err == nil) != ok {
			t.Errorf("%s: %v", uri, err)
		}
		client.Close(context.Background())
	}
}

func TestWithoutAuthentication(t *testing.T) {
	f := start(t, nil, account(t, "alice", "admin", "secret", nil))
	client := f.connect(t, nil, nil)
	for name, want := range map[string]int32{
		"hello": 0, "ping": 0, "connectionStatus": 0, "find": 13, "insert": 13, "thumbnail": 13, "nothing": 13, "FIND": 13,
		"listDatabases": 13, "buildInfo": 13, "saslStart": 40414, "logout": 0,
	} {
		_, err := run(t, client, "admin", one(name))
		if code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
		if want == 13 && !strings.Contains(err.Error(), "Command "+name+" requires authentication") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := run(t, client, "admin", bson.D{{Key: "find", Value: "$cmd"}, {Key: "filter", Value: one("thumbnail")}}); code(err) != 13 {
		t.Errorf("a wrapped command: %v", err)
	}
}

func TestAuthorization(t *testing.T) {
	f := start(t, nil, account(t, "alice", "admin", "secret", roles("read@shop", "call@media")))
	client := f.connect(t, &options.Credential{Username: "alice", Password: "secret"}, nil)
	for _, c := range []struct {
		db, command string
		want        int32
	}{
		{"shop", "find", 0}, {"bank", "find", 13}, {"shop", "insert", 13}, {"media", "thumbnail", 0}, {"shop", "thumbnail", 13},
		{"shop", "nothing", 59}, {"shop", "createUser", 13}, {"admin", "shutdown", 13},
	} {
		_, err := run(t, client, c.db, one(c.command))
		if code(err) != c.want {
			t.Errorf("%s on %s: %v", c.command, c.db, err)
		}
		if c.want == 13 && !strings.Contains(err.Error(), "not authorized on "+c.db+" to execute command { "+c.command+": 1") {
			t.Errorf("%s on %s: %v", c.command, c.db, err)
		}
	}
	names, err := client.ListDatabaseNames(t.Context(), bson.D{})
	if err != nil || !slices.Equal(names, []string{"shop"}) {
		t.Errorf("databases %v, %v", names, err)
	}
	reply, err := run(t, client, "admin", one("listDatabases"))
	if err != nil || reply.Lookup("totalSize").AsInt64() != 1<<20 {
		t.Errorf("%v, %v", reply, err)
	}
	reply, err = run(t, client, "admin", bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}})
	if err != nil || reply.Lookup("authInfo", "authenticatedUserRoles", "1", "role").StringValue() != "call" ||
		reply.Lookup("authInfo", "authenticatedUserPrivileges", "0", "resource", "db").StringValue() != "shop" {
		t.Errorf("%v, %v", reply, err)
	}
	reply, err = run(t, client, "admin", bson.D{{Key: "usersInfo", Value: "alice"}})
	if err != nil || reply.Lookup("users", "0", "_id").StringValue() != "admin.alice" {
		t.Errorf("%v, %v", reply, err)
	}
	if f.guard.Refused.Load() == 0 {
		t.Error("refusals were not counted")
	}
}

// TestReload: what a connection may do follows the file.
func TestReload(t *testing.T) {
	alice := account(t, "alice", "admin", "secret", roles("read@shop"))
	f := start(t, nil, alice)
	client := f.connect(t, &options.Credential{Username: "alice", Password: "secret"}, func(o *options.ClientOptions) { o.SetMaxPoolSize(1) })
	try := func(command string, want int32) {
		t.Helper()
		if _, err := run(t, client, "shop", one(command)); code(err) != want {
			t.Errorf("%s: %v", command, err)
		}
	}
	reload := func(list ...*Account) {
		t.Helper()
		usersOf(t, f.path, list...)
		if err := f.users.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	try("insert", 13)
	promoted := *alice
	promoted.Roles = roles("readWrite@shop")
	reload(&promoted)
	try("insert", 0)
	reload(alice)
	try("insert", 13)
	try("find", 0)
	reload(account(t, "bob", "admin", "x", nil))
	try("find", 13)
	reload(alice)
	try("find", 13) // the connection has been logged out
}

// conversation drives the commands of authentication by hand.
type conversation struct {
	t    *testing.T
	g    *Guard
	h    server.Handler
	conn *server.Conn
}

func converse(t *testing.T, list ...*Account) *conversation {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.yaml")
	usersOf(t, path, list...)
	users, err := LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g := NewGuard(users, nil)
	return &conversation{t, g, g.Protect(server.HandlerFunc(server.Ping), nil), server.NewLocalConn()}
}

func (c *conversation) run(db string, command bson.D) bson.Raw {
	c.t.Helper()
	raw, err := bson.Marshal(command)
	if err != nil {
		c.t.Fatal(err)
	}
	reply, err := server.Call(c.t.Context(), c.h, server.NewRequest(c.conn, db, server.Doc(raw)))
	if err != nil {
		c.t.Fatal(err)
	}
	return bson.Raw(reply)
}

// login runs a whole conversation and returns the last reply.
func (c *conversation) login(db, user, password string, startWith bson.D, skipEmpty bool) bson.Raw {
	c.t.Helper()
	const clientFirstBare = "n=%s,r=nonce"
	bare := strings.Replace(clientFirstBare, "%s", user, 1)
	start := append(bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: SCRAMSHA256}, {Key: "payload", Value: []byte("n,," + bare)}}, startWith...)
	if skipEmpty {
		start = append(start, bson.E{Key: "options", Value: bson.D{{Key: "skipEmptyExchange", Value: true}}})
	}
	reply := c.run(db, start)
	if reply.Lookup("ok").Double() != 1 {
		return reply
	}
	_, payload := reply.Lookup("payload").Binary()
	final := proofFor(c.t, bare, string(payload), password)
	reply = c.run(db, bson.D{{Key: "saslContinue", Value: 1}, {Key: "conversationId", Value: reply.Lookup("conversationId").Int32()}, {Key: "payload", Value: []byte(final)}})
	if skipEmpty || reply.Lookup("ok").Double() != 1 {
		return reply
	}
	if reply.Lookup("done").Boolean() || c.conn.User() != nil {
		c.t.Error("done before the empty exchange")
	}
	return c.run(db, bson.D{{Key: "saslContinue", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "payload", Value: []byte{}}})
}

func proofFor(t *testing.T, bare, serverFirst, password string) string {
	t.Helper()
	var nonce, salt string
	for _, part := range strings.Split(serverFirst, ",") {
		switch part[:2] {
		case "r=":
			nonce = part[2:]
		case "s=":
			salt = part[2:]
		}
	}
	m := find(SCRAMSHA256)
	keys, err := m.derive(password, decode(t, salt), m.iterations)
	if err != nil {
		t.Fatal(err)
	}
	return clientFinal(m, keys, password, decode(t, salt), bare, serverFirst, nonce)
}

func TestConversation(t *testing.T) {
	alice, bob := account(t, "alice", "admin", "secret", roles("read@shop")), account(t, "bob", "admin", "x", nil)
	carol := account(t, "carol", "shop", "y", nil)
	c := converse(t, alice, bob, carol)
	failed := func(reply bson.Raw, want int32) {
		t.Helper()
		if got, ok := reply.Lookup("code").Int32OK(); !ok || got != want {
			t.Errorf("%s; want code %d", reply, want)
		}
	}
	empty := bson.D{{Key: "saslContinue", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "payload", Value: []byte{}}}
	failed(c.run("admin", empty), 17)
	first := bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: SCRAMSHA256}, {Key: "payload", Value: []byte("n,,n=alice,r=x")}}
	c.run("admin", first)
	failed(c.run("shop", empty), 17) // another database
	c.run("admin", first)
	failed(c.run("admin", bson.D{{Key: "saslContinue", Value: 1}, {Key: "conversationId", Value: 7}, {Key: "payload", Value: []byte{}}}), 17)
	c.run("admin", first)
	failed(c.run("admin", empty), 18)
	failed(c.run("admin", empty), 17) // it is over
	failed(c.run("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: "GSSAPI"}, {Key: "payload", Value: []byte{}}}), 334)
	failed(c.run("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: 5}, {Key: "payload", Value: []byte{}}}), 14)
	failed(c.run("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "payload", Value: []byte{}}}), 40414)
	failed(c.run("admin", bson.D{{Key: "authenticate", Value: 1}, {Key: "mechanism", Value: SCRAMSHA256}, {Key: "user", Value: "alice"}}), 18)
	failed(c.run("$external", bson.D{{Key: "authenticate", Value: 1}, {Key: "mechanism", Value: X509}}), 18)
	failed(c.run("admin", bson.D{{Key: "authenticate", Value: 1}, {Key: "mechanism", Value: X509}}), 17)
	failed(c.login("admin", "alice", "wrong", nil, true), 18)
	failed(c.login("admin", "nobody", "secret", nil, true), 18)

	c.conn = server.NewLocalConn()
	if reply := c.login("admin", "alice", "secret", nil, false); !reply.Lookup("done").Boolean() || c.conn.User().String() != "alice@admin" {
		t.Fatalf("%s, %v", reply, c.conn.User())
	}
	if reply := c.login("admin", "alice", "secret", bson.D{{Key: "autoAuthorize", Value: 1}}, true); !reply.Lookup("done").Boolean() {
		t.Errorf("the same user again: %s", reply)
	}
	failed(c.login("admin", "bob", "x", nil, true), 5626701)
	failed(c.login("shop", "carol", "y", nil, true), 5626702)
	if c.conn.User().String() != "alice@admin" {
		t.Errorf("now the user is %v", c.conn.User())
	}
	c.run("shop", one("logout"))
	if c.conn.User() == nil {
		t.Error("logged out by another database")
	}
	c.run("admin", one("logout"))
	if c.conn.User() != nil {
		t.Error("not logged out")
	}
	failed(c.run("shop", bson.D{{Key: "find", Value: "c"}}), 13)
}

func TestPayloadAsText(t *testing.T) {
	c := converse(t, account(t, "alice", "admin", "secret", nil))
	reply := c.run("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: SCRAMSHA256}, {Key: "payload", Value: "biwsbj1hbGljZSxyPXg="}})
	if got := string(decode(t, reply.Lookup("payload").StringValue())); !strings.HasPrefix(got, "r=x") {
		t.Errorf("%s", reply)
	}
	if reply := c.run("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: SCRAMSHA256}, {Key: "payload", Value: "!"}}); reply.Lookup("code").Int32() != 9 {
		t.Errorf("%s", reply)
	}
	if reply := c.run("admin", bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: SCRAMSHA256}, {Key: "payload", Value: make([]byte, maxPayload+1)}}); reply.Lookup("code").Int32() != 17 {
		t.Errorf("%s", reply)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	c := converse(t, account(t, "alice", "admin", "secret", nil))
	for range maxAttempts {
		c.login("admin", "alice", "wrong", nil, true)
	}
	if reply := c.login("admin", "alice", "secret", nil, true); reply.Lookup("code").Int32() != 18 {
		t.Errorf("%s", reply)
	}
}

// TestUnknownUserLooksKnown: neither hello nor the first step tell which users there are.
func TestUnknownUserLooksKnown(t *testing.T) {
	f := start(t, nil, account(t, "alice", "admin", "secret", nil))
	client := f.connect(t, nil, nil)
	var replies [2]bson.Raw
	for i, user := range []string{"alice", "bob__"} {
		reply, err := run(t, client, "admin", bson.D{
			{Key: "hello", Value: 1}, {Key: "saslSupportedMechs", Value: "admin." + user},
			{Key: "speculativeAuthenticate", Value: bson.D{
				{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: SCRAMSHA256}, {Key: "payload", Value: []byte("n,,n=" + user + ",r=x")}, {Key: "db", Value: "admin"},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		replies[i] = reply
	}
	if a, b := replies[0].Lookup("saslSupportedMechs"), replies[1].Lookup("saslSupportedMechs"); !a.Equal(b) {
		t.Errorf("%s, %s", a, b)
	}
	_, a := replies[0].Lookup("speculativeAuthenticate", "payload").Binary()
	_, b := replies[1].Lookup("speculativeAuthenticate", "payload").Binary()
	if len(a) == 0 || len(a) != len(b) {
		t.Errorf("%q, %q", a, b)
	}
	reply, err := run(t, client, "admin", bson.D{{Key: "hello", Value: 1}, {Key: "speculativeAuthenticate", Value: bson.D{{Key: "saslStart", Value: "x"}}}})
	if err != nil || reply.Lookup("speculativeAuthenticate").Type != 0 {
		t.Errorf("%s, %v", reply, err)
	}
}

// TestConcurrentReload has clients come and go while the file changes.
func TestConcurrentReload(t *testing.T) {
	alice := account(t, "alice", "admin", "secret", roles("read@shop"))
	f := start(t, nil, alice)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			if err := f.users.Reload(); err != nil {
				t.Error(err)
			}
		}
	})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 3 {
				client := f.connect(t, &options.Credential{Username: "alice", Password: "secret"}, nil)
				for range 20 {
					if _, err := run(t, client, "shop", one("find")); err != nil {
						t.Error(err)
					}
					if _, err := run(t, client, "shop", one("insert")); code(err) != 13 {
						t.Error(err)
					}
				}
			}
		})
	}
	clients.Wait()
	cancel()
	work.Wait()
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) sign(t *testing.T, subject pkix.Name) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: subject, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func TestX509(t *testing.T) {
	ca := newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	f := start(t, &tls.Config{
		Certificates: []tls.Certificate{ca.sign(t, pkix.Name{CommonName: "server"})}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven,
		MinVersion: tls.VersionTLS12,
	}, &Account{Name: "CN=app,OU=Shop,O=Example", DB: ExternalDB, Roles: roles("readWrite@shop")}, account(t, "alice", "admin", "secret", roles("read@shop")))
	known := ca.sign(t, pkix.Name{CommonName: "app", OrganizationalUnit: []string{"Shop"}, Organization: []string{"Example"}})
	with := func(certs ...tls.Certificate) func(*options.ClientOptions) {
		return func(o *options.ClientOptions) { o.SetTLSConfig(&tls.Config{RootCAs: pool, Certificates: certs}) }
	}
	cred := &options.Credential{AuthMechanism: X509}
	if _, err := run(t, f.connect(t, cred, with(known)), "shop", one("insert")); err != nil {
		t.Errorf("by certificate: %v", err)
	}
	if _, err := run(t, f.connect(t, cred, with(ca.sign(t, pkix.Name{CommonName: "stranger"}))), "shop", one("insert")); err == nil {
		t.Error("a stranger got in")
	}
	if _, err := run(t, f.connect(t, cred, with()), "shop", one("insert")); err == nil {
		t.Error("got in without a certificate")
	}
	unknown := f.connect(t, nil, with(known))
	claim := bson.D{{Key: "authenticate", Value: 1}, {Key: "mechanism", Value: X509}, {Key: "user", Value: "CN=other"}}
	if _, err := run(t, unknown, "$external", claim); code(err) != 18 {
		t.Errorf("as another than the subject: %v", err)
	}
	if _, err := run(t, f.connect(t, &options.Credential{Username: "alice", Password: "secret"}, with(known)), "shop", one("insert")); code(err) != 13 {
		t.Errorf("by password over TLS: %v", err)
	}
}
