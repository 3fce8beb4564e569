package database

import (
	"context"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// A store that has a log may be opened without it (Config.Oplog is nil), and is written
// then. Whoever follows the log across that time would miss what was written and not
// know it. So such a run leaves a mark, and the next one with the log begins the log
// anew: a stream that resumes at an earlier time is told that its history is lost.

// gapKey is the meta key of the mark; its value is one byte, 1.
var gapKey = []byte("G")

// markGap marks that changes are made which the log does not tell of.
func (d *DB) markGap(ctx context.Context) error {
	if log := d.catalog.Collection(oplogNS.DB, oplogNS.Coll); log == nil || !log.Log {
		return nil // nobody can have followed it
	}
	txn := d.engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	_, err := txn.GetMeta(ctx, gapKey)
	if err == nil {
		return nil
	}
	if errors.Is(err, storage.ErrNotFound) {
		err = txn.PutMeta(ctx, gapKey, []byte{1})
	}
	if err == nil {
		_, err = txn.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("mark a run without the oplog: %w", err)
	}
	return nil
}

// closeGap begins the log anew if there was a run without it; closed says that there
// was.
func (d *DB) closeGap(ctx context.Context, log, images *catalog.Collection) (closed bool, err error) {
	txn := d.engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	_, err = txn.GetMeta(ctx, gapKey)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a run without the oplog: %w", err)
	}
	if err := beginAnew(ctx, txn, log, images); err != nil {
		return false, fmt.Errorf("begin the oplog anew after a run without it: %w", err)
	}
	d.log.Warn("the server ran without its oplog: the oplog begins anew, change streams cannot be resumed from before")
	return true, nil
}

func beginAnew(ctx context.Context, txn storage.Txn, log, images *catalog.Collection) error {
	for _, table := range []storage.TableID{log.Table, images.Table} {
		last, err := endOf(ctx, txn, table, true)
		if err != nil {
			return err
		}
		if err := txn.Truncate(ctx, table, last+1); err != nil {
			return err
		}
	}
	var pieces [][]byte
	err := txn.ScanMeta(ctx, []byte(piecePrefix), func(key, _ []byte) bool {
		pieces = append(pieces, append([]byte(nil), key...))
		return true
	})
	if err != nil {
		return err
	}
	for _, key := range append(pieces, gapKey) {
		if err := txn.DeleteMeta(ctx, key); err != nil {
			return err
		}
	}
	op := oplog.NoopOp("", oplog.Message("begun anew after a run without the log"), nil)
	entry := op.Append(nil, &oplog.Session{})
	if err := txn.Append(ctx, log.Table, entry, entryStamp(entry)); err != nil {
		return err
	}
	_, err = txn.Commit(ctx)
	return err
}
