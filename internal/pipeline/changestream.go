package pipeline

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var changeStreamRows = []row{
	{name: "$changeStream", doc: "Streams the changes of a collection, a database or the server.", parse: parseChangeStream, first: true, noFacet: true, refused: true},
	{name: "$changeStreamSplitLargeEvent", doc: "Splits change events that are too large for one document.", parse: parseSplitLargeEvent, last: true, noFacet: true, streaming: true, refused: true},
}

func parseChangeStream(p *parser, arg bsonval.Value) ([]stage, error) {
	const stage = "$changeStream"
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(50808, "$changeStream stage expects a document as argument.")
	}
	cluster := false
	err := fields(stage, arg.Doc(), func(name string, v bsonval.Value) (known bool, err error) {
		switch name {
		case "allChangesForCluster":
			cluster, err = fieldBool(stage, name, v)
		case "showExpandedEvents", "showSystemEvents", "showRawUpdateDescription", "showMigrationEvents", "matchCollectionUUIDForUpdateLookup":
			_, err = fieldBool(stage, name, v)
		case "fullDocument":
			err = oneOf(stage, name, v, "default", "updateLookup", "whenAvailable", "required")
		case "fullDocumentBeforeChange":
			err = oneOf(stage, name, v, "off", "whenAvailable", "required")
		case "resumeAfter", "startAfter":
			_, err = fieldDoc(stage, name, v)
		case "startAtOperationTime":
			if v.Type() != bsonval.TypeTimestamp {
				err = errFieldType(stage, name, v, "timestamp")
			}
		default:
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	if cluster && (p.ns.DB != "admin" || p.ns.Coll != "") {
		return nil, mongoerr.New(mongoerr.InvalidOptions, "A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database, and with no collection name; found %s", p.ns)
	}
	return p.system(stage, arg), nil
}

func oneOf(stage, name string, v bsonval.Value, allowed ...string) error {
	s, err := fieldString(stage, name, v)
	if err != nil {
		return err
	}
	for _, a := range allowed {
		if s == a {
			return nil
		}
	}
	return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field '%s.%s' is not a valid value.", s, stage, name)
}

func parseSplitLargeEvent(_ *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument || !arg.Doc().IsEmpty() {
		return nil, mongoerr.New(7182800, "$changeStreamSplitLargeEvent spec should be an empty object")
	}
	return []stage{&splitStage{}}, nil
}

// splitStage splits events that are larger than a document may be into
// fragments: each has some of the event's fields whole, its _id, and splitEvent
// with its number.
type splitStage struct{}

func (s *splitStage) name() string           { return "$changeStreamSplitLargeEvent" }
func (s *splitStage) explain() bsonval.Value { return bsonval.Document(bsonval.EmptyDoc) }
func (s *splitStage) needs() needs           { return needsAll }
func (s *splitStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return &splitSource{input: newInput(r, src)}, nil
}

type splitSource struct {
	input
	fragments []bsonval.Doc // of the event under way, still to come
}

func (x *splitSource) Next(ctx context.Context) (bsonval.Doc, error) {
	if len(x.fragments) == 0 {
		d, err := x.next(ctx)
		if err != nil || len(d) <= bsonval.MaxDocumentBytes {
			return d, err
		}
		if x.fragments, err = splitEvent(d, bsonval.MaxDocumentBytes); err != nil {
			return nil, err
		}
	}
	d := x.fragments[0]
	x.fragments = x.fragments[1:]
	return d, nil
}

// splitEvent distributes the fields of an event over documents of at most limit
// bytes.
func splitEvent(d bsonval.Doc, limit int) ([]bsonval.Doc, error) {
	id := d.Lookup("_id")
	overhead := len(bsonval.AppendElement(nil, "_id", id)) + 64 // with splitEvent
	groups := [][]byte{nil}
	it := d.Iter()
	for it.Next() {
		if it.KeyStr() == "_id" {
			continue
		}
		e := bsonval.AppendElementBytes(nil, it.Key(), it.Value())
		last := len(groups) - 1
		if len(e)+overhead > limit {
			return nil, mongoerr.New(mongoerr.BSONObjectTooLarge, "Splitting change event failed: field '%s' is too large", it.KeyStr())
		}
		if len(groups[last])+len(e)+overhead > limit {
			groups = append(groups, e)
			continue
		}
		groups[last] = append(groups[last], e...)
	}
	out := make([]bsonval.Doc, len(groups))
	for i, g := range groups {
		part := bsonval.NewBuilder().Int32("fragment", int32(i+1)).Int32("of", int32(len(groups))).Build()
		b, at := bsonval.BeginDoc(nil)
		b = bsonval.AppendElement(b, "_id", id)
		b = bsonval.AppendElement(b, "splitEvent", bsonval.Document(part))
		out[i] = bsonval.EndDoc(append(b, g...), at)
	}
	return out, nil
}
