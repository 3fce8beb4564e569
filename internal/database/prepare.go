package database

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/update"
)

// prepare makes a document ready to be stored: `_id` first and present, empty
// timestamps at the top level filled in, names, size and depth checked. It returns the
// document itself if nothing has to change.
func (d *DB) prepare(op *Op, doc bsonval.Doc) (bsonval.Doc, error) {
	if len(doc) > bsonval.MaxDocumentBytes {
		return nil, mongoerr.New(mongoerr.BSONObjectTooLarge,
			"object to insert too large. size in bytes: %d, max size: %d", len(doc), bsonval.MaxDocumentBytes)
	}
	if bsonval.DeeperThan(doc, update.MaxStoredDepth) {
		return nil, mongoerr.New(mongoerr.Overflow, "cannot insert document because it exceeds %d levels of nesting", update.MaxStoredDepth)
	}
	ids, first, stamps := 0, false, false
	var id bsonval.Value
	it := doc.Iter()
	for i := 0; it.Next(); i++ {
		v := it.Value()
		if it.KeyStr() == "_id" {
			if ids++; ids == 1 {
				id, first = v, i == 0
			}
		} else if v.Type() == bsonval.TypeTimestamp && v.Int64() == 0 && !op.KeepEmptyTimestamps {
			stamps = true
		}
	}
	if err := it.Err(); err != nil {
		return nil, mongoerr.New(mongoerr.InvalidBSON, "%v", err)
	}
	if ids > 1 {
		return nil, mongoerr.New(mongoerr.BadValue, "can't have multiple _id fields in one document")
	}
	if err := update.CheckID(id); err != nil {
		return nil, err
	}
	if first && !stamps {
		return doc, nil
	}
	if ids == 0 {
		id = d.ids.next()
	}
	out, at := bsonval.BeginDoc(make([]byte, 0, len(doc)+17))
	out = bsonval.AppendElement(out, "_id", id)
	it = doc.Iter()
	for it.Next() {
		v := it.Value()
		switch {
		case it.KeyStr() == "_id":
			continue
		case v.Type() == bsonval.TypeTimestamp && v.Int64() == 0 && !op.KeepEmptyTimestamps:
			v = d.timestamp()
		}
		out = bsonval.AppendElementBytes(out, it.Key(), v)
	}
	return bsonval.EndDoc(out, at), nil
}

// timestamp is the present time, different at each call.
func (d *DB) timestamp() bsonval.Value {
	return bsonval.Timestamp(uint32(time.Now().Unix()), 1+binary.BigEndian.Uint32(append([]byte{0}, d.ids.bytes()[9:]...)))
}

// validate applies the collection's validator to a document about to be stored.
// old is the document's present version, nil for an insert.
func (w *writer) validate(ctx context.Context, doc, old bsonval.Doc) error {
	m := w.coll.Validator
	if m == nil || w.op.BypassValidation {
		return nil
	}
	level, action := w.coll.Options.Lookup("validationLevel"), w.coll.Options.Lookup("validationAction")
	if level.Type() == bsonval.TypeString && level.Str() == "off" {
		return nil
	}
	ok, err := w.matches(m, doc)
	if ok || err != nil {
		return err
	}
	if old != nil && level.Type() == bsonval.TypeString && level.Str() == "moderate" {
		// Documents that were invalid before may stay so.
		if ok, err := w.matches(m, old); !ok || err != nil {
			return err
		}
	}
	if action.Type() == bsonval.TypeString && action.Str() == "warn" {
		w.db.log.Warn("document fails validation", "ns", w.coll.Namespace(), "id", bsonval.Format(doc.Lookup("_id")))
		return nil
	}
	info := bsonval.NewBuilder().Value("failingDocumentId", doc.Lookup("_id")).
		Doc("details", m.Failure(w.partial, doc)).Build()
	return mongoerr.New(mongoerr.DocumentValidationFailure, "Document failed validation").
		WithExtra(bsonval.NewBuilder().Doc("errInfo", info).Build())
}
