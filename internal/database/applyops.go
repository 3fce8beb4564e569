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
		return false, nil // counted, and told in the end
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
	err = a.db.existing(ctx, a.op, ns, false, func(w *writer) error {
		found, err = w.applyDiff(ctx, filter, diff.Doc())
		return err
	})
	if mongoerr.As(err) != nil {
		return false, nil
	}
	return found, err
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
		return false, nil
	}
	return true, err
}

// view applies the change of a view's definition.
func (a *opApplier) view(ctx context.Context, db string, kind oplog.Kind, o bsonval.Doc) (bool, error) {
	id := o.Lookup("_id")
	name, isName := strings.CutPrefix(id.Str(), db+".")
	if !isName {
		return false, mongoerr.New(mongoerr.InvalidViewDefinition, "no view of the database %s: %s", db, bsonval.FormatDoc(o))
	}
	ns := Namespace{DB: db, Coll: name}
	var err error
	if kind == oplog.Delete {
		_, _, err = a.db.Drop(ctx, ns)
		return err == nil, err
	}
	if old := a.db.catalog.Collection(ns.DB, ns.Coll); old != nil && old.IsView() {
		if _, _, err := a.db.Drop(ctx, ns); err != nil {
			return false, err
		}
	}
	err = a.db.Create(ctx, ns, withField(o, "_id", bsonval.Missing))
	return err == nil, err
}

// appliers are the commands that can be applied, by name.
var appliers = map[string]func(*opApplier, context.Context, Namespace, bsonval.Doc) error{
	"create":           (*opApplier).create,
	"createIndexes":    (*opApplier).createIndexes,
	"commitIndexBuild": (*opApplier).createIndexes,
	"collMod":          (*opApplier).collMod,
	"drop":             (*opApplier).drop,
	"dropDatabase":     (*opApplier).dropDatabase,
	"dropIndexes":      (*opApplier).dropIndexes,
	"deleteIndexes":    (*opApplier).dropIndexes,
	"dropIndex":        (*opApplier).dropIndexes,
	"deleteIndex":      (*opApplier).dropIndexes,
	"renameCollection": (*opApplier).rename,
	"convertToCapped":  (*opApplier).convertToCapped,
	"startIndexBuild":  (*opApplier).ignore, // whatever it builds comes with the commit
	"abortIndexBuild":  (*opApplier).ignore,
}

// tolerated are errors of commands that say that there is nothing left to do.
var tolerated = map[string]mongoerr.Code{
	"drop": mongoerr.NamespaceNotFound, "dropIndexes": mongoerr.NamespaceNotFound, "collMod": mongoerr.NamespaceNotFound,
}

// command applies a change of definitions, or operations within operations.
func (a *opApplier) command(ctx context.Context, ns Namespace, e, o bsonval.Doc) (bool, error) {
	if ns.Coll != "$cmd" {
		return false, mongoerr.New(mongoerr.InvalidNamespace, "invalid ns: %s", ns)
	}
	name, arg, _ := o.First()
	if name == "applyOps" {
		return a.nested(ctx, arg)
	}
	run := appliers[name]
	if run == nil {
		return false, mongoerr.New(mongoerr.BadValue, "Invalid key '%s' found in 'o' field", name)
	}
	if arg.Type() == bsonval.TypeString {
		ns.Coll = arg.Str()
		if name != "create" && name != "renameCollection" && !e.Lookup("ui").IsMissing() {
			named, err := a.target(ns, e.Lookup("ui"))
			if err != nil && mongoerr.As(err).Code != tolerated[name] {
				return false, err
			}
			ns = named
		}
	}
	err := run(a, ctx, ns, o)
	switch e := mongoerr.As(err); {
	case err == nil:
		return true, nil
	case e == nil:
		return false, err
	case e.Code == tolerated[name]:
		return true, nil
	}
	return false, nil
}

