package database

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// insertBatchDocs is how many documents of one insert share a transaction, so that a large
// insert neither holds its claims long nor pays for a commit per document.
const insertBatchDocs = 1000

// batchBytes is how many bytes of documents are written in one transaction: what it logs is in
// memory until it is sent, in PostgreSQL's case while other commits wait.
const batchBytes = 4 << 20

// WriteError is the failure of one statement of a write command.
type WriteError struct {
	Index int
	Err   *mongoerr.Error
}

// InsertResult says what became of an insert's documents.
type InsertResult struct {
	N      int64
	Errors []WriteError
}

// Insert adds documents, creating the collection if there is none. After the
// first failing document an ordered insert stops; an unordered one goes on. The
// error returned is of the whole command; those of documents are in the result.
func (d *DB) Insert(ctx context.Context, op *Op, ns Namespace, docs []bsonval.Doc, ordered bool) (InsertResult, error) {
	var res InsertResult
	for at := 0; at < len(docs); {
		n, stop, err := d.insertBatch(ctx, op, ns, docs[at:], at, ordered, &res)
		if err != nil {
			return res, err
		}
		at += n
		if stop {
			break
		}
	}
	d.Metrics.Inserted.Add(res.N)
	return res, nil
}

// insertBatch inserts the first documents of docs in one transaction and returns
// how many it took.
func (d *DB) insertBatch(ctx context.Context, op *Op, ns Namespace, docs []bsonval.Doc, base int, ordered bool,
	total *InsertResult,
) (taken int, stop bool, err error) {
	var res InsertResult
	hope := hopeful
	if len(docs) == 1 {
		hope = oneRecord
	}
	err = d.writeCreating(ctx, op, ns, hope, func(w *writer) error {
		res, taken, stop = InsertResult{}, 0, false
		for size := 0; taken < len(docs) && taken < insertBatchDocs && size < batchBytes && !stop; taken++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			size += len(docs[taken])
			w.stmt = base + taken
			err := w.insertOne(ctx, docs[taken])
			if err == nil {
				res.N++
				continue
			}
			e := mongoerr.As(err)
			if e == nil || w.broken {
				return err
			}
			res.Errors = append(res.Errors, WriteError{base + taken, e})
			stop = ordered || op.Txn != nil
		}
		op.Outcome.InsertFrom, op.Outcome.InsertTo, op.Outcome.InsertErrors = base, base+taken, res.Errors
		return nil
	})
	if err != nil {
		return taken, true, err
	}
	if op.Txn != nil && len(res.Errors) > 0 {
		op.Txn.Abort()
	}
	total.N += res.N
	total.Errors = append(total.Errors, res.Errors...)
	return taken, stop, nil
}

// insertOne checks and inserts a document; if it fails for the client's fault
// the transaction is as before.
func (w *writer) insertOne(ctx context.Context, doc bsonval.Doc) error {
	doc, err := w.db.prepare(w.op, doc)
	if err != nil {
		return err
	}
	if err := w.validate(ctx, doc, nil); err != nil {
		return err
	}
	if w.op.series != nil { // an error ends it
		return w.insert(ctx, doc)
	}
	save := w.txn.Savepoint()
	count, bytes, marks, oldest := w.count, w.bytes, len(w.marks), w.oldest
	err = w.insert(ctx, doc)
	if err != nil && !errors.Is(err, storage.ErrWriteConflict) {
		w.count, w.bytes, w.marks, w.oldest = count, bytes, w.marks[:marks], oldest
		if undo := w.txn.RollbackTo(save); undo != nil {
			w.broken = true
			return undo
		}
	}
	return err
}

// writeCreating is write, and creates the collection if there is none.
func (d *DB) writeCreating(ctx context.Context, op *Op, ns Namespace, hope hope, fn func(*writer) error) error {
	for {
		err := d.write(ctx, op, ns, hope, fn)
		if !errors.Is(err, errNoCollection) {
			return err
		}
		if err := d.createImplicitly(ctx, op, ns); err != nil {
			return err
		}
	}
}
