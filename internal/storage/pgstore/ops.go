package pgstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"

	"github.com/archelon-db/archelon/internal/storage"
)

// maxKey is the longest index key that is stored as it is. A B-tree page of
// PostgreSQL takes entries of 2,704 bytes.
const maxKey = 1800

// opKind is the kind of a write.
type opKind byte

const (
	opInsert opKind = iota
	opUpdate
	opDelete
	opPut       // an index entry, also on top of one
	opPutUnique // an index entry under a key that nobody holds
	opRemove    // an index entry
	opPutMeta
	opDropMeta
	opCreate
	opDrop // this and the next ones wait for Commit
	opAppend
	opTruncate
	opName
)

// op is a write: queued, then sent, and to be undone perhaps.
type op struct {
	kind    opKind
	o       *object
	id      storage.RecordID
	key     []byte
	value   []byte // document, type bits or value; gone when it was sent, unless it is short
	old     []byte // what was there before
	hadOld  bool
	sent    bool
	dropped bool                 // taken back before it was sent
	fresh   bool                 // an insertion under a new record id, or of the first entries of such a one
	seen    []byte               // of a brief transaction: what the record is expected to be
	onlyIf  *storage.Expectation // of a brief transaction: what the meta key is expected to be
}

// write queues a write and notes it for RollbackTo.
func (tx *txn) write(w *op) *op {
	tx.note(w)
	tx.enqueue(w)
	return w
}

func (tx *txn) note(w *op) {
	tx.writes++
	tx.log = append(tx.log, w)
	tx.forget(w)
}

func (tx *txn) enqueue(w *op) {
	tx.queue = append(tx.queue, w)
	tx.queued += len(w.key) + len(w.value) + 64
}

// forget drops the stashed record if a write has changed it.
func (tx *txn) forget(w *op) {
	if w.kind <= opDelete && tx.hasDoc && tx.stash == (recordKey{storage.TableID(w.o.id), w.id}) {
		tx.hasDoc, tx.stashed = false, nil
	}
}

// relieve sends the queue when it has become long. Within the writes of one record, curb
// does when it is too long.
func (tx *txn) relieve(ctx context.Context) error {
	switch n := len(tx.queue); {
	case n >= maxQueued || tx.queued >= maxQueuedBytes:
		return tx.flush(ctx)
	case n >= tx.unpushed+pushed:
		return tx.push(ctx)
	}
	return nil
}

func (tx *txn) curb(ctx context.Context) error {
	if len(tx.queue) < 2*maxQueued && tx.queued < 2*maxQueuedBytes {
		return nil
	}
	return tx.flush(ctx)
}

// flush sends the queue.
func (tx *txn) flush(ctx context.Context) error {
	if len(tx.queue) == 0 {
		return nil
	}
	if err := tx.start(ctx); err != nil {
		return err
	}
	finish, _ := tx.send()
	if err := tx.run(ctx); err != nil {
		return err
	}
	finish()
	return nil
}

// send puts the queue on the connection. The function it returns is to be called
// when the batch has run; apart is how many writes have statements of their own.
func (tx *txn) send() (finish func(), apart int) {
	queue := tx.queue
	tx.queue, tx.queued, tx.unpushed = nil, 0, 0
	rest := queue
	switch {
	case len(queue) < minBulk:
	case tx.isSorted(queue):
		tx.sendTogether(queue)
		rest = nil
	default:
		rest = tx.sendBulk(queue)
	}
	for _, w := range rest {
		if !w.dropped {
			tx.sendOne(w)
			apart++
		}
	}
	return func() {
		for _, w := range queue {
			w.sent = true
			if w.kind <= opUpdate {
				tx.letGo(w)
			}
		}
	}, apart
}

// letGo forgets the document of a write that was sent.
func (tx *txn) letGo(w *op) {
	k := recordKey{storage.TableID(w.o.id), w.id}
	if p, ok := tx.records[k]; ok && p.doc == w {
		p.doc = nil
		tx.records[k] = p
	}
	w.value = nil
}

