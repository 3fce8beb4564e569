package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/archelon-db/archelon/internal/copier"
)

// copyCommand moves everything from one server to another.
type copyCommand struct {
	copier.Config
}

// Help is shown above the flags.
func (*copyCommand) Help() string {
	return `Copies databases from one MongoDB-compatible server to another while the first is in use: documents, options of
collections, indexes, views, and users where both servers can. Then it brings the changes over that came meanwhile.

  archelon copy --from mongodb://old:27017/ --to mongodb://new:27017/ --dry-run
  archelon copy --from mongodb://old:27017/ --to mongodb://new:27017/ --follow

With --follow it stays until you cut over: stop the applications, press Ctrl-C once, and it brings the last changes over,
compares both servers and ends; then start the applications on the new server. A second Ctrl-C stops at once.
A copy that was interrupted goes on when the same command is run again.`
}

// Run copies.
func (c *copyCommand) Run(ctx context.Context) error {
	// The first signal ends ctx, which is the wish to cut over; the second one stops at once.
	aborting, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		for range 2 {
			select {
			case <-signals:
			case <-aborting.Done():
				return
			}
		}
		abort()
	}()
	_, err := copier.Run(aborting, c.Config, copier.Control{Out: os.Stdout, Progress: os.Stderr, CutOver: ctx.Done()})
	return err
}
