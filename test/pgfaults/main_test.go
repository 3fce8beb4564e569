package pgfaults

import (
	"errors"
	"fmt"
	"log"
	"os"
	"sync/atomic"
	"testing"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// server is the PostgreSQL that the tests share; each has a database of its own.
var server *pgharness.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	server, err = pgharness.Start(map[string]string{"fsync": "off", "max_connections": "100"})
	if err != nil {
		log.Print(err)
		if !errors.Is(err, pgharness.ErrNotInstalled) {
			return 1
		}
	}
	code := harness.Main(m)
	if server != nil {
		if err := server.Close(); err != nil {
			log.Print(err)
		}
	}
	return code
}

// database makes a database of the shared server and returns its address.
func database(t *testing.T, name string) string {
	t.Helper()
	if server == nil {
		t.Skip(pgharness.ErrNotInstalled)
	}
	url, err := server.Database(unique(name))
	if err != nil {
		t.Fatal(err)
	}
	return url
}

var names atomic.Int64

// unique makes a name that nothing in the shared server has.
func unique(name string) string { return fmt.Sprintf("%s_%d", name, names.Add(1)) }

// sql runs statements in a database of the shared server.
func sql(t *testing.T, url, statements string) string {
	t.Helper()
	out, err := server.SQL(url, statements)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// serve runs the binary on a store.
func serve(t *testing.T, url string) *harness.Server {
	t.Helper()
	addr := harness.FreeAddr(t)
	return harness.StartWith(t, harness.Build(t), addr, nil, "--listen", addr, "--storage", url)
}
