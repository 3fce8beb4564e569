package command

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// readConcern is what a client asks of the data it reads.
type readConcern struct {
	// level is "" if no read concern was given.
	level string
	// after is a time the state that is read must have reached, at the time it must be that of; 0 for none.
	after, at uint64
}

var readConcernFields = []Field{
	{Name: "level", Kind: String}, {Name: "afterClusterTime", Kind: Any}, {Name: "atClusterTime", Kind: Any},
	{Name: "afterOpTime", Kind: Object}, {Name: "provenance", Kind: String}, {Name: "allowTransactionTableSnapshot", Kind: Bool},
	{Name: "waitLastStableRecoveryTimestamp", Kind: Bool},
}

var opTimeFields = []Field{{Name: "ts", Kind: Timestamp, Required: true}, {Name: "t", Kind: Long, Required: true}}

// checkReadConcern reads a read concern. One node gives every level: a read sees all writes acknowledged before it, and
// settle waits until a crash cannot undo what it has seen.
func (c *Call) checkReadConcern(v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return wrongType(c.Cmd.Name, "readConcern", v.Type(), Object)
	}
	var vals [7]bsonval.Value
	if err := ParseFields("readConcern", v.Doc(), readConcernFields, vals[:]); err != nil {
		return err
	}
	level, after, at, afterOp, provenance := vals[0], vals[1], vals[2], vals[3], vals[4]
	for i, t := range []bsonval.Value{after, at} {
		if !t.IsMissing() && t.Type() != bsonval.TypeTimestamp {
			return wrongType("readConcern", readConcernFields[i+1].Name, t.Type(), Timestamp)
		}
	}
	if !provenance.IsMissing() && !provenances[provenance.Str()] {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'readConcern.provenance' is not a valid value.", provenance.Str())
	}
	for i := 5; i < len(vals); i++ {
		if isSet(vals[i]) {
			return mongoerr.New(mongoerr.NotImplemented, "'readConcern.%s' is not implemented", readConcernFields[i].Name)
		}
	}
	if !afterOp.IsMissing() {
		var optime [2]bsonval.Value
		if err := ParseFields("readConcern.afterOpTime", afterOp.Doc(), opTimeFields, optime[:]); err != nil {
			return err
		}
		if !after.IsMissing() {
			return mongoerr.New(mongoerr.InvalidOptions, "Can not specify both 'afterClusterTime' and 'afterOpTime'")
		}
		after = optime[0]
	}
	c.concern.level = "local"
	if !level.IsMissing() {
		c.concern.level = string(level.Bytes())
	}
	if err := c.checkReadLevel(c.concern.level); err != nil {
		return err
	}
	err := c.checkReadTimes(after, at)
	if c.Cmd.Name == "getMore" {
		c.concern = readConcern{} // the cursor has its own
	}
	return err
}

func (c *Call) checkReadLevel(name string) error {
	if c.inTransaction {
		return checkTransactionReadLevel(name)
	}
	supported := c.Cmd.ReadConcern || c.Cmd.Name == "getMore"
	switch name {
	case "local":
		return nil
	case "available", "majority":
	case "snapshot", "linearizable":
		supported = supported && (name != "snapshot" || c.Cmd.Snapshot || c.Cmd.Name == "getMore")
		// The stages of a pipeline have their say first, see aggregateQuery.
		if supported && c.Cmd.Name != "aggregate" {
			return c.checkReplicatedRead()
		}
	default:
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'readConcern.level' is not a valid value.", name)
	}
	if !supported {
		return mongoerr.New(mongoerr.InvalidOptions, "Command %s does not support { readConcern: { level: \"%s\", provenance: "+
			"\"clientSupplied\" } } :: caused by :: read concern not supported", c.Cmd.Name, name)
	}
	return nil
}

// checkReplicatedRead refuses the levels that only a replica set can give.
func (c *Call) checkReplicatedRead() error {
	if (c.concern.level == "linearizable" || c.concern.level == "snapshot") && !c.Commands.replicated {
		return mongoerr.New(mongoerr.NotAReplicaSet, "node needs to be a replica set member to use read concern")
	}
	return nil
}

// checkReadTimes checks the times of a read concern.
func (c *Call) checkReadTimes(after, at bsonval.Value) error {
	invalid := func(text string) error { return mongoerr.New(mongoerr.InvalidOptions, "%s", text) }
	switch {
	case at.IsMissing() && after.IsMissing():
		return nil
	case !at.IsMissing() && c.concern.level != "snapshot":
		return invalid("readConcern.atClusterTime field can be set only if readConcern.level is equal to 'snapshot'")
	case !at.IsMissing() && !after.IsMissing():
		return invalid("readConcern.atClusterTime cannot be set together with readConcern.afterClusterTime")
	case !c.Commands.replicated:
		return mongoerr.New(mongoerr.IllegalOperation, "Cannot specify afterClusterTime or atClusterTime readConcern without replication enabled")
	case !after.IsMissing() && !slices.Contains([]string{"local", "majority", "snapshot"}, c.concern.level):
		return invalid("readConcern.afterClusterTime field can be set only if readConcern.level is equal to 'majority', 'local', or 'snapshot'")
	}
	for name, v := range map[string]bsonval.Value{"afterClusterTime": after, "atClusterTime": at} {
		if v.IsMissing() {
			continue
		}
		t, now := uint64(v.Int64()), c.Commands.clock.Time()
		if t == 0 {
			return invalid("readConcern." + name + " cannot be a null timestamp")
		}
		if t > now {
			return mongoerr.New(mongoerr.InvalidOptions, "readConcern %s value must not be greater than the current clusterTime. "+
				"Requested clusterTime: %s; current clusterTime: %s", name, bsonval.Format(v), bsonval.Format(bsonval.TimestampBits(now)))
		}
	}
	if !after.IsMissing() {
		c.concern.after = uint64(after.Int64())
	}
	if !at.IsMissing() {
		c.concern.at = uint64(at.Int64())
	}
	return nil
}

