// Command echo is the smallest service: a command that answers what it is sent.
//
//	go run ./examples/echo
//
//	$ mongosh --quiet
//	> db.runCommand({ping: 1, hello: 'world'})
//	{ pong: { ping: 1, hello: 'world' }, ok: 1 }
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

// Pong is the reply of ping.
type Pong struct {
	Pong bson.D `bson:"pong" doc:"the command as it came"`
}

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	svc := service.New("echo", service.Config{Version: "1.0", Logger: log})
	service.Handle(svc, service.Command{Name: "ping", Help: "Answers what it is sent."},
		func(_ context.Context, req bson.D) (Pong, error) { return Pong{req}, nil })

	log.Info("listening", "uri", "mongodb://"+*listen+"/")
	if err := svc.ListenAndServe(ctx, server.Config{Addresses: []string{*listen}}); err != nil {
		log.Error("cannot serve", "error", err)
		os.Exit(1)
	}
}
