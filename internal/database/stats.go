package database

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// CollectionStats are the numbers of one collection, in bytes and counts.
type CollectionStats struct {
	Count, Size, StorageSize int64
	Indexes                  []IndexSize
	TotalIndexSize           int64
	Capped                   *catalog.Cap // nil if it is not capped
}

// IndexSize is the size of one index.
type IndexSize struct {
	Name     string
	Bytes    int64
	Building bool
}

// CollStats returns a collection's numbers; all are zero if it does not exist.
func (d *DB) CollStats(ctx context.Context, ns Namespace) (CollectionStats, error) {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	if coll == nil {
		return CollectionStats{}, nil
	}
	if coll.IsView() {
		return CollectionStats{}, errIsView(ns)
	}
	s, err := d.collStats(ctx, coll)
	return s, clientError(ctx, err)
}

func (d *DB) collStats(ctx context.Context, coll *catalog.Collection) (s CollectionStats, err error) {
	if s.Count, s.Size, err = d.counts(ctx, nil, coll); err != nil {
		return s, err
	}
	s.StorageSize, s.Capped = d.engine.TableSize(coll.Table), coll.Capped
	for _, x := range coll.Indexes {
		size := d.engine.IndexSize(x.ID)
		if x.Clustered {
			s.StorageSize += size
			continue
		}
		s.Indexes = append(s.Indexes, IndexSize{x.Name, size, !x.Ready})
		s.TotalIndexSize += size
	}
	return s, nil
}

// Append appends the fields of a collStats reply, sizes divided by scale.
func (s *CollectionStats) Append(b *bsonval.Builder, scale int64) {
	b.Value("size", sizeValue(s.Size/scale)).Value("count", sizeValue(s.Count))
	if s.Count > 0 {
		b.Value("avgObjSize", sizeValue(s.Size/s.Count))
	}
	b.Value("storageSize", sizeValue(s.StorageSize/scale)).Value("freeStorageSize", sizeValue(0)).Bool("capped", s.Capped != nil)
	if s.Capped != nil {
		b.Value("max", sizeValue(s.Capped.Max)).Value("maxSize", sizeValue(s.Capped.Size/scale))
	}
	b.Value("nindexes", sizeValue(int64(len(s.Indexes))))
	b.StartArray("indexBuilds")
	for _, x := range s.Indexes {
		if x.Building {
			b.Str("", x.Name)
		}
	}
	b.End().Value("totalIndexSize", sizeValue(s.TotalIndexSize/scale))
	b.Value("totalSize", sizeValue((s.StorageSize+s.TotalIndexSize)/scale))
	b.StartDoc("indexSizes")
	for _, x := range s.Indexes {
		b.Value(x.Name, sizeValue(x.Bytes/scale))
	}
	b.End().Value("scaleFactor", sizeValue(scale))
}

// sizeValue is a number as MongoDB reports sizes: an int32 if it fits.
func sizeValue(n int64) bsonval.Value {
	if n == int64(int32(n)) {
		return bsonval.Int32(int32(n))
	}
	return bsonval.Int64(n)
}

// DatabaseStats are the numbers of one database, in bytes and counts.
type DatabaseStats struct {
	Collections, Views, Indexes                 int64
	Objects, DataSize, StorageSize, IndexesSize int64
}

// DBStats adds up the numbers of a database's collections.
func (d *DB) DBStats(ctx context.Context, db string) (s DatabaseStats, err error) {
	for _, coll := range d.Catalog().Collections(db) {
		if coll.IsView() {
			s.Views++
			continue
		}
		one, err := d.collStats(ctx, coll)
		if err != nil {
			return s, clientError(ctx, err)
		}
		s.Collections++
		s.Indexes += int64(coll.NumIndexes())
		s.Objects += one.Count
		s.DataSize += one.Size
		s.StorageSize += one.StorageSize
		s.IndexesSize += one.TotalIndexSize
	}
	return s, nil
}

// SizeQuery asks for the size of a part of a collection.
type SizeQuery struct {
	KeyPattern, Min, Max bsonval.Doc // all nil for everything
	Estimate             bool
	MaxSize, MaxObjects  int64 // 0 for no limit
}

// DataSize measures documents. limited says that a limit was reached.
func (d *DB) DataSize(ctx context.Context, ns Namespace, q *SizeQuery) (size, count int64, limited bool, err error) {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	switch {
	case coll == nil:
		return 0, 0, false, nil
	case coll.IsView():
		return 0, 0, false, errIsView(ns)
	}
	switch {
	case (q.Min == nil) != (q.Max == nil):
		return 0, 0, false, mongoerr.New(mongoerr.BadValue, "only one of min or max specified")
	case q.Min != nil:
		return d.rangeSize(ctx, coll, q)
	case q.MaxSize == 0 && q.MaxObjects == 0:
		count, size, err = d.counts(ctx, nil, coll)
		return size, count, false, clientError(ctx, err)
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	it, err := txn.Scan(ctx, coll.Table, storage.RecordRange{})
	if err != nil {
		return 0, 0, false, clientError(ctx, err)
	}
	defer it.Close()
	for it.Next() {
		size += int64(len(it.Doc()))
		count++
		if q.MaxSize > 0 && size > q.MaxSize || q.MaxObjects > 0 && count > q.MaxObjects {
			return size, count, true, nil
		}
	}
	return size, count, false, clientError(ctx, it.Err())
}

// rangeSize measures the documents between two keys of an index.
func (d *DB) rangeSize(ctx context.Context, coll *catalog.Collection, q *SizeQuery) (size, count int64, limited bool, err error) {
	pattern := q.KeyPattern
	if pattern == nil {
		b := bsonval.NewBuilder()
		it := q.Min.Iter()
		for it.Next() {
			b.Int32(string(it.Key()), 1)
		}
		pattern = b.Build()
	}
	found := false
	for _, x := range coll.Indexes {
		found = found || x.Ready && sameKeyPattern(x.Key, pattern)
	}
	if !found {
		return 0, 0, false, mongoerr.New(mongoerr.OperationFailed, "couldn't find valid index containing key pattern")
	}
	ns := Namespace{DB: coll.DB, Coll: coll.Name}
	cur, err := d.Find(ctx, d.NewOp(ctx), ns, &FindQuery{Hint: &plan.Hint{Key: pattern}, Min: q.Min, Max: q.Max})
	if err != nil {
		return 0, 0, false, err
	}
	defer cur.Close()
	for {
		buf, at := bsonval.BeginDoc(nil)
		buf, _, more, err := cur.AppendBatch(ctx, buf, insertBatchDocs)
		if err != nil {
			return 0, 0, false, err
		}
		it := bsonval.Doc(bsonval.EndDoc(buf, at)).Iter()
		for it.Next() {
			size += int64(len(it.Value().Doc()))
			count++
			if q.MaxSize > 0 && size > q.MaxSize || q.MaxObjects > 0 && count > q.MaxObjects {
				return size, count, true, nil
			}
		}
		if !more {
			return size, count, false, nil
		}
	}
}
