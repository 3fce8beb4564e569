package copier

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// stream reads the source's changes: all of them, from a token on.
type stream struct {
	src   *peer
	token Doc // behind the last batch that was read
	cur   *cursor
	batch int
	held  *events // of a batch that was taken in part
}

// events is a batch of them.
type events struct {
	list []Doc
	// token is where a stream goes on behind them.
	token Doc
	// passed is a time up to which the stream has nothing more.
	passed uint64
}

// streamCommand opens a stream; without a token from now on.
func streamCommand(token Doc, batch int) Doc {
	b := bsonval.NewBuilder().Int32("aggregate", 1).StartArray("pipeline").StartDoc("").StartDoc("$changeStream").
		Bool("allChangesForCluster", true).Bool("showExpandedEvents", true)
	if token != nil {
		b.Doc("startAfter", token)
	}
	return b.End().End().End().StartDoc("cursor").Int32("batchSize", int32(batch)).End().Build()
}

// openStream returns a token for what happens from now on.
func openStream(ctx context.Context, src *peer) (Doc, error) {
	cur, err := src.query(ctx, "admin", streamCommand(nil, 0), 0)
	if err != nil {
		return nil, fmt.Errorf("open the change stream: %w", err)
	}
	defer cur.close(ctx)
	if cur.token != nil {
		return cur.token.Clone(), nil
	}
	// An older server tells the token with the first batch it has waited for.
	cur.maxTime = 1
	for {
		if _, err := cur.next(ctx); err != nil {
			return nil, err
		}
		if cur.token != nil {
			return cur.token.Clone(), nil
		}
	}
}

// unsupportedStream tells errors of servers that have no change streams, or not such.
func unsupportedStream(err error) bool {
	switch egress.CodeOf(err) {
	case streamStandalone, unknownFieldCode, unknownStreamField, mongoerr.CommandNotFound, mongoerr.NotImplemented, mongoerr.CommandNotSupported:
		return true
	}
	return false
}

// Codes without a name: change streams on a standalone server, and two of arguments that a server does not know.
const (
	streamStandalone   mongoerr.Code = 40573
	unknownFieldCode   mongoerr.Code = 40415
	unknownStreamField mongoerr.Code = 40324
)

// next returns the next batch of events, maybe an empty one after waiting for some.
func (s *stream) next(ctx context.Context) (*events, error) {
	if s.held != nil {
		held := s.held
		s.held = nil
		return held, nil
	}
	since := time.Now()
	for {
		e, err := s.read(ctx)
		if err == nil {
			return e, nil
		}
		s.cur = nil
		switch code := egress.CodeOf(err); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case code == mongoerr.ChangeStreamHistoryLost || code == mongoerr.ChangeStreamFatalError:
			return nil, fmt.Errorf("the source has lost the history that the copy needs (its oplog is too short, or the copy was stopped "+
				"for too long): begin again with --restart: %w", err)
		case code == mongoerr.BSONObjectTooLarge:
			return nil, fmt.Errorf("a document of nearly 16 MiB has been changed on the source, too large for an event of its change stream: "+
				"begin again with --restart while nobody changes such documents, or --exclude their collection: %w", err)
		case !passing(err) && code != mongoerr.CursorNotFound && code != mongoerr.CursorKilled && code != mongoerr.Interrupted,
			time.Since(since) > patience:
			return nil, fmt.Errorf("change stream: %w", err)
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

func (s *stream) read(ctx context.Context) (*events, error) {
	if s.cur == nil {
		cur, err := s.src.query(ctx, "admin", streamCommand(s.token, s.batch), s.batch)
		if err != nil {
			return nil, err
		}
		cur.maxTime = awaiting.Milliseconds()
		s.cur = cur
	}
	docs, err := s.cur.next(ctx)
	if err != nil {
		return nil, err
	}
	if docs == nil {
		return nil, mongoerr.New(mongoerr.CursorNotFound, "the change stream has ended")
	}
	e := &events{list: docs, token: s.cur.token}
	if e.token == nil && len(docs) > 0 {
		e.token = documentOf(docs[len(docs)-1].Lookup("_id"))
	}
	if e.token != nil {
		s.token = e.token
		e.passed = tokenTime(e.token)
	}
	switch {
	case len(docs) > 0 && e.passed > 0:
		e.passed-- // there may be more of the same time
	case e.passed == 0 && len(docs) == 0:
		e.passed = s.cur.time // a token that cannot be read: the server had nothing up to its time
	}
	return e, nil
}

// close ends the stream.
func (s *stream) close(ctx context.Context) {
	if s.cur != nil {
		s.cur.close(ctx)
		s.cur = nil
	}
}

// tokenTime is the time in a resume token, whose text begins with 82 and eight bytes in hexadecimal digits; 0 for others.
func tokenTime(token Doc) uint64 {
	v := token.Lookup("_data")
	if v.Type() != bsonval.TypeString {
		return 0
	}
	text := string(v.Bytes())
	if len(text) < 18 || text[:2] != "82" {
		return 0
	}
	n, err := strconv.ParseUint(text[2:18], 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// event is one event, its fields views on its bytes.
type event struct {
	kind   string
	time   uint64
	token  Doc
	uuid   bsonval.Value
	ns, to namespace
	nsType string
	id     bsonval.Value
	full   Doc
	delta  Doc // updateDescription
	about  Doc // operationDescription
}

func parseEvent(d Doc) event {
	var e event
	for it := d.Iter(); it.Next(); {
		v := it.Value()
		switch it.KeyStr() {
		case "_id":
			e.token = documentOf(v)
		case "operationType":
			e.kind = textOf(v)
		case "clusterTime":
			e.time = timeOf(v)
		case "collectionUUID":
			e.uuid = v
		case "ns":
			e.ns = namespaceOf(v)
		case "to":
			e.to = namespaceOf(v)
		case "nsType":
			e.nsType = textOf(v)
		case "documentKey":
			e.id = documentOf(v).Lookup("_id")
		case "fullDocument":
			if v.Type() == bsonval.TypeDocument {
				e.full = v.Doc()
			}
		case "updateDescription":
			e.delta = documentOf(v)
		case "operationDescription":
			e.about = documentOf(v)
		}
	}
	return e
}

func namespaceOf(v bsonval.Value) namespace {
	d := documentOf(v)
	return namespace{textOf(d.Lookup("db")), textOf(d.Lookup("coll"))}
}

// textOf is a string's text, empty for other values.
func textOf(v bsonval.Value) string {
	if v.Type() != bsonval.TypeString {
		return ""
	}
	return string(v.Bytes())
}
