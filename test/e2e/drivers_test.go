package e2e

import (
	"path/filepath"
	"testing"

	"github.com/archelon-db/archelon/test/harness"
)

// TestDrivers runs every script against one server that started with nothing but an address and an empty folder.
func TestDrivers(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end tests with real drivers take minutes and may install tools: run without -short")
	}
	tl := harness.InstallTools(t)
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	t.Run("node", func(t *testing.T) { tl.Script(t, tl.Node, "driver.js", s.URI()) })
	t.Run("python", func(t *testing.T) { tl.Script(t, harness.Python, "driver.py", s.URI()) })
	t.Run("mongosh", func(t *testing.T) { tl.Mongosh(t, s.URI(), "shell.js") })
	t.Run("go", func(t *testing.T) { goDriver(t, s.URI()) })
	t.Run("stop", func(t *testing.T) { s.Stop(t) })
}
