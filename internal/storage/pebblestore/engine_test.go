package pebblestore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEngineMemory(t *testing.T) {
	enginetest.Run(t, enginetest.Harness{
		Open: func(t testing.TB) storage.Engine { return open(t, Config{Memory: true}) },
	})
}

// TestEngineFolder runs the suite with a journal, on a file system in memory.
func TestEngineFolder(t *testing.T) {
	systems := map[storage.Engine]vfs.FS{}
	enginetest.Run(t, enginetest.Harness{
		Open: func(t testing.TB) storage.Engine {
			fs := vfs.NewMem()
			s := open(t, Config{Dir: "store", FS: fs})
			systems[s] = fs
			return s
		},
		Reopen: func(t testing.TB, e storage.Engine) storage.Engine {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, Config{Dir: "store", FS: systems[e]})
		},
	})
}