// beginRead waits until what the read concern asks for is there, and takes the snapshot if it asks for one. The caller
// releases c.snapshot.
func (c *Call) beginRead(ctx context.Context) (err error) {
	if c.concern.after > c.Commands.clock.Applied() {
		if err := c.Commands.catchUp(ctx, c.concern.after); err != nil {
			return err
		}
	}
	switch {
	case c.concern.at != 0:
		c.snapshot, err = c.Database().SnapshotAt(ctx, c.concern.at)
	case c.concern.level == "snapshot" && !c.inTransaction && c.Commands.replicated:
		c.snapshot, err = c.Database().SnapshotNow()
	}
	return err
}

// readsDurable says whether the client asked for what no crash undoes, with this command or with the one that opened the
// cursor that it reads.
func (c *Call) readsDurable() bool {
	switch c.concern.level {
	case "majority", "snapshot", "linearizable":
		return true
	case "":
		return c.durable || c.Cmd.ReadConcern && !c.inTransaction && c.Commands.defaults.Load().level == "majority"
	}
	return c.durable
}

// settle waits until what the command has read is durable, if the client asked for what no crash undoes: writes are seen
// as soon as they are committed, a moment before they are on disk. A transaction is settled when it ends, by what was
// there when it did; one that wrote has waited for that already.
func (c *Call) settle(ctx context.Context, begun uint64) error {
	until, engine := begun, c.Commands.cfg.DB.Engine()
	var err error
	switch {
	case !c.Commands.replicated:
		return nil
	case c.Cmd.Name == "commitTransaction":
		if wc := &c.WriteConcern; wc.Given && wc.Mode != "majority" {
			return nil
		}
		if c.Database().IsDistant() { // others may have committed what the log here has not come to yet
			until, err = c.Database().Visible()
		}
	case c.readsDurable(), c.retried && !c.WriteConcern.noSync():
		until, err = c.Database().Visible()
	default:
		return nil
	}
	if err != nil {
		return err
	}
	wait := func(ctx context.Context) error {
		if durable, _ := engine.Durable(); durable < until {
			if err := engine.Sync(ctx); err != nil {
				return err
			}
		}
		return c.checkGeneration(ctx)
	}
	if c.Cmd.WriteConcern && c.awaitsStandbys() {
		return c.await(ctx, wait)
	}
	return wait(ctx)
}

// noteGeneration notes the generation of the storage before a command reads, or writes, what is made durable afterwards.
func (c *Call) noteGeneration(ctx context.Context) (err error) {
	c.generation, err = storage.Generation(ctx, c.Commands.cfg.DB.Engine())
	return err
}

// checkGeneration fails if the storage has been down since noteGeneration: what the command has seen or written may be lost.
func (c *Call) checkGeneration(ctx context.Context) error {
	if c.generation == 0 {
		return nil
	}
	now, err := storage.Generation(ctx, c.Commands.cfg.DB.Engine())
	if err == nil && now != c.generation {
		err = mongoerr.New(mongoerr.HostUnreachable, "the connection to the storage was lost while the command was running")
	}
	return err
}

// catchUpNoop is what is logged so that the log reaches a time that a client has seen elsewhere.
var catchUpNoop = bsonval.NewBuilder().Str("msg", "write to catch up with a cluster time").Build()

// catchUp makes the log reach a time, at most the cluster time, with an entry of its own if nobody else writes one.
func (cs *Commands) catchUp(ctx context.Context, t uint64) error {
	cs.catchingUp.Lock()
	defer cs.catchingUp.Unlock()
	if cs.clock.Applied() >= t {
		return nil // one entry does for all who waited
	}
	return cs.cfg.DB.Noop(ctx, catchUpNoop)
}

// snapshotWindow is the parameter minSnapshotHistoryWindowInSeconds.
func (cs *Commands) snapshotWindow() parameter {
	const name = "minSnapshotHistoryWindowInSeconds"
	return parameter{
		name: name,
		get:  func() bsonval.Value { return bsonval.Int32(int32(cs.cfg.DB.SnapshotWindow() / time.Second)) },
		set: func(v bsonval.Value) error {
			n, ok := v.AsInt64()
			if !v.IsNumber() || !ok || n < 0 || n > math.MaxInt32 {
				return mongoerr.New(mongoerr.BadValue, "Invalid value for parameter %s: %s is not greater than or equal to 0", name, bsonval.Format(v))
			}
			cs.cfg.DB.SetSnapshotWindow(time.Duration(n) * time.Second)
			return nil
		},
	}
}

// appendSnapshotTime appends the time of the snapshot that was read to a reply.
func (c *Call) appendSnapshotTime() {
	if c.snapshot != nil && !c.inTransaction {
		c.Reply.Buf = appendTimestamp(c.Reply.Buf, "atClusterTime", c.snapshot.Time())
	}
}
