package database

import (
	"context"
	"fmt"
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// copyTo moves a collection to another database: its documents are copied under
// a temporary name there, which then becomes the target's. Writers of the
// collection wait meanwhile.
func (d *DB) copyTo(ctx context.Context, from, to Namespace, dropTarget bool) error {
	coll := d.catalog.Collection(from.DB, from.Coll)
	if coll == nil || coll.IsView() {
		return mongoerr.New(mongoerr.NamespaceNotFound, "Source collection %s does not exist", from)
	}
	temp := Namespace{DB: to.DB, Coll: fmt.Sprintf("tmp%d.renameCollection", d.temporaryNumber())}
	err := d.createCopy(ctx, temp, coll)
	if err == nil {
		err = d.catalog.Change(ctx, func(ch *catalog.Change) error {
			return d.moveTo(ctx, ch, coll, temp, to, dropTarget)
		})
	}
	if err != nil {
		if _, _, undo := d.Drop(context.WithoutCancel(ctx), temp); undo != nil {
			d.log.Error("drop temporary collection of a rename", "ns", temp.String(), "error", undo)
		}
	}
	return clientError(ctx, err)
}

// errTemporaryGone is the error of a command whose temporary collection somebody has dropped, with its database perhaps.
func errTemporaryGone(ns Namespace) error {
	return mongoerr.New(mongoerr.NamespaceNotFound, "temporary collection %s was dropped", ns)
}

// createCopy makes an empty collection with the options and indexes of another.
func (d *DB) createCopy(ctx context.Context, ns Namespace, coll *catalog.Collection) error {
	fresh, err := catalog.NewCollection(ns.DB, ns.Coll, coll.Options)
	if err != nil {
		return err
	}
	for _, x := range coll.Indexes {
		y, err := catalog.NewIndex(x.Spec)
		if err != nil {
			return err
		}
		fresh.Indexes = append(fresh.Indexes, y)
	}
	return d.catalog.Change(ctx, func(ch *catalog.Change) error { return d.create(ctx, ch, fresh) })
}

// copyDocuments copies all documents as they are. A capped copy leaves out those
// that are larger than it may become.
func (d *DB) copyDocuments(ctx context.Context, coll *catalog.Collection, to Namespace) error {
	generation, err := storage.Generation(ctx, d.engine)
	if err != nil {
		return err
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	it, err := inNaturalOrder(ctx, txn, coll)
	if err != nil {
		return err
	}
	defer it.Close()
	op := d.NewOp(ctx)
	op.NoSync, op.BypassValidation, op.KeepEmptyTimestamps, op.temporary = true, true, true, true
	var docs []bsonval.Doc
	size := 0
	flush := func() error {
		res, err := d.Insert(ctx, op, to, docs, true)
		if err == nil && len(res.Errors) > 0 {
			err = res.Errors[0].Err
		}
		docs, size = docs[:0], 0
		return err
	}
	most := int64(math.MaxInt64)
	if target := d.catalog.Collection(to.DB, to.Coll); target != nil && target.Capped != nil {
		most = target.Capped.Size
	}
	for it.Next() {
		if int64(len(it.Doc())) > most {
			continue
		}
		docs = append(docs, bsonval.Doc(it.Doc()).Clone())
		if size += len(it.Doc()); len(docs) >= insertBatchDocs || size >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	return d.syncSince(ctx, generation) // before what is copied may go
}

// documentIterator iterates documents.
type documentIterator interface {
	Next() bool
	Doc() []byte
	Err() error
	Close() error
}

func inNaturalOrder(ctx context.Context, txn storage.Txn, coll *catalog.Collection) (documentIterator, error) {
	if coll.Clustered {
		return txn.ScanIndex(ctx, coll.IDIndex().ID, storage.IndexRange{Fetch: coll.Table})
	}
	return txn.Scan(ctx, coll.Table, storage.RecordRange{})
}

// holdBoth holds two collections, of which the second may be nil or the first.
func holdBoth(ch *catalog.Change, a, b *catalog.Collection) error {
	if b == nil || b == a {
		return ch.Hold(a)
	}
	return ch.HoldAll([]*catalog.Collection{a, b})
}

// copyAgain is copyDocuments for a change of definitions in a shared store, where an
// attempt that met another process's change has left a copy behind.
func (d *DB) copyAgain(ctx context.Context, coll *catalog.Collection, to Namespace) error {
	if d.shared {
		if _, err := d.Delete(ctx, d.NewOp(ctx), to, &DeleteStatement{Filter: bsonval.EmptyDoc, Multi: true}); err != nil {
			return err
		}
	}
	return d.copyDocuments(ctx, coll, to)
}

// moveTo fills the copy while nobody writes the source, puts it in the place of
// the target and drops the source.
func (d *DB) moveTo(ctx context.Context, ch *catalog.Change, coll *catalog.Collection, temp, to Namespace, dropTarget bool) error {
	// Both before anything is copied, for it must not be copied twice.
	ch.Own(ch.Collection(temp.DB, temp.Coll))
	if err := holdBoth(ch, coll, ch.Collection(to.DB, to.Coll)); err != nil {
		return err
	}
	if ch.Collection(coll.DB, coll.Name) != coll {
		return mongoerr.New(mongoerr.NamespaceNotFound, "Source collection %s does not exist", coll.Namespace())
	}
	if err := d.copyAgain(ctx, coll, temp); err != nil {
		return err
	}
	fresh := ch.Collection(temp.DB, temp.Coll)
	if fresh == nil {
		return errTemporaryGone(temp)
	}
	target := ch.Collection(to.DB, to.Coll)
	if target != nil && (target.IsView() || !dropTarget) {
		return mongoerr.New(mongoerr.NamespaceExists, "target namespace exists")
	}
	if err := d.rename(ctx, ch, fresh, target, to.DB, to.Coll); err != nil {
		return err
	}
	return d.dropLogged(ctx, ch, coll)
}
