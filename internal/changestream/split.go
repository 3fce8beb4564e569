package changestream

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// MaxEventBytes is the largest event that is delivered whole.
const MaxEventBytes = bsonval.MaxDocumentBytes

// Fragment is a part of a split event, with a resume token of its own.
type Fragment struct {
	Token Token
	Doc   bsonval.Doc
}

// ErrTooLarge is the error of an event that is too large and may not be split.
func ErrTooLarge(size int) error {
	return mongoerr.New(mongoerr.BSONObjectTooLarge, "BSONObj size: %d (0x%X) is invalid. Size must be between 0 and %d(16MB)",
		size, size, MaxEventBytes)
}

// splitBytes is room for splitEvent in a fragment.
const splitBytes = 64

// Split cuts an event larger than limit bytes (MaxEventBytes) into fragments: each
// has an _id, splitEvent: {fragment, of} and some of the event's fields whole. The
// smallest fields come first, so that the first fragment has as many as fit. The
// first skip fragments are left out. An event that fits is returned as it is, even if
// it was to be split when the stream was left.
func Split(event bsonval.Doc, token Token, limit, skip int) ([]Fragment, error) {
	if len(event) <= limit {
		if skip > 0 {
			return nil, mongoerr.New(mongoerr.ChangeStreamFatalError,
				"cannot resume stream; the resume token was not found. %s", bsonval.FormatDoc(token.Doc()))
		}
		return []Fragment{{token, event}}, nil
	}
	groups, err := groupFields(event, limit)
	if err != nil {
		return nil, err
	}
	var out []Fragment
	for i := skip; i < len(groups); i++ {
		token.Fragment = i
		b, at := bsonval.BeginDoc(nil)
		b = bsonval.AppendElement(b, "_id", bsonval.Document(token.Doc()))
		b = bsonval.AppendElement(b, "splitEvent", bsonval.Document(
			bsonval.NewBuilder().Int32("fragment", int32(i+1)).Int32("of", int32(len(groups))).Build()))
		for _, raw := range groups[i] {
			b = append(b, raw...)
		}
		out = append(out, Fragment{token, bsonval.EndDoc(b, at)})
	}
	return out, nil
}

// groupFields deals an event's fields out to documents of at most limit bytes.
func groupFields(event bsonval.Doc, limit int) ([][][]byte, error) {
	var fields [][]byte
	room := limit - splitBytes
	it := event.Iter()
	for it.Next() {
		if it.KeyStr() == "_id" {
			room -= len(it.Raw()) + splitBytes // with a fragment's number
			continue
		}
		fields = append(fields, it.Raw())
	}
	slices.SortStableFunc(fields, func(a, b []byte) int { return len(a) - len(b) })
	groups := [][][]byte{nil}
	used := 0
	for _, f := range fields {
		if len(f) > room {
			return nil, mongoerr.New(mongoerr.BSONObjectTooLarge,
				"Splitting change event failed: fragment size %d is greater than maximum allowed fragment size %d", len(f), limit)
		}
		last := len(groups) - 1
		if used+len(f) > room && len(groups[last]) > 0 {
			groups, used = append(groups, nil), 0
			last++
		}
		groups[last] = append(groups[last], f)
		used += len(f)
	}
	return groups, nil
}
