package command

import (
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/server"
)

// operation is one running command. The fields are set before it is listed and change no more.
type operation struct {
	running.Entry[*operation]
	started  time.Time
	conn     *server.Conn
	command  *Command
	db, coll string
	body     bsonval.Doc // the connection's: valid while the operation is listed
	lsid     bsonval.Doc
	ctx      *running.Context
	by       any // who answers; nil for the database
	// transaction is the session of a statement of a transaction, else nil.
	transaction *session.Session
}

// begin lists an operation and gives it an id.
func (cs *Commands) begin(op *operation) { cs.operations.Add(&op.Entry, op, uint64(op.conn.ID())) }

func (cs *Commands) end(op *operation) { cs.operations.Remove(&op.Entry) }

// interrupt ends the operations that match with an error for their clients.
func (cs *Commands) interrupt(e *mongoerr.Error, match func(*operation) bool) {
	cs.operations.Each(func(op *operation) {
		if match(op) {
			op.ctx.Kill(e)
		}
	})
}
