package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// starting bounds how long a server may take to answer.
const starting = 20 * time.Second

// Root returns the module's root folder.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("the source's place is not known")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// built is the binary of this test process.
var built struct {
	once   sync.Once
	dir    string // removed by Main
	binary string
	err    error
}

// Main is the body of TestMain: it runs the tests and removes the binary that they had built.
func Main(m *testing.M) int {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	return code
}

// Build returns the path of the binary: that of ARCHELON_BINARY, or one built now from the module, once for all tests
// of the process.
func Build(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("ARCHELON_BINARY"); path != "" {
		return path
	}
	root := Root(t)
	built.once.Do(func() {
		built.dir, built.err = os.MkdirTemp("", "archelon-test-*") //nolint:usetesting // the binary outlives the test that builds it
		if built.err != nil {
			return
		}
		built.binary = filepath.Join(built.dir, "archelon")
		built.err = compile(root, built.binary, "./cmd/archelon")
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.binary
}

// Compile builds another program, a package of the module or a source file, and returns the path of the binary, which is
// gone with the test.
func Compile(t testing.TB, source string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(source), ".go"))
	if err := compile(Root(t), binary, source); err != nil {
		t.Fatal(err)
	}
	return binary
}

func compile(root, binary, source string) error {
	cmd := exec.Command("go", "build", "-o", binary, source)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", source, err, out)
	}
	return nil
}

// FreeAddr returns a loopback address whose port was free a moment ago.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Server is a running process that answers at an address.
type Server struct {
	*Program
	Addr string // host:port
}

// URI returns the plain connection string.
func (s *Server) URI() string { return "mongodb://" + s.Addr + "/" }

// Start runs "archelon serve" on an address and a data folder and waits until it answers. The process is killed when
// the test ends, and its log is shown when the test failed.
func Start(t testing.TB, binary, addr, data string, args ...string) *Server {
	t.Helper()
	return StartWith(t, binary, addr, nil, append([]string{"--listen", addr, "--data", data}, args...)...)
}

// StartWith is Start for a server that learns its settings, the address among them, from what the caller gives:
// further environment variables and the arguments of serve.
func StartWith(t testing.TB, binary, addr string, env []string, args ...string) *Server {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	return launch(t, addr, cmd)
}

// Serve runs a program that answers at an address, and waits until it does. It has to leave in order when the test ends.
func Serve(t testing.TB, addr, binary string, args ...string) *Server {
	t.Helper()
	s := launch(t, addr, exec.Command(binary, args...))
	t.Cleanup(func() { s.Stop(t) })
	return s
}

func launch(t testing.TB, addr string, cmd *exec.Cmd) *Server {
	t.Helper()
	s := &Server{Program: Run(t, cmd), Addr: addr}
	s.await(t)
	return s
}

// await waits until the server accepts a connection and answers a ping.
func (s *Server) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), starting)
	defer cancel()
	for {
		select {
		case <-s.done:
			t.Fatalf("the server ended at once: %v\n%s", s.err, s.Log())
		case <-ctx.Done():
			s.dump()
			t.Fatalf("the server at %s did not answer in %s\n%s", s.Addr, starting, s.Log())
		case <-time.After(10 * time.Millisecond):
		}
		if conn, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
			_ = conn.Close()
			break
		}
	}
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI()).SetDirect(true))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	if err := client.Ping(ctx, nil); err != nil {
		t.Fatalf("ping: %v\n%s", err, s.Log())
	}
}

// leaving bounds a client's goodbye, which waits for its server even if that is gone.
const leaving = time.Second

// Connect returns a client that is disconnected when the test ends.
func Connect(t testing.TB, opts *options.ClientOptions) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaving)
		defer cancel()
		_ = client.Disconnect(ctx)
	})
	return client
}
