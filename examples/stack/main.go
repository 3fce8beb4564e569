// Command stack is three levels, each of which any MongoDB client can be pointed at: a gateway, a service behind it that
// takes orders, and the database in which the service keeps them.
//
//	go run ./examples/stack
//
//	$ mongosh --quiet
//	> db.runCommand({order: 'pump', quantity: 2})
//	{ number: 1, left: 8, ok: 1 }
//	> db.getSiblingDB('shop').orders.find()
//	[ { _id: 1, article: 'pump', quantity: 2 } ]
//
// The first command went through the gateway to the service, and the service's own commands to the database; the second
// one went through the same gateway straight to the database.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/server"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address of the gateway")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, *listen, log); err != nil {
		log.Error("cannot serve", "error", err)
		os.Exit(1)
	}
}

// run starts the three from the bottom up and stops them from the top down.
func run(ctx context.Context, listen string, log *slog.Logger) error {
	// Each level outlives the one above it: it is told to stop when that one has ended.
	below, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBelow()
	bottom, stopBottom := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBottom()
	var levels sync.WaitGroup
	var dbErr, serviceErr error

	db, err := archelon.Open(archelon.Config{Storage: archelon.StorageMemory, Listen: []string{"127.0.0.1:0"}, Logger: log})
	if err != nil {
		return err
	}
	levels.Go(func() { dbErr = errors.Join(db.Serve(bottom), db.Close()) })

	shop, err := newShop(ctx, db.URI(), log)
	if err != nil {
		stopBottom()
		levels.Wait()
		return errors.Join(err, dbErr)
	}
	levels.Go(func() {
		serviceErr = shop.serve(below)
		stopBottom()
	})

	err = serveGateway(ctx, listen, gateway.Table{
		Upstreams: map[string]gateway.Upstream{"database": {URI: db.URI()}, "shop": {URI: shop.uri()}},
		Routes: []gateway.Route{
			{Command: gateway.Patterns{"order", "deliver"}, Upstream: "shop"},
			{Upstream: "database"},
		},
	}, log)
	stopBelow()
	levels.Wait()
	return errors.Join(err, serviceErr, dbErr)
}

func serveGateway(ctx context.Context, listen string, table gateway.Table, log *slog.Logger) error {
	g, err := gateway.New(gateway.Config{Table: table, Logger: log})
	if err != nil {
		return err
	}
	defer g.Close()
	return g.Serve(ctx, server.Config{Addresses: []string{listen}}, func(s *server.Server) {
		log.Info("gateway is ready", "uri", "mongodb://"+s.Addr().String()+"/")
	})
}
