package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// outcome is what a process printed and how it ended.
type outcome struct {
	stdout, stderr string
	code           int
}

// execute runs the binary to its end.
func execute(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, harness.Build(t), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("archelon %s did not end:\n%s", strings.Join(args, " "), &stderr)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// stored makes a data folder with a document in it, left in order. It has been opened twice, so that the document has
// moved from the journal to a table.
func stored(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), data)
	c := harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("d").Collection("c")
	must(c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}))(t)
	s.Stop(t)
	harness.Start(t, harness.Build(t), harness.FreeAddr(t), data).Stop(t)
	return data
}

// TestRefusals starts the server where it cannot start. Each message names what is in the way and what to do, and the
// exit code tells failures (1) from wrong usage (2).
func TestRefusals(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "file"), "x")
	letters := filepath.Join(dir, "letters")
	if err := os.Mkdir(letters, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(letters, "letter.txt"), "dear")
	held := filepath.Join(dir, "held")
	harness.Start(t, harness.Build(t), harness.FreeAddr(t), held)
	unknown := write(t, filepath.Join(dir, "unknown.yaml"), "lissten: 127.0.0.1:0\n")
	broken := write(t, filepath.Join(dir, "broken.yaml"), "listen: [\n")
	free := "127.0.0.1:0"
	for _, c := range []struct {
		name string
		args []string
		env  []string
		code int
		says []string
	}{
		{"port in use", []string{"serve", "--storage", "memory", "--listen", taken.Addr().String()}, nil, 1, []string{taken.Addr().String(), "in use"}},
		{"an address of nobody", []string{"serve", "--storage", "memory", "--listen", "192.0.2.1:27017"}, nil, 1, []string{"192.0.2.1:27017"}},
		{"no address", []string{"serve", "--storage", "memory", "--listen", "nonsense"}, nil, 1, []string{"nonsense"}},
		{"folder within a file", []string{"serve", "--listen", free, "--data", filepath.Join(file, "data")}, nil, 1, []string{file}},
		{"folder is a file", []string{"serve", "--listen", free, "--data", file}, nil, 1, []string{file}},
		{"folder with other files", []string{"serve", "--listen", free, "--data", letters}, nil, 1, []string{letters, "other files"}},
		{"folder in use", []string{"serve", "--listen", free, "--data", held}, nil, 1, []string{held, "in use"}},
		{"unknown flag", []string{"serve", "--lissten", free}, nil, 2, []string{"--lissten", "--help"}},
		{"unknown command", []string{"sever"}, nil, 2, []string{"sever", "--help"}},
		{"no command", nil, nil, 2, []string{"serve"}},
		{"unknown storage", []string{"serve", "--storage", "paper"}, nil, 2, []string{"paper", "pebble"}},
		{"unknown storage in the environment", []string{"serve"}, []string{"ARCHELON_STORAGE=paper"}, 2, []string{"paper"}},
		{"a duration that is none", []string{"serve", "--idle-timeout", "soon"}, nil, 2, []string{"idle-timeout", "soon"}},
		{"unknown parameter", []string{"serve", "--storage", "memory", "--listen", free, "--set-parameter", "nope=1"}, nil, 1, []string{"nope"}},
		{"certificate without key", []string{"serve", "--storage", "memory", "--listen", free, "--tls-cert", file}, nil, 1, []string{"key"}},
		{"certificate that is none", []string{"serve", "--storage", "memory", "--listen", free, "--tls-cert", file, "--tls-key", file}, nil, 1, []string{file}},
		{"stand-alone and advertised", []string{"serve", "--storage", "memory", "--standalone", "--advertise", "h:1"}, nil, 1, []string{"stand-alone"}},
		{"config file missing", []string{"serve", "--config", filepath.Join(dir, "none.yaml")}, nil, 2, []string{"none.yaml"}},
		{"config file with an unknown key", []string{"serve", "--config", unknown}, nil, 2, []string{"lissten"}},
		{"config file that is no YAML", []string{"serve", "--config", broken}, nil, 2, []string{"broken.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := execute(t, c.env, c.args...)
			if out.code != c.code {
				t.Errorf("exit code %d, want %d", out.code, c.code)
			}
			for _, part := range c.says {
				if !strings.Contains(out.stderr, part) {
					t.Errorf("the message does not have %q:\n%s", part, out.stderr)
				}
			}
			if strings.Contains(out.stderr, "goroutine ") {
				t.Errorf("a panic:\n%s", out.stderr)
			}
		})
	}
}

