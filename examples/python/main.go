// Command python is a service whose commands a Python program answers, which needs nothing but Python's own library.
//
//	go run ./examples/python
//
//	> db.runCommand({words: 'the quick fox and the lazy dog'})
//	{ words: 7, distinct: 6, most: 'the', ok: 1 }
//	> db.runCommand({primes: 1, below: 20, cursor: {batchSize: 3}})
//	{ cursor: { firstBatch: [ { prime: 2 }, { prime: 3 }, { prime: 5 } ], id: …, ns: 'test.$cmd.primes' }, ok: 1 }
package main

import (
	"context"
	_ "embed" // the program
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

//go:embed words.py
var program string

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address to listen on")
	python := flag.String("python", "python3", "Python interpreter")
	database := flag.String("database", "", "connection string of a database for the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	svc := service.New("words", service.Config{Version: "1.0", Logger: log})
	err := svc.AddSubprocess(service.Subprocess{
		Command: *python, Args: []string{"-c", program}, URI: *database,
		Commands: []service.Command{
			{Name: "words", Help: "Counts the words of a text."},
			{Name: "sleep", Help: "Waits for so many seconds, unless it is interrupted."},
			{Name: "where", Help: "Tells the database that the program was given."},
		},
		Streams: []service.Command{{Name: "primes", Help: "Lists the primes below a number."}},
	})
	if err == nil {
		log.Info("listening", "uri", "mongodb://"+*listen+"/")
		err = svc.ListenAndServe(ctx, server.Config{Addresses: []string{*listen}})
	}
	if err != nil {
		log.Error("cannot serve", "error", err)
		os.Exit(1)
	}
}
