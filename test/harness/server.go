package harness

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// starting and stopping bound how long a server may take to answer and to leave.
const (
	starting = 20 * time.Second
	stopping = 20 * time.Second
)

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
		cmd := exec.Command("go", "build", "-o", built.binary, "./cmd/archelon")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.binary
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

// Server is a running process.
type Server struct {
	Addr string // host:port
	cmd  *exec.Cmd
	log  *output
	done chan struct{} // closed when the process has ended; err is set before
	err  error
}

// Pid returns the process's id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// URI returns the plain connection string.
func (s *Server) URI() string { return "mongodb://" + s.Addr + "/" }

// output keeps the end of what a process prints.
type output struct {
	mu sync.Mutex // guards b
	b  []byte
}

func (o *output) Write(p []byte) (int, error) {
	const kept = 64 << 10
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	if len(o.b) > 2*kept {
		o.b = bytes.Clone(o.b[len(o.b)-kept:])
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.b)
}

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
	s := &Server{Addr: addr, log: &output{}, done: make(chan struct{})}
	s.cmd = exec.Command(binary, append([]string{"serve"}, args...)...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("log of the server at %s:\n%s", addr, s.log)
		}
	})
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
			t.Fatalf("the server ended at once: %v\n%s", s.err, s.log)
		case <-ctx.Done():
			s.dump()
			t.Fatalf("the server at %s did not answer in %s\n%s", s.Addr, starting, s.log)
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
		t.Fatalf("ping: %v\n%s", err, s.log)
	}
}

// dump makes the process print what its goroutines do, and end.
func (s *Server) dump() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.done:
	case <-time.After(time.Second):
	}
}

// Kill ends the process with SIGKILL, as a crash would, and waits until it is gone.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Log is the end of what the process has printed.
func (s *Server) Log() string { return s.log.String() }

// Terminate sends SIGTERM and does not wait.
func (s *Server) Terminate(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
}

// Stop ends the process as a user would, with SIGTERM, and checks that it leaves in time with exit code 0.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.Terminate(t)
	s.Ended(t)
}

// Ended waits until the process has left and checks that its exit code is 0.
func (s *Server) Ended(t testing.TB) {
	t.Helper()
	select {
	case <-s.done:
		if s.err != nil {
			t.Errorf("the server did not end cleanly: %v", s.err)
		}
	case <-time.After(stopping):
		t.Errorf("the server still ran %s after SIGTERM", stopping)
		s.Kill()
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