// TestDamagedData starts the server on data that somebody has tampered with, or that a newer version has written.
func TestDamagedData(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	whole := stored(t)
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		says   string
	}{
		{"newer format", func(t *testing.T, dir string) {
			b := must(os.ReadFile(filepath.Join(dir, "ARCHELON")))(t)
			write(t, filepath.Join(dir, "ARCHELON"), strings.Replace(string(b), "format 1", "format 99", 1))
		}, "newer"},
		{"header overwritten", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "ARCHELON"), "what?") }, "damaged"},
		{"header of another store", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "ARCHELON"), "archelon store format 1\nid 00000000000000000000000000000000\n")
		}, "damaged"},
		{"manifest missing", func(t *testing.T, dir string) { remove(t, dir, "MANIFEST-*") }, "damaged"},
		{"tables overwritten", func(t *testing.T, dir string) { overwrite(t, dir, "*.sst") }, "damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			out := execute(t, nil, "serve", "--listen", "127.0.0.1:0", "--data", dir)
			if out.code != 1 || !strings.Contains(out.stderr, dir) || !strings.Contains(out.stderr, c.says) || strings.Contains(out.stderr, "goroutine ") {
				t.Errorf("exit code %d, want 1 and a message with %q:\n%s", out.code, c.says, out.stderr)
			}
		})
	}
	// What was refused has not been touched: the whole copy still opens.
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), whole)
	c := harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("d").Collection("c")
	same(t, must(c.CountDocuments(t.Context(), bson.D{}))(t), int64(1))
}

// files are those of a folder and the folders in it that match a pattern.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	var found []string
	for _, depth := range []string{"", "*"} {
		found = append(found, must(filepath.Glob(filepath.Join(dir, depth, pattern)))(t)...)
	}
	return found
}

func remove(t *testing.T, dir, pattern string) {
	t.Helper()
	for _, f := range files(t, dir, pattern) {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

func overwrite(t *testing.T, dir, pattern string) {
	t.Helper()
	list := files(t, dir, pattern)
	if len(list) == 0 {
		t.Fatalf("the folder has no %s", pattern)
	}
	for _, f := range list {
		info := must(os.Stat(f))(t)
		write(t, f, strings.Repeat("?", int(info.Size())))
	}
}

// TestDrain checks what SIGTERM does to a command that runs.
func TestDrain(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	busy := func(t *testing.T, ms string, args ...string) (s *harness.Server, reply func() (bson.Raw, error)) {
		s = harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"), args...)
		client := harness.Connect(t, options.Client().ApplyURI(s.URI()))
		must(client.Database("d").Collection("c").InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}))(t)
		c := harness.Dial(t, s.Addr)
		where := "function() { var end = Date.now() + " + ms + "; while (Date.now() < end) {} return true; }"
		if err := c.Send(harness.Msg(0, harness.Doc(t, bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: bson.D{{Key: "$where", Value: where}}}, {Key: "$db", Value: "d"}}))); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for running(t, client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "currentOp", Value: 1}, {Key: "ns", Value: "d.c"}})) == 0 {
			if time.Now().After(deadline) {
				t.Fatal("the command did not begin")
			}
		}
		s.Terminate(t)
		return s, c.Receive
	}
	t.Run("a command finishes", func(t *testing.T) {
		s, receive := busy(t, "1200")
		reply, err := receive()
		if err != nil || reply.Lookup("cursor", "firstBatch", "0", "_id").AsInt64() != 1 {
			t.Errorf("the running command was cut off: %s %v", reply, err)
		}
		s.Ended(t)
		if _, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
			t.Error("something still listens")
		}
	})
	t.Run("a command takes too long", func(t *testing.T) {
		began := time.Now()
		s, receive := busy(t, "60000", "--shutdown-grace", "300ms")
		reply, err := receive()
		if err == nil && harness.Code(reply) == 0 {
			t.Errorf("the command ended well: %s", reply)
		}
		s.Ended(t)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s with a grace of 300ms", took)
		}
	})
}

// running is the number of operations in a currentOp reply.
func running(t *testing.T, res interface{ Raw() (bson.Raw, error) }) int {
	t.Helper()
	list := must(must(res.Raw())(t).Lookup("inprog").Array().Values())(t)
	return len(list)
}

