package server

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

// Sequence is a document sequence of an OP_MSG: it stands for a field of the body whose value is an array of documents.
type Sequence = wire.Sequence

// Request is one command. It is valid until the handler returns.
type Request struct {
	// Conn is the connection the command came on. It is never nil.
	Conn *Conn
	// Command is the name of the command: the first field of Body.
	Command string
	// DB is the database the command is for.
	DB string
	// Body is the command document. It is well-formed BSON.
	Body Doc
	// OpCode is the kind of message the command came in: wire.OpMsg or, for handshakes, wire.OpQuery.
	OpCode wire.OpCode
	// ID is the client's number of the message.
	ID int32
	// Compressor is how the message was compressed, wire.CompressorNone if it was not.
	Compressor wire.CompressorID
	// Size is the length of the message in bytes, uncompressed; 0 for requests made by NewRequest.
	Size int

	flags wire.MsgFlags
	msg   wire.Msg
}

// NewRequest makes a request for use within the process, see Call. conn may be nil: the request then gets a connection
// of its own.
func NewRequest(conn *Conn, db string, body Doc) *Request {
	if conn == nil {
		conn = NewLocalConn()
	}
	key, _, _ := body.First()
	return &Request{Conn: conn, Command: key, DB: db, Body: body, OpCode: wire.OpMsg}
}

// Sequence returns the document sequence of that name.
func (r *Request) Sequence(name string) (Sequence, bool) { return r.msg.Sequence(name) }

// Sequences returns all document sequences, in the order of the message.
func (r *Request) Sequences() []Sequence { return r.msg.Sequences() }

// WantsReply is false for requests sent with moreToCome (write concern w: 0): whatever the handler replies is dropped.
func (r *Request) WantsReply() bool { return r.flags&wire.FlagMoreToCome == 0 }

// ExhaustAllowed tells whether the client takes several replies, see Reply.Send.
func (r *Request) ExhaustAllowed() bool { return r.flags&wire.FlagExhaustAllowed != 0 }

// reset prepares r for the next message of its connection.
func (r *Request) reset() {
	r.Command, r.DB, r.Body = "", "", nil
	r.Compressor, r.Size, r.flags = wire.CompressorNone, 0, 0
	r.OpCode, r.ID = 0, 0
}

// parseMsg fills r from an OP_MSG. On an error that is a *mongoerr.Error the client is to be answered; any other ends
// the connection.
func (r *Request) parseMsg(frame []byte) error {
	err := r.msg.Parse(frame)
	r.OpCode, r.ID, r.flags = wire.OpMsg, r.msg.Header.RequestID, r.msg.Flags
	if err != nil {
		return clientError(err)
	}
	r.Body = r.msg.Body
	if err := validate(r.Body); err != nil {
		return err
	}
	for _, s := range r.msg.Sequences() {
		for d := range s.Documents() {
			if err := validate(d); err != nil {
				return err
			}
		}
	}
	db := r.Body.Lookup("$db")
	if db.IsMissing() {
		return mongoerr.New(40571, "OP_MSG requests require a $db argument")
	}
	if db.Type() != bsonval.TypeString {
		return mongoerr.New(mongoerr.TypeMismatch,
			"BSON field '$db' is the wrong type '%s', expected type 'string'", db.Type())
	}
	r.DB = r.Conn.intern(db.Bytes())
	r.setCommand()
	return nil
}

// parseQuery fills r from an OP_QUERY, which MongoDB 8 takes for a few handshake commands only.
func (r *Request) parseQuery(frame []byte) error {
	var q wire.Query
	err := q.Parse(frame)
	r.OpCode, r.ID = wire.OpQuery, q.Header.RequestID
	if err != nil {
		return clientError(err)
	}
	db, isCommand := q.Database()
	if !isCommand {
		return errOpQueryRemoved
	}
	body, err := q.Command()
	if err != nil {
		return clientError(err)
	}
	r.Body = body
	if err := validate(r.Body); err != nil {
		return err
	}
	r.DB = r.Conn.intern(db)
	r.setCommand()
	if !opQueryCommands[r.Command] && !r.Conn.server.cfg.LegacyCommands {
		return mongoerr.New(mongoerr.UnsupportedOpQueryCommand, "Unsupported OP_QUERY command: %s. The client driver may "+
			"require an upgrade. For more details see https://dochub.mongodb.org/core/legacy-opcode-removal", r.Command)
	}
	return nil
}

// opQueryCommands are the commands that may come in an OP_QUERY.
var opQueryCommands = map[string]bool{
	"hello": true, "isMaster": true, "ismaster": true, "_isSelf": true, "authenticate": true,
	"buildinfo": true, "buildInfo": true, "saslContinue": true, "saslStart": true,
}

// errOpQueryRemoved answers an OP_QUERY that is not a command.
var errOpQueryRemoved = &mongoerr.Error{Code: 5739101, Message: "OP_QUERY is no longer supported. The client driver may " +
	"require an upgrade. For more details see https://dochub.mongodb.org/core/legacy-opcode-removal"}

func (r *Request) setCommand() {
	it := r.Body.Iter()
	if it.Next() {
		r.Command = r.Conn.intern(it.Key())
	}
}

// clientError turns a parse error that can be answered into a *mongoerr.Error and leaves fatal ones as they are.
func clientError(err error) error {
	var we *wire.Error
	if errors.As(err, &we) && !we.Fatal {
		return &mongoerr.Error{Code: mongoerr.Code(we.Code), Message: we.Message}
	}
	return err
}

// validate checks that d is well-formed, so that nobody behind has to.
func validate(d Doc) error {
	err := bsonval.ValidateCommand(d)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bsonval.ErrTooDeep):
		return mongoerr.New(mongoerr.Overflow, "BSONObj exceeded maximum nested object depth: %d", bsonval.MaxDepth)
	}
	return mongoerr.New(mongoerr.InvalidBSON, "%v", err)
}

// Call runs a request within the process, without a network, and returns the reply document, which for a failed
// command is its error document. An error that is not for the client (see Errorf) is returned as well, so that the
// caller can log it.
func Call(ctx context.Context, h Handler, req *Request) (Doc, error) {
	reply := Reply{conn: req.Conn, req: req}
	reply.begin()
	defer reply.release()
	err := invoke(ctx, h, req, &reply)
	if err != nil {
		reply.fail(err)
	}
	doc := Doc(reply.finish(0)[wire.MsgBodyOffset:]).Clone()
	if mongoerr.As(err) != nil {
		err = nil
	}
	return doc, err
}
