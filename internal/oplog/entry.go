package oplog

import (
	"encoding/binary"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Kind is what an operation does, as the field op has it.
type Kind byte

// The kinds of operations.
const (
	Insert  Kind = 'i'
	Update  Kind = 'u'
	Delete  Kind = 'd'
	Command Kind = 'c'
	Noop    Kind = 'n'
)

// UUID identifies a collection; zero is none.
type UUID [16]byte

// OpTime is an entry's place in the log: its timestamp's bits and its term.
type OpTime struct {
	TS   uint64
	Term int64
}

// Term is the term of all entries.
const Term = 1

// NoOpTime is where the chain of a session's entries begins.
var NoOpTime = OpTime{Term: -1}

// IsNull tells the beginning of a chain.
func (t OpTime) IsNull() bool { return t.TS == 0 }

// Distances from an entry's end to the 8 bytes of its time, its wall clock's
// milliseconds and, in entries with prevOpTime, the time of the entry before:
// an entry d's time is at len(d)-TimeFromEnd.
const (
	WallFromEnd = 8 + 1
	timeElement = 1 + len("ts\x00") + 8
	tailBytes   = timeElement + 2*(1+len("t\x00")+8) + 1 + len("wall\x00") + 8 + 1
	TimeFromEnd = tailBytes - timeElement + 8
	PrevFromEnd = tailBytes + optimeBytes - timeElement + 8
	optimeBytes = timeElement + 1 + len("t\x00") + 8 + 1
)

// Op is one operation, in an entry of its own or inside applyOps.
type Op struct {
	Kind Kind
	NS   string
	UUID UUID

	// ID is the _id of the document that an insert, update or delete is about.
	ID bsonval.Value

	// O is the inserted document, the replacement or the command; Diff an
	// update's change instead.
	O, Diff bsonval.Doc

	// O2 is what a command or no-op says beside o; nil for nothing.
	O2 bsonval.Doc

	// StmtIDs number the statements of a retryable write; nil for none.
	StmtIDs []int32

	// NeedsRetryImage is PreImage or PostImage for a findAndModify whose document is
	// kept for retries.
	NeedsRetryImage string
}

// What is kept for the retry of a findAndModify: the document from before or from
// after the change.
const (
	PreImage  = "preImage"
	PostImage = "postImage"
)

// InsertOp is the insertion of a document.
func InsertOp(ns string, ui UUID, id bsonval.Value, doc bsonval.Doc) Op {
	return Op{Kind: Insert, NS: ns, UUID: ui, ID: id, O: doc}
}

// UpdateOp is a change that a diff describes.
func UpdateOp(ns string, ui UUID, id bsonval.Value, diff bsonval.Doc) Op {
	return Op{Kind: Update, NS: ns, UUID: ui, ID: id, Diff: diff}
}

// ReplaceOp is a change to a whole new document.
func ReplaceOp(ns string, ui UUID, id bsonval.Value, doc bsonval.Doc) Op {
	return Op{Kind: Update, NS: ns, UUID: ui, ID: id, O: doc}
}

// DeleteOp is the removal of a document.
func DeleteOp(ns string, ui UUID, id bsonval.Value) Op {
	return Op{Kind: Delete, NS: ns, UUID: ui, ID: id}
}

// CommandOp is a command on a database; o2 may be nil, and ui zero.
func CommandOp(db string, ui UUID, o, o2 bsonval.Doc) Op {
	return Op{Kind: Command, NS: db + ".$cmd", UUID: ui, O: o, O2: o2}
}

// NoopOp is an entry that changes nothing; o2 may be nil.
func NoopOp(ns string, o, o2 bsonval.Doc) Op {
	return Op{Kind: Noop, NS: ns, O: o, O2: o2}
}

// Session is what an entry says about the session that wrote it. The zero
// Session says nothing.
type Session struct {
	LSID      bsonval.Doc // {id, uid}; nil for none
	TxnNumber int64       // with LSID only

	// Chained entries have prevOpTime: Prev, which the commit may overwrite.
	Chained bool
	Prev    OpTime
}

// Append appends op as a whole entry, its time and wall clock zero.
func (op *Op) Append(dst []byte, s *Session) []byte {
	dst, at := bsonval.BeginDoc(dst)
	dst = s.appendHead(dst)
	dst = op.appendFields(dst)
	return s.appendTail(dst, at)
}

func (s *Session) appendHead(dst []byte) []byte {
	if s.LSID == nil {
		return dst
	}
	dst = bsonval.AppendElement(dst, "lsid", bsonval.Document(s.LSID))
	return bsonval.AppendElement(dst, "txnNumber", bsonval.Int64(s.TxnNumber))
}

// appendTail ends the entry started at at.
func (s *Session) appendTail(dst []byte, at int) []byte {
	if s.Chained {
		dst = appendOpTime(dst, "prevOpTime", s.Prev)
	}
	dst = bsonval.AppendElement(dst, "ts", bsonval.TimestampBits(0))
	dst = bsonval.AppendElement(dst, "t", bsonval.Int64(Term))
	dst = bsonval.AppendElement(dst, "v", bsonval.Int64(2))
	dst = bsonval.AppendElement(dst, "wall", bsonval.Date(0))
	return bsonval.EndDoc(dst, at)
}

func appendOpTime(dst []byte, name string, t OpTime) []byte {
	dst, at := bsonval.BeginElement(dst, bsonval.TypeDocument, name)
	dst = bsonval.AppendElement(dst, "ts", bsonval.TimestampBits(t.TS))
	dst = bsonval.AppendElement(dst, "t", bsonval.Int64(t.Term))
	return bsonval.EndDoc(dst, at)
}

// appendFields appends the fields that an operation has in an entry of its own
// and inside applyOps alike.
func (op *Op) appendFields(dst []byte) []byte {
	dst = append(dst, byte(bsonval.TypeString), 'o', 'p', 0, 2, 0, 0, 0, byte(op.Kind), 0)
	dst = bsonval.AppendElement(dst, "ns", bsonval.String(op.NS))
	if op.UUID != (UUID{}) {
		dst = append(dst, byte(bsonval.TypeBinary), 'u', 'i', 0, byte(len(op.UUID)), 0, 0, 0, 4)
		dst = append(dst, op.UUID[:]...)
	}
	switch {
	case op.Kind == Delete:
		dst = appendKey(dst, "o", op.ID)
	case op.Diff != nil:
		var at int
		dst, at = bsonval.BeginElement(dst, bsonval.TypeDocument, "o")
		dst = bsonval.AppendElement(dst, "$v", bsonval.Int32(2))
		dst = bsonval.AppendElement(dst, "diff", bsonval.Document(op.Diff))
		dst = bsonval.EndDoc(dst, at)
	default:
		dst = bsonval.AppendElement(dst, "o", bsonval.Document(op.O))
	}
	switch {
	case op.Kind == Insert || op.Kind == Update:
		dst = appendKey(dst, "o2", op.ID)
	case op.O2 != nil:
		dst = bsonval.AppendElement(dst, "o2", bsonval.Document(op.O2))
	}
	dst = appendStmtIDs(dst, op.StmtIDs)
	if op.NeedsRetryImage != "" {
		dst = bsonval.AppendElement(dst, "needsRetryImage", bsonval.String(op.NeedsRetryImage))
	}
	return dst
}

// appendKey appends {_id: id}.
func appendKey(dst []byte, name string, id bsonval.Value) []byte {
	dst, at := bsonval.BeginElement(dst, bsonval.TypeDocument, name)
	dst = bsonval.AppendElement(dst, "_id", id)
	return bsonval.EndDoc(dst, at)
}

// appendStmtIDs appends one number as it is, several as an array.
func appendStmtIDs(dst []byte, ids []int32) []byte {
	switch len(ids) {
	case 0:
		return dst
	case 1:
		return bsonval.AppendElement(dst, "stmtId", bsonval.Int32(ids[0]))
	}
	dst, at := bsonval.BeginElement(dst, bsonval.TypeArray, "stmtId")
	for i, id := range ids {
		dst = append(dst, byte(bsonval.TypeInt32))
		dst = append(bsonval.AppendIndexKey(dst, i), 0)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(id))
	}
	return bsonval.EndDoc(dst, at)
}

// Stamp gives an entry its time and wall clock (in milliseconds), and the entry
// before's time if prev is not 0 (only in entries with prevOpTime).
func Stamp(entry []byte, ts uint64, wall int64, prev uint64) {
	n := len(entry)
	binary.LittleEndian.PutUint64(entry[n-TimeFromEnd:], ts)
	binary.LittleEndian.PutUint64(entry[n-WallFromEnd:], uint64(wall))
	if prev != 0 {
		binary.LittleEndian.PutUint64(entry[n-PrevFromEnd:], prev)
	}
}
