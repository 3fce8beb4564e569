package database

import (
	"context"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
)

// ttlInterval is how often expired documents are looked for, as in MongoDB.
const ttlInterval = time.Minute

// expireLoop deletes expired documents until ctx ends.
func (d *DB) expireLoop(ctx context.Context) {
	tick := time.NewTicker(ttlInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if d.leads() {
				d.Expire(ctx, time.Now())
			}
		case <-ctx.Done():
			return
		}
	}
}

// Expire deletes the documents whose TTL indexes say that their time was over at
// the moment given. It returns how many there were.
func (d *DB) Expire(ctx context.Context, now time.Time) (deleted int64) {
	snap := d.Catalog()
	for _, db := range snap.Databases() {
		for _, coll := range snap.Collections(db) {
			for _, x := range coll.Indexes {
				n, err := d.expireBy(ctx, coll, x, now)
				deleted += n
				if err != nil && ctx.Err() == nil {
					d.log.Warn("delete expired documents", "ns", coll.Namespace(), "index", x.Name, "error", err)
				}
			}
		}
	}
	return deleted
}

// expireBy deletes the documents expired by one index: those with a date in the
// field, or in the array there, that is older than its number of seconds.
func (d *DB) expireBy(ctx context.Context, coll *catalog.Collection, x *catalog.Index, now time.Time) (int64, error) {
	seconds := secondsToLive(coll, x)
	if !seconds.IsNumber() || !x.Ready {
		return 0, nil
	}
	before := now.UnixMilli() - seconds.TruncInt64()*1000
	filter := bsonval.NewBuilder().StartDoc(x.Fields[0].Path).Date("$lt", before).End().Build()
	if f := x.Spec.Lookup("partialFilterExpression"); f.Type() == bsonval.TypeDocument {
		filter = bsonval.NewBuilder().StartArray("$and").Doc("", filter).Doc("", f.Doc()).End().Build()
	}
	return d.Delete(ctx, d.NewOp(ctx), Namespace{DB: coll.DB, Coll: coll.Name}, &DeleteStatement{Filter: filter, Multi: true})
}
