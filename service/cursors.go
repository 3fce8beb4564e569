package service

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/server"
)

// cursors are the streams that wait for a getMore or are being read by one.
type cursors struct {
	mu     sync.Mutex // guards open
	open   map[int64]*stream
	opened atomic.Int64 // ever
	timed  atomic.Int64 // out
}

// cursorArguments are the arguments that all streams take.
type cursorArguments struct {
	batchSize int64
	hasBatch  bool
	limit     int64
	single    bool
}

// isCursorArgument says whether a field means the same for all streams.
func isCursorArgument(name string) bool { return name == "cursor" || name == "batchSize" }

// set takes a field of the command document if it is one of all streams.
func (a *cursorArguments) set(r *row, name []byte, v bsonval.Value) (known bool, err error) {
	switch string(name) {
	case "batchSize":
		return true, a.setBatchSize(r.Name+".batchSize", v)
	case "cursor":
		if v.Type() != bsonval.TypeDocument {
			return true, mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.cursor' is the wrong type '%s', expected type 'object'", r.Name, v.Type())
		}
		it := v.Doc().Iter()
		for it.Next() {
			if it.KeyStr() != "batchSize" {
				return true, mongoerr.New(40415, "BSON field '%s.cursor.%s' is an unknown field.", r.Name, it.Key())
			}
			if err := a.setBatchSize(r.Name+".cursor.batchSize", it.Value()); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	return false, nil
}

func (a *cursorArguments) setBatchSize(path string, v bsonval.Value) error {
	n, err := nonNegative(path, v)
	a.batchSize, a.hasBatch = n, true
	return err
}

// nonNegative reads a number that counts something.
func nonNegative(path string, v bsonval.Value) (int64, error) {
	if !v.IsNumber() {
		return 0, mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s' is the wrong type '%s', expected types '[long, int, decimal, double]'", path, v.Type())
	}
	n := v.TruncInt64()
	if n < 0 {
		return 0, mongoerr.New(mongoerr.BadValue, "BSON field '%s' value must be >= 0, actual value '%d'", path, n)
	}
	return n, nil
}

// ns is the namespace of a stream's cursor.
func (st *stream) ns() string { return st.call.db + ".$cmd." + st.call.row.Name }

// startStream starts the stream of a call and answers with its first documents.
func (c *Call) startStream(ctx *opContext) error {
	s := c.service
	if s.cursors.len() >= s.cfg.MaxCursors {
		return errTooManyCursors
	}
	produce, err := c.row.open(c)
	if err != nil {
		return err
	}
	st := s.startStream(c, produce)
	s.cursors.opened.Add(1)
	if c.cursor.limit > 0 {
		st.limited, st.limit = true, c.cursor.limit
	}
	if c.maxTimeMS > 0 && !c.row.Live {
		st.timed, st.left = true, time.Duration(c.maxTimeMS)*time.Millisecond
	}
	size := int64(defaultFirstBatch)
	if c.cursor.hasBatch {
		size = c.cursor.batchSize
	}
	patience := time.Duration(-1)
	if c.row.Live {
		patience = linger // there may be no news for long
	}
	_, err = s.answerBatch(ctx, c, st, "firstBatch", size, patience)
	return err
}

var errTooManyCursors = mongoerr.New(mongoerr.IngressRequestRateLimitExceeded, "too many open cursors, try again later").
	WithLabels(mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable)

// answerBatch answers with documents of a stream that the call has, and says whether the cursor stays open.
func (s *Service) answerBatch(ctx *opContext, c *Call, st *stream, name string, size int64, patience time.Duration) (open bool, err error) {
	start := time.Now()
	b, doc := bsonval.BeginElement(c.reply.Buf, bsonval.TypeDocument, "cursor")
	b, at := bsonval.BeginElement(b, bsonval.TypeArray, name)
	b, n, open, err := st.batch(ctx, b, int(min(size, math.MaxInt32)), patience)
	st.call.row.counts.documents.Add(int64(n))
	if err != nil {
		st.cancel(running.Cause(ctx))
		s.cursors.forget(st)
		return false, err
	}
	b = bsonval.EndDoc(b, at)
	id := int64(0)
	if open && !c.cursor.single {
		st.left -= time.Since(start)
		id = s.park(st)
	} else {
		st.cancel(errNobodyListens)
		s.cursors.forget(st)
	}
	b = bsonval.AppendElement(b, "id", bsonval.Int64(id))
	b = bsonval.AppendElement(b, "ns", bsonval.String(st.ns()))
	c.reply.Buf = bsonval.EndDoc(b, doc)
	return id != 0, nil
}

// park puts a stream aside until its next getMore, and closes it if there is none for long.
func (s *Service) park(st *stream) int64 {
	s.cursors.mu.Lock()
	for st.id == 0 {
		id := rand.Int64()
		if s.cursors.open[id] == nil {
			st.id = id
		}
	}
	id := st.id
	s.cursors.open[id] = st
	s.cursors.mu.Unlock()

	st.mu.Lock()
	defer st.mu.Unlock()
	if st.killed {
		s.cursors.forget(st)
		return 0
	}
	st.busy, st.lastUsed = false, time.Now()
	st.idle = time.AfterFunc(s.cfg.CursorTimeout, func() {
		if st.take() {
			s.cursors.timed.Add(1)
			s.cursors.forget(st)
			st.cancel(errNobodyListens)
		}
	})
	return id
}

// take makes the caller the one who has the stream.
func (st *stream) take() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.busy {
		return false
	}
	st.busy = true
	st.idle.Stop()
	return true
}

func (cs *cursors) len() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open)
}

