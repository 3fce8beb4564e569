package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/archelon-db/archelon/wire"
)

// connect returns a client of the official driver.
func connect(t *testing.T, uri string, more ...func(*options.ClientOptions)) *mongo.Client {
	t.Helper()
	o := options.Client().ApplyURI(uri).SetServerSelectionTimeout(waitLimit).SetTimeout(waitLimit)
	for _, f := range more {
		f(o)
	}
	c, err := mongo.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
		defer cancel()
		if err := c.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

func callEcho(t *testing.T, c *mongo.Client, msg string) {
	t.Helper()
	var out struct {
		Msg string
		OK  float64
	}
	err := c.Database("svc").RunCommand(t.Context(), bson.D{{Key: "echo", Value: 1}, {Key: "msg", Value: msg}}).Decode(&out)
	if err != nil || out.Msg != msg || out.OK != 1 {
		t.Fatalf("echo of %d bytes: %d bytes, ok %v, error %v", len(msg), len(out.Msg), out.OK, err)
	}
}

// certificate writes a self-signed certificate for localhost that is its own authority.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool, pair tls.Certificate) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key))
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})
	for name, content := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool, must(tls.X509KeyPair(certPEM, keyPEM))
}

func TestDriver(t *testing.T) {
	certFile, keyFile, pool, pair := certificate(t)
	postures := map[string]State{
		"standalone":  {},
		"replica set": {Posture: ReplicaSet, SetName: "rs0", SetVersion: 1},
		"router":      {Posture: Router},
	}
	for name, state := range postures {
		t.Run(name, func(t *testing.T) {
			t.Run("tcp", func(t *testing.T) {
				ts := start(t, state, nil)
				c := connect(t, "mongodb://"+ts.Addr().String()+"/")
				if err := c.Ping(t.Context(), readpref.Primary()); err != nil {
					t.Fatal(err)
				}
				callEcho(t, c, "x")
				callEcho(t, c, strings.Repeat("long ", 100_000))
			})
			t.Run("unix", func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "s.sock")
				start(t, state, func(c *Config, _ *Mux) { c.Addresses = []string{path} })
				callEcho(t, connect(t, "mongodb://"+strings.ReplaceAll(path, "/", "%2F")+"/"), "x")
			})
			t.Run("tls", func(t *testing.T) {
				ts := start(t, state, func(c *Config, _ *Mux) {
					c.TLS = must(TLSFiles{CertFile: certFile, KeyFile: keyFile, ClientCAFile: certFile, RequireClientCert: true}.Load())
				})
				port := ts.Addr().(*net.TCPAddr).AddrPort().Port()
				uri := "mongodb://" + net.JoinHostPort("localhost", big.NewInt(int64(port)).String()) + "/"
				c := connect(t, uri, func(o *options.ClientOptions) {
					o.SetTLSConfig(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}})
				})
				callEcho(t, c, strings.Repeat("long ", 10_000))
				// A plain client is turned away and does no harm.
				plain := ts.dial(t)
				plain.write(wire.AppendMsg(nil, 1, 0, 0, must(bson.Marshal(ping))))
				eventually(t, "plain client is refused", func() bool { return strings.Contains(ts.log.String(), "TLS handshake failed") })
				callEcho(t, c, "x")
			})
		})
	}
}

func TestDriverCompression(t *testing.T) {
	for _, name := range []string{"snappy", "zlib", "zstd"} {
		t.Run(name, func(t *testing.T) {
			id, _ := wire.CompressorByName(name)
			var compressed atomic.Int64
			ts := start(t, State{}, func(c *Config, m *Mux) {
				c.Handler = Chain(m, func(next Handler) Handler {
					return HandlerFunc(func(ctx context.Context, req *Request, reply *Reply) error {
						if req.Compressor == id {
							compressed.Add(1)
						}
						return next.Handle(ctx, req, reply)
					})
				})
			})
			c := connect(t, "mongodb://"+ts.Addr().String()+"/?compressors="+name)
			callEcho(t, c, "x")
			callEcho(t, c, strings.Repeat("long ", 100_000))
			if compressed.Load() != 2 {
				t.Errorf("%d compressed requests", compressed.Load())
			}
			if out := ts.Metrics().BytesOut.Load(); out > 100_000 {
				t.Errorf("%d bytes sent: replies were not compressed", out)
			}
		})
	}
	ts := start(t, State{}, func(c *Config, _ *Mux) { c.Compressors = []wire.CompressorID{} })
	callEcho(t, connect(t, "mongodb://"+ts.Addr().String()+"/?compressors=zstd"), "x")
	raw := ts.dial(t)
	body := must(bson.Marshal(bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "d"}}))
	raw.write(must(wire.AppendCompressed(nil, wire.AppendMsg(nil, 1, 0, 0, body), wire.CompressorZlib)))
	raw.wantClosed()
}

// The driver's monitors stream hellos; a change of the topology reaches them at once.
func TestDriverFollowsTopology(t *testing.T) {
	ts := start(t, State{Posture: ReplicaSet, SetName: "rs0", SetVersion: 1}, nil)
	var mu sync.Mutex
	var kinds []string
	monitor := &event.ServerMonitor{ServerDescriptionChanged: func(e *event.ServerDescriptionChangedEvent) {
		mu.Lock()
		defer mu.Unlock()
		kinds = append(kinds, e.NewDescription.Kind)
	}}
	c := connect(t, "mongodb://"+ts.Addr().String()+"/?replicaSet=rs0&heartbeatFrequencyMS=60000",
		func(o *options.ClientOptions) { o.SetServerMonitor(monitor) })
	callEcho(t, c, "x")
	eventually(t, "driver streams", func() bool { return ts.hello.Streaming.Load() == 1 && ts.hello.Awaiting.Load() == 1 })
	ts.topology.Update(func(s *State) { s.Role = RoleSecondary })
	last := func(want string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(kinds) > 0 && kinds[len(kinds)-1] == want
		}
	}
	eventually(t, "driver sees the secondary", last("RSSecondary"))
	ts.topology.Update(func(s *State) { s.Role, s.ElectionID = RolePrimary, ElectionIDForTerm(2) })
	eventually(t, "driver sees the primary", last("RSPrimary"))
	callEcho(t, c, "y")
}

func TestDriverSeesErrors(t *testing.T) {
	ts := start(t, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("fail", func(context.Context, *Request, *Reply) error {
			return Errorf(112, "conflict").WithLabels("TransientTransactionError")
		})
	})
	c := connect(t, "mongodb://"+ts.Addr().String()+"/")
	err := c.Database("d").RunCommand(t.Context(), bson.D{{Key: "fail", Value: 1}}).Err()
	se, ok := err.(mongo.CommandError)
	if !ok || se.Code != 112 || se.Name != "WriteConflict" || !se.HasErrorLabel("TransientTransactionError") {
		t.Errorf("%#v", err)
	}
}
