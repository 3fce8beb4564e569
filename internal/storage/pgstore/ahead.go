package pgstore

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"slices"

	"github.com/archelon-db/archelon/internal/storage"
)

// Who changes many records tells which (LockAhead). Getting or locking one of them then locks
// and reads a good many of the next in the same statement, as far as nobody else has
// claimed them; and what is written to them travels as arrays.

// maxAhead is how many records are locked in one statement.
const maxAhead = 128

// ahead are the records that are going to be changed, or read.
type ahead struct {
	t    storage.TableID
	ids  []storage.RecordID          // not asked for yet
	docs map[storage.RecordID][]byte // locked and not asked for yet

	size  int                           // of the last chunk that was read
	found map[entryKey]storage.RecordID // by LookupAhead; 0 for none
}

var (
	_ storage.AheadLocker = (*txn)(nil)
	_ storage.AheadReader = (*txn)(nil)
)

// LockAhead tells which records the transaction is going to get and to lock, in this order.
func (tx *txn) LockAhead(t storage.TableID, ids []storage.RecordID) {
	if !tx.brief && tx.at == nil && !tx.opts.ReadOnly {
		tx.ahead.t, tx.ahead.ids, tx.ahead.docs = t, ids, nil
	}
}

// ReadAhead tells which records the transaction is going to get, in this order.
func (tx *txn) ReadAhead(t storage.TableID, ids []storage.RecordID) {
	if tx.opts.ReadOnly {
		tx.ahead = ahead{t: t, ids: ids}
	}
}

// readForeseen returns a record if it was told of; then it is read, and the next ones with it.
func (tx *txn) readForeseen(ctx context.Context, o *object, k recordKey) ([]byte, error) {
	a := &tx.ahead
	if a.t != k.t || o.kind != kindTable {
		return nil, nil
	}
	if len(a.ids) > 0 && a.ids[0] == k.id {
		if err := tx.start(ctx); err != nil {
			return nil, err
		}
		a.size = min(max(2*a.size, unknownRows), maxAhead)
		n := min(len(a.ids), a.size, int(max(1, chunkBytes/max(1, o.width.Load()))))
		ids := array{elem: oidInt8}
		for _, id := range a.ids[:n] {
			ids.addInt(int64(id))
		}
		a.ids, a.docs = a.ids[n:], make(map[storage.RecordID][]byte, n)
		tx.c.add(o.sql.getAny, func(v [][]byte) {
			a.docs[storage.RecordID(int64Of(v[0]))] = append(make([]byte, 0, len(v[1])), v[1]...)
		}, ids.bytes())
		if err := tx.run(ctx); err != nil {
			return nil, err
		}
	}
	doc := a.docs[k.id]
	delete(a.docs, k.id)
	return doc, nil
}

// LookupAhead looks several keys up that are going to be asked for.
func (tx *txn) LookupAhead(ctx context.Context, x storage.IndexID, keys [][]byte) ([]storage.RecordID, error) {
	if err := tx.enter(ctx); err != nil {
		return nil, err
	}
	defer tx.s.gate.RUnlock()
	ids := make([]storage.RecordID, len(keys))
	o, ok, err := tx.object(ctx, kindIndex, uint32(x))
	if err != nil || !ok || !o.unique {
		return ids, err
	}
	if err := tx.flush(ctx); err != nil {
		return nil, err
	}
	if err := tx.start(ctx); err != nil {
		return nil, err
	}
	tx.nreads = untracked
	numbers, stored := array{elem: oidInt8}, array{elem: oidBytea}
	for i, key := range keys {
		if len(key) <= maxKey {
			numbers.addInt(int64(i))
			stored.add(key)
		}
	}
	tx.c.add(o.sql.lookupMany, func(v [][]byte) { ids[int64Of(v[0])] = storage.RecordID(int64Of(v[1])) }, numbers.bytes(), stored.bytes())
	if err := tx.run(ctx); err != nil {
		return nil, err
	}
	tx.ahead.found = make(map[entryKey]storage.RecordID, len(keys))
	for i, key := range keys {
		if len(key) <= maxKey {
			tx.ahead.found[entryKey{x, string(key)}] = ids[i]
		}
	}
	return ids, nil
}

