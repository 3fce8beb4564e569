package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

const (
	// streamAhead is how many documents a stream may be ahead of its client.
	streamAhead = 16
	// defaultFirstBatch is the number of documents in a first batch, as in MongoDB; later ones are bounded by bytes.
	defaultFirstBatch = 101
	// maxBatchBytes bounds the documents of a batch: that and one document fit a message.
	maxBatchBytes = 16 << 20
	// linger is how long a batch that has a document waits for more of them: a client sees progress at once, and a fast
	// stream still goes in large batches.
	linger = 10 * time.Millisecond
	// defaultAwait is how long a getMore on a live stream waits for news if nothing else is asked for, as in MongoDB.
	defaultAwait = time.Second
)

// errNobodyListens ends a stream whose cursor was closed.
var errNobodyListens = mongoerr.New(mongoerr.CursorKilled, "cursor was closed")

// stream is an open cursor and the goroutine that feeds it.
type stream struct {
	id    int64
	call  *Call  // that opened it
	owner string // the session, "" for none
	user  string // of the client, "" for nobody
	// ctx is the handler's.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// items has what the goroutine has made; it is closed after err has been set.
	items chan bsonval.Doc
	err   error

	// The following belongs to the call that has the cursor.

	// pending is a document that did not fit the last batch, nil for none.
	pending bsonval.Doc
	// limited streams end after so many more documents.
	limited bool
	limit   int64
	// timed streams have so much time left for their calls.
	timed bool
	left  time.Duration

	mu sync.Mutex // guards the fields below
	// busy streams are in use by a call; idle is what closes others.
	busy bool
	// killed streams are not parked again.
	killed   bool
	idle     *time.Timer
	lastUsed time.Time
}

// start starts the goroutine.
func (s *Service) startStream(c *Call, produce producer) *stream {
	st := &stream{call: c, owner: c.session(), user: userOf(c), items: make(chan bsonval.Doc, streamAhead), busy: true}
	st.ctx, st.cancel = context.WithCancelCause(context.WithValue(s.ctx, callKey{}, c))
	go func() {
		defer st.cancel(errNobodyListens) // releases what derives from the context
		defer close(st.items)
		defer func() {
			if p := recover(); p != nil {
				st.err = s.panicked(c.row, p)
			}
		}()
		st.err = produce(st.ctx, st.emit)
	}()
	return st
}

// emit hands a document to whoever reads the cursor.
func (st *stream) emit(doc bsonval.Doc) error {
	if len(doc) > bsonval.MaxDocumentBytes {
		return mongoerr.New(mongoerr.BSONObjectTooLarge, "a document of a stream has %d bytes, more than the limit of %d", len(doc), bsonval.MaxDocumentBytes)
	}
	select {
	case st.items <- doc:
		return nil
	case <-st.ctx.Done():
		return context.Cause(st.ctx)
	}
}

// batch appends documents as elements of the open array at the end of dst, up to max of them, and says whether the
// stream goes on. It waits for the first one as long as it has the patience, without end if that is negative, and not
// at all for max 0.
func (st *stream) batch(ctx context.Context, dst []byte, max int, patience time.Duration) (b []byte, n int, open bool, err error) {
	start, size := len(dst), 0
	if st.limited && st.limit < int64(max) {
		max = int(st.limit)
	}
	var timer *time.Timer
	var timeout <-chan time.Time
	if patience >= 0 {
		timer = time.NewTimer(patience)
		defer timer.Stop()
		timeout = timer.C
	}
	for n < max {
		doc, state := st.next(ctx, timeout)
		switch state {
		case streamInterrupted:
			if n > 0 {
				return dst, n, true, nil
			}
			return dst[:start], 0, false, ctx.Err()
		case streamQuiet:
			return dst, n, true, nil
		case streamEnded:
			if n > 0 && st.err != nil {
				return dst, n, true, nil // the error is the next batch
			}
			return dst, n, false, st.end()
		}
		if n > 0 && size+len(doc) > maxBatchBytes {
			st.pending = doc
			return dst, n, true, nil
		}
		dst = append(dst, byte(bsonval.TypeDocument))
		dst = append(bsonval.AppendIndexKey(dst, n), 0)
		dst = append(dst, doc...)
		size += len(doc)
		if n++; n == 1 {
			lingering := time.NewTimer(linger)
			defer lingering.Stop()
			timeout = lingering.C
		}
	}
	if st.limited {
		if st.limit -= int64(n); st.limit == 0 {
			return dst, n, false, nil
		}
	}
	return dst, n, !st.exhausted(), nil
}

// streamState is what waiting for a document came to.
type streamState int

const (
	streamItem streamState = iota
	streamQuiet
	streamEnded
	streamInterrupted
)

// next waits for a document.
func (st *stream) next(ctx context.Context, timeout <-chan time.Time) (bsonval.Doc, streamState) {
	if doc := st.pending; doc != nil {
		st.pending = nil
		return doc, streamItem
	}
	select {
	case doc, ok := <-st.items:
		return received(doc, ok)
	default:
	}
	select {
	case doc, ok := <-st.items:
		return received(doc, ok)
	case <-timeout:
		return nil, streamQuiet
	case <-ctx.Done():
		return nil, streamInterrupted
	}
}

func received(doc bsonval.Doc, ok bool) (bsonval.Doc, streamState) {
	if !ok {
		return nil, streamEnded
	}
	return doc, streamItem
}

// exhausted says whether the stream has ended well and everything has been read. It takes a look ahead for that.
func (st *stream) exhausted() bool {
	if st.pending != nil {
		return false
	}
	select {
	case doc, ok := <-st.items:
		st.pending = doc
		return !ok && st.err == nil
	default:
		return false
	}
}

// end is the error that a stream which has ended gives its reader: the cause, if the handler gave up because its context
// had ended.
func (st *stream) end() error {
	if st.err == nil || mongoerr.As(st.err) != nil {
		return st.err
	}
	if e := mongoerr.As(context.Cause(st.ctx)); e != nil && e != errNobodyListens && errors.Is(st.err, context.Canceled) {
		return e
	}
	return st.err
}