func (cs *cursors) forget(st *stream) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.open[st.id] == st {
		delete(cs.open, st.id)
	}
}

func (cs *cursors) get(id int64) *stream {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.open[id]
}

// all are the open streams.
func (cs *cursors) all() []*stream {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	out := make([]*stream, 0, len(cs.open))
	for _, st := range cs.open {
		out = append(out, st)
	}
	return out
}

// kill closes a stream: at once if nobody reads it, otherwise with the batch being read.
func (s *Service) kill(st *stream) {
	st.mu.Lock()
	st.killed = true
	if st.idle != nil {
		st.idle.Stop()
	}
	st.mu.Unlock()
	s.cursors.forget(st)
	st.cancel(errNobodyListens)
}

// check refuses the cursor of another user.
func (st *stream) check(c *Call) error {
	if st.user == userOf(c) {
		return nil
	}
	return mongoerr.New(mongoerr.Unauthorized, "cursor id %d was not created by the authenticated user", st.id)
}

// userOf is who calls, "" for nobody.
func userOf(c *Call) string {
	if u := c.User(); u != nil {
		return u.String()
	}
	return ""
}

// checkOut returns the stream with an id for a call.
func (s *Service) checkOut(c *Call, id int64, ns string) (*stream, error) {
	st := s.cursors.get(id)
	if st == nil {
		return nil, mongoerr.New(mongoerr.CursorNotFound, "cursor id %d not found", id)
	}
	if err := st.check(c); err != nil {
		return nil, err
	}
	owner := c.session()
	switch {
	case st.ns() != ns:
		return nil, mongoerr.New(mongoerr.Unauthorized, "Requested getMore on namespace '%s', but cursor belongs to a different namespace %s", ns, st.ns())
	case st.owner == "" && owner != "":
		return nil, mongoerr.New(50736, "Cannot run getMore on cursor %d, which was not created in a session, in session", id)
	case st.owner != "" && owner == "":
		return nil, mongoerr.New(50737, "Cannot run getMore on cursor %d, which was created in session, without an lsid", id)
	case st.owner != owner:
		return nil, mongoerr.New(50738, "Cannot run getMore on cursor %d, which was created in another session", id)
	case !st.take():
		return nil, mongoerr.New(mongoerr.CursorInUse, "cursor id %d is already in use", id)
	}
	return st, nil
}

// getMore answers with the next documents of a stream, or, if the client allows it, with a stream of batches.
func (s *Service) getMore(ctx *opContext, c *Call, id int64, ns string, size int64) error {
	for {
		open, err := s.nextBatch(ctx, c, id, ns, size)
		if err != nil || !open || !c.req.ExhaustAllowed() {
			return err
		}
		c.reply.OK()
		if err := c.reply.Send(); errors.Is(err, server.ErrNoExhaust) {
			return nil
		} else if err != nil {
			if st := s.cursors.get(id); st != nil {
				s.kill(st) // nobody will ask for it
			}
			return err
		}
	}
}

// nextBatch is one batch of getMore.
func (s *Service) nextBatch(ctx *opContext, c *Call, id int64, ns string, size int64) (open bool, err error) {
	st, err := s.checkOut(c, id, ns)
	if err != nil {
		return false, err
	}
	patience := time.Duration(-1)
	switch {
	case st.call.row.Live:
		patience = defaultAwait
		if c.maxTimeMS > 0 {
			patience = time.Duration(c.maxTimeMS) * time.Millisecond
		}
	case c.maxTimeMS > 0:
		s.park(st)
		return false, mongoerr.New(mongoerr.BadValue, "cannot set maxTimeMS on getMore command for a non-awaitData cursor")
	case st.timed:
		ctx = &opContext{running.Context{Context: ctx, Limit: time.Now().Add(st.left)}, c}
		defer ctx.release()
	}
	return s.answerBatch(ctx, c, st, "nextBatch", size, patience)
}
