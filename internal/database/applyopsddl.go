package database

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

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