func (tx *txn) sendOne(w *op) {
	c := tx.c
	keep := func(v [][]byte) {
		if v[0] != nil {
			w.old, w.hadOld = append([]byte{}, v[0]...), true
		}
	}
	switch w.kind {
	case opInsert:
		c.add(w.o.sql.insert, nil, c.i8(int64(w.id)), w.value)
	case opUpdate:
		c.add(w.o.sql.update, nil, c.i8(int64(w.id)), w.value)
	case opDelete:
		c.add(w.o.sql.remove, nil, c.i8(int64(w.id)))
	case opPut:
		key, tail := splitKey(w.key)
		if tx.saved {
			c.add(w.o.sql.putOld, keep, key, c.i8(int64(w.id)), w.value, tail)
		} else {
			c.add(w.o.sql.put, nil, key, c.i8(int64(w.id)), w.value, tail)
		}
	case opPutUnique:
		key, tail := splitKey(w.key)
		c.add(w.o.sql.putNew, nil, key, c.i8(int64(w.id)), w.value, tail)
	case opRemove:
		key, _ := splitKey(w.key)
		c.add(w.o.sql.removeEntry, keep, key, c.i8(int64(w.id)))
	case opPutMeta:
		if tx.saved {
			c.add(tx.s.sql.putOldMeta, keep, w.key, w.value)
		} else {
			c.add(tx.s.sql.putMeta, nil, w.key, w.value)
		}
	case opDropMeta:
		c.add(tx.s.sql.dropMeta, keep, w.key)
	case opCreate:
		w.o.creation(tx.s, c)
	}
}

// splitKey is how a key is stored: as it is, or as its beginning and a hash, with
// the rest beside it.
func splitKey(key []byte) (stored, tail []byte) {
	if len(key) <= maxKey {
		return key, nil
	}
	h := sha256.Sum256(key)
	return append(bytes.Clone(key[:maxKey]), h[:]...), key[maxKey:]
}

// fullKey undoes splitKey.
func fullKey(dst, stored, tail []byte) []byte {
	if tail == nil {
		return append(dst, stored...)
	}
	return append(append(dst, stored[:min(maxKey, len(stored))]...), tail...)
}

// Savepoint marks the present state.
func (tx *txn) Savepoint() storage.Savepoint {
	tx.saved = true
	return storage.Savepoint(len(tx.log))
}

// RollbackTo undoes every write since a savepoint.
func (tx *txn) RollbackTo(sp storage.Savepoint) error {
	if err := tx.enter(context.Background()); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	for len(tx.log) > max(0, int(sp)) {
		w := tx.log[len(tx.log)-1]
		tx.log = tx.log[:len(tx.log)-1]
		if err := tx.undo(w); err != nil {
			return err
		}
	}
	return nil
}

var errNoSavepoint = errors.New("storage: RollbackTo without a savepoint")

// undo takes back the newest write.
func (tx *txn) undo(w *op) error {
	tx.writes++
	switch w.kind {
	case opCreate:
		return tx.undoCreate(w)
	case opDrop:
		tx.drops = tx.drops[:len(tx.drops)-1]
		tx.s.ids.undrop(w.o)
		return nil
	case opAppend:
		tx.appends = tx.appends[:len(tx.appends)-1]
		return nil
	case opTruncate:
		tx.cuts = tx.cuts[:len(tx.cuts)-1]
		return nil
	case opName:
		tx.renames = tx.renames[:len(tx.renames)-1]
		return nil
	}
	tx.unlearn(w)
	if !w.sent {
		w.dropped = true
		return nil
	}
	back := &op{o: w.o, id: w.id, key: w.key, value: w.old}
	switch {
	case w.kind == opInsert:
		back.kind = opDelete
	case w.kind == opUpdate && w.hadOld:
		back.kind = opUpdate
	case w.kind == opDelete && w.hadOld:
		back.kind = opInsert
	case w.kind == opUpdate || w.kind == opDelete:
		tx.fail = errNoSavepoint
		return errNoSavepoint
	case w.kind == opPut && w.hadOld, w.kind == opRemove && w.hadOld:
		back.kind = opPut
	case w.kind == opPut, w.kind == opPutUnique:
		back.kind = opRemove
	case w.kind == opPutMeta && w.hadOld, w.kind == opDropMeta && w.hadOld:
		back.kind = opPutMeta
	case w.kind == opPutMeta:
		back.kind = opDropMeta
	default:
		return nil // it removed what was not there
	}
	tx.enqueue(back)
	return nil
}

// unlearn makes what a write has changed unknown.
func (tx *txn) unlearn(w *op) {
	tx.forget(w)
	switch w.kind {
	case opInsert, opUpdate, opDelete:
		tx.records[recordKey{storage.TableID(w.o.id), w.id}] = presence{}
	case opPut, opPutUnique, opRemove:
		if h := tx.keys[entryKey{storage.IndexID(w.o.id), string(w.key)}]; h != nil {
			h.known = false
		}
	case opPutMeta, opDropMeta:
		tx.meta[string(w.key)] = &metaValue{}
	}
}

func (tx *txn) undoCreate(w *op) error {
	tx.s.ids.remove(w.o, tx)
	if !w.sent {
		w.dropped = true
		return nil
	}
	for _, sql := range w.o.removal(tx.s.schema) {
		tx.c.once(sql)
	}
	return tx.run(context.Background())
}