// nested applies the operations of a transaction.
func (a *opApplier) nested(ctx context.Context, arg bsonval.Value) (bool, error) {
	if arg.Type() != bsonval.TypeArray {
		return false, mongoerr.New(mongoerr.TypeMismatch, "applyOps has to be an array of operations")
	}
	var list []bsonval.Doc
	it := arg.Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return false, mongoerr.New(mongoerr.TypeMismatch, "an operation of applyOps has to be a document")
		}
		list = append(list, it.Value().Doc())
	}
	_, err := a.db.ApplyOps(ctx, a.op, list, a.upsert)
	if mongoerr.Is(err, mongoerr.UnknownError) {
		return false, nil
	}
	return err == nil, err
}

// without are a command's fields without some.
func without(o bsonval.Doc, names ...string) bsonval.Doc {
	b := bsonval.NewBuilder()
	it := o.Iter()
	for it.Next() {
		if name := it.KeyStr(); !isOneOf(name, names) {
			b.Value(name, it.Value())
		}
	}
	return b.Build()
}

// create makes a collection; one of the name that is there stays.
func (a *opApplier) create(ctx context.Context, ns Namespace, o bsonval.Doc) error {
	options := without(o, "create", "autoIndexId")
	if !o.Lookup("clusteredIndex").IsMissing() {
		options = without(options, "idIndex")
	}
	err := a.db.Create(ctx, ns, options)
	if mongoerr.Is(err, mongoerr.NamespaceExists) && !a.isView(ns) {
		return nil
	}
	return err
}

func (a *opApplier) isView(ns Namespace) bool {
	coll := a.db.catalog.Collection(ns.DB, ns.Coll)
	return coll != nil && coll.IsView()
}

// createIndexes makes the index that the command is, or those that it lists.
func (a *opApplier) createIndexes(ctx context.Context, ns Namespace, o bsonval.Doc) error {
	var specs []bsonval.Doc
	if list := o.Lookup("indexes"); list.Type() == bsonval.TypeArray {
		it := list.Doc().Iter()
		for it.Next() {
			if it.Value().Type() != bsonval.TypeDocument {
				return mongoerr.New(mongoerr.TypeMismatch, "an index specification has to be a document")
			}
			specs = append(specs, KnownIndexOptions(it.Value().Doc()))
		}
	} else {
		specs = []bsonval.Doc{KnownIndexOptions(o)}
	}
	_, err := a.db.CreateIndexes(ctx, ns, specs)
	return err
}

func (a *opApplier) collMod(ctx context.Context, ns Namespace, o bsonval.Doc) error {
	_, err := a.db.CollMod(ctx, ns, without(o, "collMod"))
	return err
}

func (a *opApplier) drop(ctx context.Context, ns Namespace, _ bsonval.Doc) error {
	_, _, err := a.db.Drop(ctx, ns)
	return err
}

func (a *opApplier) dropDatabase(ctx context.Context, ns Namespace, _ bsonval.Doc) error {
	_, err := a.db.DropDatabase(ctx, ns.DB)
	return err
}

func (a *opApplier) dropIndexes(ctx context.Context, ns Namespace, o bsonval.Doc) error {
	_, err := a.db.DropIndexes(ctx, ns, o.Lookup("index"))
	return err
}

func (a *opApplier) rename(ctx context.Context, _ Namespace, o bsonval.Doc) error {
	var names [2]Namespace
	for i, field := range []string{"renameCollection", "to"} {
		db, coll, ok := strings.Cut(o.Lookup(field).Str(), ".")
		if !ok {
			return mongoerr.New(mongoerr.InvalidNamespace, "renameCollection has to name two collections: %s", bsonval.FormatDoc(o))
		}
		names[i] = Namespace{DB: db, Coll: coll}
	}
	drop := o.Lookup("dropTarget")
	return a.db.Rename(ctx, names[0], names[1], drop.Type() == bsonval.TypeBinary || drop.Truthy())
}

func (a *opApplier) convertToCapped(ctx context.Context, ns Namespace, o bsonval.Doc) error {
	return a.db.ConvertToCapped(ctx, ns, o.Lookup("size").TruncInt64())
}

func (*opApplier) ignore(context.Context, Namespace, bsonval.Doc) error { return nil }
