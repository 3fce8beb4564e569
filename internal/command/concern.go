package command

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// maxReplicas is the largest number of members a write concern can ask for.
const maxReplicas = 50

var readConcernFields = []Field{
	{Name: "level", Kind: String}, {Name: "afterClusterTime", Kind: Any}, {Name: "atClusterTime", Kind: Any},
	{Name: "afterOpTime", Kind: Object}, {Name: "provenance", Kind: String}, {Name: "allowTransactionTableSnapshot", Kind: Bool},
	{Name: "waitLastStableRecoveryTimestamp", Kind: Bool},
}

var provenances = map[string]bool{
	"clientSupplied": true, "implicitDefault": true, "customDefault": true, "getLastErrorDefaults": true,
	"internalWriteDefault": true,
}

// checkReadConcern reads a read concern. One node gives every level: what it has committed no failover can undo, and a
// read sees all writes acknowledged before it.
func (c *Call) checkReadConcern(v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return wrongType(c.Cmd.Name, "readConcern", v.Type(), Object)
	}
	var vals [7]bsonval.Value
	if err := ParseFields("readConcern", v.Doc(), readConcernFields, vals[:]); err != nil {
		return err
	}
	level, after, at, provenance := vals[0], vals[1], vals[2], vals[4]
	for i, t := range []bsonval.Value{after, at} {
		if !t.IsMissing() && t.Type() != bsonval.TypeTimestamp {
			return wrongType("readConcern", readConcernFields[i+1].Name, t.Type(), Timestamp)
		}
	}
	if !provenance.IsMissing() && !provenances[provenance.Str()] {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'readConcern.provenance' is not a valid value.", provenance.Str())
	}
	name := "local"
	if !level.IsMissing() {
		name = level.Str()
	}
	c.readLevel = name
	if err := c.checkReadLevel(name); err != nil {
		return err
	}
	return c.checkReadTimes(name, after, at)
}

func (c *Call) checkReadLevel(name string) error {
	if c.inTransaction {
		return checkTransactionReadLevel(name)
	}
	switch name {
	case "local":
		return nil
	case "available", "majority":
	case "linearizable", "snapshot":
		// The stages of a pipeline have their say first, see aggregateQuery.
		if c.Cmd.ReadConcern && c.Cmd.Name != "aggregate" {
			return c.checkReplicatedRead()
		}
	default:
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'readConcern.level' is not a valid value.", name)
	}
	if !c.Cmd.ReadConcern {
		return mongoerr.New(mongoerr.InvalidOptions, "Command %s does not support { readConcern: { level: \"%s\", provenance: "+
			"\"clientSupplied\" } } :: caused by :: read concern not supported", c.Cmd.Name, name)
	}
	return nil
}

// checkReplicatedRead refuses the levels that only a replica set can give.
func (c *Call) checkReplicatedRead() error {
	if (c.readLevel == "linearizable" || c.readLevel == "snapshot") && !c.Commands.replicated {
		return mongoerr.New(mongoerr.NotAReplicaSet, "node needs to be a replica set member to use read concern")
	}
	return nil
}

func (c *Call) checkReadTimes(level string, after, at bsonval.Value) error {
	if !at.IsMissing() {
		if level != "snapshot" {
			return mongoerr.New(mongoerr.InvalidOptions, "readConcern.atClusterTime field can be set only if readConcern.level is equal to 'snapshot'")
		}
		return mongoerr.New(mongoerr.NotImplemented, "'readConcern.atClusterTime' is not implemented")
	}
	if after.IsMissing() {
		return nil
	}
	if !c.Commands.replicated {
		return mongoerr.New(mongoerr.IllegalOperation, "Cannot specify afterClusterTime or atClusterTime readConcern without replication enabled")
	}
	if t := uint64(after.Int64()); t > c.Commands.clock.time() {
		return mongoerr.New(mongoerr.InvalidOptions, "readConcern afterClusterTime value must not be greater than the current clusterTime. "+
			"Requested clusterTime: %s; current clusterTime: %s", bsonval.Format(after), bsonval.Format(bsonval.TimestampBits(c.Commands.clock.time())))
	}
	return nil
}

// WriteConcern is what a client asks of an acknowledgement.
type WriteConcern struct {
	// Given is false if the command had none, which is {w: "majority"}.
	Given bool
	// W is the number of members, or Mode names a set of them: "majority" or another.
	W    int
	Mode string
	// Journaled is set if the client says whether to wait for the disk.
	Journaled, Journal bool
	TimeoutMS          int64

	provenance string // who asked, "" for the client
}

var writeConcernFields = []Field{
	{Name: "w", Kind: Any}, {Name: "j", Kind: SafeBool}, {Name: "wtimeout", Kind: Any}, {Name: "fsync", Kind: SafeBool},
	{Name: "provenance", Kind: String}, {Name: "wOpTime", Kind: Any}, {Name: "wElectionId", Kind: Any}, {Name: "getLastError", Kind: Any},
}

