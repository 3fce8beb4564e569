package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/internal/storage"
)

func insertCommand() *Command {
	return &Command{
		Name: "insert", Help: "Adds documents to a collection.", First: FirstCollection, APIv1: true, WriteConcern: true,
		Retryable: true, InTransaction: true, Transient: true, Run: runInsert,
		Fields: writeFields(Field{Name: "documents", Kind: Array, Required: true, Sequence: true}),
	}
}

func runInsert(ctx context.Context, c *Call) error {
	var space [8]bsonval.Doc
	docs := space[:0]
	err := c.Documents("documents", func(_ int, d bsonval.Doc) error {
		docs = append(docs, d)
		return nil
	})
	if err == nil {
		err = checkBatchSize(len(docs))
	}
	if err == nil {
		err = c.checkCollectionUUID()
	}
	if err != nil {
		return err
	}
	c.Commands.stats.inserts.Add(int64(len(docs)))
	once, err := c.beginOnce(ctx, len(docs))
	if err != nil {
		return err
	}
	defer once.end()
	var res writeResult
	op, ordered := c.writeOp(ctx), c.BoolOr("ordered", true)
	if once.r != nil {
		err = once.insert(ctx, c.Database(), op, c.Namespace(), 0, docs, ordered, &res)
	} else {
		err = insertInto(ctx, c.Database(), op, c.Namespace(), docs, ordered, &res)
	}
	if err != nil {
		return err
	}
	res.appendTo(c)
	return nil
}

// insertInto inserts documents.
func insertInto(ctx context.Context, db *database.DB, op *database.Op, ns database.Namespace, docs []bsonval.Doc, ordered bool,
	res *writeResult,
) error {
	done, err := db.Insert(ctx, op, ns, docs, ordered)
	res.n += done.N
	res.errors = append(res.errors, done.Errors...)
	if err == nil {
		return nil
	}
	res.aborted = true
	e := mongoerr.As(err)
	if e == nil || endsCommand(e, op) {
		return err
	}
	failTransaction(op)
	// The collection cannot be written: that is the fate of each document that is left.
	for i := int(done.N) + len(done.Errors); i < len(docs); i++ {
		res.errors = append(res.errors, database.WriteError{Index: i, Err: e})
		if ordered {
			break
		}
	}
	return nil
}

// insert inserts those documents that have not been inserted; the first one is statement base of the write.
func (o *once) insert(ctx context.Context, db *database.DB, op *database.Op, ns database.Namespace, base int, docs []bsonval.Doc,
	ordered bool, res *writeResult,
) error {
	left, index := docs, []int(nil)
	for i := range docs {
		id := o.ids.at(base + i)
		if _, done := o.executed(id); done {
			if index == nil {
				left, index = append([]bsonval.Doc(nil), docs[:i]...), positions(i)
			}
			res.n++
			res.retried = append(res.retried, id)
		} else if index != nil {
			left, index = append(left, docs[i]), append(index, i)
		}
	}
	if len(left) == 0 {
		return nil
	}
	batches := insertBatches{c: o.c, r: o.r, op: op, last: -1, stmt: func(i int) int32 {
		if index != nil {
			i = index[i]
		}
		return o.ids.at(base + i)
	}}
	op.BeforeCommit, op.Retryable = batches.beforeCommit, o.retryable(batches.stmt)
	if o.c.Commands.shared {
		op.Expect, op.Committed = o.r.Expect, o.r.Commit
	}
	err := insertInto(ctx, db, op, ns, left, ordered, res)
	op.BeforeCommit, op.Retryable, op.Expect, op.Committed = nil, nil, nil, nil
	if res.aborted {
		o.r.Discard()
	} else {
		o.r.Commit()
	}
	if index != nil {
		for i := range res.errors {
			res.errors[i].Index = index[res.errors[i].Index]
		}
	}
	return err
}

// positions lists 0 … n-1.
func positions(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// insertBatches stores the outcomes of an insert that may take several transactions.
type insertBatches struct {
	c    *Call
	r    *session.Retry
	op   *database.Op
	stmt func(i int) int32
	last int // where the transaction before began; -1 for none
}

func (b *insertBatches) beforeCommit(ctx context.Context, txn storage.Txn) error {
	o := &b.op.Outcome
	if o.InsertFrom > b.last && b.last >= 0 {
		b.r.Commit() // the next batch begins, so the one before is there
	}
	b.last = o.InsertFrom
	b.r.Discard()
	failed := o.InsertErrors
	for i := o.InsertFrom; i < o.InsertTo; i++ {
		if len(failed) > 0 && failed[0].Index == i {
			failed = failed[1:]
			continue
		}
		b.r.Add(b.stmt(i), nil)
	}
	if err := b.c.failTransactional(); err != nil {
		return err
	}
	return b.r.Store(ctx, txn)
}
