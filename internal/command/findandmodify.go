package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func findAndModifyCommand() *Command {
	return &Command{
		Name: "findAndModify", Aliases: []string{"findandmodify"}, First: FirstCollection, APIv1: true, WriteConcern: true,
		Help: "Changes or removes one document and returns it.", Retryable: true, InTransaction: true, Transient: true, Run: runFindAndModify,
		Fields: []Field{
			{Name: "query", Kind: Object}, {Name: "fields", Kind: Object}, {Name: "sort", Kind: Object}, {Name: "hint", Kind: Any},
			{Name: "collation", Kind: Object}, {Name: "arrayFilters", Kind: Array}, {Name: "remove", Kind: SafeBool},
			{Name: "update", Kind: Any}, {Name: "upsert", Kind: SafeBool}, {Name: "new", Kind: SafeBool},
			{Name: "bypassDocumentValidation", Kind: SafeBool}, {Name: "let", Kind: Object}, {Name: "stmtId", Kind: Int32},
			{Name: "bypassEmptyTsReplacement", Kind: SafeBool}, {Name: "collectionUUID", Kind: UUID}, {Name: "sampleId", Kind: UUID},
			{Name: "runtimeConstants", Kind: Object, Unsupported: true}, {Name: "legacyRuntimeConstants", Kind: Object, Unsupported: true},
			{Name: "encryptionInformation", Kind: Object, Unsupported: true}, {Name: "includeQueryStatsMetrics", Kind: Bool, Unsupported: true},
			{Name: "originalQuery", Kind: Object, Unsupported: true}, {Name: "originalCollation", Kind: Object, Unsupported: true},
			{Name: "isTimeseriesNamespace", Kind: SafeBool, Unsupported: true},
			{Name: "allowShardKeyUpdatesWithoutFullShardKeyInQuery", Kind: SafeBool, Unsupported: true},
		},
	}
}

// findAndModify reads the arguments.
func (c *Call) findAndModify() (*database.FindAndModify, error) {
	s := &database.FindAndModify{
		Filter: c.Doc("query"), Sort: c.Doc("sort"), Fields: c.Doc("fields"), Update: c.Arg("update"),
		Remove: c.Bool("remove"), New: c.Bool("new"), Upsert: c.Bool("upsert"), Let: c.Doc("let"),
	}
	if s.Filter == nil {
		s.Filter = bsonval.EmptyDoc
	}
	failed := func(text string) error { return mongoerr.New(mongoerr.FailedToParse, "%s", text) }
	isPipeline := s.Update.Type() == bsonval.TypeArray
	switch {
	case !s.Update.IsMissing() && s.Update.Type() != bsonval.TypeDocument && !isPipeline:
		return nil, failed("Update argument must be either an object or an array")
	case s.Remove && !s.Update.IsMissing():
		return nil, failed("Cannot specify both an update and remove=true")
	case s.Remove && s.Upsert:
		return nil, failed("Cannot specify both upsert=true and remove=true")
	case s.Remove && s.New:
		return nil, failed("Cannot specify both new=true and remove=true; 'remove' always returns the deleted document")
	case !s.Remove && s.Update.IsMissing():
		return nil, failed("Either an update or remove=true must be specified")
	case isPipeline && c.Has("arrayFilters"):
		return nil, failed("Cannot specify arrayFilters and a pipeline update")
	case s.Remove && c.Has("arrayFilters"):
		return nil, failed("Cannot specify arrayFilters and remove=true")
	}
	var err error
	if s.ArrayFilters, err = parseArrayFilters(c.Arg("arrayFilters")); err != nil {
		return nil, err
	}
	if s.Collation, err = c.Collation(); err != nil {
		return nil, err
	}
	s.Hint, err = c.Hint()
	return s, err
}

func runFindAndModify(ctx context.Context, c *Call) error {
	s, err := c.findAndModify()
	if err == nil {
		err = c.checkCollectionUUID()
	}
	if err != nil {
		return err
	}
	once, err := c.beginOnce(ctx, 1)
	if err != nil {
		return err
	}
	defer once.end()
	op := c.writeOp(ctx)
	if once.r == nil {
		res, err := c.Database().FindAndModify(ctx, op, c.Namespace(), s)
		if err != nil {
			return err
		}
		c.Reply.AppendDoc(foundReply(s, &res))
		return nil
	}
	if b, done := once.executed(once.ids.at(0)); done {
		if err := c.checkFoundRetry(s, b); err != nil {
			return err
		}
		c.Commands.stats.retried(1)
		c.appendFound(b)
		c.Append("retriedStmtId", bsonval.Int32(once.ids.at(0)))
		return nil
	}
	var outcome bsonval.Doc // nil if nothing was changed
	var res database.FindAndModifyResult
	err = once.do(op, 0, func(out *database.Outcome) []byte {
		outcome = nil
		if out.Found.N > 0 {
			outcome = c.foundOutcome(s, &out.Found)
		}
		return outcome
	}, func() (err error) {
		res, err = c.Database().FindAndModify(ctx, op, c.Namespace(), s)
		return err
	})
	if err != nil {
		return err
	}
	if outcome == nil || res.N == 0 { // it may be that of an attempt that was not committed
		outcome = foundReply(s, &res)
	}
	c.appendFound(outcome)
	return nil
}

// foundReply is the reply of a findAndModify.
func foundReply(s *database.FindAndModify, res *database.FindAndModifyResult) bsonval.Doc {
	b := lastError(s, res)
	if res.Value == nil {
		return b.Null("value").Build()
	}
	return b.Doc("value", res.Value).Build()
}

// lastError begins the reply of a findAndModify.
func lastError(s *database.FindAndModify, res *database.FindAndModifyResult) *bsonval.Builder {
	b := bsonval.NewBuilder().StartDoc("lastErrorObject").Int32("n", int32(res.N))
	if !s.Remove {
		b.Bool("updatedExisting", res.UpdatedExisting).Value("upserted", res.Upserted)
	}
	return b.End()
}
