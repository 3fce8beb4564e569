package database

import (
	"bytes"
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Create makes a collection or view with the options of the create command,
// which are fields of one document. If there is one with the same options it
// does nothing.
func (d *DB) Create(ctx context.Context, ns Namespace, options bsonval.Doc) error {
	coll, err := newFromOptions(ns, options)
	if err != nil || coll == nil {
		return err
	}
	return clientError(ctx, d.catalog.Change(ctx, func(ch *catalog.Change) error {
		if old := ch.Collection(ns.DB, ns.Coll); old != nil {
			return checkSame(ns, old, coll)
		}
		if err := checkDatabaseCase(ch.Snapshot(), ns.DB); err != nil {
			return err
		}
		if coll.IsView() {
			if err := d.checkView(ch.Snapshot(), coll); err != nil {
				return err
			}
		}
		return d.create(ctx, ch, coll)
	}))
}

// newFromOptions makes the collection or view that a create command asks for, not
// yet created. It is nil if there is nothing to create.
func newFromOptions(ns Namespace, options bsonval.Doc) (*catalog.Collection, error) {
	stored, err := parseCreateOptions(ns, options)
	if err != nil {
		return nil, err
	}
	if ns.Coll == viewsCollection {
		// It is always there, as far as anybody can see.
		return nil, checkOnlyDefaults(ns, stored)
	}
	if err := CheckName(ns); err != nil {
		return nil, err
	}
	return newCollection(ns, stored)
}

func checkOnlyDefaults(ns Namespace, stored bsonval.Doc) error {
	if !stored.IsEmpty() {
		return mongoerr.New(mongoerr.NamespaceExists, "Collection %s already exists with other options", ns)
	}
	return nil
}

// checkSame fails if an existing collection is not what a create asks for.
func checkSame(ns Namespace, old, wanted *catalog.Collection) error {
	switch {
	case old.Type != wanted.Type:
		kind := "collection"
		if old.IsView() {
			kind = "view"
		}
		return mongoerr.New(mongoerr.NamespaceExists, "namespace %s already exists, but is a %s rather than a %s with options: %s",
			ns, kind, wanted.Type, bsonval.FormatDoc(old.Options))
	case !bytes.Equal(old.Options, wanted.Options):
		return mongoerr.New(mongoerr.NamespaceExists, "namespace %s already exists, but with different options: %s",
			ns, bsonval.FormatDoc(old.Options))
	}
	return nil
}

// createImplicitly creates the collection that a write needs, with default
// options, unless it exists by now.
func (d *DB) createImplicitly(ctx context.Context, op *Op, ns Namespace) error {
	if op.Txn != nil {
		return op.Txn.createImplicitly(ctx, ns)
	}
	if op.temporary {
		return errTemporaryGone(ns)
	}
	if err := CheckName(ns); err != nil {
		return err
	}
	coll, err := newCollection(ns, bsonval.EmptyDoc)
	if err != nil {
		return err
	}
	return clientError(ctx, d.catalog.Change(ctx, func(ch *catalog.Change) error {
		if ch.Collection(ns.DB, ns.Coll) != nil {
			return nil
		}
		if err := checkDatabaseCase(ch.Snapshot(), ns.DB); err != nil {
			return err
		}
		return d.create(ctx, ch, coll)
	}))
}

// newCollection makes a collection or view of its options, with the index on _id.
func newCollection(ns Namespace, options bsonval.Doc) (*catalog.Collection, error) {
	coll, err := catalog.NewCollection(ns.DB, ns.Coll, options)
	if err != nil || coll.IsView() {
		return coll, err
	}
	spec := idIndexSpec(coll.Collation)
	if coll.Clustered {
		spec = clusteredIndexSpec(coll)
	}
	id, err := catalog.NewIndex(spec)
	if err != nil {
		return nil, err
	}
	coll.Indexes = []*catalog.Index{id}
	return coll, nil
}

// Drop removes a collection or view and returns how many indexes it had, and
// whether it existed. "system.views" stands for all views.
func (d *DB) Drop(ctx context.Context, ns Namespace) (indexes int, existed bool, err error) {
	err = d.catalog.Change(ctx, func(ch *catalog.Change) error {
		if ns.Coll == viewsCollection {
			for _, v := range ch.Snapshot().Collections(ns.DB) {
				if !v.IsView() {
					continue
				}
				existed, indexes = true, 1
				if err := d.dropLogged(ctx, ch, v); err != nil {
					return err
				}
			}
			return nil
		}
		coll := ch.Collection(ns.DB, ns.Coll)
		if coll == nil {
			return nil
		}
		if coll.Log && d.oplog != nil {
			return mongoerr.New(mongoerr.IllegalOperation, "can't drop live oplog while replicating")
		}
		existed, indexes = true, coll.NumIndexes()
		return d.dropLogged(ctx, ch, coll)
	})
	return indexes, existed, clientError(ctx, err)
}

// drop removes a collection with what is kept beside it.
func (d *DB) drop(ctx context.Context, ch *catalog.Change, coll *catalog.Collection) error {
	if err := ch.Drop(ctx, coll); err != nil {
		return err
	}
	d.plans.forget(coll)
	if d.shared {
		ch.AfterCommit(func() { d.tallies.forget(coll.UUID) })
	}
	return d.forgetCounts(ctx, ch.Txn, coll)
}

// DropDatabase removes all collections and views of a database, and says
// whether there were any.
func (d *DB) DropDatabase(ctx context.Context, db string) (existed bool, err error) {
	err = d.catalog.Change(ctx, func(ch *catalog.Change) error {
		existed = false
		if err := ch.HoldAll(ch.Snapshot().Collections(db)); err != nil {
			return err
		}
		for _, coll := range ch.Snapshot().Collections(db) {
			if coll.Log && d.oplog != nil {
				continue
			}
			existed = true
			if err := d.dropLogged(ctx, ch, coll); err != nil {
				return err
			}
		}
		if !existed {
			return nil
		}
		return d.logDropDatabase(ctx, ch, db)
	})
	return existed, clientError(ctx, err)
}

// Rename moves a collection to another name, in the same or another database.
// With dropTarget a collection of that name is replaced.
func (d *DB) Rename(ctx context.Context, from, to Namespace, dropTarget bool) error {
	if from == to {
		return mongoerr.New(mongoerr.IllegalOperation, "Can't rename a collection to itself")
	}
	for _, ns := range []Namespace{from, to} {
		if err := checkRenamed(ns); err != nil {
			return err
		}
	}
	if from.DB != to.DB {
		if moved, err := d.checkMove(from, to, dropTarget); !moved || err != nil {
			return err
		}
		return d.copyTo(ctx, from, to, dropTarget)
	}
	return clientError(ctx, d.catalog.Change(ctx, func(ch *catalog.Change) error {
		coll, err := d.checkRename(ch.Snapshot(), from, to, dropTarget)
		if err != nil {
			return err
		}
		return d.rename(ctx, ch, coll, ch.Collection(to.DB, to.Coll), to.DB, to.Coll)
	}))
}

func (d *DB) checkMove(from, to Namespace, dropTarget bool) (bool, error) {
	_, err := d.checkRename(d.catalog.Snapshot(), from, to, dropTarget)
	return err == nil, err
}

// checkRename says whether a collection can take a name, and returns it.
func (d *DB) checkRename(snap *catalog.Snapshot, from, to Namespace, dropTarget bool) (*catalog.Collection, error) {
	coll, target := snap.Collection(from.DB, from.Coll), snap.Collection(to.DB, to.Coll)
	switch {
	case coll == nil && !snap.HasDatabase(from.DB):
		return nil, mongoerr.New(mongoerr.NamespaceNotFound, "Database %s does not exist or is drop pending", from.DB)
	case coll == nil:
		return nil, mongoerr.New(mongoerr.NamespaceNotFound, "Source collection %s does not exist", from)
	case coll.IsView():
		return nil, mongoerr.New(mongoerr.CommandNotSupportedOnView, "cannot rename view: %s", from)
	case target != nil && target.IsView():
		return nil, mongoerr.New(mongoerr.NamespaceExists, "a view already exists with that name: %s", to)
	case target != nil && !dropTarget:
		return nil, mongoerr.New(mongoerr.NamespaceExists, "target namespace exists")
	}
	for _, x := range coll.Indexes {
		if !x.Ready {
			return nil, mongoerr.New(mongoerr.BackgroundOperationInProgressForNamespace,
				"cannot perform operation: an index build is currently running for collection '%s'", from)
		}
	}
	return coll, checkDatabaseCase(snap, to.DB)
}

// checkRenamed checks a name of a renameCollection command.
func checkRenamed(ns Namespace) error {
	illegal := func(format string, args ...any) error {
		return mongoerr.New(mongoerr.IllegalOperation, format, args...)
	}
	switch {
	case strings.Contains(ns.DB, "$"), strings.Contains(ns.Coll, "$"):
		return illegal("error with namespace: Invalid namespace: %s", ns)
	case len(ns.DB)+1+len(ns.Coll) > maxNamespaceBytes:
		return illegal("error with namespace: Fully qualified namespace is too long. Namespace: %s Max: %d", ns, maxNamespaceBytes)
	case strings.HasPrefix(ns.Coll, "system.") || ns == retryImagesNS:
		return illegal("renaming system collections is not allowed: %s", ns)
	case ns.DB == "local" && strings.HasPrefix(ns.Coll, "oplog."):
		return illegal("can't rename live oplog while replicating")
	}
	return nil
}

// dropUnfinishedIndexes removes the indexes whose build a stop of the server cut
// short, of those that are not ready.
func (d *DB) dropUnfinishedIndexes(ctx context.Context, isCut func(*catalog.Index) bool) error {
	return d.catalog.Change(ctx, func(ch *catalog.Change) error {
		snap := ch.Snapshot()
		for _, db := range snap.Databases() {
			for _, coll := range snap.Collections(db) {
				if err := d.dropUnfinishedOf(ctx, ch, coll, isCut); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (d *DB) dropUnfinishedOf(ctx context.Context, ch *catalog.Change, coll *catalog.Collection, isCut func(*catalog.Index) bool) error {
	var drop []*catalog.Index
	for _, x := range coll.Indexes {
		if !x.Ready && isCut(x) {
			d.log.Warn("index build was interrupted: the index is dropped", "ns", coll.Namespace(), "index", x.Name)
			drop = append(drop, x)
		}
	}
	if len(drop) == 0 {
		return nil
	}
	if err := ch.Hold(coll); err != nil {
		return err
	}
	return removeIndexes(ctx, ch, coll, drop)
}