// foreseen returns a record if it was told of: then it is claimed, locked and read, and the
// next ones with it. It is nil if it is to be asked for by itself.
func (tx *txn) foreseen(ctx context.Context, o *object, k recordKey) ([]byte, error) {
	if tx.opts.ReadOnly {
		return tx.readForeseen(ctx, o, k)
	}
	a := &tx.ahead
	if a.t != k.t || o.kind != kindTable {
		return nil, nil
	}
	doc := a.docs[k.id]
	if doc == nil && len(a.ids) > 0 && a.ids[0] == k.id {
		if err := tx.lockChunk(ctx, o); err != nil {
			return nil, err
		}
		doc = a.docs[k.id]
	}
	if doc == nil {
		return nil, nil
	}
	delete(a.docs, k.id)
	tx.keep(k, doc)
	tx.know(k, present, nil)
	return doc, nil
}

// lockChunk locks some of the records that are next.
func (tx *txn) lockChunk(ctx context.Context, o *object) error {
	a := &tx.ahead
	n := min(len(a.ids), unknownRows)
	if width := o.width.Load(); width > 0 {
		n = min(len(a.ids), maxAhead, int(max(1, chunkBytes/width)))
	}
	chunk := a.ids[:n]
	a.ids = a.ids[n:]
	ids := array{elem: oidInt8}
	for i, id := range chunk {
		if _, known := tx.records[recordKey{a.t, id}]; known {
			continue
		}
		hash := tx.s.claims.hashRecord(a.t, id)
		if i == 0 {
			if err := tx.claim(ctx, hash); err != nil {
				return err
			}
		} else if !tx.tryClaim(hash) {
			continue // it may be free when it is asked for
		}
		ids.addInt(int64(id))
	}
	if ids.n < 2 {
		return nil
	}
	if err := tx.start(ctx); err != nil {
		return err
	}
	finish, _ := tx.send()
	if a.docs == nil {
		a.docs = make(map[storage.RecordID][]byte, n)
	}
	tx.c.add(o.sql.lockMany, func(v [][]byte) {
		a.docs[storage.RecordID(int64Of(v[0]))] = append(make([]byte, 0, len(v[1])), v[1]...)
	}, ids.bytes())
	if err := tx.run(ctx); err != nil {
		return err
	}
	finish()
	return nil
}

// tryClaim claims something if that can be done at once.
func (tx *txn) tryClaim(hash uint64) bool {
	switch tx.s.claims.claim(hash, tx.id, tx.seq) {
	case claimNew:
		tx.claims = append(tx.claims, hash)
		return true
	case claimMine:
		return true
	}
	return false
}

// isSorted says whether the writes of a queue may be sorted by their kind: they never touch
// the same thing twice, and none has to tell what was there before.
func (tx *txn) isSorted(queue []*op) bool {
	if tx.saved || tx.brief {
		return false
	}
	if !slices.ContainsFunc(queue, func(w *op) bool { return !w.isNew() }) {
		return false // as it is
	}
	touched := make(map[uint64]struct{}, len(queue))
	for _, w := range queue {
		if w.kind > opDropMeta {
			return false
		}
		h := tx.s.claims.thing(w)
		if _, twice := touched[h]; twice {
			return false
		}
		touched[h] = struct{}{}
	}
	return true
}

// thing is the hash of what is written: a record, an index's entry or a meta key.
func (ct *claimTable) thing(w *op) uint64 {
	var h maphash.Hash
	h.SetSeed(ct.seed)
	var head [13]byte
	if w.o != nil {
		head[0] = w.o.kind
		binary.BigEndian.PutUint32(head[1:], w.o.id)
		binary.BigEndian.PutUint64(head[5:], uint64(w.id))
	}
	h.Write(head[:])
	h.Write(w.key)
	return h.Sum64()
}

// sendRecords sends updates or removals of records of one table.
func (tx *txn) sendRecords(list []*op) {
	ids, docs := array{elem: oidInt8}, array{elem: oidBytea}
	size := 0
	for _, w := range list {
		size += len(w.value)
	}
	ids.room(len(list), 8*len(list))
	docs.room(len(list), size)
	for _, w := range list {
		ids.addInt(int64(w.id))
		docs.add(w.value)
	}
	if list[0].kind == opDelete {
		tx.c.add(list[0].o.sql.removeAll, nil, ids.bytes())
		return
	}
	tx.c.add(list[0].o.sql.updateAll, nil, ids.bytes(), docs.bytes())
}
