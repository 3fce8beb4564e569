package database

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// Retryable names the retryable write that an operation is, for the oplog.
type Retryable struct {
	LSID      bsonval.Doc // {id, uid}
	TxnNumber int64
	// Stmt numbers the statements of the operation: the documents of an insert, or
	// 0 for others.
	Stmt func(i int) int32
}

// logWriter logs what one writer does. The zero logWriter logs nothing.
type logWriter struct {
	log     *changeLog // nil: nothing is logged
	txn     storage.Txn
	tx      *Transaction // collects operations instead of entries; nil for others
	scratch *logScratch
	session oplog.Session
	stmt    func(int) int32
	stmts   [1]int32
	image   string // what is kept of the next operation for a retry, "" for nothing

	count, bytes int64 // of entries in this transaction
}

// begin makes the writer log its changes if they are to be logged.
func (l *logWriter) begin(w *writer) {
	if w.db.oplog == nil || !isLogged(w.coll.DB, w.coll.Name) {
		return
	}
	l.log, l.txn, l.tx = w.db.oplog, w.txn, w.op.Txn
	l.scratch = l.log.scratch.Get().(*logScratch)
	if r := w.op.Retryable; r != nil {
		l.session = oplog.Session{LSID: r.LSID, TxnNumber: r.TxnNumber, Chained: true, Prev: oplog.NoOpTime}
		l.stmt = r.Stmt
	}
}

// end gives back what the writer has borrowed. committed says that its transaction
// has committed.
func (l *logWriter) end(committed bool) {
	if l.log == nil {
		return
	}
	if cap(l.scratch.entry) <= maxScratchBytes && cap(l.scratch.diff) <= maxScratchBytes {
		l.log.scratch.Put(l.scratch)
	}
	if committed {
		l.log.committed(l.count, l.bytes)
	}
	l.scratch, l.log = nil, nil
}

// inserted logs a new document.
func (l *logWriter) inserted(ctx context.Context, w *writer, doc bsonval.Doc) error {
	if l.log == nil {
		return nil
	}
	op := oplog.InsertOp(w.coll.Namespace(), oplog.UUID(w.coll.UUID), doc.Lookup("_id"), doc)
	return l.write(ctx, w, &op, nil)
}

// replaced logs a document's new version.
func (l *logWriter) replaced(ctx context.Context, w *writer, old, doc bsonval.Doc) error {
	if l.log == nil {
		return nil
	}
	ns, ui, id := w.coll.Namespace(), oplog.UUID(w.coll.UUID), doc.Lookup("_id")
	op := oplog.ReplaceOp(ns, ui, id, doc)
	if w.as != logWhole {
		diff, ok := l.scratch.differ.Diff(l.scratch.diff[:0], old, doc, w.targets)
		if ok && (w.as == logOperators || oplog.Smaller(diff, doc)) {
			op = oplog.UpdateOp(ns, ui, id, diff)
		}
		l.scratch.diff = diff[:0]
	}
	return l.write(ctx, w, &op, old)
}

// removed logs that a document is gone.
func (l *logWriter) removed(ctx context.Context, w *writer, doc bsonval.Doc) error {
	if l.log == nil {
		return nil
	}
	op := oplog.DeleteOp(w.coll.Namespace(), oplog.UUID(w.coll.UUID), doc.Lookup("_id"))
	return l.write(ctx, w, &op, doc)
}

// keepImage says that a document is kept for the retry of what is logged next, and
// whether it need be: only retryable writes that are logged have one.
func (l *logWriter) keepImage(kind string) bool {
	if l.stmt == nil {
		return false
	}
	l.image = kind
	return true
}

// write logs an operation. old is the document before it, nil for none.
func (l *logWriter) write(ctx context.Context, w *writer, op *oplog.Op, old bsonval.Doc) error {
	if l.stmt != nil {
		l.stmts[0] = l.stmt(w.stmt)
		op.StmtIDs = l.stmts[:]
		op.NeedsRetryImage = l.image
	}
	if !w.coll.Images {
		old = nil
	}
	if l.tx != nil {
		return l.tx.logOp(op, w.coll.UUID, old)
	}
	entry := op.Append(l.scratch.entry[:0], &l.session)
	l.scratch.entry = entry
	if err := l.log.append(ctx, l.txn, entry); err != nil {
		return err
	}
	l.count++
	l.bytes += int64(len(entry))
	if old == nil {
		return nil
	}
	image, stamp := appendImage(entry[:0], w.coll.UUID, 0, old)
	l.scratch.entry = image
	stamp.Same = true
	return l.txn.Append(ctx, l.log.images, image, stamp)
}

// logForm is how a writer logs updates.
type logForm uint8

const (
	logDiff      logForm = iota // a diff if it is smaller: pipelines
	logOperators                // a diff in any case
	logWhole                    // the new document
)

// appendImage appends the record of a document as it was before a change.
func appendImage(dst []byte, ui catalog.UUID, applyOpsIndex int, old bsonval.Doc) (image []byte, stamp storage.LogStamp) {
	dst, at := bsonval.BeginDoc(dst)
	dst, id := bsonval.BeginElement(dst, bsonval.TypeDocument, "_id")
	dst = bsonval.AppendElement(dst, "nsUUID", ui.Value())
	dst = bsonval.AppendElement(dst, "ts", bsonval.TimestampBits(0))
	stamp.Time = len(dst) - 8
	dst = bsonval.AppendElement(dst, "applyOpsIndex", bsonval.Int64(int64(applyOpsIndex)))
	dst = bsonval.EndDoc(dst, id)
	dst = bsonval.AppendElement(dst, "operationTime", bsonval.Date(0))
	stamp.Wall = len(dst) - 8
	dst = bsonval.AppendElement(dst, "preImage", bsonval.Document(old))
	return bsonval.EndDoc(dst, at), stamp
}

// scalarOperators are the operators that leave a scalar where they are given one.
var scalarOperators = map[string]bool{
	"$set": true, "$inc": true, "$mul": true, "$min": true, "$max": true, "$unset": true, "$currentDate": true, "$bit": true,
}

// setsScalars says whether all that the operators of an update set are scalars, not
// elements of arrays. Their diff does not depend on which paths they name, since
// nothing they set has anything inside.
func setsScalars(u bsonval.Doc) bool {
	it := u.Iter()
	for it.Next() {
		if !scalarOperators[string(it.Key())] || it.Value().Type() != bsonval.TypeDocument {
			return false
		}
		dates := string(it.Key()) == "$currentDate" || string(it.Key()) == "$bit" // their documents are options
		fields := it.Value().Doc().Iter()
		for fields.Next() {
			t := fields.Value().Type()
			if !dates && (t == bsonval.TypeDocument || t == bsonval.TypeArray) || hasPosition(fields.Key()) {
				return false
			}
		}
	}
	return true
}

// hasPosition says whether a component of a path may be an array's index.
func hasPosition(path []byte) bool {
	start := true
	for _, c := range path {
		if start && (c >= '0' && c <= '9' || c == '$') {
			return true
		}
		start = c == '.'
	}
	return false
}
