package service

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// storing bounds how long the result of a call may take to store: the call is over, so its own time does not count.
const storing = 10 * time.Second

// OnceKey names a call that is to run once.
type OnceKey struct {
	// Session is the id of the session and the digest of its user, as bytes.
	Session string
	// TxnNumber grows with each call of the session.
	TxnNumber int64
}

// ResultStore remembers the results of Once commands. One that several instances share makes a call run once on all of
// them together. Methods are called concurrently.
type ResultStore interface {
	// Claim makes the caller the one who runs the call, and returns nil; it then calls Finish or Release. If somebody else
	// has run the call, Claim returns the result; if somebody runs it, Claim waits. A number below the session's latest
	// is TransactionTooOld.
	Claim(ctx context.Context, key OnceKey) (bson.Raw, error)
	// Finish stores the result, a reply document, and keeps it at least as long as drivers retry.
	Finish(ctx context.Context, key OnceKey, result bson.Raw) error
	// Release gives a claim back: the call had no effect and may run again.
	Release(ctx context.Context, key OnceKey) error
}

// Renewer is a ResultStore whose claims end unless they are renewed, so that those of instances that died do.
type Renewer interface {
	// Renew keeps a claim. RenewEvery is how often it has to be called.
	Renew(ctx context.Context, key OnceKey) error
	RenewEvery() time.Duration
}

// keep renews a claim until the function it returns is called.
func (s *Service) keep(ctx context.Context, key OnceKey) (stop func()) {
	r, ok := s.cfg.Results.(Renewer)
	if !ok {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(r.RenewEvery())
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				if err := r.Renew(ctx, key); err != nil && ctx.Err() == nil {
					s.log.Warn("cannot renew the claim of a call that runs", "service", s.name, "error", err)
				}
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// runOnce runs a call unless it has been run.
func (c *Call) runOnce(ctx *opContext) (err error) {
	store, key := c.service.cfg.Results, OnceKey{Session: c.session(), TxnNumber: c.txnNumber}
	earlier, err := store.Claim(ctx, key)
	if err != nil {
		return err
	}
	if earlier != nil {
		c.row.counts.replayed.Add(1)
		if e := errorOf(bsonval.Doc(earlier)); e != nil {
			return e
		}
		c.reply.AppendDoc(bsonval.Doc(earlier))
		return nil
	}
	stop := c.service.keep(context.WithoutCancel(ctx), key)
	err = c.guarded(ctx)
	stop()
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	var failed error
	if c.hadNoEffect(ctx, err) {
		failed = store.Release(after, key)
	} else {
		failed = store.Finish(after, key, bson.Raw(c.result(err)))
	}
	if failed != nil {
		c.service.log.Error("cannot store the result of a call that ran: a retry may run it again", "service", c.service.name,
			"command", c.row.Name, "error", failed)
	}
	return err
}

// guarded runs the handler and turns a panic into an error, which is a result like any other.
func (c *Call) guarded(ctx *opContext) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.service.panicked(c.row, p)
		}
	}()
	return c.row.run(ctx, c)
}

// hadNoEffect says whether a handler's error tells that the call may run again: it gave up because its context ended,
// or drivers are to retry.
func (c *Call) hadNoEffect(ctx *opContext, err error) bool {
	if err == nil {
		return false
	}
	if ended := ctx.Err(); ended != nil && codeOf(c.failure(ended)) == codeOf(c.failure(err)) {
		return true
	}
	e := mongoerr.As(err)
	if e == nil {
		e = fromDriver(err)
	}
	return e != nil && (hasLabel(e, mongoerr.LabelRetryableWrite) || hasLabel(e, mongoerr.LabelRetryable))
}

func codeOf(err error) mongoerr.Code {
	if e := mongoerr.As(err); e != nil {
		return e.Code
	}
	return mongoerr.InternalError
}

// result is the reply document of a call that has run.
func (c *Call) result(err error) bsonval.Doc {
	if err != nil {
		return errorDoc(c.failure(err))
	}
	b, at := bsonval.BeginDoc(nil)
	b = append(b, c.reply.Elements()...)
	d := bsonval.EndDoc(b, at)
	if !bsonval.Doc(d).Lookup("ok").IsMissing() {
		return d
	}
	return bsonval.EndDoc(bsonval.AppendElement(d[:len(d)-1], "ok", bsonval.Double(1)), at)
}
