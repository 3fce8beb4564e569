// Command thumbnailer is a service that makes small pictures of large ones and tells how far it is while it works.
//
//	go run ./examples/thumbnailer
//
// A client sends a PNG, JPEG or GIF and reads documents from a cursor: progress, and each thumbnail when it is there. Any
// driver's cursor for commands will do, and so will a find on the collection $cmd, here in Python:
//
//	>>> for step in db['$cmd'].find(SON(thumbnail='cat.png', image=open('cat.png', 'rb').read(), sizes=[64, 128])): print(step)
//	{'stage': 'decoded', 'width': 800, 'height': 600}
//	{'stage': 'scaling', 'size': 64, 'percent': 50}
//	{'stage': 'done', 'size': 64, 'percent': 100, 'width': 64, 'height': 48, 'image': b'…'}
//	…
//
// Somebody else watches what the service does on a tailable cursor:
//
//	>>> for news in db['$cmd'].find({'watch': 1}, cursor_type=CursorType.TAILABLE_AWAIT): print(news)
//	{'name': 'cat.png', 'size': 64, 'bytes': 4711}
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	svc := service.New("thumbnailer", service.Config{Version: "1.0", Logger: log})
	t := &thumbnailer{news: newFeed[finished]()}
	service.Stream(svc, service.Command{Name: "thumbnail", Help: "Makes thumbnails of a picture."}, t.thumbnail)
	service.Stream(svc, service.Command{Name: "watch", Help: "Tells of every thumbnail that is made.", Live: true}, t.watch)

	log.Info("listening", "uri", "mongodb://"+*listen+"/")
	if err := svc.ListenAndServe(ctx, server.Config{Addresses: []string{*listen}}); err != nil {
		log.Error("cannot serve", "error", err)
		os.Exit(1)
	}
}
