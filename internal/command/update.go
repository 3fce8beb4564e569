package command

import (
	"context"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/internal/storage"
)

func updateCommand() *Command {
	return &Command{
		Name: "update", Help: "Changes documents of a collection.", First: FirstCollection, APIv1: true, WriteConcern: true,
		Retryable: true, InTransaction: true, Transient: true, Run: runUpdate,
		Fields: writeFields(Field{Name: "updates", Kind: Array, Required: true, Sequence: true}, Field{Name: "let", Kind: Object}),
	}
}

var updateStatementFields = []Field{
	{Name: "q", Kind: Object, Required: true}, {Name: "u", Kind: Any, Required: true}, {Name: "multi", Kind: SafeBool},
	{Name: "upsert", Kind: SafeBool}, {Name: "arrayFilters", Kind: Array}, {Name: "hint", Kind: Any},
	{Name: "collation", Kind: Object}, {Name: "sort", Kind: Object}, {Name: "c", Kind: Object}, {Name: "upsertSupplied", Kind: SafeBool},
	{Name: "sampleId", Kind: UUID}, {Name: "includeQueryStatsMetrics", Kind: Bool, Unsupported: true},
	{Name: "allowShardKeyUpdatesWithoutFullShardKeyInQuery", Kind: SafeBool, Unsupported: true},
}

// updateStatements reads the statements of an update.
func (c *Call) updateStatements() ([]database.UpdateStatement, error) {
	list := c.update[:0]
	let := c.Doc("let")
	err := c.Documents("updates", func(_ int, d bsonval.Doc) error {
		var v [13]bsonval.Value
		if err := ParseFields("update.updates", d, updateStatementFields, v[:]); err != nil {
			return err
		}
		s := database.UpdateStatement{Filter: v[0].Doc(), Update: v[1], Multi: v[2].Truthy(), Upsert: v[3].Truthy(), Let: let}
		if err := finishUpdate(&s, v[4], v[5], v[6], v[7], v[8], v[9]); err != nil {
			return err
		}
		list = append(list, s)
		return nil
	})
	if err == nil {
		err = checkBatchSize(len(list))
	}
	return list, err
}

// finishUpdate checks and sets what update and bulkWrite have in common beside filter and update.
func finishUpdate(s *database.UpdateStatement, arrayFilters, hint, collation, sort, constants, supplied bsonval.Value) error {
	switch s.Update.Type() {
	case bsonval.TypeDocument:
		if !constants.IsMissing() {
			return mongoerr.New(51198, "Constant values may only be specified for pipeline updates")
		}
	case bsonval.TypeArray:
		if !arrayFilters.IsMissing() {
			return mongoerr.New(mongoerr.FailedToParse, "Cannot specify arrayFilters and a pipeline update")
		}
	default:
		return mongoerr.New(mongoerr.FailedToParse, "Update argument must be either an object or an array")
	}
	if supplied.Truthy() {
		return mongoerr.New(mongoerr.NotImplemented, "'upsertSupplied' is not implemented")
	}
	if !sort.IsMissing() {
		if s.Multi {
			return mongoerr.New(mongoerr.FailedToParse, "Cannot specify sort with multi=true")
		}
		s.Sort = sort.Doc()
	}
	if !constants.IsMissing() {
		s.Constants = constants.Doc()
	}
	var err error
	if s.ArrayFilters, err = parseArrayFilters(arrayFilters); err != nil {
		return err
	}
	if s.Collation, err = parseCollation(collation); err != nil {
		return err
	}
	s.Hint, err = parseHint(hint)
	return err
}

func parseArrayFilters(v bsonval.Value) ([]bsonval.Doc, error) {
	if v.IsMissing() {
		return nil, nil
	}
	filters := []bsonval.Doc{}
	it := v.Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(mongoerr.TypeMismatch, "BSON field 'arrayFilters.%s' is the wrong type '%s', expected type 'object'",
				it.Key(), it.Value().Type())
		}
		filters = append(filters, it.Value().Doc())
	}
	return filters, nil
}

func runUpdate(ctx context.Context, c *Call) error {
	list, err := c.updateStatements()
	if err != nil {
		return err
	}
	res := writeResult{hasModified: true}
	return c.runStatements(ctx, &c.Commands.stats.updates, &res, &statements{
		n:      len(list),
		single: func(i int) (bsonval.Doc, bool) { return list[i].Filter, !list[i].Multi },
		run: func(op *database.Op, i int) (retried bool, err error) {
			got, retried, err := c.once.update(ctx, c.Database(), op, c.Namespace(), i, &list[i])
			if err == nil {
				res.addUpdate(i, got)
			}
			return retried, err
		},
	})
}

