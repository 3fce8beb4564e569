package services

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/test/harness"
)

// documented are the programs and calls of docs/services.md by language, in their order.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "services.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, m := range regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		out[m[1]] = append(out[m[1]], m[2])
	}
	return out
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// build builds the program that the Go texts make together: the first is whole, the others are further commands.
func build(t *testing.T, dir string, texts []string, addr string) string {
	t.Helper()
	program := strings.Replace(texts[0], "// further commands go here", strings.Join(texts[1:], "\n"), 1)
	program = strings.Replace(program, "import (", "import (\n\"iter\"\n\"sync/atomic\"\n\"github.com/archelon-db/archelon\"", 1)
	source := write(t, filepath.Join(dir, "main.go"), strings.ReplaceAll(program, "127.0.0.1:27018", addr))
	return harness.Compile(t, source)
}

// TestDocs runs what docs/services.md shows.
func TestDocs(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs programs: run without -short")
	}
	tl := harness.InstallTools(t)
	docs, dir, shop, addr := documented(t), t.TempDir(), harness.FreeAddr(t), harness.FreeAddr(t)
	harness.Serve(t, shop, build(t, dir, docs["go"], shop))
	calls := docs["js"]
	last := len(calls) - 1
	for _, text := range calls[:last] {
		tl.Mongosh(t, "mongodb://"+shop+"/", write(t, filepath.Join(dir, "calls.js"), text))
	}
	tl.Mongosh(t, "mongodb://"+shop+"/", write(t, filepath.Join(dir, "more.js"), `
const assert = require("assert");
assert.strictEqual(db.runCommand({greet: "world"}).text, "hello world");
assert.strictEqual(db.runCommand({pay: 0}).paid.toString(), "5");
try { db.runCommand({buy: "coffee"}); assert.fail(); } catch (e) { assert.strictEqual(e.codeName, "SoldOut"); }
`))

	program := write(t, filepath.Join(dir, "shout.py"), docs["python"][0])
	config := strings.NewReplacer("127.0.0.1:27018", shop, "python3", harness.Python, "shout.py", program).Replace(docs["yaml"][0])
	s := harness.StartWith(t, harness.Build(t), addr, nil, "--storage", "memory", "--listen", addr,
		"--config", write(t, filepath.Join(dir, "archelon.yaml"), config))
	tl.Mongosh(t, s.URI()+"texts", write(t, filepath.Join(dir, "mounted.js"), `const assert = require("assert");`+calls[last]+`
assert.strictEqual(db.runCommand({shout: "ordinary data"}).text, "ORDINARY DATA");
assert.strictEqual(db.runCommand({spell: "abc"}).cursor.firstBatch.length, 3);
assert.strictEqual(db.runCommand({greet: "world"}).text, "hello world");
assert.strictEqual(db.serverStatus().services.length, 3);
`))
	s.Terminate(t)
}
