package egress

import (
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Command is a command to be run somewhere.
type Command struct {
	// DB is the database the command is for.
	DB string
	// Body is the command document. Its first field names the command. A `$db` in it is replaced.
	Body Doc
	// Metadata are generic arguments that are added to the body, such as lsid, $readPreference and $clusterTime. They
	// replace fields of the body that have the same name. Nil: none.
	Metadata Doc
	// Sequences are sent as document sequences: each stands for a field of the body whose value is an array.
	Sequences []Sequence
	// Timeout bounds everything from waiting for a connection to the end of the reply, of a stream to the end of each
	// reply. 0 means the context alone. The server is not told: give it maxTimeMS for that. After a timeout of
	// PhaseCommand the command may have taken effect.
	Timeout time.Duration
	// FireAndForget sends the command with moreToCome: there is no reply, and a response without a body.
	FireAndForget bool
	// Plain sends the message uncompressed, whatever the connection has agreed on.
	Plain bool
	// Whole tells that the body is that of a message, with the `$db` that DB is, so that it can be sent as it is.
	Whole bool
	// apart is set if no field of Metadata is in the body.
	apart bool
}

// Sequence is a named list of documents.
type Sequence struct {
	Name      string
	Documents []Doc
}

// NewCommand makes a command for a database of anything that BSON can be made of: bson.D, a struct, bytes.
func NewCommand(db string, body any) (Command, error) {
	switch b := body.(type) {
	case Doc:
		return Command{DB: db, Body: b}, nil
	case bson.Raw:
		return Command{DB: db, Body: Doc(b)}, nil
	case []byte:
		return Command{DB: db, Body: b}, nil
	}
	raw, err := bson.Marshal(body)
	if err != nil {
		return Command{}, fmt.Errorf("encode command: %w", err)
	}
	return Command{DB: db, Body: raw}, nil
}

// Name is the name of the command, empty if there is none.
func (c *Command) Name() string {
	key, _, _ := c.Body.First()
	return key
}

// lookup returns a field of the metadata or else of the body.
func (c *Command) lookup(key string) bsonval.Value {
	if len(c.Metadata) > 0 {
		if v := c.Metadata.Lookup(key); !v.IsMissing() {
			return v
		}
	}
	return c.Body.Lookup(key)
}

// Request is a command for one server.
type Request struct {
	Target Host
	Command
}

// RequestOnAny is a command for any one of several servers: the first to which a connection is had gets it.
type RequestOnAny struct {
	// Targets are the servers, the most wanted first. Invariant: not empty.
	Targets []Host
	Command
}

// OnAny makes the request one for any of a list of one.
func (r *Request) OnAny() *RequestOnAny {
	return &RequestOnAny{Targets: []Host{r.Target}, Command: r.Command}
}

// Response is what came of a Request.
type Response struct {
	// Body is the reply document, nil if there is none. It is well-formed BSON and belongs to the caller.
	Body Doc
	// MoreToCome is set if another reply to the same request follows, see Network.Stream.
	MoreToCome bool
	// Elapsed is the time from the start of the request to the end of its reply.
	Elapsed time.Duration
	// Status is nil if a reply came, whatever it says, or else a *StatusError.
	Status error
	// Clean tells of a reply to an operation of a Client that it says ok, and has neither labels of errors nor the error of a
	// write concern.
	Clean bool
}

// Err returns Status or, if a reply came, the error it tells of, which is an *Error.
func (r Response) Err() error {
	if r.Status != nil || r.Body == nil {
		return r.Status
	}
	return CommandError(r.Body)
}

// Decode returns Err or else unmarshals the body into v, a pointer.
func (r Response) Decode(v any) error {
	if err := r.Err(); err != nil {
		return err
	}
	return bson.Unmarshal(r.Body, v)
}

// ResponseOnAny is what came of a RequestOnAny.
type ResponseOnAny struct {
	Response
	// Target is the server that the command was sent to, empty if it was sent to none.
	Target Host
}

// Document is the command as the server sees it: body, metadata, sequences as arrays, and $db.
func (c *Command) Document() Doc {
	b, at := bsonval.BeginDoc(nil)
	b, err := appendFields(b, c)
	if err != nil {
		return bsonval.EmptyDoc
	}
	for _, s := range c.Sequences {
		array := bsonval.NewArrayBuilder()
		for _, d := range s.Documents {
			array.Add(bsonval.Document(d))
		}
		b = bsonval.AppendElement(b, s.Name, bsonval.Array(array.Build()))
	}
	b = bsonval.AppendElement(b, "$db", bsonval.String(c.DB))
	return bsonval.EndDoc(b, at)
}
