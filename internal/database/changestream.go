package database

import (
	"context"
	"io"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/changestream"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/storage"
)

// changeStream is what a $changeStream stage reads, and the tail of its cursor: the
// events that the log's entries make for it. The rules are those of package
// changestream; what is here is where entries and images come from.
type changeStream struct {
	db       *DB
	stream   *changestream.Stream
	shape    changestream.Shape
	place    *changestream.Cursor
	follower *follower
	release  func()

	events []changestream.Event // of the entry under way, still to come
	event  changestream.Event   // that Next returned last
	skip   int                  // its fragments that have been delivered already
	ended  bool                 // by an invalidate event
	closed bool
}

// openChangeStream starts a stream for a cursor.
func (d *DB) openChangeStream(ctx context.Context, cur *Cursor, ns Namespace, arg bsonval.Doc) (pipeline.Source, error) {
	if d.oplog == nil {
		return nil, changestream.ErrStandalone()
	}
	spec, err := changestream.Parse(bsonval.Document(arg))
	if err != nil {
		return nil, err
	}
	target, err := spec.Target(ns.DB, ns.Coll)
	if err != nil {
		return nil, err
	}
	place := spec.Start(d.latest())
	oldest, err := d.checkHistory(ctx, place)
	if err != nil {
		return nil, err
	}
	if place.Splits() && !cur.splits {
		return nil, changestream.ErrNoSplit()
	}
	s := &changeStream{
		db: d, shape: spec.Shape(target), place: place, follower: d.hub.newFollower(target, max(place.From(), oldest)-1), release: d.WatchOplog(),
	}
	s.stream = changestream.NewStream(s.shape, changeImages{d})
	d.Metrics.ChangeStreams.Add(1)
	d.Metrics.OpenStreams.Add(1)
	if spec.Expanded {
		d.Metrics.ExpandedStreams.Add(1)
	}
	cur.goOn(s)
	cur.changes, cur.resume = s, place.Token()
	return s, nil
}

// checkHistory says whether the log still has what a stream is to see, and the time of
// the log's oldest entry, 0 if there is none.
func (d *DB) checkHistory(ctx context.Context, place *changestream.Cursor) (oldest uint64, err error) {
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	it, err := txn.Scan(ctx, d.oplog.table, storage.RecordRange{})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if !it.Next() {
		return 0, it.Err()
	}
	entry, err := oplog.Parse(it.Doc())
	if err != nil {
		return 0, err
	}
	return entry.TS, place.CheckHistory(&entry)
}

// Next returns the next event, or io.EOF if there is none yet.
func (s *changeStream) Next(ctx context.Context) (bsonval.Doc, error) {
	for !s.ended {
		for len(s.events) > 0 {
			e := s.events[0]
			s.events = s.events[1:]
			deliver, skip, err := s.place.Pass(e)
			if err != nil {
				return nil, err
			}
			if deliver {
				s.event, s.skip = e, skip
				s.ended = e.Invalidate
				return e.Doc, nil
			}
		}
		entry, err := s.follower.next(ctx)
		if err == io.EOF {
			s.place.Scanned(s.follower.pos)
		}
		if err != nil {
			return nil, err
		}
		if s.events, err = entry.eventsFor(ctx, s.shape, s.stream); err != nil {
			return nil, err
		}
	}
	return nil, io.EOF
}

// Close implements pipeline.Source.
func (s *changeStream) Close() error {
	s.follower.Close()
	s.release()
	if !s.closed {
		s.closed = true
		s.db.Metrics.OpenStreams.Add(-1)
	}
	return nil
}

func (s *changeStream) begin(*Cursor) error      { return nil }
func (s *changeStream) alive() bool              { return !s.ended }
func (s *changeStream) waits() bool              { return true }
func (s *changeStream) arrived() <-chan struct{} { return s.follower.arrived }

// changeEvents is what a change stream's pipeline makes of its events, as a cursor's
// stream: checked, split if that is asked for, and each with its resume token.
type changeEvents struct {
	src    pipeline.Source // the end of the pipeline
	stream *changeStream   // its beginning
	split  bool
	parts  []changestream.Fragment // of the event under way, still to come
}

// Append implements stream.
func (x *changeEvents) Append(ctx context.Context, dst []byte) ([]byte, error) {
	for len(x.parts) == 0 {
		d, err := x.src.Next(ctx)
		if err != nil {
			return dst, err
		}
		e := x.stream.event
		if err := changestream.CheckID(e.Doc, d); err != nil {
			return dst, err
		}
		if !x.split {
			if len(d) > changestream.MaxEventBytes {
				x.stream.db.Metrics.EventsTooLarge.Add(1)
				return dst, changestream.ErrTooLarge(len(d))
			}
			x.stream.place.Delivered(e.Token)
			return append(dst, d...), nil
		}
		if x.parts, err = changestream.Split(d.Clone(), e.Token, changestream.MaxEventBytes, x.stream.skip); err != nil {
			if mongoerr.Is(err, mongoerr.BSONObjectTooLarge) {
				x.stream.db.Metrics.EventsTooLarge.Add(1)
			}
			return dst, err
		}
		if len(x.parts) > 1 {
			x.stream.db.Metrics.EventsSplit.Add(1)
		}
	}
	part := x.parts[0]
	x.parts = x.parts[1:]
	x.stream.place.Delivered(part.Token)
	return append(dst, part.Doc...), nil
}

// Close implements stream.
func (x *changeEvents) Close() error { return x.src.Close() }

// exhausted says that the last event has been delivered: the cursor is over.
func (x *changeEvents) exhausted() bool { return x.stream.ended && len(x.parts) == 0 }

// ResumeToken is what a change stream is resumed with behind the batch made last;
// nil for other cursors.
func (c *Cursor) ResumeToken() bsonval.Doc {
	if c.changes == nil {
		return nil
	}
	return c.resume.Doc()
}

// changeImages gives change streams the documents that are not in the log.
type changeImages struct{ db *DB }

// Current implements changestream.Images.
func (i changeImages) Current(ctx context.Context, ns string, uuid oplog.UUID, key bsonval.Doc) (bsonval.Doc, error) {
	db, coll, _ := strings.Cut(ns, ".")
	if c := i.db.catalog.Collection(db, coll); c == nil || uuid != (oplog.UUID{}) && c.UUID != catalog.UUID(uuid) {
		return nil, nil
	}
	doc, found, ok, err := i.db.FindByID(ctx, Namespace{DB: db, Coll: coll}, key, nil)
	switch {
	case err != nil || ok && !found:
		return nil, err
	case ok:
		return doc, nil
	}
	return i.find(ctx, Namespace{DB: db, Coll: coll}, key)
}

// find is Current for collections whose documents cannot be looked up by _id at once.
func (i changeImages) find(ctx context.Context, ns Namespace, key bsonval.Doc) (bsonval.Doc, error) {
	cur, err := i.db.Find(ctx, i.db.NewOp(ctx), ns, &FindQuery{Filter: key, Limit: 1})
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	doc, err := cur.out.Append(ctx, nil)
	if err == io.EOF {
		return nil, nil
	}
	return doc, err
}

// Before implements changestream.Images.
func (i changeImages) Before(ctx context.Context, id changestream.PreImageID) (bsonval.Doc, error) {
	txn := i.db.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	image, ok, err := i.db.PreImage(ctx, txn, catalog.UUID(id.UUID), id.TS, id.Index)
	if !ok || err != nil {
		return nil, err
	}
	return image.Clone(), nil
}
