package oplog

import (
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Entry is a view on a whole entry or on one operation of applyOps: its strings
// and documents are slices of the entry's bytes.
type Entry struct {
	Kind      Kind
	NS        string
	UUID      UUID // zero: none
	O, O2     bsonval.Doc
	LSID      bsonval.Doc
	TxnNumber int64
	StmtID    bsonval.Value // an int32 or an array of them; missing: none
	Prev      OpTime        // NoOpTime: first of its chain, or not chained
	TS        uint64        // 0 in operations of applyOps
	Wall      int64         // milliseconds
	Retry     string        // needsRetryImage
}

// ErrEntry is the error of a document that is no oplog entry.
var ErrEntry = errors.New("malformed oplog entry")

// Parse reads an entry, or an operation of applyOps. Unknown fields are ignored.
func Parse(d bsonval.Doc) (Entry, error) {
	e := Entry{Prev: NoOpTime}
	it := d.Iter()
	for it.Next() {
		if !e.field(it.KeyStr(), it.Value()) {
			return Entry{}, ErrEntry
		}
	}
	if it.Err() != nil || e.O == nil {
		return Entry{}, ErrEntry
	}
	switch e.Kind {
	case Insert, Update, Delete, Command, Noop:
		return e, nil
	}
	return Entry{}, ErrEntry
}

// field takes one field; false if it has the wrong type.
func (e *Entry) field(name string, v bsonval.Value) bool {
	switch name {
	case "op":
		if v.Type() != bsonval.TypeString || len(v.Bytes()) != 1 {
			return false
		}
		e.Kind = Kind(v.Bytes()[0])
	case "ns":
		e.NS = v.Str()
		return v.Type() == bsonval.TypeString
	case "ui":
		if v.Type() != bsonval.TypeBinary || len(v.Bytes()) != len(e.UUID) {
			return false
		}
		copy(e.UUID[:], v.Bytes())
	case "o":
		e.O = v.Doc()
		return v.Type() == bsonval.TypeDocument
	case "o2":
		e.O2 = v.Doc()
		return v.Type() == bsonval.TypeDocument
	case "lsid":
		e.LSID = v.Doc()
		return v.Type() == bsonval.TypeDocument
	case "txnNumber":
		n, ok := v.AsInt64()
		e.TxnNumber = n
		return ok
	case "stmtId":
		e.StmtID = v
	case "needsRetryImage":
		e.Retry = v.Str()
		return v.Type() == bsonval.TypeString
	case "prevOpTime":
		return readOpTime(&e.Prev, v)
	case "ts":
		e.TS = uint64(v.Int64())
		return v.Type() == bsonval.TypeTimestamp
	case "wall":
		e.Wall = v.Int64()
		return v.Type() == bsonval.TypeDate
	}
	return true
}

func readOpTime(t *OpTime, v bsonval.Value) bool {
	if v.Type() != bsonval.TypeDocument {
		return false
	}
	ts, term := v.Doc().Lookup("ts"), v.Doc().Lookup("t")
	t.TS, t.Term = uint64(ts.Int64()), term.Int64()
	return ts.Type() == bsonval.TypeTimestamp && term.Type() == bsonval.TypeInt64
}

// DB is the namespace's database.
func (e *Entry) DB() string { db, _ := e.split(); return db }

// Coll is the namespace's collection; "$cmd" for commands.
func (e *Entry) Coll() string { _, coll := e.split(); return coll }

func (e *Entry) split() (db, coll string) {
	for i := 0; i < len(e.NS); i++ {
		if e.NS[i] == '.' {
			return e.NS[:i], e.NS[i+1:]
		}
	}
	return e.NS, ""
}

// ID is the _id of the document that the operation is about: of o2 for inserts
// and updates (of an insert's o if there is no o2), of o for deletes.
func (e *Entry) ID() bsonval.Value {
	switch {
	case e.Kind == Delete || e.O2 == nil:
		return e.O.Lookup("_id")
	}
	return e.O2.Lookup("_id")
}

// Diff is the diff of an update; ok is false for replacements.
func (e *Entry) Diff() (d bsonval.Doc, ok bool) {
	if e.Kind != Update || e.O.Lookup("$v").IsMissing() {
		return nil, false
	}
	v := e.O.Lookup("diff")
	return v.Doc(), v.Type() == bsonval.TypeDocument
}

// Verb is what a command entry does ("create", "drop" …) and its argument.
func (e *Entry) Verb() (name string, arg bsonval.Value) {
	if e.Kind != Command {
		return "", bsonval.Missing
	}
	name, arg, _ = e.O.First()
	return name, arg
}

// Partial tells an applyOps entry after which more of its transaction follows.
func (e *Entry) Partial() bool { return e.O.Lookup("partialTxn").Truthy() }

// Ops walks the operations of an applyOps entry; of other entries there are
// none.
func (e *Entry) Ops() OpIter {
	name, v := e.Verb()
	if name != "applyOps" || v.Type() != bsonval.TypeArray {
		return OpIter{}
	}
	return OpIter{it: v.Doc().Iter(), any: true}
}

// OpIter walks operations:
//
//	ops := e.Ops()
//	for ops.Next() {
//		use(ops.Op())
//	}
//	if ops.Err() != nil { … }
type OpIter struct {
	it  bsonval.Iter
	any bool
	op  Entry
	err error
}

// Next moves to the next operation and says whether there is one.
func (i *OpIter) Next() bool {
	if !i.any || i.err != nil {
		return false
	}
	if !i.it.Next() {
		if i.it.Err() != nil {
			i.err = ErrEntry
		}
		return false
	}
	if v := i.it.Value(); v.Type() != bsonval.TypeDocument {
		i.err = ErrEntry
	} else {
		i.op, i.err = Parse(v.Doc())
	}
	return i.err == nil
}

// Op is the operation; the next Next overwrites it.
func (i *OpIter) Op() *Entry { return &i.op }

// Err is the error that ended the walk, or nil.
func (i *OpIter) Err() error { return i.err }