// runStatements runs the statements of an update or a delete one after the other, counts them and replies.
func (c *Call) runStatements(ctx context.Context, count *atomic.Int64, res *writeResult, list *statements) error {
	if err := c.checkCollectionUUID(); err != nil {
		return err
	}
	count.Add(int64(list.n))
	once, err := c.beginOnce(ctx, list.n)
	if err != nil {
		return err
	}
	defer once.end()
	op, ordered := c.writeOp(ctx), c.BoolOr("ordered", true) || c.txn != nil
	wait := c.waitOnce(ctx, op, list.n)
	together := series{c: c, op: op, once: once}
	for i := 0; i < list.n; {
		ran, err := together.some(ctx, list, i, res)
		if ran == 0 && err == nil {
			err = list.next(op, once, i, res)
		}
		if err != nil {
			if err := res.fail(op, i, err); err != nil {
				return wait(ctx, err)
			}
			if ordered {
				break
			}
		}
		i += max(ran, 1)
	}
	if err := wait(ctx, nil); err != nil {
		return err
	}
	res.appendTo(c)
	return nil
}

func (r *writeResult) addUpdate(i int, u database.UpdateResult) {
	r.n += u.Matched
	r.modified += u.Modified
	if !u.Upserted.IsMissing() {
		r.n++
		r.upserted = append(r.upserted, upsert{i, u.Upserted})
	}
}

// once runs single statements of a retryable write unless they have been executed. Without a transaction number it just
// runs them.
type once struct {
	c   *Call
	r   *session.Retry // nil without a transaction number
	ids statementIDs
}

// beginOnce begins the write of a command with so many statements.
func (c *Call) beginOnce(ctx context.Context, statements int) (*once, error) {
	o := &c.once
	*o = once{c: c}
	if !c.HasTxnNumber {
		return o, nil
	}
	var err error
	if o.ids, err = c.statementIDs(statements); err != nil {
		return nil, err
	}
	o.r, err = c.Session.Begin(ctx, c.TxnNumber)
	return o, err
}

// retryable names the write for the oplog.
func (o *once) retryable(stmt func(int) int32) *database.Retryable {
	return &database.Retryable{LSID: o.c.Session.LSID(), TxnNumber: o.c.TxnNumber, Stmt: stmt}
}

// executed returns the outcome of a statement that has been executed before, if it has.
func (o *once) executed(stmt int32) (outcome []byte, done bool) {
	if outcome, done = o.r.Executed(stmt); done {
		o.c.retried, o.c.generation = true, o.r.Generation()
	}
	return outcome, done
}

func (o *once) end() {
	if o.r != nil {
		o.r.End()
	}
}

// errMultiRetry refuses statements that change many documents in a retryable write.
var errMultiRetry = mongoerr.New(mongoerr.InvalidOptions, "Cannot use (or request) retryable writes with multi=true")

// do runs fn with an operation that stores the statement's outcome with its transaction. outcome returns it, nil for a
// statement that changed nothing and so need not be remembered.
func (o *once) do(op *database.Op, i int, outcome func(*database.Outcome) []byte, fn func() error) error {
	if op.InSeries() {
		op.Outcome = database.Outcome{}
		err := fn()
		if b := outcome(&op.Outcome); b != nil && err == nil {
			o.r.Add(o.ids.at(i), b)
		}
		return err
	}
	op.BeforeCommit = func(ctx context.Context, txn storage.Txn) error {
		o.r.Discard()
		if b := outcome(&op.Outcome); b != nil {
			o.r.Add(o.ids.at(i), b)
		}
		if err := o.c.failTransactional(); err != nil {
			return err
		}
		return o.r.Store(ctx, txn)
	}
	op.Outcome = database.Outcome{}
	op.Retryable = o.retryable(func(int) int32 { return o.ids.at(i) })
	if o.c.Commands.shared {
		op.Expect = o.r.Expect
	}
	op.Committed = o.r.Commit
	err := fn()
	op.BeforeCommit, op.Retryable, op.Expect, op.Committed = nil, nil, nil, nil
	o.r.Discard() // of an attempt that was not committed
	return err
}

// update runs statement i of a write.
func (o *once) update(ctx context.Context, db *database.DB, op *database.Op, ns database.Namespace, i int,
	s *database.UpdateStatement,
) (res database.UpdateResult, retried bool, err error) {
	if o.r == nil {
		res, err = db.Update(ctx, op, ns, s)
		return res, false, err
	}
	if s.Multi {
		return res, false, errMultiRetry
	}
	if b, done := o.executed(o.ids.at(i)); done {
		return decodeUpdate(b), true, nil
	}
	err = o.do(op, i, func(out *database.Outcome) []byte { return encodeUpdate(&out.Update) }, func() (err error) {
		res, err = db.Update(ctx, op, ns, s)
		return err
	})
	return res, false, err
}

// Outcomes of update statements: {} for one document changed, {_id: …} for one inserted.

func encodeUpdate(u *database.UpdateResult) []byte {
	switch {
	case !u.Upserted.IsMissing():
		return bsonval.NewBuilder().Value("_id", u.Upserted).Build()
	case u.Modified > 0:
		return bsonval.EmptyDoc
	}
	return nil
}

func decodeUpdate(b bsonval.Doc) database.UpdateResult {
	if id := b.Lookup("_id"); !id.IsMissing() {
		return database.UpdateResult{Upserted: id.Clone()}
	}
	return database.UpdateResult{Matched: 1, Modified: 1}
}
