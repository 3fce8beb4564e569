package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := playRole(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// startDB runs a database in memory until the test ends and returns its connection string.
func startDB(t testing.TB, cfg archelon.Config) string {
	t.Helper()
	cfg.Storage, cfg.Listen = archelon.StorageMemory, []string{"127.0.0.1:0"}
	db, err := archelon.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, db.Serve)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db.URI()
}

// serve runs f until the test ends.
func serve(t testing.TB, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := f(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		cancel()
		done.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// startService runs a service with a command that echoes and one that streams.
func startService(t testing.TB) string {
	t.Helper()
	svc := service.New("echo", service.Config{Logger: slog.New(slog.DiscardHandler), Quiesce: -1})
	type pong struct {
		Pong bson.D `bson:"pong"`
	}
	service.Handle(svc, service.Command{Name: "echo", Help: "Answers what it is sent."},
		func(_ context.Context, req bson.D) (pong, error) { return pong{req}, nil })
	i, err := svc.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, i.Serve)
	return i.URI()
}

// startGateway runs a gateway until the test ends.
func startGateway(t testing.TB, table gateway.Table) (*gateway.Gateway, string) {
	t.Helper()
	g, err := gateway.New(gateway.Config{Table: table, Logger: slog.New(slog.DiscardHandler), Quiesce: -1, Retire: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	ready := make(chan net.Addr, 1)
	serve(t, func(ctx context.Context) error {
		return g.Serve(ctx, server.Config{Addresses: []string{"127.0.0.1:0"}, ShutdownGrace: 2 * time.Second},
			func(s *server.Server) { ready <- s.Addr() })
	})
	return g, "mongodb://" + (<-ready).String() + "/"
}

func connect(t testing.TB, uri string, opts ...*options.ClientOptions) *mongo.Client {
	t.Helper()
	c, err := mongo.Connect(append([]*options.ClientOptions{options.Client().ApplyURI(uri).SetServerSelectionTimeout(10 * time.Second)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.Disconnect(ctx)
	})
	return c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// to is a table that sends everything to one upstream.
func to(uri string) gateway.Table {
	return gateway.Table{Upstreams: map[string]gateway.Upstream{"main": {URI: uri}}, Routes: []gateway.Route{{Upstream: "main"}}}
}
