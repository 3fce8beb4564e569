package database

import (
	"bytes"
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/storage"
)

// PreImage returns the document from before a change, as long as it is kept: ts is
// the time of the change's entry and index the operation's place in the entry, if
// that is a transaction's. The document is valid until the next call on txn.
func (d *DB) PreImage(ctx context.Context, txn storage.Txn, ui catalog.UUID, ts uint64, index int) (image bsonval.Doc, ok bool, err error) {
	if d.oplog == nil {
		return nil, false, nil
	}
	s := imageSearch{txn: txn, table: d.oplog.images, ts: ts, index: int64(index)}
	record, err := s.find(ctx)
	if record == nil || err != nil {
		return nil, false, clientError(ctx, err)
	}
	id := record.Lookup("_id").Doc()
	if !bytes.Equal(id.Lookup("nsUUID").Bytes(), ui[:]) {
		return nil, false, nil
	}
	return record.Lookup("preImage").Doc(), true, nil
}

// imageSearch looks for one image.
type imageSearch struct {
	txn   storage.Txn
	table storage.TableID
	ts    uint64
	index int64
}

// find returns the image's record, nil if there is none. The image of an entry of its
// own has the entry's id. Those of a transaction follow its last entry without a gap,
// in the order of the entries and of the operations in them.
func (s *imageSearch) find(ctx context.Context) (bsonval.Doc, error) {
	record, order, err := s.at(ctx, storage.RecordID(s.ts))
	if order == 0 || err != nil {
		return record, err
	}
	first, err := s.first(ctx)
	if first == 0 || err != nil {
		return nil, err
	}
	// record first+below is before the one looked for; first+above is not.
	below, above := storage.RecordID(-1), storage.RecordID(0)
	for ; ; above = 2*above + 1 {
		if record, order, err = s.at(ctx, first+above); order >= 0 || err != nil {
			break
		}
		below = above
	}
	for order != 0 && err == nil && above-below > 1 {
		middle := below + (above-below)/2
		switch record, order, err = s.at(ctx, first+middle); {
		case order < 0:
			below = middle
		case order > 0:
			above = middle
		}
	}
	return record, err
}

// first is the id of the first record behind the entry.
func (s *imageSearch) first(ctx context.Context) (storage.RecordID, error) {
	it, err := s.txn.Scan(ctx, s.table, storage.RecordRange{Min: storage.RecordID(s.ts) + 1})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if !it.Next() {
		return 0, it.Err()
	}
	return it.ID(), nil
}

// at returns a record and whether it is before (-1) or behind (1) the one looked for,
// as one that does not exist is.
func (s *imageSearch) at(ctx context.Context, id storage.RecordID) (record bsonval.Doc, order int, err error) {
	b, err := s.txn.Get(ctx, s.table, id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, 1, nil
	}
	if err != nil {
		return nil, 1, err
	}
	key := bsonval.Doc(b).Lookup("_id").Doc()
	ts, index := uint64(key.Lookup("ts").Int64()), key.Lookup("applyOpsIndex").Int64()
	switch {
	case ts < s.ts || ts == s.ts && index < s.index:
		return nil, -1, nil
	case ts == s.ts && index == s.index:
		return b, 0, nil
	}
	return nil, 1, nil
}