// parseWriteConcern reads a write concern document.
func parseWriteConcern(d bsonval.Doc) (WriteConcern, error) {
	wc := WriteConcern{Given: true, W: 1}
	if d.IsEmpty() {
		wc.Given = false
		return wc, nil
	}
	var vals [8]bsonval.Value
	if err := ParseFields("writeConcern", d, writeConcernFields, vals[:]); err != nil {
		return wc, err
	}
	w, j, timeout, fsync, provenance := vals[0], vals[1], vals[2], vals[3], vals[4]
	if !provenance.IsMissing() && !provenances[provenance.Str()] {
		return wc, mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'writeConcern.provenance' is not a valid value.", provenance.Str())
	}
	if err := wc.parseW(w); err != nil {
		return wc, err
	}
	if !j.IsMissing() {
		wc.Journaled, wc.Journal = true, j.Truthy()
	}
	if !fsync.IsMissing() && fsync.Truthy() {
		if wc.Journal {
			return wc, mongoerr.New(mongoerr.FailedToParse, "fsync and j options cannot be used together")
		}
		wc.Journaled, wc.Journal = true, true
	}
	if timeout.IsNumber() {
		wc.TimeoutMS = toInt64(timeout)
		if wc.TimeoutMS > math.MaxInt32 {
			return wc, mongoerr.New(mongoerr.FailedToParse, "wtimeout must be less than or equal to %d", math.MaxInt32)
		}
	}
	return wc, nil
}

func (wc *WriteConcern) parseW(w bsonval.Value) error {
	switch w.Type() {
	case bsonval.TypeMissing:
	case bsonval.TypeNull, bsonval.TypeUndefined:
		wc.W, wc.Mode = 0, "null"
	case bsonval.TypeString:
		wc.W, wc.Mode = 0, w.Str()
	case bsonval.TypeDocument:
		return parseWTags(w.Doc())
	case bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDouble, bsonval.TypeDecimal128:
		n := toInt64(w)
		if n < 0 || n > maxReplicas || w.IsNaN() {
			return mongoerr.New(mongoerr.FailedToParse, "w has to be a non-negative number and not greater than %d; found: %d", maxReplicas, n)
		}
		wc.W = int(n)
	default:
		return mongoerr.New(mongoerr.FailedToParse, "w has to be a number, string, or object; found: %s", w.Type())
	}
	return nil
}

// parseWTags checks {tag: number, …}. A single node has no tags.
func parseWTags(d bsonval.Doc) error {
	if d.IsEmpty() {
		return mongoerr.New(mongoerr.FailedToParse, "tagged write concern requires tags")
	}
	it := d.Iter()
	for it.Next() {
		if !it.Value().IsNumber() {
			return mongoerr.New(mongoerr.FailedToParse, "tags must be a single level document with only number values; found: %s", it.Value().Type())
		}
	}
	return nil
}

// checkWriteConcern reads the write concern of a command.
func (c *Call) checkWriteConcern(v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return wrongType(c.Cmd.Name, "writeConcern", v.Type(), Object)
	}
	if !c.Cmd.WriteConcern {
		return mongoerr.New(mongoerr.InvalidOptions, "Command %s does not support writeConcern", c.Cmd.Name)
	}
	wc, err := parseWriteConcern(v.Doc())
	if err != nil {
		return err
	}
	if !c.Commands.replicated && (wc.W > 1 || wc.Mode != "" && wc.Mode != "majority") {
		if wc.Mode == "" {
			return mongoerr.New(mongoerr.BadValue, "cannot use 'w' > 1 when a host is not replicated")
		}
		return mongoerr.New(mongoerr.BadValue, "cannot use non-majority 'w' mode %s when a host is not a member of a replica set", wc.Mode)
	}
	c.WriteConcern = wc
	return nil
}

// unacknowledged says that the client does not want to know what became of its writes.
func (wc *WriteConcern) unacknowledged() bool {
	return wc.Given && wc.W == 0 && wc.Mode == "" && !wc.Journal
}

// noSync says that the client does not want to wait for the disk.
func (wc *WriteConcern) noSync() bool {
	return wc.unacknowledged() || wc.Given && wc.Journaled && !wc.Journal && wc.Mode == ""
}

// appendWriteConcernError appends what a one-member replica set cannot give to a reply.
func (c *Call) appendWriteConcernError() {
	wc := &c.WriteConcern
	if !wc.Given || wc.W <= 1 && (wc.Mode == "" || wc.Mode == "majority") {
		return
	}
	code, text := mongoerr.UnsatisfiableWriteConcern, "Not enough data-bearing nodes"
	w := bsonval.Int32(int32(wc.W))
	if wc.Mode != "" {
		code, text = mongoerr.UnknownReplWriteConcern, "No write concern mode named '"+wc.Mode+"' found in replica set configuration"
		w = bsonval.String(wc.Mode)
	}
	b, at := bsonval.BeginElement(c.Reply.Buf, bsonval.TypeDocument, "writeConcernError")
	b = bsonval.AppendElement(b, "code", bsonval.Int32(int32(code)))
	b = bsonval.AppendElement(b, "codeName", bsonval.String(code.Name()))
	b = bsonval.AppendElement(b, "errmsg", bsonval.String(text))
	b, info := bsonval.BeginElement(b, bsonval.TypeDocument, "errInfo")
	b, inner := bsonval.BeginElement(b, bsonval.TypeDocument, "writeConcern")
	b = bsonval.AppendElement(b, "w", w)
	b = bsonval.AppendElement(b, "wtimeout", bsonval.Int64(wc.TimeoutMS))
	provenance := wc.provenance
	if provenance == "" {
		provenance = "clientSupplied"
	}
	b = bsonval.AppendElement(b, "provenance", bsonval.String(provenance))
	b = bsonval.EndDoc(b, inner)
	b = bsonval.EndDoc(b, info)
	c.Reply.Buf = bsonval.EndDoc(b, at)
}
