package copy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/test/harness"
)

// TestDocs runs the tutorial of docs/copy.md as it is written, but for the servers' addresses, and looks for the output
// that it shows.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "copy.md"))
	if err != nil {
		t.Fatal(err)
	}
	script, shown := "trap 'kill %1 %2; wait' EXIT\nset -e\n", []string{}
	for _, m := range regexp.MustCompile("(?s)```(sh)?\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if m[1] == "sh" {
			script += m[2]
		} else {
			shown = append(shown, strings.Split(strings.TrimSpace(m[2]), "\n")...)
		}
	}
	for _, addr := range []string{"127.0.0.1:27117", "127.0.0.1:27118"} {
		script = strings.ReplaceAll(script, addr, harness.FreeAddr(t))
	}
	dir := t.TempDir()
	if err := os.Symlink(harness.Build(t), filepath.Join(dir, "archelon")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-m", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the tutorial: %v", err)
	}
	for _, line := range shown {
		if !strings.Contains(string(out), line) {
			t.Errorf("the tutorial does not print %q", line)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", script, out)
	}
}
