package database

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/storage"
)

// ResizeOplog changes how large the oplog may become, and how long entries are kept
// in any case; 0 and less than 0 leave what is. Both last over a restart, the time
// unless the next start is given one.
func (d *DB) ResizeOplog(ctx context.Context, sizeBytes int64, minRetention time.Duration) error {
	if d.oplog == nil {
		return errNoOplog()
	}
	if sizeBytes > 0 {
		err := d.catalog.Change(ctx, func(ch *catalog.Change) error {
			coll := ch.Collection(oplogNS.DB, oplogNS.Coll)
			return ch.Put(ctx, coll.With(func(c *catalog.Collection) {
				c.Options = withField(c.Options, "size", bsonval.Int64(sizeBytes))
				c.Capped = &catalog.Cap{Size: sizeBytes}
			}))
		})
		if err != nil {
			return clientError(ctx, err)
		}
	}
	if minRetention >= 0 {
		if err := d.storeRetention(ctx, minRetention); err != nil {
			return clientError(ctx, err)
		}
	}
	t := d.oplog.trim
	t.mu.Lock()
	if sizeBytes > 0 {
		t.resize(sizeBytes)
	}
	if minRetention >= 0 {
		t.minRetention = minRetention
	}
	t.mu.Unlock()
	return clientError(ctx, t.trim(ctx, time.Now()))
}

// retentionKey is the meta key of how long ResizeOplog has said that entries are kept:
// nanoseconds, 8 bytes big endian.
var retentionKey = []byte("T")

func (d *DB) storeRetention(ctx context.Context, r time.Duration) error {
	txn := d.engine.Begin(storage.TxnOptions{ConflictWait: conflictWait})
	defer txn.Rollback()
	if err := txn.PutMeta(ctx, retentionKey, binary.BigEndian.AppendUint64(nil, uint64(r))); err != nil {
		return err
	}
	_, err := txn.Commit(context.WithoutCancel(ctx))
	return err
}

// storedRetention is what ResizeOplog has said last, 0 if it has not.
func (d *DB) storedRetention(ctx context.Context) (time.Duration, error) {
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	v, err := txn.GetMeta(ctx, retentionKey)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return 0, nil
	case err == nil && len(v) != 8:
		return 0, errors.New("database: damaged retention of the oplog")
	case err != nil:
		return 0, err
	}
	return time.Duration(binary.BigEndian.Uint64(v)), nil
}

// ImagesExpiry is how long documents from before changes are kept; 0 for as long as
// the changes' entries.
func (d *DB) ImagesExpiry() time.Duration { return time.Duration(d.imagesExpiry.Load()) }

// SetImagesExpiry changes it for this process; whoever is asked to keep it does.
func (d *DB) SetImagesExpiry(after time.Duration) { d.imagesExpiry.Store(int64(after)) }
