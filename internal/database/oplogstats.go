package database

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// OplogStats describes the oplog.
type OplogStats struct {
	First, Last     uint64 // times of the oldest and newest entry; 0 for none
	Count           int64
	Bytes, MaxBytes int64
	MinRetention    time.Duration
}

// OplogStats describes the oplog as it is now.
func (d *DB) OplogStats(ctx context.Context) (s OplogStats, err error) {
	if d.oplog == nil {
		return s, errNoOplog()
	}
	first, err := d.oplog.end(ctx, false)
	if err != nil {
		return s, clientError(ctx, err)
	}
	last, err := d.oplog.end(ctx, true)
	if err != nil {
		return s, clientError(ctx, err)
	}
	t := d.oplog.trim
	t.mu.Lock()
	defer t.mu.Unlock()
	return OplogStats{
		First: uint64(first), Last: uint64(last), Count: d.oplog.guard.Count.Load(), Bytes: d.oplog.guard.Bytes.Load(),
		MaxBytes: t.size, MinRetention: t.minRetention,
	}, nil
}

// OplogFirst is the time of the oldest entry that is kept.
func (d *DB) OplogFirst(ctx context.Context) (uint64, error) {
	if d.oplog == nil {
		return 0, errNoOplog()
	}
	first, err := d.oplog.end(ctx, false)
	return uint64(first), clientError(ctx, err)
}

func errNoOplog() error {
	return mongoerr.New(mongoerr.NoReplicationEnabled, "not running with an oplog")
}

// ResizeOplog changes how large the oplog may become, and how long entries are kept
// in any case; 0 and less than 0 leave what is.
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

// imagesExpiryKey is the meta key of how long documents from before changes are kept:
// a number of seconds, 8 bytes big endian.
var imagesExpiryKey = []byte("I")

// ImagesExpiry is how long documents from before changes are kept; 0 for as long as
// the changes' entries.
func (d *DB) ImagesExpiry() time.Duration { return time.Duration(d.imagesExpiry.Load()) }

// SetImagesExpiry changes it, in full seconds.
func (d *DB) SetImagesExpiry(ctx context.Context, after time.Duration) error {
	txn := d.engine.Begin(storage.TxnOptions{ConflictWait: conflictWait})
	defer txn.Rollback()
	v := binary.BigEndian.AppendUint64(nil, uint64(after/time.Second))
	if err := txn.PutMeta(ctx, imagesExpiryKey, v); err != nil {
		return clientError(ctx, err)
	}
	if _, err := txn.Commit(context.WithoutCancel(ctx)); err != nil {
		return clientError(ctx, err)
	}
	d.imagesExpiry.Store(int64(after.Truncate(time.Second)))
	return nil
}

// loadImagesExpiry reads it.
func (d *DB) loadImagesExpiry(ctx context.Context) error {
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	v, err := txn.GetMeta(ctx, imagesExpiryKey)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err == nil && len(v) != 8:
		return errors.New("database: damaged expiry of pre-images")
	case err == nil:
		d.imagesExpiry.Store(int64(binary.BigEndian.Uint64(v)) * int64(time.Second))
	}
	return err
}
