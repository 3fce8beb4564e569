package importer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const duplicateKey = 11000

// send decodes a batch and writes it unordered. Its error is fatal: the server is gone or refuses every write.
func (r *run) send(ctx context.Context, batch []record) error {
	docs := make([]bson.Raw, 0, len(batch))
	lines := make([]int64, 0, len(batch))
	for _, rec := range batch {
		doc, err := r.document(rec)
		if err != nil {
			if err := r.bad(rec.line, err.Error()); err != nil {
				return err
			}
			continue
		}
		docs, lines = append(docs, doc), append(lines, rec.line)
	}
	if len(docs) == 0 {
		return nil
	}
	if r.config.Upsert {
		return r.replace(ctx, docs, lines)
	}
	_, err := r.target.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	there, refused, err := r.sort(err, lines)
	r.report.stored(int64(len(docs)-refused-there), 0, int64(there))
	return err
}

func (r *run) document(rec record) (bson.Raw, error) {
	doc, err := r.plan.decode(rec.data)
	if err != nil {
		return nil, err
	}
	if doc, err = r.plan.ids.identify(doc, rec); err != nil {
		return nil, err
	}
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("the document has %d bytes of BSON, the limit is %d", len(doc), maxDocument)
	}
	return doc, nil
}

func (r *run) replace(ctx context.Context, docs []bson.Raw, lines []int64) error {
	models := make([]mongo.WriteModel, len(docs))
	for i, doc := range docs {
		filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$eq", Value: doc.Lookup("_id")}}}}
		models[i] = mongo.NewReplaceOneModel().SetFilter(filter).SetReplacement(doc).SetUpsert(true)
	}
	res, err := r.target.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	there, _, err := r.sort(err, lines)
	if res != nil {
		r.report.stored(res.UpsertedCount, res.MatchedCount, int64(there))
	}
	return err
}

// sort counts the documents that exist already and reports those that the server refused. What is left is fatal.
func (r *run) sort(err error, lines []int64) (there, refused int, fatal error) {
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) {
		if err != nil {
			return 0, len(lines), fmt.Errorf("write: %w; %s", err, resumeHint(r.config))
		}
		return 0, 0, nil
	}
	for _, we := range bulk.WriteErrors {
		if we.Code == duplicateKey && aboutID(we.WriteError) {
			there++
			continue
		}
		refused++
		line := int64(0)
		if we.Index >= 0 && we.Index < len(lines) {
			line = lines[we.Index]
		}
		if err := r.bad(line, fmt.Sprintf("refused by the server: %s (code %d)", we.Message, we.Code)); err != nil {
			fatal = err
		}
	}
	if wc := bulk.WriteConcernError; wc != nil && fatal == nil {
		fatal = fmt.Errorf("write concern: %s", wc.Message)
	}
	return there, refused, fatal
}

// aboutID says whether a duplicate key error is about _id, not about another unique index.
func aboutID(we mongo.WriteError) bool {
	pattern, err := we.Raw.LookupErr("keyPattern")
	if err != nil {
		return strings.Contains(we.Message, "index: _id_")
	}
	doc, ok := pattern.DocumentOK()
	if !ok {
		return false
	}
	elements, err := doc.Elements()
	return err == nil && len(elements) == 1 && elements[0].Key() == "_id"
}
