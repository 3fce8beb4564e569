package changestream

import (
	"bytes"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

// Cursor is a stream's place in the log.
type Cursor struct {
	from     uint64 // the first time to read
	after    *Token // the event to find before any is delivered; nil: none, or found
	position Token  // what a batch that ends here is resumed with
}

// Start is where a stream with these options begins; now is the time of the newest
// entry that others can see.
func (s *Spec) Start(now uint64) *Cursor {
	token := s.ResumeAfter
	if s.StartAfter != nil {
		token = s.StartAfter
	}
	switch {
	case token != nil && token.HighWaterMark:
		return &Cursor{from: token.ClusterTime, position: *token}
	case token != nil:
		return &Cursor{from: token.ClusterTime, after: token, position: *token}
	case s.hasStartAt:
		return &Cursor{from: s.StartAt, position: HighWaterMarkAt(s.StartAt)}
	}
	return &Cursor{from: now + 1, position: HighWaterMarkAt(now + 1)}
}

// From is the time of the first entry to read: those before it do not concern the
// stream.
func (c *Cursor) From() uint64 { return c.from }

// Splits says whether the stream resumes inside an event that was split, which
// takes $changeStreamSplitLargeEvent in its pipeline ([ErrNoSplit]).
func (c *Cursor) Splits() bool { return c.after != nil && c.after.Fragment != Whole }

// ErrNoSplit is the error of a stream that resumes inside a split event without
// splitting it again.
func ErrNoSplit() error {
	return mongoerr.New(mongoerr.ChangeStreamFatalError,
		"To resume from a split event, the $changeStream pipeline must include a $changeStreamSplitLargeEvent stage")
}

// initiated is the message of the log's very first entry.
const initiated = "initiating set"

// CheckHistory says, given the oldest entry of the log, whether the log still has
// all that the stream is to see.
func (c *Cursor) CheckHistory(oldest *oplog.Entry) error {
	if oldest.TS <= c.from || oldest.Kind == oplog.Noop && oldest.O.Lookup("msg").Str() == initiated && c.after == nil {
		return nil
	}
	return ErrHistoryLost()
}

// ErrHistoryLost is the error of a stream whose next entries are no longer in the
// log.
func ErrHistoryLost() error {
	return mongoerr.New(mongoerr.ChangeStreamHistoryLost,
		"Resume of change stream was not possible, as the resume point may no longer be in the oplog.")
}

// Pass says whether an event of Stream.Events is to be delivered. Of one that is
// delivered in fragments the first so many are left out. Events must come in the
// log's order. If an Invalidate event is delivered, the stream is over.
func (c *Cursor) Pass(e Event) (deliver bool, fragments int, err error) {
	if c.after == nil {
		return true, 0, nil
	}
	switch r := e.Token.Compare(c.after.event()); {
	case r < 0:
		return false, 0, nil
	case r > 0:
		return false, 0, mongoerr.New(mongoerr.ChangeStreamFatalError,
			"cannot resume stream; the resume token was not found. %s", bsonval.FormatDoc(e.Token.Doc()))
	}
	fragments = c.after.Fragment + 1
	c.after = nil
	return fragments > 0, fragments, nil
}

// Delivered notes that an event, or an event's fragment, is in the batch.
func (c *Cursor) Delivered(t Token) { c.position = t }

// Scanned notes that the stream has all that it gets of the entries up to a time.
func (c *Cursor) Scanned(time uint64) {
	if c.after == nil && time > c.position.ClusterTime {
		c.position = HighWaterMarkAt(time)
	}
}

// Token is the batch's resume token (postBatchResumeToken).
func (c *Cursor) Token() Token { return c.position }

// CheckID checks that the stages behind $changeStream left an event its _id. An
// event that lost it cannot be resumed from.
func CheckID(before, after bsonval.Doc) error {
	want, got := before.Lookup("_id"), after.Lookup("_id")
	if want.Type() == got.Type() && bytes.Equal(want.Doc(), got.Doc()) {
		return nil
	}
	shown := bsonval.EmptyDoc
	if !got.IsMissing() {
		shown = bsonval.NewBuilder().Value("_id", got).Build()
	}
	return mongoerr.New(mongoerr.ChangeStreamFatalError,
		"Encountered an event whose _id field, which contains the resume token, was modified by the pipeline. "+
			"Modifying the _id field of an event makes it impossible to resume the stream from that point. "+
			"Only transformations that retain the unmodified _id field are allowed. Expected: %s but found: %s",
		bsonval.FormatDoc(bsonval.NewBuilder().Value("_id", want).Build()), bsonval.FormatDoc(shown))
}