// TestSettings starts servers that learn their settings from a file, the environment and flags.
func TestSettings(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	binary, dir := harness.Build(t), t.TempDir()
	hello := func(t *testing.T, s *harness.Server) bson.Raw {
		return harness.Dial(t, s.Addr).Run(t, "admin", "hello")
	}
	t.Run("file", func(t *testing.T) {
		addr, data := harness.FreeAddr(t), filepath.Join(dir, "of-the-file")
		socket := filepath.Join(dir, "a.sock")
		config := write(t, filepath.Join(dir, "archelon.yaml"), "listen: ["+addr+", "+socket+"]\ndata: "+data+"\nset-name: filed\nlog-format: json\nset-parameter: {logLevel: 1}\nidle-timeout: 10m\n")
		s := harness.StartWith(t, binary, addr, []string{"ARCHELON_CONFIG=" + config})
		same(t, hello(t, s).Lookup("setName").StringValue(), "filed")
		if _, err := os.Stat(data); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(s.Log(), "{") {
			t.Errorf("the log is not JSON:\n%s", s.Log())
		}
		local := harness.Connect(t, options.Client().ApplyURI("mongodb://"+url.PathEscape(socket)+"/").SetDirect(true))
		if err := local.Ping(t.Context(), nil); err != nil {
			t.Errorf("through the socket: %v", err)
		}
		got := must(local.Database("admin").RunCommand(t.Context(), bson.D{{Key: "getParameter", Value: 1}, {Key: "logLevel", Value: 1}}).Raw())(t)
		if n, ok := got.Lookup("logLevel").AsInt64OK(); n != 1 || !ok {
			t.Errorf("the parameter was not set: %s", got)
		}
		s.Stop(t)
	})
	t.Run("the environment wins over the file and flags over both", func(t *testing.T) {
		config := write(t, filepath.Join(dir, "b.yaml"), "listen: 127.0.0.1:1\nstorage: memory\nset-name: filed\nstandalone: false\n")
		addr := harness.FreeAddr(t)
		s := harness.StartWith(t, binary, addr, []string{"ARCHELON_LISTEN=127.0.0.1:2", "ARCHELON_SET_NAME=environment"}, "--config", config, "--listen", addr)
		same(t, hello(t, s).Lookup("setName").StringValue(), "environment")
	})
	t.Run("stand-alone", func(t *testing.T) {
		s := harness.Start(t, binary, harness.FreeAddr(t), filepath.Join(dir, "c"), "--standalone")
		if got := hello(t, s); got.Lookup("setName").Type != 0 || !got.Lookup("isWritablePrimary").Boolean() {
			t.Errorf("got %s", got)
		}
	})
	t.Run("advertised", func(t *testing.T) {
		s := harness.Start(t, binary, harness.FreeAddr(t), filepath.Join(dir, "d"), "--advertise", "localhost:4711")
		same(t, hello(t, s).Lookup("hosts", "0").StringValue(), "localhost:4711")
		same(t, hello(t, s).Lookup("me").StringValue(), "localhost:4711")
	})
	t.Run("journal interval", func(t *testing.T) {
		data := filepath.Join(dir, "e")
		s := harness.Start(t, binary, harness.FreeAddr(t), data, "--journal-interval", "20ms", "--cache", "33554432")
		c := harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("d").Collection("c")
		must(c.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}))(t)
		s.Stop(t)
		s = harness.Start(t, binary, harness.FreeAddr(t), data)
		c = harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("d").Collection("c")
		same(t, must(c.CountDocuments(t.Context(), bson.D{}))(t), int64(1))
	})
	t.Run("connections", func(t *testing.T) { connectionLimit(t, binary, filepath.Join(dir, "f")) })
}

// connectionLimit fills a server up and checks that one more connection is closed, and the others are served.
func connectionLimit(t *testing.T, binary, data string) {
	const limit = 8 // the start's own client needs a few
	s := harness.Start(t, binary, harness.FreeAddr(t), data, "--max-connections", strconv.Itoa(limit))
	ping := harness.Msg(0, harness.Doc(t, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "admin"}}))
	var open []*harness.Conn
	eventually(t, "connections up to the limit", func() bool { // those of the start are on their way out
		for _, c := range open {
			_ = c.Close()
		}
		open = nil
		for range limit {
			c := harness.Dial(t, s.Addr)
			open = append(open, c)
			if _, err := c.Call(ping); err != nil {
				return false
			}
		}
		return true
	})
	if _, err := harness.Dial(t, s.Addr).Call(ping); !hungUp(err) {
		t.Errorf("one connection too many is served: %v", err)
	}
	for _, c := range open {
		must(c.Call(ping))(t)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline, again := time.After(10*time.Second), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("%s did not come true", what)
		case <-again.C:
		}
	}
}

// TestPrinted checks what the commands without a server print.
func TestPrinted(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	for _, c := range []struct {
		args []string
		says []string
	}{
		{[]string{"version"}, []string{"archelon ", "go1."}},
		{[]string{"--help"}, []string{"serve", "import", "bench", "version"}},
		{[]string{"serve", "--help"}, []string{"--listen", "ARCHELON_LISTEN", "--config", "./archelon-data", "mongosh"}},
		{[]string{"import", "--help"}, []string{"--types", "--collection"}},
		{[]string{"bench", "--help"}, []string{"--connections"}},
	} {
		out := execute(t, nil, c.args...)
		if out.code != 0 || out.stderr != "" {
			t.Errorf("%v: exit code %d\n%s", c.args, out.code, out.stderr)
		}
		for _, part := range c.says {
			if !strings.Contains(out.stdout, part) {
				t.Errorf("%v does not say %q:\n%s", c.args, part, out.stdout)
			}
		}
	}
}
