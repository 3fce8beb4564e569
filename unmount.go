package archelon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// unmountPoll is how often Unmount looks whether what has begun is over.
const unmountPoll = 10 * time.Millisecond

// errUnmounted is what clients get whose commands were cut off; they may send them again, to whoever has the name then.
var errUnmounted = mongoerr.New(mongoerr.HostUnreachable, "the mounted service was taken away").WithLabels(mongoerr.LabelRetryable)

// holder knows how many cursors its clients have open.
type holder interface{ Cursors() int }

// Unmount takes a mount away while the DB serves: that of a whole database if command is empty, or else the one that has
// the command there. New commands find nothing any more; those that run, and their cursors, go on until they are done or
// ctx ends, which cuts them off. When it returns the names are free again, and what the mount needed to run has stopped. It
// returns ctx's error if something was cut off.
func (db *DB) Unmount(ctx context.Context, database, command string) error {
	x := db.mounts.leave(database, command)
	if x == nil {
		if command == "" {
			return fmt.Errorf("unmount: no database %q is mounted", database)
		}
		return fmt.Errorf("unmount: no command %q is mounted in database %q", command, database)
	}
	err := x.finish(ctx)
	stop, loops := db.mounts.remove(x)
	db.commands.Interrupt(x, errUnmounted)
	if stop != nil {
		stop()
		<-loops
	}
	if x.close != nil {
		x.close()
	}
	db.log.Info("unmounted", "database", x.Database, "answered", x.kind(), "cut_off", err != nil)
	return err
}

// leave finds a mount and makes it take no new commands; nil if there is none, or if it leaves already.
func (m *mounts) leave(database, command string) *mounted {
	t := m.table.Load()
	x := t.whole[database]
	if command != "" {
		x = t.commands[database][strings.ToLower(command)]
	}
	if x == nil || !x.leaving.CompareAndSwap(false, true) {
		return nil
	}
	return x
}

// finish lets what the mount answers end until ctx does.
func (x *mounted) finish(ctx context.Context) error {
	if d, ok := x.handler.(drainer); ok {
		if err := d.Drain(ctx); err != nil {
			return err
		}
	}
	h, _ := x.handler.(holder)
	tick := time.NewTicker(unmountPoll)
	defer tick.Stop()
	for x.running.Load() > 0 || h != nil && h.Cursors() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
