package command

import (
	"context"
	"time"
)

// refreshFirst are the commands that look at definitions without an operation of the
// kernel. In a shared store they begin by reading what others have changed.
var refreshFirst = map[string]bool{
	"listCollections": true, "listIndexes": true, "listDatabases": true, "dbStats": true, "collStats": true, "dataSize": true,
	"validate": true, "explain": true, "dbHash": true, "compact": true, "reIndex": true, "convertToCapped": true,
	"cloneCollectionAsCapped": true, "renameCollection": true, "mapReduce": true, "applyOps": true, "top": true,
	"planCacheClear": true, "planCacheListFilters": true, "planCacheSetFilter": true, "planCacheClearFilters": true,
	"getDefaultRWConcern": true, "getClusterParameter": true,
}

// mostPatience is the longest pause before another attempt: together they take a second.
const mostPatience = 45 * time.Millisecond

// runUpToDate runs the command; once more if it turns out that it has gone by something
// that another process of a shared store had changed before, and so has done nothing.
func (c *Call) runUpToDate(ctx context.Context) error {
	if !c.Commands.shared {
		return c.Cmd.Run(ctx, c)
	}
	written := len(c.Reply.Buf)
	for pause := time.Duration(0); ; pause += time.Millisecond {
		began := time.Now()
		c.ops = c.ops[:0]
		if refreshFirst[c.Cmd.Name] {
			if err := c.Database().Refresh(ctx); err != nil {
				return err
			}
		}
		failure := c.Cmd.Run(ctx, c)
		again, err := c.isOutdated(ctx, began, failure)
		if err != nil || !again {
			return err
		}
		if pause > mostPatience {
			return errChangedElsewhere
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		c.Reply.Buf = c.Reply.Buf[:written]
	}
}

// isOutdated says whether the command is to be run again, or returns its failure.
func (c *Call) isOutdated(ctx context.Context, began time.Time, failure error) (again bool, err error) {
	db := c.Database()
	if failure != nil {
		if again, err = db.CatchUp(ctx, c.ops, failure); again || err != nil {
			return again, err
		}
	}
	for _, op := range c.ops {
		if again, err = db.Outdated(ctx, op, began); again || err != nil {
			return again, err
		}
	}
	return false, failure
}

// reload reads the settings again that are stored, when another process has changed
// some.
func (cs *Commands) reload(ctx context.Context) error {
	if err := cs.loadRWDefaults(ctx); err != nil {
		return err
	}
	return cs.loadClusterParameters(ctx)
}
