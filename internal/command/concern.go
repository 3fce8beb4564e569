package command

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/internal/storage"
)

// maxReplicas is the largest number of members a write concern can ask for.
const maxReplicas = 50

// provenances are where a concern can come from.
var provenances = map[string]bool{
	"clientSupplied": true, "implicitDefault": true, "customDefault": true, "getLastErrorDefaults": true,
	"internalWriteDefault": true,
}

// WriteConcern is what a client asks of an acknowledgement.
type WriteConcern struct {
	// Given is false if the command had none, which is {w: "majority"}.
	Given bool
	// W is the number of members, or Mode names a set of them: "majority" or another.
	W    int
	Mode string
	// Tag is the first tag of a tag set, which no member has; "" for none.
	Tag string
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
		wc.W = 0
		var err error
		wc.Tag, err = parseWTags(w.Doc())
		return err
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

// parseWTags checks {tag: number, …} and returns the first tag.
func parseWTags(d bsonval.Doc) (tag string, err error) {
	if d.IsEmpty() {
		return "", mongoerr.New(mongoerr.FailedToParse, "tagged write concern requires tags")
	}
	it := d.Iter()
	for it.Next() {
		if !it.Value().IsNumber() {
			return "", mongoerr.New(mongoerr.FailedToParse, "tags must be a single level document with only number values; found: %s", it.Value().Type())
		}
	}
	tag, _, _ = d.First()
	return strings.Clone(tag), nil
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
	return wc.Given && wc.W == 0 && wc.Mode == "" && wc.Tag == "" && !wc.Journal
}

// noSync says that the client does not want to wait for the disk.
func (wc *WriteConcern) noSync() bool {
	return wc.unacknowledged() || wc.Given && wc.Journaled && !wc.Journal && wc.Mode == "" && wc.Tag == ""
}

// appendWriteConcernError appends the error of a write concern that a one-member replica set cannot give, or that of a
// fail point, to a reply, with the label of errors after which a client should send the write again.
func (c *Call) appendWriteConcernError() {
	if c.Commands.fail.command.On() {
		c.failAfter()
	}
	injected := c.injected.writeConcernError
	if injected == nil && c.late == nil && c.WriteConcern.satisfiable() {
		return
	}
	b, at := bsonval.BeginElement(c.Reply.Buf, bsonval.TypeDocument, "writeConcernError")
	var code mongoerr.Code
	switch {
	case injected != nil:
		code = mongoerr.Code(injected.Lookup("code").TruncInt64())
		b = append(b, injected[4:len(injected)-1]...)
	case !c.WriteConcern.satisfiable():
		b, code = c.WriteConcern.appendError(b)
	default:
		code = c.late.Code
		b = bsonval.AppendElement(b, "code", bsonval.Int32(int32(code)))
		b = bsonval.AppendElement(b, "codeName", bsonval.String(code.Name()))
		b = bsonval.AppendElement(b, "errmsg", bsonval.String(c.late.Message))
		if len(c.late.Extra) > 5 {
			b = append(b, c.late.Extra[4:len(c.late.Extra)-1]...)
		}
	}
	c.Reply.Buf = bsonval.EndDoc(b, at)
	if stateChangeCodes[code] {
		c.Reply.Buf = c.Commands.cfg.Topology.Version().AppendElement(c.Reply.Buf, "topologyVersion")
	}
	c.appendWriteConcernLabels(code)
}

// awaitsStandbys says that what is written is to be on other servers, too. Those may be missing, so that is waited for when
// it is committed, as long as the client wants to.
func (c *Call) awaitsStandbys() bool { return c.Commands.cfg.DB.AwaitsStandbys() }

// awaitWrites waits until what the command has written is durable.
func (c *Call) awaitWrites(ctx context.Context) error {
	return c.await(ctx, func(ctx context.Context) error {
		err := c.Commands.cfg.DB.Engine().(storage.Revivable).SyncNoted(ctx)
		if err == nil {
			err = c.checkGeneration(ctx)
		}
		return err
	})
}

// await waits as long as the client wants to. What is written stays so; the reply tells that it was not waited for.
func (c *Call) await(ctx context.Context, wait func(context.Context) error) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if limit := c.WriteConcern.TimeoutMS; limit > 0 {
		limited, cancel = context.WithTimeout(ctx, time.Duration(limit)*time.Millisecond)
	}
	defer cancel()
	err := wait(limited)
	switch {
	case err == nil || limited.Err() == nil:
		return err
	case ctx.Err() != nil:
		c.late = running.Cause(ctx)
	default:
		wtimeout := bsonval.NewBuilder().Value("errInfo", bsonval.Document(bsonval.NewBuilder().Bool("wtimeout", true).Build())).Build()
		c.late = mongoerr.New(mongoerr.WriteConcernFailed, "waiting for replication timed out").WithExtra(wtimeout)
	}
	return nil
}

// appendWriteConcernLabels appends the labels of a reply with a write concern error.
func (c *Call) appendWriteConcernLabels(code mongoerr.Code) {
	var labels []string
	switch {
	case c.injected.relabel:
		labels = c.injected.labels
	case (c.HasTxnNumber || c.inTransaction && c.Cmd.EndsTransaction) && retryableCodes[code]:
		labels = []string{mongoerr.LabelRetryableWrite}
	}
	if len(labels) == 0 {
		return
	}
	list := bsonval.NewArrayBuilder()
	for _, l := range labels {
		list.Add(bsonval.String(l))
	}
	c.Append("errorLabels", bsonval.Array(list.Build()))
}

// satisfiable says whether one member can give what is asked for.
func (wc *WriteConcern) satisfiable() bool {
	return !wc.Given || wc.W <= 1 && wc.Tag == "" && (wc.Mode == "" || wc.Mode == "majority")
}

// unsatisfied is the document with the error of a write concern that cannot be satisfied, for the reply of a command that
// has failed.
func (wc *WriteConcern) unsatisfied() bsonval.Doc {
	doc, at := bsonval.BeginDoc(nil)
	doc, inner := bsonval.BeginElement(doc, bsonval.TypeDocument, "writeConcernError")
	doc, _ = wc.appendError(doc)
	return bsonval.EndDoc(bsonval.EndDoc(doc, inner), at)
}

// appendError appends the inside of the error of a write concern that cannot be satisfied.
func (wc *WriteConcern) appendError(b []byte) ([]byte, mongoerr.Code) {
	code, text := mongoerr.UnsatisfiableWriteConcern, "Not enough data-bearing nodes"
	w := bsonval.Int32(int32(wc.W))
	switch {
	case wc.Tag != "":
		text = "No member of the replica set has the tag '" + wc.Tag + "' of the write concern"
		w = bsonval.Document(bsonval.NewBuilder().Int32(wc.Tag, 1).Build())
	case wc.Mode != "":
		code, text = mongoerr.UnknownReplWriteConcern, "No write concern mode named '"+wc.Mode+"' found in replica set configuration"
		w = bsonval.String(wc.Mode)
	}
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
	return bsonval.EndDoc(b, info), code
}
