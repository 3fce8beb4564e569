package command

import (
	"context"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/session"
)

// transactionCommands are the commands that end transactions.
func transactionCommands() []*Command {
	end := func(name, help string, run func(context.Context, *Call) error, own ...Field) *Command {
		return &Command{Name: name, Help: help, AdminOnly: true, APIv1: true, WriteConcern: true, EndsTransaction: true, Run: run,
			Fields: append([]Field{{Name: "recoveryToken", Kind: Object}}, own...)}
	}
	return []*Command{
		end("commitTransaction", "Commits a transaction.", runCommitTransaction,
			Field{Name: "commitTimestamp", Kind: Timestamp, Unsupported: true}),
		end("abortTransaction", "Aborts a transaction.", runAbortTransaction),
	}
}

// errInTransaction refuses what MongoDB cannot do in a transaction.
func errInTransaction(format string, args ...any) error {
	return mongoerr.New(mongoerr.OperationNotSupportedInTransaction, format, args...)
}

// informational commands can be sent between the statements of a transaction.
var informational = map[string]bool{"hello": true, "buildInfo": true, "connectionStatus": true, "ping": true}

// checkInTransaction says whether the command can be a statement of a transaction, or its end.
func (c *Call) checkInTransaction() error {
	g := &c.generic
	name, first := c.Cmd.Name, !g.startTransaction.IsMissing()
	switch {
	case name == "count":
		return errInTransaction("Cannot run 'count' in a multi-document transaction. Please see " +
			"http://dochub.mongodb.org/core/transaction-count for a recommended alternative.")
	case name == "prepareTransaction":
		return errMissingCommand(c.Cmd)
	case informational[name] && !first:
		return nil // it has nothing to do with the transaction
	case first && informational[name]:
		return errInTransaction("Cannot run '%s' as the first operation in a multi-document transaction.", name)
	case !c.Cmd.InTransaction && !c.Cmd.EndsTransaction:
		return errInTransaction("Cannot run '%s' in a multi-document transaction.", name)
	case c.DB == "config" || c.DB == "local" || c.DB == "admin" && !c.Cmd.AdminOnly:
		return errInTransaction("Cannot run command against the '%s' database in a transaction.", c.DB)
	case first && (c.Cmd.EndsTransaction || name == "killCursors" || name == "getMore"):
		return errInTransaction("Cannot run %s as the first operation in a transaction.", name)
	case !g.readConcern.IsMissing() && !first:
		return mongoerr.New(mongoerr.InvalidOptions, "Only the first command in a transaction may specify a readConcern")
	case !g.writeConcern.IsMissing() && !c.Cmd.EndsTransaction:
		return mongoerr.New(mongoerr.InvalidOptions, "writeConcern is not allowed within a multi-statement transaction")
	}
	c.inTransaction = true
	return nil
}

// checkTransactionReadLevel says whether a transaction can have a read concern.
func checkTransactionReadLevel(name string) error {
	switch name {
	case "local", "majority", "snapshot":
		return nil
	}
	return mongoerr.New(mongoerr.InvalidOptions,
		"The readConcern level must be either 'local' (default), 'majority' or 'snapshot' in order to run in a transaction")
}

// runStatement runs a command as a statement of its session's transaction.
func (c *Call) runStatement(ctx context.Context) (err error) {
	var start *session.Start
	if !c.generic.startTransaction.IsMissing() {
		start = &session.Start{Begin: func() session.Work {
			var tx *database.Transaction
			if c.snapshot != nil {
				tx = c.Database().BeginTransactionAt(c.snapshot)
			} else {
				tx = c.Database().BeginTransaction()
			}
			tx.SetSession(c.Session.LSID(), c.generic.txnNumber.Int64())
			return tx
		}}
		if rc := c.generic.readConcern; !rc.IsMissing() {
			start.ReadConcern = rc.Doc()
		} else if level := c.Commands.defaults.Load().level; level != "" {
			start.ReadConcern = bsonval.NewBuilder().Str("level", level).Str("provenance", "customDefault").Build()
		}
	}
	st, err := c.Session.Statement(ctx, c.generic.txnNumber.Int64(), start)
	if err != nil {
		return err
	}
	c.txn = st.Work().(*database.Transaction)
	failed := true // should the command panic
	defer func() { st.End(failed) }()
	if err := c.checkTransactionTarget(); err != nil {
		return err
	}
	err = c.Cmd.Run(ctx, c)
	failed = err != nil
	return err
}

