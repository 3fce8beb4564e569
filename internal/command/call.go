package command

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/server"
)

// Call is one command being run. It ends with Run, with all bytes reachable from it; only the arguments of commands that
// are not Transient stay.
type Call struct {
	Req      *server.Request
	Reply    *server.Reply
	Cmd      *Command
	Commands *Commands

	// DB and Coll are the namespace; Coll is empty for commands that have none.
	DB, Coll string
	// First is the value of the first field.
	First bsonval.Value
	// Comment is the generic argument of that name, missing if there is none.
	Comment bsonval.Value
	// MaxTimeMS is the generic argument of that name, 0 if there is none.
	MaxTimeMS int64
	// WriteConcern is the generic argument of that name.
	WriteConcern WriteConcern
	// Session is the session the client names, nil if none.
	Session *session.Session
	// TxnNumber is the transaction number of a retryable write; it counts if HasTxnNumber.
	TxnNumber    int64
	HasTxnNumber bool

	// txn is the transaction that the command is a statement of; nil for none.
	txn *database.Transaction
	// inTransaction is set if the command is a statement of a transaction, or ends one.
	inTransaction bool

	concern readConcern
	// snapshot is what the command reads instead of the present state; nil for none. It is released at the end of the call.
	snapshot *database.Snapshot

	// generation is that of the storage in which the command reads what no crash is to undo, or has found a statement
	// executed; 0 if it does neither.
	generation uint64

	// awaits is set if the command has not waited for what it wrote, and is to do so before it is answered; late is why it has
	// given that up.
	awaits bool
	late   *mongoerr.Error

	// retried is set if a statement had been executed before, by another process maybe.
	retried bool

	// injected is what fail points have done to the call.
	injected injection

	// durable is set if the cursor that the command reads was opened to read what no crash undoes.
	durable bool

	// waited is how long the call has waited for something to come that it could answer with.
	waited time.Duration

	// watches is set if the call has failed on a change stream's cursor.
	watches bool

	// ops are the kernel's operations for the call; kept of a shared store only.
	ops []*database.Op

	generic generic
	args    []argument
	space   [12]argument
	op      operation

	// What most writes need one of, allocated with the call.
	once   once
	update [1]database.UpdateStatement
}

// argument is an argument the client gave.
type argument struct {
	field *Field
	v     bsonval.Value
}

var calls = sync.Pool{New: func() any { return new(Call) }}

func newCall(cs *Commands, cmd *Command, req *server.Request, reply *server.Reply) *Call {
	c := calls.Get().(*Call)
	*c = Call{Req: req, Reply: reply, Cmd: cmd, Commands: cs, DB: req.DB, WriteConcern: WriteConcern{W: 1}}
	c.args = c.space[:0]
	return c
}

func (c *Call) release() {
	*c = Call{}
	calls.Put(c)
}

// Arg returns an argument's value, missing if the client did not give it.
func (c *Call) Arg(name string) bsonval.Value {
	for i := range c.args {
		if c.args[i].field.Name == name {
			return c.args[i].v
		}
	}
	return bsonval.Missing
}

// Has says whether the client gave an argument.
func (c *Call) Has(name string) bool { return !c.Arg(name).IsMissing() }

// Bool returns an argument of kind Bool or SafeBool; false if it was not given.
func (c *Call) Bool(name string) bool { return c.Arg(name).Truthy() }

// BoolOr is Bool with a default.
func (c *Call) BoolOr(name string, otherwise bool) bool {
	if v := c.Arg(name); !v.IsMissing() {
		return v.Truthy()
	}
	return otherwise
}

// Int64 returns an argument of kind Int as an integer, or otherwise if it was not given.
func (c *Call) Int64(name string, otherwise int64) int64 {
	if v := c.Arg(name); !v.IsMissing() {
		return toInt64(v)
	}
	return otherwise
}

