package database

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

// AppliedOps says what became of the operations of an ApplyOps: one result for each
// that was tried.
type AppliedOps struct {
	Results []bool
}

// ApplyOps applies entries of an oplog, as restoring tools send them, one after the
// other. What they change is logged like anything else. The entries are checked
// before anything is done. An operation that cannot be applied counts as tried and
// does not keep the following ones from being tried; the call fails in the end. One
// that is wrong ends it. With upsert, updates and deletes of nothing do no harm: the
// update inserts.
func (d *DB) ApplyOps(ctx context.Context, op *Op, entries []bsonval.Doc, upsert bool) (AppliedOps, error) {
	a := &opApplier{db: d, op: op, upsert: upsert}
	for _, e := range entries {
		if err := checkEntry(e); err != nil {
			return AppliedOps{}, err
		}
	}
	var done AppliedOps
	failed := false
	for _, e := range entries {
		ok, err := a.apply(ctx, e)
		done.Results = append(done.Results, ok && err == nil)
		if err != nil {
			return done, err
		}
		failed = failed || !ok
	}
	if failed {
		return done, mongoerr.New(mongoerr.UnknownError, "applyOps had one or more errors applying ops")
	}
	return done, nil
}

// checkEntry checks the form of an entry.
func checkEntry(e bsonval.Doc) error {
	illegal := func(what string) error {
		return mongoerr.New(mongoerr.IllegalOperation, "%s: %s", what, bsonval.FormatDoc(e))
	}
	op, ns, o := e.Lookup("op"), e.Lookup("ns"), e.Lookup("o")
	switch {
	case op.IsMissing():
		return mongoerr.New(mongoerr.NoSuchKey, "Missing expected field \"op\"")
	case op.Type() != bsonval.TypeString:
		return mongoerr.New(mongoerr.TypeMismatch, "\"op\" had the wrong type. Expected string, found %s", op.Type())
	case op.Str() == "":
		return illegal("\"op\" field value cannot be empty")
	case ns.IsMissing():
		return illegal("op does not contain required \"ns\" field")
	case ns.Type() != bsonval.TypeString:
		return illegal("\"ns\" field is not a string")
	case ns.Str() == "" && op.Str() != "n":
		return illegal("\"ns\" field value cannot be empty when op type is not 'n'")
	case o.IsMissing():
		return mongoerr.New(40414, "BSON field 'OplogEntryBase.o' is missing but a required field")
	case o.Type() != bsonval.TypeDocument:
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'OplogEntryBase.o' is the wrong type '%s', expected type 'object'", o.Type())
	}
	switch op.Str() {
	case "i", "u", "d", "c", "n":
		return nil
	}
	return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'OplogEntryBase.op' is not a valid value.", op.Str())
}

// opApplier applies operations.
type opApplier struct {
	db     *DB
	op     *Op
	upsert bool
}

// apply applies one entry; ok is false if that could not be done.
func (a *opApplier) apply(ctx context.Context, e bsonval.Doc) (ok bool, err error) {
	kind, o := oplog.Kind(e.Lookup("op").Str()[0]), e.Lookup("o").Doc()
	if kind == oplog.Noop {
		return true, nil
	}
	db, coll, _ := strings.Cut(e.Lookup("ns").Str(), ".")
	ns := Namespace{DB: db, Coll: coll}
	if kind == oplog.Command {
		return a.command(ctx, ns, e, o)
	}
	if ns.Coll == viewsCollection {
		return a.view(ctx, ns.DB, kind, o)
	}
	named, err := a.target(ns, e.Lookup("ui"))
	if err != nil {
		return false, err
	}
	switch kind {
	case oplog.Insert:
		return a.insert(ctx, named, o)
	case oplog.Update:
		return a.update(ctx, named, o, e.Lookup("o2"))
	}
	return a.remove(ctx, named, o)
}

// target is the collection that an operation is about: that with the UUID if there
// is one. It has to exist.
func (a *opApplier) target(ns Namespace, ui bsonval.Value) (Namespace, error) {
	snap := a.db.catalog.Snapshot()
	if ui.Type() == bsonval.TypeBinary {
		for _, coll := range snap.Collections(ns.DB) {
			if string(coll.UUID[:]) == string(ui.Bytes()) {
				return Namespace{DB: coll.DB, Coll: coll.Name}, nil
			}
		}
		return ns, mongoerr.New(mongoerr.NamespaceNotFound, "Failed to apply operation due to missing collection (%s)", bsonval.Format(ui))
	}
	if coll := snap.Collection(ns.DB, ns.Coll); coll == nil {
		return ns, mongoerr.New(mongoerr.NamespaceNotFound, "Failed to apply operation due to missing collection: %s", ns)
	}
	return ns, nil
}

