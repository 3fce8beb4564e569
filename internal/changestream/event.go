package changestream

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

// Images gives documents that the log does not hold.
type Images interface {
	// Current is the document with a key as it is now, or nil. A uuid that is
	// not zero must be the collection's.
	Current(ctx context.Context, ns string, uuid oplog.UUID, key bsonval.Doc) (bsonval.Doc, error)
	// Before is the pre-image of a change, or nil.
	Before(ctx context.Context, id PreImageID) (bsonval.Doc, error)
}

// PreImageID is where the image of a document before a change is kept.
type PreImageID struct {
	UUID  oplog.UUID // the collection
	TS    uint64     // the entry
	Index int        // the operation's place in applyOps; 0 outside
}

// Value is the _id of the pre-image's document: {nsUUID, ts, applyOpsIndex}.
func (p PreImageID) Value() bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Value("nsUUID", bsonval.Binary(4, p.UUID[:])).
		Value("ts", bsonval.TimestampBits(p.TS)).Int64("applyOpsIndex", int64(p.Index)).Build())
}

// Event is one event of a stream.
type Event struct {
	Token Token
	Doc   bsonval.Doc

	// Invalidate says that the stream ends with this event.
	Invalidate bool
}

// Shape is all that a stream's events depend on: streams of one shape have the
// same events, but for where they begin.
type Shape struct {
	Target               Target
	FullDocument         Image
	BeforeChange         Image
	Expanded             bool
	RawUpdateDescription bool
	MatchUUID            bool
}

// Shape is that of the stream on a target that Spec.Target gave.
func (s *Spec) Shape(t Target) Shape {
	return Shape{t, s.FullDocument, s.BeforeChange, s.Expanded, s.RawUpdateDescription, s.MatchUUID}
}

// Stream makes the events of one shape.
type Stream struct {
	shape  Shape
	images Images
}

// NewStream makes a stream.
func NewStream(shape Shape, images Images) *Stream { return &Stream{shape, images} }

// Events calls yield with each event that an entry makes, in order, until yield
// returns false. Events after an invalidation are the caller's not to ask for.
func (s *Stream) Events(ctx context.Context, e *oplog.Entry, yield func(Event) bool) error {
	ops := e.Ops()
	if name, _ := e.Verb(); name != "applyOps" {
		_, err := s.operation(ctx, source{Entry: e, entry: e}, yield)
		return err
	}
	for i := 0; ops.Next(); i++ {
		more, err := s.operation(ctx, source{Entry: ops.Op(), entry: e, index: i, inside: true}, yield)
		if !more || err != nil {
			return err
		}
	}
	return ops.Err()
}

// source is an operation and where it stands.
type source struct {
	*oplog.Entry
	entry  *oplog.Entry
	index  int
	inside bool // of applyOps
}

// change is what an operation is to a stream: an event before it is written.
type change struct {
	kind        string        // operationType
	db, coll    string        // ns; no coll: a database
	to          string        // a rename's new namespace
	full        bsonval.Value // fullDocument
	key         bsonval.Doc   // documentKey
	update      bsonval.Value // updateDescription or rawUpdateDescription
	nsType      string
	description bsonval.Doc // operationDescription
	before      bsonval.Doc // stateBeforeChange
	expanded    bool        // only with showExpandedEvents
	view        bool        // about a view: has no collectionUUID
}

// operation makes the events of one operation.
func (s *Stream) operation(ctx context.Context, o source, yield func(Event) bool) (more bool, err error) {
	c, ok := read(o.Entry)
	if !ok || c.expanded && !s.shape.Expanded || !s.shape.Target.sees(&c) {
		return true, nil
	}
	token := Token{ClusterTime: o.entry.TS, TxnOpIndex: o.index, UUID: o.UUID, Fragment: Whole}
	switch {
	case c.key != nil:
		token.identify(c.kind, "documentKey", bsonval.Document(c.key))
	case c.description != nil:
		token.identify(c.kind, "operationDescription", bsonval.Document(c.description))
	default:
		token.identify(c.kind, "", bsonval.Missing)
	}
	doc, err := s.document(ctx, o, &c, token)
	if err != nil {
		return false, err
	}
	if !yield(Event{Token: token, Doc: doc}) {
		return false, nil
	}
	if !s.shape.Target.invalidated(&c) {
		return true, nil
	}
	token.FromInvalidate = true
	b := s.head(o, "invalidate", token, 0).Date("wallTime", o.entry.Wall)
	return yield(Event{Token: token, Doc: b.Build(), Invalidate: true}), nil
}

// headBytes is room for an event without its documents.
const headBytes = 512

// head starts an event's document, with room for so many bytes besides.
func (s *Stream) head(o source, kind string, token Token, room int) *bsonval.Builder {
	return bsonval.NewBuilderIn(make([]byte, 0, headBytes+room)).StartDoc("_id").Str("_data", token.String()).End().Str("operationType", kind).
		Value("clusterTime", bsonval.TimestampBits(o.entry.TS))
}