// checkTransactionWrite says whether the call's transaction, if there is one, can write to a collection.
func (c *Call) checkTransactionWrite(ns database.Namespace) error {
	switch {
	case c.txn == nil:
		return nil
	case ns.DB == "config" || ns.DB == "local" || ns.DB == "admin":
		return errInTransaction("Cannot run command against the '%s' database in a transaction.", ns.DB)
	case strings.HasPrefix(ns.Coll, "system."):
		return mongoerr.New(50791, "Cannot write to system collection %s within a transaction.", ns)
	}
	return nil
}

// checkTransactionTarget says whether a statement can work on its collection.
func (c *Call) checkTransactionTarget() error {
	if c.Cmd.Retryable && c.Coll != "" {
		if err := c.checkTransactionWrite(c.Namespace()); err != nil {
			return err
		}
	}
	if open := c.Session.Open(); c.Cmd.ReadConcern && open != nil && open.ReadConcern != nil && open.ReadConcern.Lookup("level").Str() == "snapshot" {
		if coll := c.Database().Catalog().Collection(c.DB, c.Coll); coll != nil && coll.Capped != nil {
			return mongoerr.New(mongoerr.SnapshotUnavailable, "Reading from a capped collection with readConcern snapshot is not supported: %s", c.Namespace())
		}
	}
	return nil
}

func (c *Call) checkEndOfTransaction() error {
	if !c.inTransaction {
		return mongoerr.New(mongoerr.CommandFailed, "%s must be run within a transaction", c.Cmd.Name)
	}
	return nil
}

func runCommitTransaction(ctx context.Context, c *Call) (err error) {
	if err := c.checkEndOfTransaction(); err != nil {
		return err
	}
	relaxed := c.awaitsStandbys() // if only to answer for a commit that has been before
	if open := c.Session.Open(); open != nil {
		relaxed = open.Work.(*database.Transaction).IsRelaxed()
	}
	c.generation, err = c.Session.Commit(ctx, c.generic.txnNumber.Int64())
	c.awaits = err == nil && relaxed && !c.WriteConcern.noSync()
	return err
}

func runAbortTransaction(ctx context.Context, c *Call) error {
	if err := c.checkEndOfTransaction(); err != nil {
		return err
	}
	return c.Session.Abort(ctx, c.generic.txnNumber.Int64())
}

// transientCodes are the errors of a transaction after which a client should start it again.
var transientCodes = map[mongoerr.Code]bool{
	mongoerr.WriteConflict: true, mongoerr.LockTimeout: true, mongoerr.SnapshotUnavailable: true,
	mongoerr.SnapshotTooOld: true, mongoerr.NoSuchTransaction: true,
}

// isTransient says whether an error of a transaction's statement, or of its end, leaves nothing but to start again.
func isTransient(code mongoerr.Code, ends bool) bool {
	return transientCodes[code] || retryableCodes[code] && !ends
}

// transactionError labels the error of a command in a transaction.
func (c *Call) transactionError(e *mongoerr.Error) *mongoerr.Error {
	if e.Code == mongoerr.NoSuchTransaction && c.Cmd.EndsTransaction && !c.WriteConcern.satisfiable() {
		return e // it may have been committed and not be replicated as asked for
	}
	if e.Code == mongoerr.IngressRequestRateLimitExceeded && c.txn != nil { // the statement alone cannot be tried again: the transaction is over
		again := *e
		again.Labels = []string{mongoerr.LabelSystemOverloaded, mongoerr.LabelTransientTransaction}
		return &again
	}
	if isTransient(e.Code, c.Cmd.EndsTransaction) {
		return e.WithLabels(mongoerr.LabelTransientTransaction)
	}
	if c.Cmd.EndsTransaction && retryableCodes[e.Code] {
		return e.WithLabels(mongoerr.LabelRetryableWrite)
	}
	return e
}

// stagesOutside are the stages that MongoDB does not run in transactions.
var stagesOutside = map[string]bool{
	"$collStats": true, "$currentOp": true, "$indexStats": true, "$listLocalSessions": true, "$listSessions": true,
	"$merge": true, "$out": true, "$planCacheStats": true, "$listCatalog": true, "$listClusterCatalog": true,
	"$changeStream": true, "$querySettings": true, "$queryStats": true, "$listSampledQueries": true,
}

// checkStageInTransaction says whether a stage can run in the call's transaction, if there is one.
func (c *Call) checkStageInTransaction(name string) error {
	if c.txn == nil {
		return nil
	}
	if name == "$unionWith" {
		return mongoerr.New(50742, "Stage not supported inside of a multi-document transaction: %s", name)
	}
	if !stagesOutside[name] {
		return nil
	}
	return errInTransaction("Operation not permitted in transaction :: caused by :: Aggregation stage %s cannot run within a "+
		"multi-document transaction", name)
}

