package database

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// errNoCollection says that the collection to write does not exist.
var errNoCollection = errors.New("collection does not exist")

// writer changes records of one collection together with their index entries,
// in one transaction. It belongs to one goroutine.
type writer struct {
	db   *DB
	op   *Op
	coll *catalog.Collection
	txn  storage.Txn

	hope   hope
	losses uint64 // of the engine, before the writer has looked at anything that is remembered

	keys, oldKeys indexkey.Keys
	partial       *expr.Context // evaluates partial filters and validators
	marks         []multikeyMark

	// Change of the collection's number and size of documents by this
	// transaction.
	count, bytes int64

	volume int // of the documents written, in bytes, both versions of those that were replaced

	slot     slot   // for the counts in a shared store
	standing *tally // of a capped collection when the transaction began; nil until known

	log     logWriter
	stmt    int            // the statement under way, for the log
	as      logForm        // how updates are logged
	targets *oplog.Targets // of an update by operators

	// oldest is the record id from which records of a capped collection are left.
	oldest storage.RecordID

	broken bool // the storage transaction has failed: no document is to blame

	sel  selection // of the statement under way
	room writerRoom
}

// writerRoom are buffers that one writer leaves to the next.
type writerRoom struct {
	old, new []byte // a document's versions
}

// maxRoomBytes is the size of the largest buffer left to the next writer.
const maxRoomBytes = 64 << 10

// newWriter makes a writer, out of one that has been released if there is one.
func (d *DB) newWriter() *writer {
	if w, ok := d.writers.Get().(*writer); ok {
		return w
	}
	return &writer{}
}

// reset makes the writer new but for its buffers.
func (w *writer) reset(d *DB, op *Op) {
	w.keys.Reset(maxRoomBytes)
	w.oldKeys.Reset(maxRoomBytes)
	if max(cap(w.room.old), cap(w.room.new)) > maxRoomBytes {
		w.room = writerRoom{}
	}
	*w = writer{db: d, op: op, keys: w.keys, oldKeys: w.oldKeys, room: w.room}
}

// release gives a writer back that nobody uses any more.
func (d *DB) release(w *writer) {
	w.reset(nil, nil)
	d.writers.Put(w)
}

// hope is what a write's first attempt is about, which the engine may do at less cost as
// long as nobody is in the way.
type hope byte

const (
	none      hope = iota
	oneRecord      // storage.TxnOptions.Brief
	hopeful        // storage.TxnOptions.Hopeful
)

// multikeyMark is a mark that a transaction made.
type multikeyMark struct {
	index *catalog.Index
	mask  uint32
}

// conflictWait is how long a write waits for another that has claimed the same
// record; a one-statement write is done within a commit's time.
const conflictWait = 500 * time.Millisecond

// write runs fn in a transaction on a collection and commits, starting again
// while concurrent writes are in the way. Because of that fn may run several
// times and must set its results anew each time.
//
// hope says what fn is about.
func (d *DB) write(ctx context.Context, op *Op, ns Namespace, hope hope, fn func(*writer) error) error {
	if op.Txn != nil {
		return op.Txn.write(ctx, op, ns, fn)
	}
	if op.series != nil {
		return op.series.write(ctx, op, ns, fn)
	}
	w := d.newWriter()
	defer d.release(w)
	for attempt := 0; ; attempt++ {
		w.reset(d, op)
		w.hope = hope
		err := d.writeOnce(ctx, ns, w, fn)
		if catalog.IsStale(err) {
			if err := d.catalog.Refresh(ctx, op.defs); err != nil {
				return clientError(ctx, err)
			}
			if err := pause(ctx, attempt); err != nil {
				return clientError(ctx, err)
			}
			continue
		}
		if !errors.Is(err, storage.ErrWriteConflict) {
			return clientError(ctx, err)
		}
		if hope != none { // perhaps there is a better reason for it
			hope = none
			continue
		}
		d.Metrics.WriteConflicts.Add(1)
		if attempt > 2 {
			if err := pause(ctx, attempt); err != nil {
				return clientError(ctx, err)
			}
		}
	}
}