func (s *Stream) document(ctx context.Context, o source, c *change, token Token) (bsonval.Doc, error) {
	before, err := s.beforeImage(ctx, o, c, token)
	if err != nil {
		return nil, err
	}
	full, err := s.fullDocument(ctx, o, c, before, token)
	if err != nil {
		return nil, err
	}
	if c.update.IsMissing() && c.kind == "update" {
		if err := s.describe(o, c); err != nil {
			return nil, err
		}
	}
	b := s.head(o, c.kind, token, len(full.Bytes())+len(before))
	if s.shape.Expanded && o.UUID != (oplog.UUID{}) && !c.view {
		b.Value("collectionUUID", bsonval.Binary(4, o.UUID[:]))
	}
	b.Date("wallTime", o.entry.Wall)
	if o.inside && o.entry.LSID != nil {
		b.Int64("txnNumber", o.entry.TxnNumber).Doc("lsid", o.entry.LSID)
	}
	b.Value("fullDocument", full)
	appendNamespace(b, "ns", c.db, c.coll)
	if s.shape.Expanded && c.nsType != "" {
		b.Str("nsType", c.nsType)
	}
	if c.to != "" {
		db, coll := splitNS(c.to)
		appendNamespace(b, "to", db, coll)
	}
	if c.key != nil {
		b.Doc("documentKey", c.key)
	}
	if s.shape.RawUpdateDescription {
		b.Value("rawUpdateDescription", c.update)
	} else {
		b.Value("updateDescription", c.update)
	}
	if s.shape.Expanded {
		if c.description != nil {
			b.Doc("operationDescription", c.description)
		}
		if c.before != nil {
			b.Doc("stateBeforeChange", c.before)
		}
	}
	if s.shape.BeforeChange != ImageOff && changesDocument(c) {
		b.Value("fullDocumentBeforeChange", orNull(before))
	}
	return b.Build(), nil
}

// describe makes an update's description.
func (s *Stream) describe(o source, c *change) error {
	diff, _ := o.Diff()
	if s.shape.RawUpdateDescription {
		c.update = bsonval.Document(diff)
		return nil
	}
	d, err := oplog.UpdateDescription(diff, s.shape.Expanded)
	c.update = bsonval.Document(d)
	return err
}

func appendNamespace(b *bsonval.Builder, name, db, coll string) {
	b.StartDoc(name).Str("db", db)
	if coll != "" {
		b.Str("coll", coll)
	}
	b.End()
}

func orNull(d bsonval.Doc) bsonval.Value {
	if d == nil {
		return bsonval.Null
	}
	return bsonval.Document(d)
}

// changesDocument tells the events of documents that were there before.
func changesDocument(c *change) bool {
	return c.kind == "update" || c.kind == "replace" || c.kind == "delete"
}

// beforeImage is the document before the change, where the stream asks for it or
// for a post-image that is made of it; nil if there is none.
func (s *Stream) beforeImage(ctx context.Context, o source, c *change, token Token) (bsonval.Doc, error) {
	post := c.kind == "update" && (s.shape.FullDocument == ImageWhenAvailable || s.shape.FullDocument == ImageRequired)
	if !post && (s.shape.BeforeChange == ImageOff || !changesDocument(c)) {
		return nil, nil
	}
	d, err := s.images.Before(ctx, PreImageID{UUID: o.UUID, TS: o.entry.TS, Index: o.index})
	if err == nil && d == nil && s.shape.BeforeChange == ImageRequired {
		return nil, mongoerr.New(mongoerr.NoMatchingDocument,
			"Change stream was configured to require a pre-image for all update, delete and replace events, but the pre-image was not found for event: %s",
			bsonval.FormatDoc(s.head(o, c.kind, token, 0).Build()))
	}
	return d, err
}

// fullDocument is the document after the change; missing if the event has none.
func (s *Stream) fullDocument(ctx context.Context, o source, c *change, before bsonval.Doc, token Token) (bsonval.Value, error) {
	if c.kind != "update" {
		return c.full, nil
	}
	switch s.shape.FullDocument {
	case ImageLookup:
		uuid := oplog.UUID{}
		if s.shape.MatchUUID {
			uuid = o.UUID
		}
		d, err := s.images.Current(ctx, o.NS, uuid, c.key)
		return orNull(d), err
	case ImageWhenAvailable, ImageRequired:
		if before != nil {
			diff, _ := o.Diff()
			d, err := oplog.Apply(before, diff)
			return orNull(d), err
		}
		if s.shape.FullDocument == ImageRequired {
			return bsonval.Missing, mongoerr.New(mongoerr.NoMatchingDocument,
				"Change stream was configured to require a post-image for all update events, but the post-image was not found for event: %s",
				bsonval.FormatDoc(s.head(o, c.kind, token, 0).Build()))
		}
		return bsonval.Null, nil
	}
	return bsonval.Missing, nil
}
