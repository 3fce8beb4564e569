package catalog

import (
	"bytes"
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/storage"
)

// Pinned runs pin, which pins a state of the engine, while no change is between its commit and its publication, and
// returns the definitions that belong to that state. pin must not change the catalog.
func (c *Catalog) Pinned(ctx context.Context, pin func() (storage.Retained, error)) (*Snapshot, error) {
	c.publish.RLock()
	defer c.publish.RUnlock()
	snap := c.current.Load()
	state, err := pin()
	if err != nil || !c.shared {
		return snap, err
	}
	txn := c.engine.Begin(storage.TxnOptions{ReadOnly: true, At: state})
	defer txn.Rollback()
	v, err := txn.GetMeta(ctx, versionKey)
	if err != nil && !errors.Is(err, storage.ErrNotFound) || bytes.Equal(v, snap.version[0].Value) {
		return snap, err
	}
	// Another process has changed them; that they are newer than what is published
	// here is nobody else's business.
	return c.load(ctx, txn, snap)
}
