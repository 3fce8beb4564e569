package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/server"
)

// Outside lists a command that is answered by others than the database among those that run, so that currentOp shows it
// and killOp ends it: the context that is returned ends then, and its cause is the error that the client is to get. end is
// called when the command has been answered, while the request is still valid. by is who answers, see Interrupt.
func (cs *Commands) Outside(ctx context.Context, req *server.Request, by any) (outside context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	op := &operation{
		started: cs.cfg.Now(), conn: req.Conn, command: &Command{Name: req.Command}, db: req.DB, body: req.Body,
		by: by, ctx: &running.Context{Context: ctx, OnKilled: cancel},
	}
	if v := req.Body.Lookup("lsid"); v.Type() == bsonval.TypeDocument {
		op.lsid = v.Doc()
	}
	_, first, _ := req.Body.First()
	if req.Command == "getMore" {
		first = req.Body.Lookup("collection")
	}
	if first.Type() == bsonval.TypeString && (cs.Known(req.Command) || req.Command == "getMore") {
		op.coll = string(first.Bytes())
	}
	cs.begin(op)
	return ctx, func() {
		cs.end(op)
		cancel(nil)
	}
}

// Interrupt ends the commands that somebody answers now with an error for their clients.
func (cs *Commands) Interrupt(by any, e *mongoerr.Error) {
	cs.interrupt(e, func(op *operation) bool { return op.by == by })
}

// Killed is the error by which an operation was killed under a context of Outside, nil if it was not.
func Killed(ctx context.Context) *mongoerr.Error { return mongoerr.As(context.Cause(ctx)) }