// pause waits a random while that grows with the attempts, at most 10 ms.
func pause(ctx context.Context, attempt int) error {
	most := min(time.Duration(attempt+1)*100*time.Microsecond, 10*time.Millisecond)
	t := time.NewTimer(rand.N(most))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *DB) writeOnce(ctx context.Context, ns Namespace, w *writer, fn func(*writer) error) error {
	w.losses = storage.Losses(d.engine)
	if err := d.countCapped(ctx, ns); err != nil {
		return err
	}
	coll, snap, err := d.lockForWrite(w.op, ns)
	if err != nil {
		return err
	}
	defer coll.Guard.RUnlock()
	w.coll = coll
	if coll.Capped != nil {
		defer w.inOrder()()
	}
	began := w.begin()
	defer w.takeSlot()()
	w.txn = d.engine.Begin(d.writeOptions(w, snap))
	defer w.txn.Rollback()
	w.log.begin(w)
	defer w.log.end(false)
	if err := fn(w); err != nil {
		return err
	}
	if w.op.BeforeCommit != nil {
		if err := w.op.BeforeCommit(ctx, w.txn); err != nil {
			return err
		}
	}
	if err := w.tally(ctx); err != nil {
		return err
	}
	if err := w.commit(); err != nil {
		w.slot.lose(err)
		d.miscount(w.coll, err)
		return err
	}
	w.tallied()
	if d.shared {
		w.op.wrote = w.op.wrote || snap.KnownSince(began)
	}
	if w.op.Committed != nil {
		w.op.Committed()
	}
	w.log.end(true)
	if coll.Capped != nil {
		w.arrived()
	}
	return nil
}

// lockForWrite finds a collection and holds its guard shared.
func (d *DB) lockForWrite(op *Op, ns Namespace) (*catalog.Collection, *catalog.Snapshot, error) {
	for {
		snap := d.catalog.Snapshot()
		if d.shared {
			op.defs = snap
		}
		coll := snap.Collection(ns.DB, ns.Coll)
		switch {
		case coll == nil:
			return nil, nil, errNoCollection
		case coll.IsView():
			return nil, nil, mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", ns)
		case coll.Log:
			return nil, nil, errWriteLog(ns)
		}
		coll.Guard.RLock()
		now := d.catalog.Snapshot()
		if now != snap && (d.shared || now.Collection(ns.DB, ns.Coll) != coll) {
			coll.Guard.RUnlock()
			continue
		}
		if err := op.assumed.check(ns, coll); err != nil {
			coll.Guard.RUnlock()
			return nil, nil, err
		}
		return coll, snap, nil
	}
}

// isFull says whether the transaction has written as much as is committed at a time.
func (w *writer) isFull() bool { return w.volume >= batchBytes }

// insert adds a document that prepare has made ready.
func (w *writer) insert(ctx context.Context, doc bsonval.Doc) error {
	if c := w.coll.Capped; c != nil && int64(len(doc)) > c.Size {
		return errExceedsCap()
	}
	id, err := w.txn.Insert(ctx, w.coll.Table, doc)
	if err != nil {
		return err
	}
	for _, x := range w.coll.Indexes {
		if err := w.keysOf(x, doc, &w.keys); err != nil {
			return err
		}
		if err := w.mark(ctx, x, w.keys.Multikey); err != nil {
			return err
		}
		for _, k := range w.keys.List {
			if err := w.put(ctx, x, k, id, doc); err != nil {
				return err
			}
			if x == w.coll.IDIndex() && w.op.Txn == nil { // nobody else should try to claim it before it is there
				w.db.hints.of(w.coll.Table, k.Bytes).suggest(id)
			}
		}
	}
	w.count++
	w.bytes += int64(len(doc))
	w.volume += len(doc)
	if err := w.log.inserted(ctx, w, doc); err != nil {
		return err
	}
	if w.coll.Capped != nil {
		return w.removeOldest(ctx, id)
	}
	return nil
}

// replace changes a record to a new version of its document. touched says
// whether the value under a path may differ; nil means any may.
func (w *writer) replace(ctx context.Context, id storage.RecordID, old, doc bsonval.Doc,
	touched func(path string) bool,
) error {
	for _, x := range w.coll.Indexes {
		if !affected(x, touched) {
			continue
		}
		if err := w.keysOf(x, old, &w.oldKeys); err != nil {
			return err
		}
		if err := w.keysOf(x, doc, &w.keys); err != nil {
			return err
		}
		if err := w.mark(ctx, x, w.keys.Multikey); err != nil {
			return err
		}
		err := indexkey.Diff(&w.oldKeys, &w.keys,
			func(k indexkey.Key) error { return w.txn.DeleteEntry(ctx, x.ID, k.Bytes, id) },
			func(k indexkey.Key) error { return w.put(ctx, x, k, id, doc) })
		if err != nil {
			return err
		}
	}
	w.bytes += int64(len(doc) - len(old))
	w.volume += len(old) + len(doc)
	if err := w.txn.Update(ctx, w.coll.Table, id, doc); err != nil {
		return err
	}
	return w.log.replaced(ctx, w, old, doc)
}

