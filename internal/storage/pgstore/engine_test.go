package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/enginetest"
	"github.com/archelon-db/archelon/test/pgharness"
)

// server is the PostgreSQL that the tests of this package share; each test has a
// schema of its own.
var server *pgharness.Server

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	server, err = pgharness.Start(map[string]string{"fsync": "off", "max_connections": "300"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		log.Print(err)
	} else if err != nil {
		log.Print(err)
		return 1
	}
	code := m.Run()
	for _, s := range []*pgharness.Server{server, durableServer} {
		if s == nil {
			continue
		}
		if err := s.Close(); err != nil {
			log.Print(err)
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			log.Print(err)
			return 1
		}
	}
	return code
}

var schemas atomic.Int64

// freshURL is the address of a store that does not exist yet.
func freshURL(t testing.TB) string {
	t.Helper()
	if server == nil {
		t.Skip(pgharness.ErrNotInstalled)
	}
	return fmt.Sprintf("%s&schema=s%d", server.SocketURL(), schemas.Add(1))
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(context.Background(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEngine(t *testing.T) {
	urls := map[storage.Engine]string{}
	enginetest.Run(t, enginetest.Harness{
		Open: func(t testing.TB) storage.Engine {
			url := freshURL(t)
			s := open(t, url)
			urls[s] = url
			return s
		},
		Reopen: func(t testing.TB, e storage.Engine) storage.Engine {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, urls[e])
		},
	})
}
