package perf

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/test/harness"
)

const (
	idleConnections = 5000
	idleMemory      = 200.0 // MB
)

// measureConnections takes the memory of a service, and of the database, with many connections on which a driver has shaken
// hands and sent a command, and then nothing more.
func measureConnections(t *testing.T, r *report, binary string) {
	t.Run("service", func(t *testing.T) {
		r.addConnections(t, "a service", startService(t, harness.Compile(t, "./examples/echo")), false)
	})
	t.Run("database", func(t *testing.T) {
		r.addConnections(t, "the database", start(t, binary, filepath.Join(t.TempDir(), "data")), true)
	})
}

// startService starts an example; it ends with the test.
func startService(t *testing.T, binary string) target {
	addr := harness.FreeAddr(t)
	cmd := exec.Command(binary, "-listen", addr)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 1000 {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return target{addr, cmd.Process.Pid}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the service does not listen")
	return target{}
}

func (r *report) addConnections(t *testing.T, what string, s target, note bool) {
	before := resident(t, s.pid)
	c := dial(t, s.addr)
	for range idleConnections {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		c.c = conn
		shakeHands(t, c)
	}
	time.Sleep(settle)
	mb := resident(t, s.pid)
	t.Logf("%s: %.1f MB before, %.1f MB with %d connections", what, before, mb, idleConnections)
	r.add(t, line{
		what: what + " with 5,000 idle connections, memory", ours: count(mb), bare: count(idleMemory), unit: "MB",
		ratio: mb / idleMemory, promise: 1, atMost: true, note: note,
	})
}

// shakeHands sends what a driver sends on a new connection, and a first command.
func shakeHands(t *testing.T, c *client) {
	t.Helper()
	c.begin()
	c.field("hello", bsonval.Int32(1))
	c.field("helloOk", bsonval.True)
	c.field("compression", bsonval.ArrayOf(bsonval.String("zstd"), bsonval.String("snappy"), bsonval.String("zlib")))
	meta := bsonval.NewBuilder().StartDoc("driver").Str("name", "mongo-go-driver").Str("version", "v2.9.3").End()
	meta.StartDoc("os").Str("type", "linux").Str("architecture", "amd64").End().Str("platform", "go1.26")
	c.field("client", bsonval.Document(meta.Build()))
	c.end("")
	c.must(t)
	c.begin()
	c.field("ping", bsonval.Int32(1))
	c.end("")
	c.must(t)
}
