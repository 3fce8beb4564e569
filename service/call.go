package service

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// Call is one command being run. Its arguments stay valid for ever, the rest as long as the handler runs; streams keep
// all but the reply.
type Call struct {
	service *Service
	req     *server.Request
	reply   *server.Reply
	row     *row
	db      string
	// args are the arguments, in bytes of their own.
	args    bsonval.Doc
	generic generic

	maxTimeMS    int64
	txnNumber    int64
	hasTxnNumber bool
	cursor       cursorArguments
	op           operation
	// space is room for args, so that a short call is one allocation.
	space [128]byte
}

// callKey is the key of the call among a context's values.
type callKey struct{}

// FromContext returns the call that a handler's context belongs to, nil if it belongs to none.
func FromContext(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}

// Command is the command's name as registered.
func (c *Call) Command() string { return c.row.Name }

// DB is the database the command was sent to.
func (c *Call) DB() string { return c.db }

// Conn is the client's connection.
func (c *Call) Conn() *server.Conn { return c.req.Conn }

// User is who the client has authenticated as, nil for nobody.
func (c *Call) User() *server.User { return c.req.Conn.User() }

// Args are the arguments: the command document without what all commands take. The first field is there as sent, but
// for typed handlers whose request has no place for it.
func (c *Call) Args() bson.Raw { return bson.Raw(c.args) }

// Reply is what the client gets. Streams have none.
func (c *Call) Reply() *server.Reply { return c.reply }

// Comment is the generic argument of that name, zero if there is none.
func (c *Call) Comment() bson.RawValue { return rawValue(c.generic.get(argComment)) }

// LSID is the session the client named, nil for none.
func (c *Call) LSID() bson.Raw { return rawDoc(c.generic.get(argLSID)) }

// TxnNumber is the number of a call that is to run once; ok is false for others.
func (c *Call) TxnNumber() (n int64, ok bool) { return c.txnNumber, c.hasTxnNumber }

// ReadConcern, WriteConcern and ReadPreference are what the client said about data that the handler gets elsewhere, nil
// if nothing. The service itself holds none.
func (c *Call) ReadConcern() bson.Raw { return rawDoc(c.generic.get(argReadConcern)) }

// WriteConcern: see ReadConcern.
func (c *Call) WriteConcern() bson.Raw { return rawDoc(c.generic.get(argWriteConcern)) }

// ReadPreference: see ReadConcern.
func (c *Call) ReadPreference() bson.Raw { return rawDoc(c.generic.get(argReadPreference)) }

func rawDoc(v bsonval.Value) bson.Raw {
	if v.Type() != bsonval.TypeDocument {
		return nil
	}
	return bson.Raw(v.Doc())
}

func rawValue(v bsonval.Value) bson.RawValue {
	if v.IsMissing() {
		return bson.RawValue{}
	}
	return bson.RawValue{Type: bson.Type(v.Type()), Value: bsonval.AppendValue(nil, v)}
}

// parse takes the command document apart.
func (c *Call) parse() error {
	body := c.req.Body
	if c.row.stream() {
		body = body.Clone() // the generic arguments are kept as long as the stream
	}
	size := len(body)
	for _, seq := range c.req.Sequences() {
		size += len(seq.Name) + 2 + sequenceSize(seq)
	}
	room := c.space[:0:len(c.space)]
	if size > len(c.space) {
		room = make([]byte, 0, size)
	}
	args, at := bsonval.BeginDoc(room)
	it := body.Iter()
	if !it.Next() {
		return mongoerr.New(mongoerr.CommandNotFound, "no such command: ''")
	}
	switch c.row.first {
	case firstAsSent:
		args = append(args, it.Raw()...)
	case firstCanonical:
		args = bsonval.AppendElement(args, c.row.Name, it.Value())
	}
	for it.Next() {
		v := it.Value()
		known, err := c.generic.set(c.row.Name, it.Key(), v)
		if err != nil {
			return err
		}
		if !known && c.row.stream() {
			known, err = c.cursor.set(c.row, it.Key(), v)
			if err != nil {
				return err
			}
		}
		if !known {
			args = append(args, it.Raw()...)
		}
	}
	for _, seq := range c.req.Sequences() {
		args = appendSequence(args, seq)
	}
	c.args = bsonval.EndDoc(args, at)
	return c.applyGeneric()
}

// sequenceSize is about how many bytes a document sequence takes as an array.
func sequenceSize(seq server.Sequence) int {
	n := 5
	for d := range seq.Documents() {
		n += len(d) + 8
	}
	return n
}

// appendSequence appends a document sequence as the array that it stands for.
func appendSequence(dst []byte, seq server.Sequence) []byte {
	dst, at := bsonval.BeginElement(dst, bsonval.TypeArray, string(seq.Name))
	i := 0
	for d := range seq.Documents() {
		dst = append(dst, byte(bsonval.TypeDocument))
		dst = append(bsonval.AppendIndexKey(dst, i), 0)
		dst = append(dst, d...)
		i++
	}
	return bsonval.EndDoc(dst, at)
}
