package database

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// A transaction's operations are logged together, when it commits: as one applyOps
// entry or a chain of them. Documents from before its changes get the ids that follow
// those of the entries, in the order of the operations.

// transactionLog collects a transaction's operations.
type transactionLog struct {
	lsid   bsonval.Doc // {id, uid}; nil for none
	number int64

	ops    *oplog.Transaction
	full   [][]byte // entries that are full
	images []transactionImage
}

// transactionImage is a document from before a change.
type transactionImage struct {
	record []byte
	stamp  storage.LogStamp
	entry  int // the operation's entry
}

// logOp logs an operation of the transaction. old is the document before it, nil for
// none.
func (t *Transaction) logOp(op *oplog.Op, ui catalog.UUID, old bsonval.Doc) error {
	l := &t.log
	if l.ops == nil {
		l.ops = oplog.NewTransaction(l.lsid, l.number)
	}
	full, err := l.ops.Add(op)
	if err != nil {
		return err
	}
	if full != nil {
		l.full = append(l.full, full)
	}
	if old != nil {
		entry, index := l.ops.Index()
		record, stamp := appendImage(make([]byte, 0, len(old)+128), ui, index, old)
		l.images = append(l.images, transactionImage{record, stamp, entry})
	}
	return nil
}

// logCommand logs a definition that the transaction has made.
func (t *Transaction) logCommand(coll *catalog.Collection, o bsonval.Doc) error {
	if t.db.oplog == nil || !isLogged(coll.DB, coll.Name) {
		return nil
	}
	op := oplog.CommandOp(coll.DB, oplog.UUID(coll.UUID), o, nil)
	return t.logOp(&op, coll.UUID, nil)
}

// append adds the entries to the storage transaction, which is about to commit.
func (l *transactionLog) append(ctx context.Context, log *changeLog, txn storage.Txn) (count, bytes int64, err error) {
	if l.ops == nil {
		return 0, 0, nil
	}
	entries := append(l.full, l.ops.Finish())
	for i, entry := range entries {
		stamp := entryStamp(entry)
		if i > 0 {
			stamp.Prev = len(entry) - oplog.PrevFromEnd
		}
		if err := txn.Append(ctx, log.table, entry, stamp); err != nil {
			return 0, 0, err
		}
		bytes += int64(len(entry))
	}
	for i, image := range l.images {
		image.stamp.Back = uint32(len(entries) + i - image.entry)
		if err := txn.Append(ctx, log.images, image.record, image.stamp); err != nil {
			return 0, 0, err
		}
	}
	return int64(len(entries)), bytes, nil
}
