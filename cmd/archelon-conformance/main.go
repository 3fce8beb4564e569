// Command archelon-conformance runs the conformance corpus against a server, its own or another. See package
// conformance.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/internal/conformance"
	"github.com/archelon-db/archelon/test/pgharness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := conformance.CLI(ctx, os.Args[1:], os.Stdout, os.Stderr, serve)
	stop()
	os.Exit(code)
}

// serve starts a server of this process on a storage engine; "postgres" also starts
// a PostgreSQL server for it, and may have parameters of the address behind it, as in
// "postgres?shared=false".
func serve(ctx context.Context, storage string) (addr string, stop func(), err error) {
	name, parameters, _ := strings.Cut(storage, "?")
	if name != "postgres" {
		return serveOn(ctx, storage)
	}
	pg, err := pgharness.Start(map[string]string{"fsync": "off"})
	if err != nil {
		return "", nil, err
	}
	addr, end, err := serveOn(ctx, pg.SocketURL()+"&"+parameters)
	if err != nil {
		return "", nil, errors.Join(err, pg.Close())
	}
	return addr, func() {
		end()
		if err := pg.Close(); err != nil {
			slog.Error("stop PostgreSQL", "error", err)
		}
	}, nil
}

func serveOn(ctx context.Context, storage string) (addr string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "archelon-conformance-*")
	if err != nil {
		return "", nil, err
	}
	db, err := archelon.Open(archelon.Config{
		Storage: storage, Data: dir, Listen: []string{"127.0.0.1:0"},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return "", nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := db.Serve(context.WithoutCancel(ctx)); err != nil {
			slog.Error("serve", "error", err)
		}
	}()
	addr = strings.TrimSuffix(strings.TrimPrefix(db.URI(), "mongodb://"), "/")
	return addr, func() {
		if err := db.Close(); err != nil {
			slog.Error("close", "error", err)
		}
		<-done
		if err := os.RemoveAll(dir); err != nil {
			slog.Error("remove temporary folder", "error", err)
		}
	}, nil
}
