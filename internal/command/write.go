package command

import (
	"context"
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// writeCommands are the commands that change documents.
func writeCommands() []*Command {
	return []*Command{insertCommand(), updateCommand(), deleteCommand(), findAndModifyCommand(), bulkWriteCommand()}
}

// statementIDs number the statements of a retryable write.
type statementIDs struct {
	ids  bsonval.Doc // an array of int32, nil for consecutive numbers
	base int32
}

// statementIDs reads stmtId and stmtIds.
func (c *Call) statementIDs(statements int) (statementIDs, error) {
	s := statementIDs{ids: c.Doc("stmtIds")}
	if v := c.Arg("stmtId"); !v.IsMissing() {
		if s.ids != nil {
			return s, mongoerr.New(mongoerr.InvalidOptions, "May not specify both stmtId and stmtIds in write command. Got %s and %s", bsonval.Format(v), bsonval.FormatDoc(s.ids))
		}
		s.base = v.Int32()
	}
	if s.ids == nil {
		return s, nil
	}
	it, n := s.ids.Iter(), 0
	for ; it.Next(); n++ {
		if it.Value().Type() != bsonval.TypeInt32 {
			return s, wrongType(c.Cmd.Name, "stmtIds", it.Value().Type(), Int32)
		}
	}
	if n != statements {
		return s, mongoerr.New(mongoerr.InvalidLength, "Number of statement ids must match the number of batch entries. Got %d statement ids but %d operations.", n, statements)
	}
	return s, nil
}

func (s *statementIDs) at(i int) int32 {
	if s.ids != nil {
		return s.ids.Index(i).Int32()
	}
	return s.base + int32(i)
}

// checkBatchSize checks the number of statements of a write command.
func checkBatchSize(n int) error {
	if n < 1 || n > server.MaxWriteBatchSize {
		return mongoerr.New(mongoerr.InvalidLength, "Write batch sizes must be between 1 and %d. Got %d operations.", server.MaxWriteBatchSize, n)
	}
	return nil
}

// endsCommand says whether an error is about the command as a whole and not about the statement that met it.
func endsCommand(e *mongoerr.Error, op *database.Op) bool {
	if op.Txn != nil && isTransient(e.Code, false) {
		return true
	}
	switch e.Code {
	case mongoerr.Interrupted, mongoerr.MaxTimeMSExpired, mongoerr.ClientDisconnect, mongoerr.TransactionTooOld,
		mongoerr.IngressRequestRateLimitExceeded:
		return true
	}
	return stateChangeCodes[e.Code] || retryableCodes[e.Code] // of a storage that is another server
}

// failTransaction aborts the transaction that a statement has failed in, if there is one.
func failTransaction(op *database.Op) {
	if op.Txn != nil {
		op.Txn.Abort()
	}
}

// writeResult collects what the statements of a write command did.
type writeResult struct {
	n, modified int64
	hasModified bool
	upserted    []upsert
	errors      []database.WriteError
	retried     []int32
	// aborted is set if the last transaction of an insert has not committed.
	aborted bool
}

type upsert struct {
	index int
	id    bsonval.Value
}

// fail notes the error of a statement; it returns errors that end the command.
func (r *writeResult) fail(op *database.Op, index int, err error) error {
	e := mongoerr.As(err)
	if e == nil || endsCommand(e, op) {
		return err
	}
	failTransaction(op)
	r.errors = append(r.errors, database.WriteError{Index: index, Err: e})
	return nil
}

// appendTo writes the reply.
func (r *writeResult) appendTo(c *Call) {
	c.Commands.stats.retried(len(r.retried))
	if c.WriteConcern.unacknowledged() {
		return
	}
	b := bsonval.AppendElement(c.Reply.Buf, "n", countValue(r.n))
	if r.hasModified {
		b = bsonval.AppendElement(b, "nModified", countValue(r.modified))
	}
	if len(r.upserted) > 0 {
		var at int
		b, at = bsonval.BeginElement(b, bsonval.TypeArray, "upserted")
		for i, u := range r.upserted {
			var doc int
			b, doc = beginIndexed(b, i)
			b = bsonval.AppendElement(b, "index", bsonval.Int32(int32(u.index)))
			b = bsonval.AppendElement(b, "_id", u.id)
			b = bsonval.EndDoc(b, doc)
		}
		b = bsonval.EndDoc(b, at)
	}
	if c.Commands.replicated {
		b = c.Commands.appendOpTime(b)
	}
	b = appendWriteErrors(b, r.errors)
	c.Reply.Buf = appendRetried(b, r.retried)
}

func countValue(n int64) bsonval.Value { return bsonval.Int32(int32(min(n, math.MaxInt32))) }

// beginIndexed starts element i of an array, a document.
func beginIndexed(b []byte, i int) ([]byte, int) {
	b = append(b, byte(bsonval.TypeDocument))
	b = append(bsonval.AppendIndexKey(b, i), 0)
	return bsonval.BeginDoc(b)
}

func appendWriteErrors(b []byte, errs []database.WriteError) []byte {
	if len(errs) == 0 {
		return b
	}
	b, at := bsonval.BeginElement(b, bsonval.TypeArray, "writeErrors")
	for i, e := range errs {
		var doc int
		b, doc = beginIndexed(b, i)
		b = bsonval.AppendElement(b, "index", bsonval.Int32(int32(e.Index)))
		b = bsonval.AppendElement(b, "code", bsonval.Int32(int32(e.Err.Code)))
		if len(e.Err.Extra) > 5 {
			b = append(b, e.Err.Extra[4:len(e.Err.Extra)-1]...)
		}
		b = bsonval.AppendElement(b, "errmsg", bsonval.String(e.Err.Message))
		b = bsonval.EndDoc(b, doc)
	}
	return bsonval.EndDoc(b, at)
}

func appendRetried(b []byte, ids []int32) []byte {
	if len(ids) == 0 {
		return b
	}
	b, at := bsonval.BeginElement(b, bsonval.TypeArray, "retriedStmtIds")
	for i, id := range ids {
		b = append(b, byte(bsonval.TypeInt32))
		b = append(bsonval.AppendIndexKey(b, i), 0)
		b = bsonval.AppendValue(b, bsonval.Int32(id))
	}
	return bsonval.EndDoc(b, at)
}

// appendOpTime appends electionId and opTime.
func (cs *Commands) appendOpTime(b []byte) []byte {
	id := cs.electionID()
	b = bsonval.AppendElement(b, "electionId", bsonval.ObjectID(id[:]))
	b, at := bsonval.BeginElement(b, bsonval.TypeDocument, "opTime")
	b = appendTimestamp(b, "ts", cs.clock.Applied())
	b = bsonval.AppendElement(b, "t", bsonval.Int64(term))
	return bsonval.EndDoc(b, at)
}

// writeOp makes the kernel's operation for a write command.
func (c *Call) writeOp(ctx context.Context) *database.Op {
	op := c.Op(ctx)
	if !op.NoSync && op.Txn == nil && c.awaitsStandbys() && c.noteGeneration(ctx) == nil {
		op.NoSync, c.awaits = true, true
	}
	op.BypassValidation = c.Bool("bypassDocumentValidation")
	op.KeepEmptyTimestamps = c.Bool("bypassEmptyTsReplacement")
	return op
}

// waitOnce lets the statements of a command that has several wait for the disk together: in the function that is returned,
// which is to be called when they have been run, with the failure that ends the command, if there is one, before it is
// answered. It answers for those, too, that an earlier attempt has executed.
func (c *Call) waitOnce(ctx context.Context, op *database.Op, statements int) (wait func(ctx context.Context, failure error) error) {
	if statements < 2 || op.NoSync || op.Txn != nil {
		return func(_ context.Context, failure error) error { return failure }
	}
	if err := c.noteGeneration(ctx); err != nil {
		return func(_ context.Context, failure error) error { return failure } // each waits by itself
	}
	op.NoSync = true
	return func(ctx context.Context, failure error) error {
		op.NoSync = false
		ctx = context.WithoutCancel(ctx)
		err := c.Commands.cfg.DB.Engine().Sync(ctx)
		if err == nil {
			err = c.checkGeneration(ctx)
		}
		if failure == nil {
			return err
		}
		return failure
	}
}

var commonWriteFields = []Field{
	{Name: "ordered", Kind: Bool}, {Name: "bypassDocumentValidation", Kind: SafeBool}, {Name: "stmtId", Kind: Int32},
	{Name: "stmtIds", Kind: Array}, {Name: "collectionUUID", Kind: UUID}, {Name: "bypassEmptyTsReplacement", Kind: SafeBool},
	{Name: "isTimeseriesNamespace", Kind: SafeBool, Unsupported: true}, {Name: "encryptionInformation", Kind: Object, Unsupported: true},
	{Name: "legacyRuntimeConstants", Kind: Object, Unsupported: true}, {Name: "runtimeConstants", Kind: Object, Unsupported: true},
	{Name: "originalQuery", Kind: Object, Unsupported: true}, {Name: "originalCollation", Kind: Object, Unsupported: true},
}

// writeFields are the arguments of a write command: its own first, for they are the ones clients send.
func writeFields(own ...Field) []Field { return append(own, commonWriteFields...) }
