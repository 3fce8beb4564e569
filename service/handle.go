package service

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/server"
)

// Handle implements server.Handler.
func (s *Service) Handle(ctx context.Context, req *server.Request, reply *server.Reply) error {
	if s.protected != nil {
		return s.protected.Handle(ctx, req, reply)
	}
	return s.handle(ctx, req, reply)
}

// handle answers what the client may ask for.
func (s *Service) handle(ctx context.Context, req *server.Request, reply *server.Reply) error {
	if req.Command == "$query" {
		return s.unwrap(ctx, req, reply)
	}
	r, exact := s.table.find(req.Command)
	if r == nil {
		s.unknown.Add(1)
		return s.commandNotFound(req.Command)
	}
	if r.direct {
		if !exact {
			req.Command = r.Name
		}
		return r.run(ctx, &Call{service: s, req: req, reply: reply, row: r, db: req.DB})
	}
	return s.dispatch(ctx, &Call{service: s, req: req, reply: reply, row: r, db: req.DB})
}

// dispatch runs a call and accounts for it.
func (s *Service) dispatch(ctx context.Context, c *Call) error {
	r := c.row
	r.counts.running.Add(1)
	start := time.Now()
	err := s.run(ctx, c, start)
	r.counts.finished(time.Since(start), err)
	if err != nil {
		return c.failure(err)
	}
	return nil
}

// unwrap runs a command that came as {$query: {…}}.
func (s *Service) unwrap(ctx context.Context, req *server.Request, reply *server.Reply) error {
	_, inner, _ := req.Body.First()
	if inner.Type() != bsonval.TypeDocument {
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field '$query' is the wrong type '%s', expected type 'object'", inner.Type())
	}
	body := mergeGeneric(inner.Doc(), req.Body)
	nested := server.NewRequest(req.Conn, req.DB, body)
	if nested.Command == "$query" {
		return mongoerr.New(mongoerr.FailedToParse, "'$query' within '$query'")
	}
	return s.Handle(ctx, nested, reply)
}

// run checks a call and runs it.
func (s *Service) run(ctx context.Context, c *Call, start time.Time) error {
	r := c.row
	if r.AdminOnly && c.db != "admin" {
		return mongoerr.New(mongoerr.Unauthorized, "%s may only be run against the admin database.", r.Name)
	}
	if s.phase.Load() >= phaseRefusing && !r.whileDraining {
		return s.drainError()
	}
	if err := c.parse(); err != nil {
		return err
	}
	if c.generic.has&(1<<argHelp) != 0 && c.generic.get(argHelp).Truthy() {
		c.reply.AppendDoc(r.help())
		return nil
	}
	if c.maxTimeMS > 0 && !r.ownsMaxTime() {
		c.op.ctx.Limit = start.Add(time.Duration(c.maxTimeMS) * time.Millisecond)
	}
	c.op.ctx.Context.Context, c.op.ctx.call = ctx, c
	c.op.started = start
	defer c.op.ctx.release()
	s.ops.Add(&c.op.Entry, c, uint64(c.req.Conn.ID()))
	defer s.ops.Remove(&c.op.Entry)
	return s.invoke(c)
}

// invoke asks whether the caller may, and calls the handler. A panic of it becomes an error.
func (s *Service) invoke(c *Call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(c.row, p)
		}
	}()
	ctx, r := &c.op.ctx, c.row
	if err := s.lease.check(r); err != nil {
		return err
	}
	if s.cfg.Authorize != nil && !r.NoAuth {
		if err := s.cfg.Authorize(ctx, c); err != nil {
			return err
		}
	}
	switch {
	case r.stream():
		return c.startStream(ctx)
	case c.hasTxnNumber:
		return c.runOnce(ctx)
	}
	return r.run(ctx, c)
}

// panicked logs a panic and returns what the client gets to see of it.
func (s *Service) panicked(r *row, p any) error {
	r.counts.panics.Add(1)
	s.log.Error("command panicked", "service", s.name, "command", r.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return errPanic
}

var errPanic = mongoerr.New(mongoerr.InternalError, "internal error: the command panicked")

// failure turns the error of a call into what the client gets.
func (c *Call) failure(err error) error {
	e := mongoerr.As(err)
	if e == nil {
		e = fromDriver(err)
	}
	if e == nil {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			e = running.ErrTimedOut
		case errors.Is(err, context.Canceled):
			e = running.ErrInterrupted
		default:
			return fmt.Errorf("command %s: %w", c.row.Name, err)
		}
	}
	if c.hasTxnNumber && c.row.Once && retryableCodes[e.Code] && !hasLabel(e, mongoerr.LabelRetryableWrite) {
		e = e.WithLabels(mongoerr.LabelRetryableWrite)
	}
	return e
}

// retryableCodes are the errors after which a driver sends a call with a transaction number again.
var retryableCodes = map[mongoerr.Code]bool{
	mongoerr.InterruptedAtShutdown: true, mongoerr.ShutdownInProgress: true, mongoerr.NotWritablePrimary: true,
	mongoerr.NotPrimaryNoSecondaryOk: true, mongoerr.NotPrimaryOrSecondary: true, mongoerr.PrimarySteppedDown: true,
	mongoerr.InterruptedDueToReplStateChange: true, mongoerr.ExceededTimeLimit: true, mongoerr.HostNotFound: true,
	mongoerr.HostUnreachable: true, mongoerr.NetworkTimeout: true, mongoerr.SocketException: true,
}

// commandNotFound names the commands that the client may have meant.
func (s *Service) commandNotFound(name string) error {
	message := "no such command: '" + name + "'"
	if near := nearNames(name, s.table.rows()); len(near) > 0 {
		message += ", did you mean '" + strings.Join(near, "' or '") + "'?"
	}
	return mongoerr.New(mongoerr.CommandNotFound, "%s", message)
}