// affected says whether an update may change a document's keys in an index.
func affected(x *catalog.Index, touched func(path string) bool) bool {
	if touched == nil || x.Partial != nil || x.Kind == indexkey.KindText || x.Kind == indexkey.KindWildcard {
		return true
	}
	for _, f := range x.Fields {
		if touched(f.Path) {
			return true
		}
	}
	return false
}

// remove deletes a record and its index entries.
func (w *writer) remove(ctx context.Context, id storage.RecordID, doc bsonval.Doc) error {
	for _, x := range w.coll.Indexes {
		if err := w.keysOf(x, doc, &w.keys); err != nil {
			return err
		}
		for _, k := range w.keys.List {
			if err := w.txn.DeleteEntry(ctx, x.ID, k.Bytes, id); err != nil {
				return err
			}
		}
	}
	w.count--
	w.bytes -= int64(len(doc))
	w.volume += len(doc)
	if err := w.txn.Delete(ctx, w.coll.Table, id); err != nil {
		return err
	}
	return w.log.removed(ctx, w, doc)
}

// keysOf computes a document's keys in an index: none if it is not in a partial
// index.
func (w *writer) keysOf(x *catalog.Index, doc bsonval.Doc, k *indexkey.Keys) error {
	if x.Partial != nil {
		ok, err := w.matches(x.Partial, doc)
		if err != nil {
			return err
		}
		if !ok {
			k.List, k.Multikey = k.List[:0], 0
			return nil
		}
	}
	return k.Of(x.Generator, doc, x.Collator())
}

func (w *writer) matches(m *match.Matcher, doc bsonval.Doc) (bool, error) {
	if m.NeedsContext() && w.partial == nil {
		w.partial = expr.NewCompiler(w.op.Env).NewContext()
	}
	return m.Match(w.partial, doc)
}

// mark notes that an index has arrays under some of its fields.
func (w *writer) mark(ctx context.Context, x *catalog.Index, mask uint32) error {
	if mask == 0 {
		return nil
	}
	written, err := catalog.MarkMultikey(ctx, w.txn, x, mask, w.losses)
	if written {
		w.marks = append(w.marks, multikeyMark{x, mask})
	}
	return err
}

// commit ends the transaction and tells the catalog which multikey marks it
// made. Once begun, a commit is not torn by a client that goes away.
func (w *writer) commit() error {
	if _, err := w.txn.Commit(context.Background()); err != nil {
		return err
	}
	for _, m := range w.marks {
		catalog.StoredMultikey(m.index, m.mask, w.losses)
	}
	return nil
}

func (w *writer) put(ctx context.Context, x *catalog.Index, k indexkey.Key, id storage.RecordID, doc bsonval.Doc) error {
	err := w.txn.PutEntry(ctx, x.ID, k.Bytes, id, k.TypeBits)
	if err == nil {
		return nil
	}
	var dup *storage.DuplicateKeyError
	if errors.As(err, &dup) {
		return duplicateKey(w.coll, x, k, doc)
	}
	return err
}

// duplicateKey is the error of a second document under a key of a unique index.
func duplicateKey(coll *catalog.Collection, x *catalog.Index, k indexkey.Key, doc bsonval.Doc) error {
	desc := make([]bool, len(x.Fields))
	for i, f := range x.Fields {
		desc[i] = f.Desc
	}
	value := bsonval.NewBuilder()
	if x.Collation != nil {
		// Such a key holds sort keys, not the strings.
		for _, f := range x.Fields {
			value.Value(f.Path, expr.Walk(bsonval.Document(doc), strings.Split(f.Path, ".")))
		}
	} else if vals, err := keystring.Decode(nil, k.Bytes, k.TypeBits, desc, len(x.Fields)); err == nil {
		for i, v := range vals {
			value.Value(x.Fields[i].Path, v)
		}
	}
	keyValue := value.Build()
	extra := bsonval.NewBuilder().Doc("keyPattern", x.Key).Doc("keyValue", keyValue).Build()
	order := ""
	if x.Collation != nil {
		order = " collation: " + bsonval.FormatDoc(x.Collation.Doc())
	}
	return mongoerr.New(mongoerr.DuplicateKey, "E11000 duplicate key error collection: %s index: %s%s dup key: %s",
		coll.Namespace(), x.Name, order, bsonval.FormatDoc(keyValue)).WithExtra(extra)
}
