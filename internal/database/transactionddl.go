package database

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

// What a transaction creates is part of it: others see a collection or an index
// with the commit, and never if it aborts. Nobody waits for anybody: a transaction
// whose collection somebody else has created before it commits fails with
// WriteConflict then.

// CreateIn is Create for an operation in a transaction.
func (d *DB) CreateIn(ctx context.Context, op *Op, ns Namespace, options bsonval.Doc) error {
	if op.Txn == nil {
		return d.Create(ctx, ns, options)
	}
	wanted, err := newFromOptions(ns, options)
	if err != nil || wanted == nil {
		return err
	}
	if wanted.IsView() {
		return mongoerr.New(mongoerr.OperationNotSupportedInTransaction, "Cannot create a view in a multi-document transaction.")
	}
	coll, err := op.Txn.collection(ctx, ns)
	switch {
	case err != nil:
		return clientError(ctx, err)
	case coll != nil:
		return checkSame(ns, coll, wanted)
	}
	return clientError(ctx, op.Txn.create(ctx, wanted))
}

// createImplicitly creates the collection that a write of the transaction needs.
func (t *Transaction) createImplicitly(ctx context.Context, ns Namespace) error {
	if err := CheckName(ns); err != nil {
		return err
	}
	coll, err := newCollection(ns, bsonval.EmptyDoc)
	if err != nil {
		return err
	}
	return clientError(ctx, t.create(ctx, coll))
}

// create makes a collection that the transaction does not see.
func (t *Transaction) create(ctx context.Context, coll *catalog.Collection) error {
	if err := t.checkCase(t.db.catalog.Snapshot(), coll.DB); err != nil {
		return err
	}
	if err := t.pending.Create(ctx, coll); err != nil {
		return err
	}
	coll.Guard.Share() // as of any collection it touches; there is nobody else to do so
	t.parts[Namespace{DB: coll.DB, Coll: coll.Name}] = &part{coll: coll}
	t.wrote = true
	t.held.Store(heldToWrite)
	for _, o := range createCommands(coll) {
		if err := t.logCommand(coll, o); err != nil {
			return err
		}
	}
	return nil
}

// checkCase is checkDatabaseCase, by what is published and what the transaction
// has created.
func (t *Transaction) checkCase(snap *catalog.Snapshot, db string) error {
	for _, coll := range t.pending.Made() {
		if coll.DB == db {
			return nil
		}
	}
	return checkDatabaseCase(snap, db)
}

// checkPublished says whether the collections created can be published.
func (t *Transaction) checkPublished(snap *catalog.Snapshot) error {
	for _, coll := range t.pending.Made() {
		if err := checkDatabaseCase(snap, coll.DB); err != nil {
			return err
		}
	}
	return nil
}

// CreateIndexesIn is CreateIndexes for an operation in a transaction: only an empty
// collection that the transaction has created itself can get indexes there.
func (d *DB) CreateIndexesIn(ctx context.Context, op *Op, ns Namespace, specs []bsonval.Doc) (CreatedIndexes, error) {
	if op.Txn == nil {
		return d.CreateIndexes(ctx, ns, specs)
	}
	parsed, err := parseIndexSpecs(specs)
	if err != nil {
		return CreatedIndexes{}, err
	}
	coll, err := op.Txn.collection(ctx, ns)
	if err != nil {
		return CreatedIndexes{}, clientError(ctx, err)
	}
	a := &indexAddition{db: d, ns: ns, specs: parsed, coll: coll}
	err = a.inTransaction(ctx, op.Txn)
	return a.result, clientError(ctx, err)
}

func (a *indexAddition) inTransaction(ctx context.Context, t *Transaction) error {
	fresh := a.coll == nil
	switch {
	case fresh:
		if err := t.createImplicitly(ctx, a.ns); err != nil {
			return err
		}
		a.coll = t.parts[a.ns].coll
	case a.coll.IsView():
		return errIsView(a.ns)
	}
	a.result = CreatedIndexes{Before: a.coll.NumIndexes(), After: a.coll.NumIndexes(), CreatedCollection: fresh}
	if err := a.add(a.coll); err != nil {
		return err
	}
	if len(a.added) == 0 && a.waitFor == nil {
		return nil
	}
	if !t.pending.Has(a.coll) {
		return mongoerr.New(mongoerr.OperationNotSupportedInTransaction,
			"Cannot create new indexes on existing collection %s in a multi-document transaction.", a.ns)
	}
	empty, err := isEmpty(ctx, t.txn, a.coll)
	if err != nil {
		return err
	}
	if !empty {
		return mongoerr.New(mongoerr.OperationNotSupportedInTransaction,
			"Cannot create new indexes on non-empty collection %s in a multi-document transaction.", a.ns)
	}
	if err := a.count(); err != nil {
		return err
	}
	more, err := t.pending.AddIndexes(ctx, a.coll, a.added)
	if err != nil {
		return err
	}
	t.parts[a.ns].coll = more
	for _, x := range a.added {
		if err := t.logCommand(more, oplog.CreateIndexes(more.Name, x.Spec)); err != nil {
			return err
		}
	}
	return nil
}
