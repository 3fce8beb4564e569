package egress_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/wire"
)

func mongoDigest(user, password string) string {
	sum := md5.Sum([]byte(user + ":mongo:" + password))
	return hex.EncodeToString(sum[:])
}

func dial(t testing.TB, host egress.Host, cfg egress.ConnConfig) *egress.Conn {
	t.Helper()
	c, err := egress.Connect(t.Context(), host, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func run(t testing.TB, c *egress.Conn, body bson.D) egress.Response {
	t.Helper()
	cmd := command(t, "test", body)
	return c.Run(t.Context(), &cmd)
}

func TestConnRunsCommands(t *testing.T) {
	s := serve(t, server.State{}, nil)
	c := dial(t, s.host, egress.ConnConfig{AppName: strings.Repeat("a long name ", 30)})
	if h := c.Hello(); !h.Writable || !h.HelloOK || h.MaxWireVersion != server.MaxWireVersion || h.TopologyVersion == nil {
		t.Errorf("hello: %+v", h)
	}
	cmd := command(t, "test", bson.D{{Key: "echo", Value: 1}, {Key: "$db", Value: "wrong"}, {Key: "lsid", Value: "wrong"}, {Key: "x", Value: "y"}})
	cmd.Metadata = must(bson.Marshal(bson.D{{Key: "lsid", Value: "right"}}))
	doc := egress.Doc(must(bson.Marshal(bson.D{{Key: "_id", Value: 1}})))
	cmd.Sequences = []egress.Sequence{{Name: "documents", Documents: []egress.Doc{doc, doc}}}
	var got struct {
		Echo struct {
			DB   string `bson:"$db"`
			Lsid string
			X    string
		}
		Documents int
	}
	r := c.Run(t.Context(), &cmd)
	if err := r.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Echo.DB != "test" || got.Echo.Lsid != "right" || got.Echo.X != "y" || got.Documents != 2 || r.Elapsed <= 0 {
		t.Errorf("%+v", got)
	}

	cmd = command(t, "test", bson.D{{Key: "echo", Value: 1}})
	cmd.FireAndForget = true
	if r := c.Run(t.Context(), &cmd); r.Err() != nil || r.Body != nil {
		t.Errorf("fire and forget: %+v", r)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	if !c.Alive() {
		t.Error("not alive")
	}
	if r := run(t, c, bson.D{{Key: "ping", Value: 1}}); r.Err() != nil {
		t.Error(r.Err())
	}
}

func TestConnErrorsOfTheServer(t *testing.T) {
	s := serve(t, server.State{}, nil)
	c := dial(t, s.host, egress.ConnConfig{})
	r := run(t, c, bson.D{{Key: "fail", Value: 1}})
	if r.Status != nil {
		t.Fatal("an error reply is a reply: ", r.Status)
	}
	var e *egress.Error
	if !errors.As(r.Err(), &e) || e.Code != 96 || e.Message != "it went wrong" || !egress.HasLabel(r.Err(), "ALabel") {
		t.Fatalf("%#v", r.Err())
	}
	if detail, _ := egress.Doc(e.Extra).Lookup("detail").AsInt64(); detail != 7 {
		t.Errorf("extra fields: %v", bson.Raw(e.Extra))
	}
	// The error goes on to a client of ours as it came.
	again := egress.CommandError(server.AppendError([]byte{0, 0, 0, 0}, r.Err()))
	if again == nil {
		t.Error("an unfinished document has no ok")
	}
	for _, body := range []any{bson.D{}, []byte("garbage!"), bson.D{{Key: "big", Value: make([]byte, 47<<20)}, {Key: "b2", Value: make([]byte, 2<<20)}}} {
		cmd := command(t, "test", body)
		if r := c.Run(t.Context(), &cmd); r.Status == nil || c.Broken() {
			t.Error("a command that cannot be sent fails and does no harm: ", r.Status)
		}
	}
	if r := c.Run(t.Context(), &egress.Command{Body: must(bson.Marshal(bson.D{{Key: "ping", Value: 1}}))}); r.Status == nil {
		t.Error("no database")
	}
}

func TestConnTimeoutAndCancel(t *testing.T) {
	s := serve(t, server.State{}, nil)
	sleep := bson.D{{Key: "sleep", Value: 1}}
	t.Run("timeout", func(t *testing.T) {
		c := dial(t, s.host, egress.ConnConfig{})
		cmd := command(t, "test", sleep)
		cmd.Timeout = 30 * time.Millisecond
		r := c.Run(t.Context(), &cmd)
		wantCode(t, r.Status, mongoerr.NetworkInterfaceExceededTimeLimit)
		if !c.Broken() || r.Elapsed < cmd.Timeout || c.Alive() {
			t.Errorf("broken %v after %s", c.Broken(), r.Elapsed)
		}
		wantCode(t, run(t, c, bson.D{{Key: "ping", Value: 1}}).Status, mongoerr.HostUnreachable)
	})
	t.Run("cancel", func(t *testing.T) {
		c := dial(t, s.host, egress.ConnConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		cmd := command(t, "test", sleep)
		r := c.Run(ctx, &cmd)
		wantCode(t, r.Status, mongoerr.CallbackCanceled)
		if !errors.Is(r.Status, context.Canceled) {
			t.Error(r.Status)
		}
		d := dial(t, s.host, egress.ConnConfig{})
		if r := d.Run(ctx, &cmd); r.Status == nil || d.Broken() {
			t.Error("a context that has ended does no harm")
		}
	})
	t.Run("deadline", func(t *testing.T) {
		c := dial(t, s.host, egress.ConnConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		cmd := command(t, "test", sleep)
		wantCode(t, c.Run(ctx, &cmd).Status, mongoerr.NetworkInterfaceExceededTimeLimit)
	})
}

func TestConnStream(t *testing.T) {
	s := serve(t, server.State{}, nil)
	c := dial(t, s.host, egress.ConnConfig{})
	cmd := command(t, "test", bson.D{{Key: "count", Value: 5}})
	var got []int64
	for r := range c.Stream(t.Context(), &cmd) {
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		n, _ := r.Body.Lookup("n").AsInt64()
		got = append(got, n)
		if r.MoreToCome != (n < 4) {
			t.Errorf("reply %d: more %v", n, r.MoreToCome)
		}
	}
	if len(got) != 5 || c.Broken() {
		t.Fatalf("got %v, broken %v", got, c.Broken())
	}
	for range c.Stream(t.Context(), &cmd) {
		break
	}
	if !c.Broken() {
		t.Error("a stream that is left early breaks the connection")
	}
	for r := range c.Stream(t.Context(), &cmd) {
		wantCode(t, r.Status, mongoerr.HostUnreachable)
	}
	// An awaitable hello in a stream tells of each change of the topology.
	c = dial(t, s.host, egress.ConnConfig{})
	cmd = egress.HelloCommand(true, c.Hello().TopologyVersion, time.Minute)
	changes := 0
	s.topology.Update(func(*server.State) {})
	for r := range c.Stream(t.Context(), &cmd) {
		h, err := egress.ParseHello(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		changes++
		if changes == 3 {
			break
		}
		if h.TopologyVersion.Counter == int64(changes) {
			s.topology.Update(func(*server.State) {})
		}
	}
	if changes != 3 {
		t.Errorf("%d changes", changes)
	}
}

func TestConnCompression(t *testing.T) {
	s := serve(t, server.State{}, nil)
	for _, id := range []wire.CompressorID{wire.CompressorSnappy, wire.CompressorZlib, wire.CompressorZstd} {
		c := dial(t, s.host, egress.ConnConfig{Compressors: []wire.CompressorID{id}})
		if c.Compressor() != id {
			t.Fatalf("agreed on %s", c.Compressor())
		}
		for _, text := range []string{"x", strings.Repeat("long ", 100_000)} {
			r := run(t, c, bson.D{{Key: "echo", Value: text}})
			if r.Err() != nil || r.Body.LookupPath("echo", "echo").Str() != text || r.Body.Lookup("compressor").Str() != id.String() {
				t.Fatalf("%s: %v", id, r.Err())
			}
		}
		cmd := command(t, "test", bson.D{{Key: "echo", Value: 1}})
		cmd.Plain = true
		if r := c.Run(t.Context(), &cmd); r.Body.Lookup("compressor").Str() != "noop" {
			t.Error("a plain command was compressed")
		}
	}
	off := serve(t, server.State{}, func(c *server.Config, _ *server.HelloConfig) { c.Compressors = []wire.CompressorID{} })
	if c := dial(t, off.host, egress.ConnConfig{Compressors: []wire.CompressorID{wire.CompressorZstd}}); c.Compressor() != wire.CompressorNone {
		t.Error("compression without an agreement")
	}
}

func TestConnSCRAM(t *testing.T) {
	for _, test := range []struct {
		name      string
		offered   []string
		mechanism string
		password  string
		speculate bool
		code      egress.Code
	}{
		{"best of both", []string{egress.ScramSHA1, egress.ScramSHA256}, "", "pencil", true, 0},
		{"without speculation", []string{egress.ScramSHA256}, "", "pencil", false, 0},
		{"old server", []string{egress.ScramSHA1}, "", "pencil", true, 0},
		{"SHA-1", []string{egress.ScramSHA1, egress.ScramSHA256}, egress.ScramSHA1, "pencil", true, 0},
		{"prepared password", []string{egress.ScramSHA256}, egress.ScramSHA256, "I\u00adX", true, 0},
		{"wrong password", []string{egress.ScramSHA256}, "", "crayon", true, mongoerr.AuthenticationFailed},
		{"mechanism not offered", []string{egress.ScramSHA256}, egress.ScramSHA1, "pencil", true, mongoerr.MechanismUnavailable},
		{"mechanism not supported", []string{egress.ScramSHA256}, "GSSAPI", "pencil", true, mongoerr.MechanismUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := &users{password: "pencil", only: test.offered}
			if test.password == "I\u00adX" {
				u.password = "IX"
			}
			s := serve(t, server.State{}, func(_ *server.Config, h *server.HelloConfig) {
				u.hello(h)
				if !test.speculate {
					h.Extend = nil
				}
			})
			u.install(s)
			cfg := egress.ConnConfig{Credential: &egress.Credential{Username: "user", Password: test.password, Mechanism: test.mechanism}}
			c, err := egress.Connect(t.Context(), s.host, &cfg)
			if test.code != 0 {
				wantCode(t, err, test.code)
				var e *egress.StatusError
				if !errors.As(err, &e) || e.Network() {
					t.Errorf("refused credentials say nothing about the network: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if u.logins.Load() == 0 {
				t.Error("nobody logged in")
			}
		})
	}
}

// certificate makes a certificate for localhost that signs itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(der)))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestConnTLS(t *testing.T) {
	cert, pool := certificate(t)
	s := serve(t, server.State{}, func(c *server.Config, _ *server.HelloConfig) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	})
	_, port, _ := net.SplitHostPort(s.Addr().String())
	host := must(egress.ParseHost("localhost:" + port))
	c := dial(t, host, egress.ConnConfig{TLS: &tls.Config{RootCAs: pool}})
	if r := run(t, c, bson.D{{Key: "echo", Value: strings.Repeat("long ", 10_000)}}); r.Err() != nil {
		t.Error(r.Err())
	}
	if !c.Alive() || run(t, c, bson.D{{Key: "ping", Value: 1}}).Err() != nil {
		t.Error("a look at an idle connection does harm")
	}
	_, err := egress.Connect(t.Context(), host, &egress.ConnConfig{TLS: &tls.Config{}})
	wantCode(t, err, mongoerr.SSLHandshakeFailed)
	_, err = egress.Connect(t.Context(), host, &egress.ConnConfig{})
	wantCode(t, err, mongoerr.HostUnreachable)
}

// TestURITLS connects by connection strings with each of the TLS options.
func TestURITLS(t *testing.T) {
	cert, _ := certificate(t)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	both := filepath.Join(t.TempDir(), "both.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(cert.PrivateKey))})
	for path, content := range map[string][]byte{authority: certPEM, both: append(certPEM, keyPEM...)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, server.State{}, func(c *server.Config, _ *server.HelloConfig) {
		c.TLS = must(server.TLSFiles{CertFile: both, KeyFile: both, ClientCAFile: authority}.Load())
	})
	_, port, _ := net.SplitHostPort(s.Addr().String())
	for tail, good := range map[string]bool{
		"localhost:" + port + "/?tls=true&tlsCAFile=" + authority:                           true,
		"localhost:" + port + "/?tlsCAFile=" + authority + "&tlsCertificateKeyFile=" + both: true,
		"127.0.0.1:" + port + "/?tlsCAFile=" + authority:                                    false,
		"127.0.0.1:" + port + "/?tlsAllowInvalidHostnames=true&tlsCAFile=" + authority:      true,
		"localhost:" + port + "/?tls=true":                                                  false,
		"localhost:" + port + "/?tlsAllowInvalidHostnames=true":                             false,
		"127.0.0.1:" + port + "/?tlsAllowInvalidCertificates=true":                          true,
		"127.0.0.1:" + port + "/?tlsInsecure=true":                                          true,
		"localhost:" + port + "/?tls=false&tlsCAFile=" + authority:                          false,
	} {
		u, err := egress.ParseURI("mongodb://" + tail)
		if err != nil {
			t.Fatal(err)
		}
		cfg := must(u.ClientConfig())
		c, err := egress.Connect(t.Context(), u.Hosts[0], &cfg.Conn)
		if (err == nil) != good {
			t.Errorf("%s: %v", tail, err)
		}
		if c != nil {
			c.Close()
		}
	}
	for _, tail := range []string{"a/?tlsCAFile=" + filepath.Join(t.TempDir(), "x"), "a/?tlsCertificateKeyFile=" + authority} {
		u := must(egress.ParseURI("mongodb://" + tail))
		if _, err := u.ClientConfig(); err == nil {
			t.Errorf("%s was taken", tail)
		}
	}
}

func TestConnUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	serve(t, server.State{}, func(c *server.Config, _ *server.HelloConfig) { c.Addresses = []string{"127.0.0.1:0", path} })
	c := dial(t, must(egress.ParseHost(path)), egress.ConnConfig{TLS: &tls.Config{}})
	if r := run(t, c, bson.D{{Key: "ping", Value: 1}}); r.Err() != nil {
		t.Error(r.Err())
	}
}

func TestConnRefusesOldServers(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf, h, err := wire.ReadMessage(c)
		if err != nil {
			return
		}
		defer buf.Release()
		if h.OpCode != wire.OpQuery {
			t.Errorf("the first message is an %s, which old servers do not know", h.OpCode)
		}
		out := wire.AppendReplyStart(nil, 1, h.RequestID, 0)
		out = append(out, must(bson.Marshal(bson.D{{Key: "ismaster", Value: true}, {Key: "maxWireVersion", Value: 2}, {Key: "ok", Value: 1}}))...)
		c.Write(wire.FinishMessage(out, 0))
		c.Read(make([]byte, 1))
	}()
	_, err := egress.Connect(t.Context(), must(egress.ParseHost(l.Addr().String())), &egress.ConnConfig{})
	wantCode(t, err, mongoerr.IncompatibleServerVersion)
	<-done
}

func TestConnFaults(t *testing.T) {
	s := serve(t, server.State{}, nil)
	for name, reply := range garbageReplies() {
		t.Run(name, func(t *testing.T) {
			p := interpose(t, s.Addr())
			c := dial(t, p.host, egress.ConnConfig{})
			p.garbage.Store(&reply)
			cmd := command(t, "test", bson.D{{Key: "ping", Value: 1}})
			cmd.Timeout = waitLimit
			r := c.Run(t.Context(), &cmd)
			wantCode(t, r.Status, mongoerr.ProtocolError)
			if !c.Broken() || r.Body != nil {
				t.Error("the connection goes on")
			}
			_, err := egress.Connect(t.Context(), p.host, &egress.ConnConfig{ConnectTimeout: waitLimit})
			if err == nil {
				t.Error("connected to garbage")
			}
		})
	}
	t.Run("cut within a reply", func(t *testing.T) {
		p := interpose(t, s.Addr())
		for cut := range int64(60) {
			c := dial(t, p.host, egress.ConnConfig{})
			p.cutAfter.Store(cut)
			_, err := egress.Connect(t.Context(), p.host, &egress.ConnConfig{})
			wantCode(t, err, mongoerr.HostUnreachable)
			wantCode(t, run(t, c, bson.D{{Key: "ping", Value: 1}}).Status, mongoerr.HostUnreachable)
			p.cutAfter.Store(-1)
		}
	})
	t.Run("stall", func(t *testing.T) {
		p := interpose(t, s.Addr())
		c := dial(t, p.host, egress.ConnConfig{})
		p.stalled.Store(true)
		cmd := command(t, "test", bson.D{{Key: "ping", Value: 1}})
		cmd.Timeout = 50 * time.Millisecond
		wantCode(t, c.Run(t.Context(), &cmd).Status, mongoerr.NetworkInterfaceExceededTimeLimit)
		_, err := egress.Connect(t.Context(), p.host, &egress.ConnConfig{ConnectTimeout: 50 * time.Millisecond})
		wantCode(t, err, mongoerr.NetworkInterfaceExceededTimeLimit)
	})
	t.Run("closed while idle", func(t *testing.T) {
		p := interpose(t, s.Addr())
		c := dial(t, p.host, egress.ConnConfig{})
		p.cut()
		eventually(t, "the end is seen", func() bool { return !c.Alive() })
	})
}

// FuzzReply feeds a client with what a server might send after the handshake.
func FuzzReply(f *testing.F) {
	for _, g := range garbageReplies() {
		f.Add(g)
	}
	body := must(bson.Marshal(bson.D{{Key: "n", Value: 1}, {Key: "ok", Value: 1}}))
	f.Add(wire.AppendMsg(nil, 9, 2, 0, body))
	f.Add(must(wire.AppendCompressed(nil, wire.AppendMsg(nil, 9, 2, 0, body), wire.CompressorZlib)))
	hello := wire.AppendReplyStart(nil, 1, 1, 0)
	hello = append(hello, must(bson.Marshal(bson.D{{Key: "ismaster", Value: true}, {Key: "maxWireVersion", Value: 27}, {Key: "ok", Value: 1}}))...)
	hello = wire.FinishMessage(hello, 0)
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer far.Close()
			for _, out := range [][]byte{hello, sent} {
				if buf, _, err := wire.ReadMessage(far); err == nil {
					buf.Release()
					far.Write(out)
				}
			}
		}()
		c, err := egress.Connect(t.Context(), hostA, &egress.ConnConfig{
			Dial: func(context.Context, string, string) (net.Conn, error) { return near, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		r := run(t, c, bson.D{{Key: "ping", Value: 1}})
		if r.Status == nil && (r.Body == nil || bson.Raw(r.Body).Validate() != nil) {
			t.Errorf("a reply that is none: %x", []byte(r.Body))
		}
		if r.Body != nil {
			egress.ParseHello(r.Body)
		}
		c.Close()
		<-done
	})
}
