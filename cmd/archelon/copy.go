package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/archelon-db/archelon/internal/copier"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// copyCommand moves everything from one server to another.
type copyCommand struct {
	copier.Config
	UsersFile string `name:"users-file" placeholder:"FILE" help:"New file for the source's users if the target does not take them over: what --users of serve takes."`
}

// Help is shown above the flags.
func (*copyCommand) Help() string {
	return `Copies databases from one MongoDB-compatible server to another while the first is in use: documents, options of
collections, indexes, views and users. Then it brings the changes over that came meanwhile.

  archelon copy --from mongodb://old:27017/ --to mongodb://new:27017/ --dry-run
  archelon copy --from mongodb://old:27017/ --to mongodb://new:27017/ --follow

With --follow it stays until you cut over: stop the applications, press Ctrl-C once, and it brings the last changes over,
compares both servers and ends; then start the applications on the new server. A second Ctrl-C stops at once.
A copy that was interrupted goes on when the same command is run again.

MongoDB keeps users in its data, and a MongoDB as the target takes them over; archelon serve reads them from a file, which
--users-file writes: their passwords stay what they are.`
}

// Run copies.
func (c *copyCommand) Run(ctx context.Context) error {
	control := copier.Control{Out: os.Stdout, Progress: os.Stderr, CutOver: ctx.Done()}
	if c.UsersFile != "" {
		if _, err := os.Lstat(c.UsersFile); err == nil {
			return fmt.Errorf("the users file %s exists already: name another, or remove it", c.UsersFile)
		}
		control.KeepUsers = c.keepUsers
	}
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
	_, err := copier.Run(aborting, c.Config, control)
	return err
}

// keepUsers writes users as MongoDB keeps them into the users file.
func (c *copyCommand) keepUsers(users []server.Doc) (notes []string, err error) {
	var accounts []*auth.Account
	for _, d := range users {
		name := d.Lookup("_id").Str()
		a, left, err := auth.AccountOf(d)
		if err != nil {
			notes = append(notes, fmt.Sprintf("the user %s is not copied: %v", name, err))
			continue
		}
		if len(left) > 0 {
			notes = append(notes, fmt.Sprintf("the user %s is copied without %s, which serve does not have", name, strings.Join(left, ", ")))
		}
		accounts = append(accounts, a)
	}
	text, err := auth.FormatUsers(accounts...)
	if err != nil {
		return notes, err
	}
	if err := writeNew(c.UsersFile, text); err != nil {
		return notes, fmt.Errorf("users file: %w", err)
	}
	return append(notes, fmt.Sprintf("%d users are in %s: start the target with --users %[2]s", len(accounts), c.UsersFile)), nil
}

// writeNew writes a file that only its owner can read, and that was not there.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
