package database

import (
	"bytes"
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/storage"
)

// The documents that retryable findAndModifies have returned are part of what sessions
// keep for retries: they are stored once, with the outcome, in the write's own commit.
// What MongoDB has in a collection of its own, config.image_collection, is that kept
// state seen as documents, made when somebody reads it. Nobody can write it.

// retryImagesNS is where the images are read.
var retryImagesNS = Namespace{DB: "config", Coll: "image_collection"}

// isMade says whether a collection's documents are made when they are read.
func (d *DB) isMade(ns Namespace) bool { return ns == retryImagesNS && d.RetryImages != nil }

// openMade opens the pipeline on such a collection.
func (a *aggregation) openMade(ctx context.Context) (pipeline.Source, error) {
	docs, err := a.db.RetryImages(ctx)
	if err != nil {
		return nil, clientError(ctx, err)
	}
	return a.pipe.Open(ctx, a.env, pipeline.NewList(docs))
}

// imagedSpan bounds where the entry of a write is looked for: behind the time at which
// its transaction was about to commit, 60 seconds wide.
const imagedSpan = 60 << 32

// ImagedEntry is the time of the entry that a retryable findAndModify has logged behind
// a time; 0 if it is not there any more.
func (d *DB) ImagedEntry(ctx context.Context, lsid bsonval.Doc, txnNumber int64, behind uint64) (ts uint64, err error) {
	if d.oplog == nil {
		return 0, nil
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	it, err := txn.Scan(ctx, d.oplog.table, storage.RecordRange{
		Min: storage.RecordID(behind) + 1, Max: storage.RecordID(behind) + imagedSpan,
	})
	if err != nil {
		return 0, clientError(ctx, err)
	}
	defer it.Close()
	for it.Next() {
		entry, err := oplog.Parse(it.Doc())
		if err != nil {
			return 0, err
		}
		if entry.Retry != "" && entry.TxnNumber == txnNumber && bytes.Equal(entry.LSID, lsid) {
			return entry.TS, nil
		}
	}
	return 0, clientError(ctx, it.Err())
}
