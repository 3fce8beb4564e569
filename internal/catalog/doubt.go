package catalog

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/storage"
)

// With an engine that is another server the commit of a change may have happened although it has failed. In a shared store
// the version tells; one that a process has alone reads the definitions again.

// doubt is told of a commit that has failed. The lock publish is held, as are the guards of what is changed: if the
// server is there again nobody goes by the wrong definitions.
func (c *Catalog) doubt(ctx context.Context, err error) {
	if c.shared || storage.Losses(c.engine) == 0 || errors.Is(err, storage.ErrWriteConflict) {
		return
	}
	c.doubtful.Store(true)
	_ = c.reload(context.WithoutCancel(ctx)) // or later
}

// Settle reads the definitions again if nobody knows whether a change of them has happened.
func (c *Catalog) Settle(ctx context.Context) error {
	if !c.doubtful.Load() {
		return nil
	}
	c.change.Lock()
	defer c.change.Unlock()
	return c.settle(ctx)
}

// settle is Settle with the lock change held.
func (c *Catalog) settle(ctx context.Context) error {
	if !c.doubtful.Load() {
		return nil
	}
	c.publish.Lock()
	defer c.publish.Unlock()
	return c.reload(ctx)
}

// reload reads the definitions again, with both locks held.
func (c *Catalog) reload(ctx context.Context) error {
	txn := c.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	id, err := readNextID(ctx, txn)
	if err != nil {
		return err
	}
	known := c.current.Load()
	snap, err := c.load(ctx, txn, known)
	if err != nil {
		return err
	}
	if c.Reloaded != nil {
		if err := c.Reloaded(ctx, known, snap); err != nil {
			return err
		}
	}
	c.nextID = max(c.nextID, id)
	c.current.Store(snap)
	c.doubtful.Store(false)
	return nil
}
