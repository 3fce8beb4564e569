package database

import (
	"context"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// OplogStats describes the oplog.
type OplogStats struct {
	First, Last     uint64 // times of the oldest and newest entry; 0 for none
	Count           int64
	Bytes, MaxBytes int64
	MinRetention    time.Duration

	// Cuts is how often entries have been cut off since the start, Cutting how long that
	// took.
	Cuts    int64
	Cutting time.Duration
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
		MaxBytes: t.size, MinRetention: t.minRetention, Cuts: t.cuts, Cutting: t.cutting,
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
