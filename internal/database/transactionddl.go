package database

import (
	"context"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Deviation from MongoDB: collections and indexes that a transaction creates are
// there at once and for everybody, and stay if it aborts. MongoDB (8.2) makes them
// visible with the commit. What is inserted into them is part of the transaction
// like anything else. TestTransactionCreates pins it.

// transactionCreateWait is how long such a change may take, most of which can be
// a wait for another transaction that has read the empty collection.
const transactionCreateWait = time.Second

// createInTransaction runs a change of definitions for a transaction, which then
// sees the collection as it has become. Such a change never waits long for other
// transactions: two that wait for each other would wait for ever.
func (t *Transaction) createInTransaction(ctx context.Context, ns Namespace, change func(context.Context) error) error {
	if err := t.begin(); err != nil {
		return err
	}
	if p := t.parts[ns]; p != nil {
		if p.wrote {
			return errNotEmptyInTransaction(ns)
		}
		// Nothing written: let the collection go for the time of the change.
		p.coll.Guard.Unshare()
		delete(t.parts, ns)
	}
	limited, cancel := context.WithTimeout(ctx, transactionCreateWait)
	defer cancel()
	err := change(limited)
	if mongoerr.Is(err, mongoerr.MaxTimeMSExpired) && ctx.Err() == nil {
		return errLockTimeout(ns, transactionCreateWait)
	}
	if err == nil {
		t.made[ns] = t.db.catalog.Collection(ns.DB, ns.Coll)
	}
	return err
}

// CreateIn is Create for an operation in a transaction.
func (d *DB) CreateIn(ctx context.Context, op *Op, ns Namespace, options bsonval.Doc) error {
	if op.Txn == nil {
		return d.Create(ctx, ns, options)
	}
	coll, err := op.Txn.collection(ctx, ns)
	if err != nil {
		return clientError(ctx, err)
	}
	if coll != nil {
		return d.Create(ctx, ns, options) // changes nothing
	}
	return op.Txn.createInTransaction(ctx, ns, func(ctx context.Context) error { return d.Create(ctx, ns, options) })
}

// CreateIndexesIn is CreateIndexes for an operation in a transaction: only a
// collection that is empty can get indexes there.
func (d *DB) CreateIndexesIn(ctx context.Context, op *Op, ns Namespace, specs []bsonval.Doc) (CreatedIndexes, error) {
	if op.Txn == nil {
		return d.CreateIndexes(ctx, ns, specs)
	}
	t := op.Txn
	coll, err := t.collection(ctx, ns)
	if err != nil {
		return CreatedIndexes{}, clientError(ctx, err)
	}
	if coll != nil && !coll.IsView() {
		if have, err := allThere(coll, specs); have || err != nil {
			return CreatedIndexes{Before: coll.NumIndexes(), After: coll.NumIndexes()}, err
		}
		empty, err := isEmpty(ctx, t.txn, coll)
		if err != nil {
			return CreatedIndexes{}, clientError(ctx, err)
		}
		if !empty {
			return CreatedIndexes{}, errNotEmptyInTransaction(ns)
		}
	}
	var done CreatedIndexes
	err = t.createInTransaction(ctx, ns, func(ctx context.Context) (err error) {
		done, err = d.CreateIndexes(ctx, ns, specs)
		return err
	})
	return done, err
}

// allThere says whether a collection has all of the indexes already.
func allThere(coll *catalog.Collection, specs []bsonval.Doc) (bool, error) {
	for _, s := range specs {
		parsed, err := parseIndexSpec(s)
		if err != nil {
			return false, err
		}
		spec, err := parsed.normal(coll.Collation)
		if err != nil {
			return false, err
		}
		if x, err := findExisting(spec, coll.Indexes); x == nil || !x.Ready || err != nil {
			return false, err
		}
	}
	return true, nil
}

func errNotEmptyInTransaction(ns Namespace) error {
	return mongoerr.New(mongoerr.OperationNotSupportedInTransaction,
		"Cannot create new indexes on non-empty collection %s in a multi-document transaction.", ns)
}
