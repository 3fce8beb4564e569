package pgshared

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// postgres is the PostgreSQL server of this test process; each test has a schema of its own.
var postgres struct {
	once   sync.Once
	server *pgharness.Server
	err    error
	stores atomic.Int64
}

func TestMain(m *testing.M) {
	code := harness.Main(m)
	if postgres.server != nil {
		postgres.server.Close()
	}
	os.Exit(code)
}

// storeURL is the address of a store that nobody has used.
func storeURL(t testing.TB) string {
	t.Helper()
	postgres.once.Do(func() {
		postgres.server, postgres.err = pgharness.Start(map[string]string{"fsync": "off", "max_connections": "200"})
	})
	if errors.Is(postgres.err, pgharness.ErrNotInstalled) {
		t.Skip(postgres.err)
	}
	if postgres.err != nil {
		t.Fatal(postgres.err)
	}
	url := postgres.server.URL()
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	return fmt.Sprintf("%s%sschema=store%d&pool_max_conns=30", url, separator, postgres.stores.Add(1))
}

// pair is two processes on one store.
type pair struct {
	t    *testing.T
	url  string
	a, b *harness.Server
}

func start(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, url: storeURL(t)}
	p.a, p.b = p.serve(), p.serve()
	return p
}

// serve starts one more process.
func (p *pair) serve() *harness.Server {
	p.t.Helper()
	addr := harness.FreeAddr(p.t)
	return harness.StartWith(p.t, harness.Build(p.t), addr, nil, "--listen", addr, "--storage", p.url, "--set-parameter", "enableTestCommands=1")
}

// to is a client of one process.
func (p *pair) to(s *harness.Server) *mongo.Client {
	p.t.Helper()
	return harness.Connect(p.t, options.Client().ApplyURI(s.URI()))
}

// both is a client of both.
func (p *pair) both() *mongo.Client {
	p.t.Helper()
	return harness.Connect(p.t, options.Client().ApplyURI("mongodb://"+p.a.Addr+","+p.b.Addr+"/").
		SetServerSelectionTimeout(10*time.Second).SetHeartbeatInterval(500*time.Millisecond))
}

func context30(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func d(key string, value any, more ...any) bson.D {
	out := bson.D{{Key: key, Value: value}}
	for i := 0; i+1 < len(more); i += 2 {
		out = append(out, bson.E{Key: more[i].(string), Value: more[i+1]})
	}
	return out
}

// validate checks that a collection's indexes and counts are right.
func validate(t testing.TB, c *mongo.Client, coll string) {
	t.Helper()
	var out bson.M
	must(t, c.Database("d").RunCommand(context30(t), d("validate", coll, "full", true)).Decode(&out))
	if out["valid"] != true || fmt.Sprint(out["warnings"]) != "[]" {
		t.Errorf("validate %s: valid %v, errors %v, warnings %v, indexes %v", coll, out["valid"], out["errors"], out["warnings"], out["indexDetails"])
	}
}

// count is the number that count gives without a filter, and the number of documents there are.
func count(t testing.TB, coll *mongo.Collection) (kept, real int64) {
	t.Helper()
	kept, err := coll.EstimatedDocumentCount(context30(t))
	must(t, err)
	real, err = coll.CountDocuments(context30(t), bson.D{})
	must(t, err)
	return kept, real
}

// failed says that an error has one of some codes.
func failed(err error, codes ...int) bool {
	var se mongo.ServerError
	if !errors.As(err, &se) {
		return false
	}
	for _, code := range codes {
		if se.HasErrorCode(code) {
			return true
		}
	}
	return false
}