// interruptExpired interrupts the statement of a transaction that has taken too long.
func (cs *Commands) interruptExpired(s *session.Session) {
	cs.interrupt(errLifetimeExceeded, func(op *operation) bool { return op.transaction == s })
}

var errLifetimeExceeded = mongoerr.New(mongoerr.TransactionExceededLifetimeLimitSeconds,
	"operation was interrupted because the transaction exceeded the configured 'transactionLifetimeLimitSeconds'")

// transactionLifetime is the parameter transactionLifetimeLimitSeconds.
func (cs *Commands) transactionLifetime() parameter {
	const name = "transactionLifetimeLimitSeconds"
	return parameter{
		name: name,
		get: func() bsonval.Value {
			return bsonval.Int32(int32(cs.cfg.Sessions.TransactionLifetime() / time.Second))
		},
		set: func(v bsonval.Value) error {
			n, ok := v.AsInt64()
			if !v.IsNumber() || !ok || n < 1 || n > 1<<31-1 {
				return mongoerr.New(mongoerr.BadValue, "Invalid value for parameter %s: %s is not greater than or equal to 1", name, bsonval.Format(v))
			}
			cs.cfg.Sessions.SetTransactionLifetime(time.Duration(n) * time.Second)
			return nil
		},
	}
}

// appendTransaction appends the transaction in progress in a session as $currentOp shows it.
func (cs *Commands) appendTransaction(b *bsonval.Builder, s *session.Session) {
	open := s.Open()
	if open == nil {
		return
	}
	now := cs.cfg.Now()
	total, active := now.Sub(open.Started), open.Active(now)
	b.StartDoc("transaction").StartDoc("parameters").Int64("txnNumber", open.Number).Bool("autocommit", false)
	snapshot := appendReadConcern(b, open.ReadConcern)
	b.End()
	readTime := uint64(0) // of transactions that have asked for a snapshot
	if t, ok := open.Work.(*database.Transaction); ok && snapshot {
		readTime = t.ReadTime()
	}
	b.Value("readTimestamp", bsonval.TimestampBits(readTime)).Str("startWallClockTime", open.Started.UTC().Format(opTimeFormat))
	b.Int64("timeOpenMicros", total.Microseconds()).Int64("timeActiveMicros", active.Microseconds()).
		Int64("timeInactiveMicros", max(total-active, 0).Microseconds())
	b.Str("expiryTime", open.Expires.UTC().Format(opTimeFormat)).End()
}

// appendReadConcern appends a transaction's read concern, with where it comes from, and says whether it asks for a snapshot.
func appendReadConcern(b *bsonval.Builder, rc bsonval.Doc) (snapshot bool) {
	b.StartDoc("readConcern")
	defer b.End()
	if rc.IsEmpty() {
		b.Str("level", "local").Str("provenance", "implicitDefault")
		return false
	}
	for it := rc.Iter(); it.Next(); {
		b.Value(it.KeyStr(), it.Value())
	}
	if rc.Lookup("provenance").IsMissing() {
		b.Str("provenance", "clientSupplied")
	}
	return rc.Lookup("level").Str() == "snapshot"
}

// appendLocks appends what the transaction in progress in a session, if there is one, keeps from being dropped or changed,
// in the names that MongoDB has for the locks that do that.
func appendLocks(b *bsonval.Builder, s *session.Session) {
	b.StartDoc("locks")
	if s != nil {
		if open := s.Open(); open != nil {
			if t, ok := open.Work.(*database.Transaction); ok && t.Held() != "" {
				b.Str("Global", t.Held()).Str("Database", t.Held()).Str("Collection", t.Held())
			}
		}
	}
	b.End()
}

// idleTransactions describes the transactions that wait for their next statement.
func (cs *Commands) idleTransactions() []bsonval.Doc {
	var docs []bsonval.Doc
	now := cs.cfg.Now().UTC().Format(opTimeFormat)
	cs.cfg.Sessions.EachOpen(func(s *session.Session) {
		if open := s.Open(); open == nil || open.Running() {
			return
		}
		b := bsonval.NewBuilder().Str("type", "idleSession").Str("host", cs.host).Str("desc", "inactive transaction")
		b.Bool("active", false).Str("currentOpTime", now)
		b.Doc("lsid", s.LSID())
		cs.appendTransaction(b, s)
		appendLocks(b, s)
		docs = append(docs, b.Bool("waitingForLock", false).Build())
	})
	return docs
}
