package oplog

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// MaxEntryBytes is the most that the operations of one applyOps entry take: the
// largest document, as MongoDB has it. The entry's own fields come on top.
const MaxEntryBytes = bsonval.MaxDocumentBytes

// maxOperationBytes is the most one operation may take: a document of the
// largest size with its _id repeated and its names.
const maxOperationBytes = MaxEntryBytes + 16<<10

// Transaction assembles the entries of a multi-document transaction. Operations
// go in one by one; entries come out when full, the last by Finish:
//
//	for each operation {
//		if full, err := t.Add(&op); full != nil { append the entry full }
//	}
//	append the entry t.Finish()
//
// The prevOpTime of entries after the first is the commit's to write, at
// PrevFromEnd.
type Transaction struct {
	session Session
	limit   int
	buf     []byte // the entry under way
	array   int    // where its array of operations starts
	fields  int    // where o starts
	n       int    // operations in it
	total   int    // operations in all
	entries int    // entries finished
}

// NewTransaction starts a transaction's entries.
func NewTransaction(lsid bsonval.Doc, txnNumber int64) *Transaction {
	return &Transaction{session: Session{LSID: lsid, TxnNumber: txnNumber, Chained: true, Prev: NoOpTime}, limit: MaxEntryBytes}
}

// begin starts an entry.
func (t *Transaction) begin() {
	t.buf = t.buf[:0]
	t.buf, _ = bsonval.BeginDoc(t.buf)
	t.buf = t.session.appendHead(t.buf)
	t.buf = append(t.buf, byte(bsonval.TypeString), 'o', 'p', 0, 2, 0, 0, 0, byte(Command), 0)
	t.buf = bsonval.AppendElement(t.buf, "ns", bsonval.String("admin.$cmd"))
	t.buf, t.fields = bsonval.BeginElement(t.buf, bsonval.TypeDocument, "o")
	t.buf, t.array = bsonval.BeginElement(t.buf, bsonval.TypeArray, "applyOps")
	t.n = 0
}

// Add adds an operation. If the entry under way has no more room for it, it
// returns that one, whole, and starts the next; the bytes are the caller's.
func (t *Transaction) Add(op *Op) (full []byte, err error) {
	if t.buf == nil {
		t.begin()
	}
	at := len(t.buf)
	t.appendOp(op)
	size := len(t.buf) - at
	if size > maxOperationBytes {
		t.buf = t.buf[:at]
		return nil, mongoerr.New(mongoerr.TransactionTooLarge, "Total size of all transaction operations must be less than %d. Actual size is %d", maxOperationBytes, size)
	}
	if t.n > 0 && len(t.buf)-t.array > t.limit {
		full = t.close(at)
		t.begin()
		t.appendOp(op)
	}
	t.n++
	t.total++
	return full, nil
}

func (t *Transaction) appendOp(op *Op) {
	t.buf = append(t.buf, byte(bsonval.TypeDocument))
	t.buf = append(bsonval.AppendIndexKey(t.buf, t.n), 0)
	var at int
	t.buf, at = bsonval.BeginDoc(t.buf)
	t.buf = op.appendFields(t.buf)
	t.buf = bsonval.EndDoc(t.buf, at)
}

// close ends the entry under way before the operation at at, and gives its
// buffer away.
func (t *Transaction) close(at int) []byte {
	b := bsonval.EndDoc(t.buf[:at], t.array)
	b = bsonval.AppendElement(b, "partialTxn", bsonval.True)
	b = bsonval.EndDoc(b, t.fields)
	b = t.session.appendTail(b, 0)
	t.buf = nil
	t.session.Prev = OpTime{Term: Term}
	t.entries++
	return b
}

// Index is where the operation added last stands: the number of finished entries
// before its own, and its place inside it.
func (t *Transaction) Index() (entry, op int) { return t.entries, t.n - 1 }

// Len is the number of operations.
func (t *Transaction) Len() int { return t.total }

// Finish returns the last entry; nil if there was no operation.
func (t *Transaction) Finish() []byte {
	if t.total == 0 {
		return nil
	}
	b := bsonval.EndDoc(t.buf, t.array)
	if t.entries > 0 {
		b = bsonval.AppendElement(b, "count", bsonval.Int64(int64(t.total)))
	}
	b = bsonval.EndDoc(b, t.fields)
	t.buf = nil
	return t.session.appendTail(b, 0)
}
