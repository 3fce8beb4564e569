package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func deleteCommand() *Command {
	return &Command{
		Name: "delete", Help: "Removes documents from a collection.", First: FirstCollection, APIv1: true, WriteConcern: true,
		Retryable: true, InTransaction: true, Transient: true, Run: runDelete,
		Fields: writeFields(Field{Name: "deletes", Kind: Array, Required: true, Sequence: true}, Field{Name: "let", Kind: Object}),
	}
}

var deleteStatementFields = []Field{
	{Name: "q", Kind: Object, Required: true}, {Name: "limit", Kind: Int, Required: true}, {Name: "collation", Kind: Object},
	{Name: "hint", Kind: Any}, {Name: "sampleId", Kind: UUID}, {Name: "includeQueryStatsMetrics", Kind: Bool, Unsupported: true},
}

// deleteStatements reads the statements of a delete.
func (c *Call) deleteStatements() ([]database.DeleteStatement, error) {
	list := make([]database.DeleteStatement, 0, 1)
	let := c.Doc("let")
	err := c.Documents("deletes", func(_ int, d bsonval.Doc) error {
		var v [6]bsonval.Value
		if err := ParseFields("delete.deletes", d, deleteStatementFields, v[:]); err != nil {
			return err
		}
		limit := toInt64(v[1])
		if limit != 0 && limit != 1 {
			return mongoerr.New(mongoerr.FailedToParse, "The limit field in delete objects must be 0 or 1. Got %d", limit)
		}
		s := database.DeleteStatement{Filter: v[0].Doc(), Multi: limit == 0, Let: let}
		var err error
		if s.Collation, err = parseCollation(v[2]); err != nil {
			return err
		}
		if s.Hint, err = parseHint(v[3]); err != nil {
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

func runDelete(ctx context.Context, c *Call) error {
	list, err := c.deleteStatements()
	if err != nil {
		return err
	}
	var res writeResult
	return c.runStatements(ctx, &c.Commands.stats.deletes, &res, &statements{
		n:      len(list),
		single: func(i int) (bsonval.Doc, bool) { return list[i].Filter, !list[i].Multi },
		run: func(op *database.Op, i int) (retried bool, err error) {
			n, retried, err := c.once.delete(ctx, c.Database(), op, c.Namespace(), i, &list[i])
			if err == nil {
				res.n += n
			}
			return retried, err
		},
	})
}

// delete runs statement i of a write.
func (o *once) delete(ctx context.Context, db *database.DB, op *database.Op, ns database.Namespace, i int,
	s *database.DeleteStatement,
) (n int64, retried bool, err error) {
	if o.r == nil {
		n, err = db.Delete(ctx, op, ns, s)
		return n, false, err
	}
	if s.Multi {
		return 0, false, errMultiRetry
	}
	if _, done := o.executed(o.ids.at(i)); done {
		return 1, true, nil
	}
	err = o.do(op, i, func(out *database.Outcome) []byte {
		if out.Deleted == 0 {
			return nil
		}
		return bsonval.EmptyDoc
	}, func() (err error) {
		n, err = db.Delete(ctx, op, ns, s)
		return err
	})
	return n, false, err
}
