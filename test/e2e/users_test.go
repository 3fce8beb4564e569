package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// user runs `archelon user` with a password and returns what it prints.
func user(t *testing.T, password string, args ...string) string {
	t.Helper()
	cmd := exec.Command(harness.Build(t), append([]string{"user"}, args...)...)
	cmd.Stdin = strings.NewReader(password)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("archelon user %v: %v\n%s", args, err, &stderr)
	}
	if password != "" && strings.Contains(string(out), strings.TrimSpace(password)+"\n") {
		t.Fatalf("the password is in the entry:\n%s", out)
	}
	return string(out)
}

// usersFile puts entries together, as the documentation says.
func usersFile(entries ...string) string {
	text := "users:\n"
	for _, e := range entries {
		text += strings.TrimPrefix(e, "users:\n")
	}
	return text
}

// TestUsers runs real drivers against a server with users, which change while it runs.
func TestUsers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary and may install tools: run without -short")
	}
	tl := harness.InstallTools(t)
	dir := t.TempDir()
	alice := user(t, "se:c/ret\n", "alice", "--role", "readWrite@shop")
	modern := user(t, "x\n", "modern", "--role", "read@shop", "--mechanism", "SCRAM-SHA-256")
	users := write(t, filepath.Join(dir, "users.yaml"), usersFile(alice, modern))
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(dir, "data"), "--users", users)
	t.Run("python", func(t *testing.T) { tl.Script(t, harness.Python, "users.py", s.Addr) })
	t.Run("node", func(t *testing.T) { tl.Script(t, tl.Node, "users.js", s.Addr) })
	t.Run("mongosh", func(t *testing.T) { tl.Mongosh(t, s.URI(), "users-shell.js") })
	t.Run("change", func(t *testing.T) {
		write(t, users, usersFile(alice, modern, user(t, "late\n", "bob", "--role", "root")))
		if err := syscall.Kill(s.Pid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		client := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetAuth(options.Credential{Username: "bob", Password: "late"}))
		eventually(t, "the new user gets in", func() bool {
			_, err := client.Database("bank").Collection("c").InsertOne(t.Context(), bson.D{})
			return err == nil
		})
	})
	s.Stop(t)
	if log := s.Log(); !strings.Contains(log, "authentication failed") || strings.Contains(log, "se:c/ret") {
		t.Errorf("the log tells too little or too much:\n%s", log)
	}
}

// TestUsersOfCertificates runs PyMongo with certificates instead of passwords.
func TestUsersOfCertificates(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary and may install tools: run without -short")
	}
	tl := harness.InstallTools(t)
	dir := t.TempDir()
	caFile, serverFile, clientFile := certificates(t, dir)
	users := write(t, filepath.Join(dir, "users.yaml"), user(t, "", "CN=app,O=Example", "--db", "$external", "--role", "readWrite@shop"))
	addr := harness.FreeAddr(t)
	cmd := exec.Command(harness.Build(t), "serve", "--storage", "memory", "--listen", addr, "--users", users,
		"--tls-cert", serverFile, "--tls-key", serverFile, "--tls-client-ca", caFile)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, "the server listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	tl.Script(t, harness.Python, "users.py", addr, caFile, clientFile)
}

func TestUsersFileRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	file := write(t, filepath.Join(t.TempDir(), "users.yaml"), "users: [{user: alice, roles: [boss]}]\n")
	got := execute(t, nil, "serve", "--storage", "memory", "--listen", "127.0.0.1:0", "--users", file)
	if got.code != 1 || !strings.Contains(got.stderr, `there is no role "boss"`) || !strings.Contains(got.stderr, "no credentials") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
	if got := execute(t, nil, "user", "x", "--role", "boss"); got.code != 1 || !strings.Contains(got.stderr, "there is no role") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}

// certificates writes those of an authority, a server and a client, each with its key.
func certificates(t *testing.T, dir string) (ca, server, client string) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	caKey := newKey()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1},
	}
	save := func(name string, template *x509.Certificate, key *ecdsa.PrivateKey) string {
		raw, err := x509.CreateCertificate(rand.Reader, template, root, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		rawKey, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})...)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	leaf := func(n int64, subject pkix.Name) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(n), Subject: subject, NotBefore: root.NotBefore, NotAfter: root.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, SubjectKeyId: []byte{byte(n)},
		}
	}
	ca = save("ca.pem", root, caKey)
	server = save("server.pem", leaf(2, pkix.Name{CommonName: "server"}), newKey())
	client = save("client.pem", leaf(3, pkix.Name{CommonName: "app", Organization: []string{"Example"}}), newKey())
	return ca, server, client
}
