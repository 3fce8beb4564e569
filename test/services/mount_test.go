package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// serviceConfig mounts a Python program beside the data of a database, and another server's database and commands.
const serviceConfig = `storage: memory
shutdown-grace: 10s
services:
  - database: texts
    subprocess:
      command: [%q, %q]
      env: {PYTHONUNBUFFERED: "1"}
      commands: [{name: words, help: Counts the words of a text.}, sleep, where]
      streams: [primes]
  - {database: far, uri: %q}
  - {database: thumbs, uri: %q, commands: [ping2]}
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), "archelon.yaml"), text)
}

// startMounted starts a database with the services of serviceConfig, and returns the path of its configuration.
func startMounted(t *testing.T) (s *harness.Server, config string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs programs: run without -short")
	}
	binary, addr, farAddr := harness.Build(t), harness.FreeAddr(t), harness.FreeAddr(t)
	far := harness.StartWith(t, binary, farAddr, nil, "--listen", farAddr, "--storage", "memory").URI()
	program := filepath.Join(harness.Root(t), "examples", "python", "words.py")
	config = writeConfig(t, fmt.Sprintf(serviceConfig, harness.Python, program, far, far))
	return harness.StartWith(t, binary, addr, nil, "--config", config, "--listen", addr), config
}

// nap begins a call that takes so long; when nap returns, the server answers it.
func nap(t *testing.T, client *mongo.Client, d time.Duration) <-chan error {
	t.Helper()
	napped := make(chan error, 1)
	go func() {
		napped <- client.Database("texts").RunCommand(context.Background(), bson.D{{Key: "sleep", Value: d.Seconds()}}).Err()
	}()
	running := bson.D{{Key: "currentOp", Value: 1}, {Key: "command.sleep", Value: bson.D{{Key: "$exists", Value: true}}}}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // it is the condition that is waited for
		var reply struct{ Inprog []bson.Raw }
		if err := client.Database("admin").RunCommand(t.Context(), running).Decode(&reply); err != nil {
			t.Fatal(err)
		}
		if len(reply.Inprog) > 0 {
			return napped
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the call does not begin")
		}
	}
}

// TestMounted serves data and services at one address and calls them with every client.
func TestMounted(t *testing.T) {
	s, _ := startMounted(t)

	client := harness.Connect(t, options.Client().ApplyURI(s.URI()))
	t.Run("go", func(t *testing.T) { useMounted(t, client, s.Addr) })
	tl := harness.InstallTools(t)
	t.Run("mongosh", func(t *testing.T) { tl.Mongosh(t, s.URI()+"texts", "mount.js") })
	t.Run("python", func(t *testing.T) { tl.Script(t, harness.Python, "mount.py", s.URI()) })
	t.Run("drain", func(t *testing.T) {
		napped := nap(t, client, 1500*time.Millisecond)
		s.Terminate(t)
		if err := <-napped; err != nil {
			t.Errorf("the call that ran: %v", err)
		}
	})
}

// TestRemounted changes the services of a server that runs.
func TestRemounted(t *testing.T) {
	s, config := startMounted(t)
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()))
	words := func(db string) error {
		return client.Database(db).RunCommand(t.Context(), bson.D{{Key: "words", Value: "the quick fox"}}).Err()
	}
	if err := words("texts"); err != nil {
		t.Fatal(err)
	}
	napped := nap(t, client, 500*time.Millisecond)
	reload := func(text string, done func() bool) {
		t.Helper()
		write(t, config, text)
		s.Signal(t, syscall.SIGHUP)
		for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // it is the condition that is waited for
			if time.Since(began) > 10*time.Second {
				t.Fatalf("nothing has changed\n%s", s.Log())
			}
		}
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := strings.Replace(string(text), "database: texts", "database: books", 1)
	reload(elsewhere, func() bool { return words("books") == nil && words("texts") != nil })
	if err := <-napped; err != nil {
		t.Errorf("the call that ran: %v", err)
	}
	reload("services: oops", func() bool { return strings.Contains(s.Log(), "not taken up") })
	if err := words("books"); err != nil {
		t.Error(err)
	}
	reload("storage: memory", func() bool { return strings.Count(s.Log(), "services are in force") == 2 })
	if err := words("books"); err == nil {
		t.Error("a service that is gone from the file answers")
	}
	if n, err := client.Database("far").Collection("c").CountDocuments(t.Context(), bson.D{}); err != nil || n != 0 {
		t.Errorf("%d documents, %v", n, err)
	}
}

func useMounted(t *testing.T, client *mongo.Client, addr string) {
	texts := client.Database("texts")
	if _, err := texts.Collection("drafts").InsertOne(t.Context(), bson.D{{Key: "text", Value: "the quick fox"}}); err != nil {
		t.Fatal(err)
	}
	reply, err := texts.RunCommand(t.Context(), bson.D{{Key: "words", Value: "the quick fox and the lazy dog"}}).Raw()
	if err != nil || reply.Lookup("words").AsInt64() != 7 {
		t.Errorf("%s %v", reply, err)
	}
	reply, err = texts.RunCommand(t.Context(), bson.D{{Key: "where", Value: 1}}).Raw()
	if err != nil || reply.Lookup("uri").StringValue() != "mongodb://"+addr+"/texts" {
		t.Errorf("%s %v", reply, err)
	}
	var ce mongo.CommandError
	if err := texts.RunCommand(t.Context(), bson.D{{Key: "words", Value: " "}}).Err(); !errors.As(err, &ce) || ce.Code != 10000200 || ce.Name != "NoWords" {
		t.Errorf("%v", err)
	}
	cur, err := texts.RunCommandCursor(t.Context(), bson.D{{Key: "primes", Value: 1}, {Key: "below", Value: 2000}, {Key: "cursor", Value: bson.D{{Key: "batchSize", Value: 20}}}})
	var primes []bson.Raw
	if err != nil || cur.All(t.Context(), &primes) != nil || len(primes) != 303 {
		t.Errorf("%d primes, %v", len(primes), err)
	}
	if _, err := client.Database("far").Collection("c").InsertOne(t.Context(), bson.D{{Key: "x", Value: 1}}); err != nil {
		t.Error(err)
	}
}

// TestMountsRefusedAtStart holds what is wrong in a config file, or on the command line.
func TestMountsRefusedAtStart(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs programs: run without -short")
	}
	binary := harness.Build(t)
	for want, services := range map[string]string{
		`mount commands of database d: the command "find" clashes with the database's own command "find"`: `[{database: d, subprocess: {command: [cat], commands: [find]}}]`,
		`mount commands of database d: the command "Insert" clashes`:                                      `[{database: d, uri: "mongodb://localhost/", commands: [Insert]}]`,
		`field program not found`:            `[{database: d, program: x}]`,
		`field hint not found in a command`:  `[{database: d, subprocess: {command: [cat], commands: [{name: a, hint: b}]}}]`,
		`the subprocess has no command`:      `[{database: d, subprocess: {commands: [a]}}]`,
		`exactly one of a handler, a URI`:    `[{database: d}]`,
		`is no stream and cannot be live`:    `[{database: d, subprocess: {command: [cat], commands: [{name: a, live: true}]}}]`,
		`services are a list in the config`:  `{database: d}`,
		`the database "admin" is the server`: `[{database: admin, uri: "mongodb://localhost/"}]`,
	} {
		config := writeConfig(t, "storage: memory\nlisten: 127.0.0.1:0\nservices: "+services+"\n")
		out, err := exec.CommandContext(t.Context(), binary, "serve", "--config", config).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s\nwant %s", services, err, bytes.TrimSpace(out), want)
		}
	}
	out, err := exec.CommandContext(t.Context(), binary, "serve", "--storage", "memory", "--services", "[{database: d}]").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "services are a list in the config file") {
		t.Errorf("%v\n%s", err, out)
	}
}