// idOnly is the filter on an operation's _id.
func idOnly(d bsonval.Doc, kind string) (bsonval.Doc, error) {
	id := d.Lookup("_id")
	if id.IsMissing() {
		return nil, mongoerr.New(mongoerr.NoSuchKey, "Failed to apply %s due to missing _id: %s", kind, bsonval.FormatDoc(d))
	}
	return bsonval.NewBuilder().StartDoc("_id").Value("$eq", id).End().Build(), nil
}

// insert inserts a document, or replaces the one with its _id.
func (a *opApplier) insert(ctx context.Context, ns Namespace, o bsonval.Doc) (bool, error) {
	filter, err := idOnly(o, "insert")
	if err != nil {
		return false, err
	}
	return a.replace(ctx, ns, filter, o, true)
}

// replace makes a document the one that matches.
func (a *opApplier) replace(ctx context.Context, ns Namespace, filter, o bsonval.Doc, upsert bool) (bool, error) {
	res, err := a.db.Update(ctx, a.op, ns, &UpdateStatement{Filter: filter, Update: bsonval.Document(o), Upsert: upsert})
	if mongoerr.As(err) != nil {
		return false, nil //nolint:nilerr // counted, and told in the end
	}
	return res.Matched > 0 || !res.Upserted.IsMissing(), err
}

func (a *opApplier) update(ctx context.Context, ns Namespace, o bsonval.Doc, o2 bsonval.Value) (bool, error) {
	if o2.Type() != bsonval.TypeDocument {
		return false, mongoerr.New(mongoerr.NoSuchKey, "Failed to apply update due to missing o2 field")
	}
	filter, err := idOnly(o2.Doc(), "update")
	if err != nil {
		return false, err
	}
	version, isDelta := o.Lookup("$v"), false
	if n, ok := version.AsInt64(); ok && n == 2 {
		isDelta = true
	} else if !version.IsMissing() {
		o = withField(o, "$v", bsonval.Missing) // operators, as older versions logged them
	}
	if !isDelta {
		return a.replace(ctx, ns, filter, o, a.upsert)
	}
	diff := o.Lookup("diff")
	if diff.Type() != bsonval.TypeDocument {
		return false, mongoerr.New(4772600, "Expected the field 'diff' of a delta update to be a document")
	}
	found := false
	exists, err := a.db.existing(ctx, a.op, ns, false, func(w *writer) error {
		var err error
		found, err = w.applyDiff(ctx, filter, diff.Doc())
		return err
	})
	if mongoerr.As(err) != nil {
		return false, nil //nolint:nilerr // counted, and told in the end
	}
	return found && exists, err
}

// applyDiff changes the document that matches by a diff.
func (w *writer) applyDiff(ctx context.Context, filter, diff bsonval.Doc) (found bool, err error) {
	c, err := w.op.compilation(w.coll, nil, nil)
	if err != nil {
		return false, err
	}
	sel, err := w.selection(c, filter, nil, nil)
	if err != nil {
		return false, err
	}
	t, ok, err := w.first(ctx, sel)
	if !ok || err != nil {
		return false, err
	}
	doc, err := oplog.Apply(t.doc, diff)
	if err != nil {
		return false, mongoerr.New(mongoerr.BadValue, "%v", err)
	}
	if string(doc) == string(t.doc) {
		return true, nil
	}
	if len(doc) > bsonval.MaxDocumentBytes {
		return false, mongoerr.New(mongoerr.BSONObjectTooLarge, "Resulting document after update is larger than %d", bsonval.MaxDocumentBytes)
	}
	if !bsonval.Equal(doc.Lookup("_id"), t.doc.Lookup("_id")) {
		return false, mongoerr.New(mongoerr.ImmutableField, "a diff must not change _id")
	}
	if err := w.txn.Lock(ctx, w.coll.Table, t.id); err != nil {
		return false, err
	}
	w.as, w.targets = logDiff, nil
	return true, w.replace(ctx, t.id, t.doc, doc, nil)
}

func (a *opApplier) remove(ctx context.Context, ns Namespace, o bsonval.Doc) (bool, error) {
	filter, err := idOnly(o, "delete")
	if err != nil {
		return false, err
	}
	_, err = a.db.Delete(ctx, a.op, ns, &DeleteStatement{Filter: filter})
	if mongoerr.As(err) != nil {
		return false, nil //nolint:nilerr // counted, and told in the end
	}
	return true, err
}
