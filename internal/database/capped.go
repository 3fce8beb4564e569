package database

import (
	"context"
	"fmt"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// appendCapped appends the options of a capped collection as they are stored. A
// bound on the number of documents that is none is stored as the largest.
func appendCapped(b *bsonval.Builder, size, most bsonval.Value) {
	b.Bool("capped", true).Value("size", sizeValue(roundHalf(size)))
	if !most.IsMissing() {
		b.Value("max", sizeValue(cappedDocs(most)))
	}
}

func cappedDocs(v bsonval.Value) int64 {
	if n := roundHalf(v); n > 0 {
		return n
	}
	return maxCappedDocs
}

// recapped is a capped collection's options with another size or number of
// documents; missing values leave them.
func recapped(options bsonval.Doc, size, most bsonval.Value) bsonval.Doc {
	if size.IsMissing() {
		size = options.Lookup("size")
	}
	if most.IsMissing() {
		most = options.Lookup("max")
	}
	return cappedOptions(options, size, most)
}

// notOfCapped are the options that a capped collection gets anew or cannot have.
var notOfCapped = []string{"capped", "size", "max", "clusteredIndex", "expireAfterSeconds"}

// cappedOptions are the options of a capped collection like another.
func cappedOptions(options bsonval.Doc, size, most bsonval.Value) bsonval.Doc {
	b := bsonval.NewBuilder()
	appendCapped(b, size, most)
	it := options.Iter()
	for it.Next() {
		if name := it.KeyStr(); !isOneOf(name, notOfCapped) {
			b.Value(name, it.Value())
		}
	}
	return b.Build()
}

func errExceedsCap() error {
	return mongoerr.New(mongoerr.BadValue, "object to insert exceeds cappedMaxSize")
}

func errCappedInTransaction(ns Namespace) error {
	return mongoerr.New(mongoerr.OperationNotSupportedInTransaction,
		"Collection '%s' is a capped collection. Writes in transactions are not allowed on capped collections.", ns)
}

// countCapped makes sure that the documents of a capped collection have been
// counted, before a writer holds it.
func (d *DB) countCapped(ctx context.Context, ns Namespace) error {
	select {
	case <-d.counted:
		if d.shared || storage.Losses(d.engine) == 0 {
			return nil
		}
	default:
	}
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	if coll == nil || coll.Capped == nil {
		return nil
	}
	return d.settleCounts(ctx, coll)
}

// inOrder makes the writer the only one of its capped collection until the
// function returned is called.
func (w *writer) inOrder() (release func()) {
	order := &w.coll.Guard.Order
	order.Lock()
	if order.Losses == w.losses {
		w.oldest = storage.RecordID(order.Oldest)
	}
	return order.Unlock
}

// arrived publishes what the writer has committed to a capped collection.
func (w *writer) arrived() {
	order := &w.coll.Guard.Order
	order.Oldest, order.Losses = int64(w.oldest), w.losses
	w.coll.Guard.Arrivals.Announce()
}

// removeOldest removes the oldest documents of a capped collection until the rest
// is within its bounds, but never the one just inserted.
func (w *writer) removeOldest(ctx context.Context, inserted storage.RecordID) error {
	if err := w.readStanding(ctx); err != nil {
		return err
	}
	victims, err := w.excess(ctx, inserted)
	if err != nil {
		return err
	}
	for _, v := range victims {
		if err := w.remove(ctx, v.id, v.doc); err != nil {
			return err
		}
		w.oldest = v.id + 1
	}
	return nil
}

// readStanding finds out what was in the capped collection before the write.
func (w *writer) readStanding(ctx context.Context) error {
	switch {
	case !w.db.shared:
		w.standing = &tally{w.coll.Guard.Count.Load(), w.coll.Guard.Bytes.Load()}
	case w.standing == nil:
		stored, err := w.db.storedCounts(ctx, w.txn, w.coll)
		if err != nil {
			return err
		}
		w.standing = &stored
	}
	return nil
}

// excess lists the documents that removeOldest has to remove.
func (w *writer) excess(ctx context.Context, inserted storage.RecordID) ([]target, error) {
	c := w.coll.Capped
	count, bytes := w.standing.count+w.count, w.standing.bytes+w.bytes
	within := func() bool { return bytes <= c.Size && (c.Max == 0 || count <= c.Max) }
	if within() || inserted == 1 {
		return nil, nil
	}
	it, err := w.txn.Scan(ctx, w.coll.Table, storage.RecordRange{Min: w.oldest, Max: inserted - 1})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var victims []target
	for !within() && it.Next() {
		doc := bsonval.Doc(it.Doc()).Clone()
		victims = append(victims, target{id: it.ID(), doc: doc})
		count--
		bytes -= int64(len(doc))
	}
	return victims, it.Err()
}

// ConvertToCapped makes a collection capped. It keeps its options and, of its
// documents, the last ones that fit; it loses its indexes but that on _id.
func (d *DB) ConvertToCapped(ctx context.Context, ns Namespace, size int64) error {
	temp := Namespace{DB: ns.DB, Coll: fmt.Sprintf("tmp%05d.convertToCapped.%s", d.temporaryNumber()%100000, ns.Coll)}
	if len(temp.DB)+1+len(temp.Coll) > maxNamespaceBytes {
		return mongoerr.New(mongoerr.InvalidNamespace, "Cannot generate temporary collection namespace for %s: it is too long", ns)
	}
	return d.copyCapped(ctx, ns, temp, ns, size)
}

// CloneAsCapped makes a capped collection of another's options and, of its
// documents, the last ones that fit.
func (d *DB) CloneAsCapped(ctx context.Context, from, to Namespace, size int64) error {
	if err := CheckName(to); err != nil {
		return err
	}
	temp := Namespace{DB: to.DB, Coll: fmt.Sprintf("tmp%05d.cloneCollectionAsCapped", d.temporaryNumber())}
	return d.copyCapped(ctx, from, temp, to, size)
}

// copyCapped copies a collection under a temporary name, which then becomes the
// target's, in one step. Writers of the source wait meanwhile.
func (d *DB) copyCapped(ctx context.Context, from, temp, to Namespace, size int64) error {
	var coll *catalog.Collection
	err := d.catalog.Change(ctx, func(ch *catalog.Change) (err error) {
		// The change's definitions are the newest; those that are cached may be older than another process's last.
		if coll, err = d.cappedSource(ch.Snapshot(), from); err != nil {
			return err
		}
		fresh, err := newCollection(temp, cappedOptions(coll.Options, bsonval.Int64(size), bsonval.Missing))
		if err != nil {
			return err
		}
		return d.create(ctx, ch, fresh)
	})
	if coll == nil {
		return clientError(ctx, err)
	}
	if err == nil {
		err = d.catalog.Change(ctx, func(ch *catalog.Change) error { return d.replaceCapped(ctx, ch, coll, temp, to) })
	}
	if err != nil {
		if _, _, undo := d.Drop(context.WithoutCancel(ctx), temp); undo != nil {
			d.log.Error("drop temporary collection of a capped copy", "ns", temp.String(), "error", undo)
		}
	}
	return clientError(ctx, err)
}

func (d *DB) cappedSource(snap *catalog.Snapshot, ns Namespace) (*catalog.Collection, error) {
	coll := snap.Collection(ns.DB, ns.Coll)
	switch {
	case coll == nil:
		return nil, mongoerr.New(mongoerr.NamespaceNotFound, "source collection %s does not exist", ns)
	case coll.IsView():
		return nil, mongoerr.New(mongoerr.CommandNotSupportedOnView, "cannot convert a view to capped: %s", ns)
	case coll.Log:
		return nil, mongoerr.New(mongoerr.IllegalOperation, "cannot convert or copy the oplog: %s", ns)
	}
	return coll, nil
}

// replaceCapped fills the copy while nobody writes the source, and gives it its
// name.
func (d *DB) replaceCapped(ctx context.Context, ch *catalog.Change, coll *catalog.Collection, temp, to Namespace) error {
	ch.Own(ch.Collection(temp.DB, temp.Coll))
	target := ch.Collection(to.DB, to.Coll)
	if err := holdBoth(ch, coll, target); err != nil {
		return err
	}
	if ch.Collection(coll.DB, coll.Name) != coll {
		return mongoerr.New(mongoerr.NamespaceNotFound, "source collection %s does not exist", coll.Namespace())
	}
	if target != nil && target != coll {
		return mongoerr.New(mongoerr.NamespaceExists, "cloneCollectionAsCapped failed - destination collection %s already exists.", to)
	}
	if err := d.copyAgain(ctx, coll, temp); err != nil {
		return err
	}
	fresh := ch.Collection(temp.DB, temp.Coll)
	if fresh == nil {
		return errTemporaryGone(temp)
	}
	return d.rename(ctx, ch, fresh, target, to.DB, to.Coll)
}
