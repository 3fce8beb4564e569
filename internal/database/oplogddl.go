package database

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

// Changes of definitions are logged in the transaction of the catalog's change. The
// definitions of views are documents of system.views in the log, as they are in MongoDB.

// logIn logs an operation in a change of the catalog.
func (d *DB) logIn(ctx context.Context, ch *catalog.Change, op *oplog.Op) error {
	entry := op.Append(nil, &oplog.Session{})
	if err := d.oplog.append(ctx, ch.Txn, entry); err != nil {
		return err
	}
	ch.AfterCommit(func() { d.oplog.committed(1, int64(len(entry))) })
	return nil
}

// logCommand logs what happens to a collection; o2 may be nil.
func (d *DB) logCommand(ctx context.Context, ch *catalog.Change, coll *catalog.Collection, o, o2 bsonval.Doc) error {
	if !d.logs(coll) {
		return nil
	}
	op := oplog.CommandOp(coll.DB, oplog.UUID(coll.UUID), o, o2)
	return d.logIn(ctx, ch, &op)
}

// logs says whether changes of a collection are logged.
func (d *DB) logs(coll *catalog.Collection) bool {
	return d.oplog != nil && isLogged(coll.DB, coll.Name)
}

// create makes a collection or view and logs it.
func (d *DB) create(ctx context.Context, ch *catalog.Change, coll *catalog.Collection) error {
	if err := ch.Create(ctx, coll); err != nil || !d.logs(coll) {
		return err
	}
	if coll.IsView() {
		return d.logView(ctx, ch, oplog.Insert, coll)
	}
	for _, o := range createCommands(coll) {
		if err := d.logCommand(ctx, ch, coll, o, nil); err != nil {
			return err
		}
	}
	return nil
}

// createCommands are the commands that make a collection with its indexes.
func createCommands(coll *catalog.Collection) []bsonval.Doc {
	var id bsonval.Doc
	rest := coll.Indexes
	if x := coll.IDIndex(); x != nil {
		rest = rest[1:]
		if !coll.Clustered {
			id = x.Spec
		}
	}
	list := []bsonval.Doc{oplog.Create(coll.Name, coll.Options, id)}
	for _, x := range rest {
		list = append(list, oplog.CreateIndexes(coll.Name, x.Spec))
	}
	return list
}

// logView logs a view's definition as the change of a document.
func (d *DB) logView(ctx context.Context, ch *catalog.Change, kind oplog.Kind, view *catalog.Collection) error {
	if !d.logs(view) {
		return nil
	}
	id := bsonval.String(view.Namespace())
	b := bsonval.NewBuilder().Value("_id", id).Str("viewOn", view.ViewOn).Array("pipeline", view.Pipeline)
	if view.Collation != nil {
		b.Doc("collation", view.Collation.Doc())
	}
	ns, ui := view.DB+"."+viewsCollection, oplog.UUID(madeUUID(view.DB))
	var op oplog.Op
	switch kind {
	case oplog.Insert:
		op = oplog.InsertOp(ns, ui, id, b.Build())
	case oplog.Update:
		op = oplog.ReplaceOp(ns, ui, id, b.Build())
	default:
		op = oplog.DeleteOp(ns, ui, id)
	}
	return d.logIn(ctx, ch, &op)
}

// dropLogged removes a collection or view with what is kept beside it, and logs it.
func (d *DB) dropLogged(ctx context.Context, ch *catalog.Change, coll *catalog.Collection) error {
	records, err := d.recordsIn(ctx, ch, coll)
	if err != nil {
		return err
	}
	if err := d.drop(ctx, ch, coll); err != nil {
		return err
	}
	if coll.IsView() {
		return d.logView(ctx, ch, oplog.Delete, coll)
	}
	return d.logCommand(ctx, ch, coll, oplog.Drop(coll.Name), oplog.NumRecords(records))
}

// recordsIn is the number of a collection's documents as a change of it sees them; 0 for
// a view.
func (d *DB) recordsIn(ctx context.Context, ch *catalog.Change, coll *catalog.Collection) (int64, error) {
	switch {
	case coll.Guard == nil:
		return 0, nil
	case !d.shared:
		return coll.Guard.Count.Load(), nil
	}
	if err := ch.Hold(coll); err != nil {
		return 0, err
	}
	t, err := d.storedCounts(ctx, ch.Txn, coll)
	return t.count, err
}

// rename gives a collection another name in the place of target, which may be nil,
// and logs it.
func (d *DB) rename(ctx context.Context, ch *catalog.Change, coll, target *catalog.Collection, db, name string) error {
	var replaced oplog.UUID
	var o2 bsonval.Doc
	if target != nil && target.IsView() {
		return mongoerr.New(mongoerr.NamespaceExists, "a view already exists with that name: %s", target.Namespace())
	}
	if target != nil {
		records, err := d.recordsIn(ctx, ch, target)
		if err != nil {
			return err
		}
		if err := d.drop(ctx, ch, target); err != nil {
			return err
		}
		replaced, o2 = oplog.UUID(target.UUID), oplog.NumRecords(records)
	}
	moved, err := ch.Rename(ctx, coll, db, name)
	if err != nil {
		return err
	}
	return d.logCommand(ctx, ch, coll, oplog.RenameCollection(coll.Namespace(), moved.Namespace(), replaced), o2)
}

// logDropDatabase logs that a database is gone, behind the drops of its collections.
func (d *DB) logDropDatabase(ctx context.Context, ch *catalog.Change, db string) error {
	if d.oplog == nil || db == oplogNS.DB {
		return nil
	}
	op := oplog.CommandOp(db, oplog.UUID{}, oplog.DropDatabase(), nil)
	return d.logIn(ctx, ch, &op)
}

// logIndexes logs new indexes of an empty collection.
func (d *DB) logIndexes(ctx context.Context, ch *catalog.Change, coll *catalog.Collection, added []*catalog.Index) error {
	for _, x := range added {
		if err := d.logCommand(ctx, ch, coll, oplog.CreateIndexes(coll.Name, x.Spec), nil); err != nil {
			return err
		}
	}
	return nil
}

// logDroppedIndexes logs that indexes are gone.
func (d *DB) logDroppedIndexes(ctx context.Context, ch *catalog.Change, coll *catalog.Collection, dropped []*catalog.Index) error {
	for _, x := range dropped {
		if err := d.logCommand(ctx, ch, coll, oplog.DropIndexes(coll.Name, x.Name), x.Spec); err != nil {
			return err
		}
	}
	return nil
}

// indexSpecs are the specifications of indexes.
func indexSpecs(list []*catalog.Index) []bsonval.Doc {
	specs := make([]bsonval.Doc, len(list))
	for i, x := range list {
		specs[i] = x.Spec
	}
	return specs
}

// logCollMod logs a collMod with the options given. old is the collection before it,
// oldIndex what has changed of an index, empty for nothing.
func (d *DB) logCollMod(ctx context.Context, ch *catalog.Change, old *catalog.Collection, options, oldIndex bsonval.Doc) error {
	before := bsonval.NewBuilder().Value("uuid", old.UUID.Value())
	it := old.Options.Iter()
	for it.Next() {
		before.Value(it.KeyStr(), it.Value())
	}
	if oldIndex.IsEmpty() {
		oldIndex = nil
	}
	return d.logCommand(ctx, ch, old, oplog.CollMod(old.Name, options), oplog.CollModOld(before.Build(), oldIndex))
}