// Str returns an argument of kind String with bytes of its own, "" if it was not given.
func (c *Call) Str(name string) string {
	v := c.Arg(name)
	if v.Type() != bsonval.TypeString {
		return ""
	}
	return strings.Clone(v.Str())
}

// Doc returns an argument of kind Object or Array, nil if it was not given.
func (c *Call) Doc(name string) bsonval.Doc {
	v := c.Arg(name)
	if v.IsMissing() {
		return nil
	}
	return v.Doc()
}

// Namespace is DB and Coll as the kernel names them.
func (c *Call) Namespace() database.Namespace { return database.Namespace{DB: c.DB, Coll: c.Coll} }

// Database is the kernel.
func (c *Call) Database() *database.DB { return c.Commands.cfg.DB }

// Op makes the kernel's operation for the call.
func (c *Call) Op(ctx context.Context) *database.Op {
	op := c.Commands.cfg.DB.NewOp(ctx)
	op.NoSync = c.WriteConcern.noSync()
	op.Txn = c.txn
	op.User = c.user()
	if c.txn == nil {
		op.At = c.snapshot
		op.Durable = c.readsDurable()
	}
	if c.Commands.replicated {
		op.Env.ClusterTime = c.Commands.clock.Time()
	}
	if c.Session != nil {
		op.Owner = c.Session.Owner()
	}
	if c.Commands.shared {
		c.ops = append(c.ops, op)
	}
	return op
}

// Collation returns the argument `collation`, nil if it was not given.
func (c *Call) Collation() (*collation.Spec, error) { return parseCollation(c.Arg("collation")) }

func parseCollation(v bsonval.Value) (*collation.Spec, error) {
	if v.IsMissing() || v.Doc().IsEmpty() {
		return nil, nil
	}
	s, err := collation.Parse(v.Doc())
	if s == nil && err == nil {
		// Asked for by name, the simple collation wins over the collection's.
		s = &collation.Spec{Locale: collation.Simple}
	}
	return s, err
}

// Hint returns the argument `hint`, nil if it was not given.
func (c *Call) Hint() (*plan.Hint, error) { return parseHint(c.Arg("hint")) }

// parseHint reads an index's name or key pattern or {$natural: ±1}.
func parseHint(v bsonval.Value) (*plan.Hint, error) {
	switch v.Type() {
	case bsonval.TypeMissing:
		return nil, nil
	case bsonval.TypeString:
		return &plan.Hint{Name: v.Str()}, nil
	case bsonval.TypeDocument:
		d := v.Doc()
		if d.IsEmpty() {
			return nil, nil
		}
		if key, dir, _ := d.First(); key == "$natural" {
			n, ok := dir.AsInt64()
			if !dir.IsNumber() || !ok || n != 1 && n != -1 || d.Len() != 1 {
				return nil, mongoerr.New(mongoerr.BadValue, "$natural hint must be 1 or -1: %s", bsonval.FormatDoc(d))
			}
			return &plan.Hint{Natural: int(n)}, nil
		}
		return &plan.Hint{Key: d}, nil
	}
	return nil, mongoerr.New(mongoerr.FailedToParse, "Hint must be a string or an object")
}

// Documents calls f for the documents of an argument that is an array or came as a document sequence, until f fails.
// The caller has checked that there is one.
func (c *Call) Documents(name string, f func(i int, d bsonval.Doc) error) error {
	i := 0
	if seq, ok := c.Req.Sequence(name); ok {
		for d := range seq.Documents() {
			if err := f(i, d); err != nil {
				return err
			}
			i++
		}
		return nil
	}
	it := c.Arg(name).Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s.%d' is the wrong type '%s', expected type 'object'",
				c.Cmd.Name, name, i, it.Value().Type())
		}
		if err := f(i, it.Value().Doc()); err != nil {
			return err
		}
		i++
	}
	return it.Err()
}

// Append appends a field to the reply.
func (c *Call) Append(name string, v bsonval.Value) {
	c.Reply.Buf = bsonval.AppendElement(c.Reply.Buf, name, v)
}
