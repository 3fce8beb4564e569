package command

import (
	"context"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// What replSetResizeOplog takes, as in MongoDB: megabytes.
const (
	minOplogMB = 990
	maxOplogMB = 1 << 30
)

// oplogCommands are the commands on the log of changes.
func oplogCommands() []*Command {
	return []*Command{
		{
			Name: "appendOplogNote", Help: "Writes a note to the oplog, which changes nothing.", AdminOnly: true, WriteConcern: true,
			Fields: []Field{{Name: "data", Kind: Object}, {Name: "maxClusterTime", Kind: Timestamp}}, Run: runAppendOplogNote,
		},
		{
			Name: "replSetResizeOplog", Help: "Changes how large the oplog may become and how long entries are kept.", AdminOnly: true,
			SecondaryOK: true, Fields: []Field{{Name: "size", Kind: Int}, {Name: "minRetentionHours", Kind: Int}}, Run: runReplSetResizeOplog,
		},
	}
}

func runAppendOplogNote(ctx context.Context, c *Call) error {
	if !c.Commands.replicated {
		return mongoerr.New(mongoerr.NoReplicationEnabled, "Must have replication set up to run \"appendOplogNote\"")
	}
	data := c.Arg("data")
	if data.IsMissing() {
		return mongoerr.New(mongoerr.NoSuchKey, "Missing expected field \"data\"")
	}
	if limit := c.Arg("maxClusterTime"); !limit.IsMissing() {
		if applied := c.Commands.clock.Applied(); applied > uint64(limit.Int64()) {
			return mongoerr.New(mongoerr.StaleClusterTime, "Requested maxClusterTime %s is less than the last primary OpTime: %s",
				bsonval.Format(limit), bsonval.Format(bsonval.TimestampBits(applied)))
		}
	}
	return c.Database().Noop(ctx, data.Doc())
}

func runReplSetResizeOplog(ctx context.Context, c *Call) error {
	if err := c.needReplication(); err != nil {
		return err
	}
	size, retention := int64(0), time.Duration(-1)
	if v := c.Arg("size"); !v.IsMissing() {
		mb := v.AsDouble()
		if !(mb >= minOplogMB) {
			return mongoerr.New(mongoerr.BadValue, "BSON field 'size' value must be >= %d, actual value '%s'", minOplogMB, bsonval.Format(v))
		}
		if mb > maxOplogMB {
			return mongoerr.New(mongoerr.BadValue, "BSON field 'size' value must be <= %d, actual value '%s'", maxOplogMB, bsonval.Format(v))
		}
		size = int64(mb * (1 << 20))
	}
	if v := c.Arg("minRetentionHours"); !v.IsMissing() {
		hours := v.AsDouble()
		if !(hours >= 0) || hours > float64(1<<62)/float64(time.Hour) {
			return mongoerr.New(mongoerr.BadValue, "BSON field 'minRetentionHours' value must be >= 0, actual value '%s'", bsonval.Format(v))
		}
		retention = time.Duration(hours * float64(time.Hour))
	}
	return c.Database().ResizeOplog(ctx, size, retention)
}

// appendOplog is a section of serverStatus: the ends of the log.
func appendOplog(cs *Commands, b *bsonval.Builder) {
	s, err := cs.cfg.DB.OplogStats(context.Background())
	if err != nil {
		return
	}
	appendOpTime(b, "earliestOptime", s.First)
	appendOpTime(b, "latestOptime", s.Last)
}

// appendOplogTruncation is a section of serverStatus: what the log is cut to.
func appendOplogTruncation(cs *Commands, b *bsonval.Builder) {
	s, err := cs.cfg.DB.OplogStats(context.Background())
	if err != nil {
		return
	}
	b.Str("processingMethod", "scanning").Int64("totalTimeTruncatingMicros", s.Cutting.Microseconds()).Int64("truncateCount", s.Cuts)
	b.Int64("maxSizeBytes", s.MaxBytes).Int64("sizeBytes", s.Bytes).Int64("entries", s.Count)
	if s.MinRetention > 0 {
		b.Double("oplogMinRetentionHours", s.MinRetention.Hours())
	}
}
