package database

import (
	"context"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// CreatedIndexes says what CreateIndexes did.
type CreatedIndexes struct {
	Before, After     int  // number of indexes
	CreatedCollection bool // the collection did not exist
}

// CreateIndexes adds indexes to a collection, which is created if there is
// none, and fills them. Those that exist already are left alone. Either all are
// there when it returns or, with an error, none of the new ones.
func (d *DB) CreateIndexes(ctx context.Context, ns Namespace, specs []bsonval.Doc) (CreatedIndexes, error) {
	parsed, err := parseIndexSpecs(specs)
	if err != nil {
		return CreatedIndexes{}, err
	}
	for {
		a := &indexAddition{db: d, ns: ns, specs: parsed}
		err := d.catalog.Change(ctx, func(ch *catalog.Change) error { return a.register(ctx, ch) })
		switch {
		case err != nil:
			d.builds.end(a.building) // it may have happened
			return CreatedIndexes{}, clientError(ctx, err)
		case a.waitFor != nil:
			// Somebody else builds the same index: it is there when that is done.
			if err := d.awaitBuild(ctx, ns, a.waitFor); err != nil {
				return CreatedIndexes{}, clientError(ctx, err)
			}
			continue
		case len(a.building) > 0:
			err = d.build(ctx, a.coll, a.building, a.build)
		}
		return a.result, clientError(ctx, err)
	}
}

func parseIndexSpecs(specs []bsonval.Doc) ([]*indexSpec, error) {
	if len(specs) == 0 {
		return nil, mongoerr.New(mongoerr.BadValue, "Must specify at least one index to create")
	}
	parsed := make([]*indexSpec, len(specs))
	for i, spec := range specs {
		var err error
		if parsed[i], err = parseIndexSpec(spec); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

// indexAddition adds index specifications to a collection's catalog entry.
type indexAddition struct {
	db    *DB
	ns    Namespace
	specs []*indexSpec

	coll     *catalog.Collection // as it became
	added    []*catalog.Index
	building []*catalog.Index // those added that have to be filled
	build    oplog.UUID       // names that in the log
	waitFor  *catalog.Index   // an index being built by somebody else; nothing was added
	result   CreatedIndexes
}

func (a *indexAddition) register(ctx context.Context, ch *catalog.Change) error {
	coll := ch.Collection(a.ns.DB, a.ns.Coll)
	fresh := coll == nil
	switch {
	case fresh:
		if err := CheckName(a.ns); err != nil {
			return err
		}
		if err := checkDatabaseCase(ch.Snapshot(), a.ns.DB); err != nil {
			return err
		}
		var err error
		if coll, err = newCollection(a.ns, bsonval.EmptyDoc); err != nil {
			return err
		}
	case coll.IsView():
		return errIsView(a.ns)
	case coll.Log:
		return mongoerr.New(mongoerr.CannotCreateIndex, "cannot create an index on the oplog: %s", a.ns)
	default:
		if err := ch.Hold(coll); err != nil {
			return err
		}
	}
	a.db.builds.end(a.building) // of an earlier attempt
	a.added, a.building = nil, nil
	a.result = CreatedIndexes{Before: coll.NumIndexes(), CreatedCollection: fresh}
	if err := a.add(coll); err != nil || a.waitFor != nil {
		return err
	}
	if err := a.count(); err != nil {
		return err
	}
	if fresh {
		coll.Indexes = append(coll.Indexes, a.added...)
		return a.db.create(ctx, ch, coll)
	}
	if len(a.added) == 0 {
		return nil
	}
	empty, err := isEmpty(ctx, ch.Txn, coll)
	if err != nil {
		return err
	}
	for _, x := range a.added {
		if x.Ready = empty; !empty {
			x.Builder = a.db.members.id()
			a.building = append(a.building, x)
		}
		if err := ch.CreateIndex(coll, x); err != nil {
			return err
		}
	}
	a.coll = coll.With(func(c *catalog.Collection) { c.Indexes = append(c.Indexes, a.added...) })
	if err := ch.Put(ctx, a.coll); err != nil {
		return err
	}
	if empty {
		return a.db.logIndexes(ctx, ch, coll, a.added)
	}
	a.db.builds.begin(a.building)
	a.build = oplog.UUID(catalog.NewUUID())
	return a.db.logCommand(ctx, ch, coll, oplog.StartIndexBuild(coll.Name, a.build, indexSpecs(a.added)...), nil)
}

// count says how many indexes there will be, unless they are too many.
func (a *indexAddition) count() error {
	a.result.After = a.result.Before + len(a.added)
	if a.result.After > maxIndexes {
		return mongoerr.New(mongoerr.CannotCreateIndex, "add index fails, too many indexes for %s key:%s", a.ns,
			bsonval.FormatDoc(a.added[len(a.added)-1].Key))
	}
	return nil
}

// add fills a.added with the indexes that are not there yet.
func (a *indexAddition) add(coll *catalog.Collection) error {
	for _, s := range a.specs {
		spec, err := s.normal(coll.Collation)
		if err != nil {
			return err
		}
		existing, err := findExisting(spec, coll.Indexes)
		if err != nil {
			return err
		}
		if existing != nil {
			if !existing.Ready {
				a.waitFor = existing
			}
			continue
		}
		twin, err := findExisting(spec, a.added)
		switch {
		case err != nil:
			return err
		case twin != nil:
			return mongoerr.New(mongoerr.IndexAlreadyExists, "Identical index already exists: %s", twin.Name)
		case s.kind.name == textKind.name && hasTextIndex(coll, a.added):
			return mongoerr.New(mongoerr.CannotCreateIndex, "only one text index per collection allowed")
		case !s.kind.built:
			return mongoerr.New(mongoerr.NotImplemented, "indexes of type '%s' are not implemented", s.kind.name)
		}
		for _, option := range []string{"prepareUnique", "storageEngine"} {
			if v := s.get(option); v.Type() == bsonval.TypeDocument && !v.Doc().IsEmpty() || v.Type() != bsonval.TypeDocument && v.Truthy() {
				return mongoerr.New(mongoerr.NotImplemented, "the index option '%s' is not implemented", option)
			}
		}
		x, err := catalog.NewIndex(spec)
		if err != nil {
			return err
		}
		a.added = append(a.added, x)
	}
	return nil
}

// findExisting returns the index that a specification asks for, if it is there.
// It fails if another index is in the way.
func findExisting(spec bsonval.Doc, indexes []*catalog.Index) (*catalog.Index, error) {
	name := spec.Lookup("name").Str()
	describe := func(x *catalog.Index) string {
		return "Requested index: " + bsonval.FormatDoc(spec) + ", existing index: " + bsonval.FormatDoc(x.Spec)
	}
	for _, x := range indexes {
		if x.Clustered && sameKeyPattern(spec.Lookup("key").Doc(), x.Key) {
			return x, nil // the order of _id is there
		}
		if x.Name != name {
			continue
		}
		switch relate(spec, x) {
		case identical:
			return x, nil
		case equivalent:
			return nil, mongoerr.New(mongoerr.IndexOptionsConflict,
				"An equivalent index already exists with the same name but different options. %s", describe(x))
		}
		return nil, mongoerr.New(mongoerr.IndexKeySpecsConflict, "An existing index has the same name as the requested index. "+
			"When index names are not specified, they are auto generated and can cause conflicts. Please refer to our "+
			"documentation. %s", describe(x))
	}
	for _, x := range indexes {
		switch relate(spec, x) {
		case identical:
			return nil, mongoerr.New(mongoerr.IndexOptionsConflict, "Index already exists with a different name: %s", x.Name)
		case equivalent:
			return nil, mongoerr.New(mongoerr.IndexOptionsConflict,
				"An equivalent index already exists with a different name and options. %s", describe(x))
		}
	}
	return nil, nil
}

func isEmpty(ctx context.Context, txn storage.Txn, coll *catalog.Collection) (bool, error) {
	it, err := txn.Scan(ctx, coll.Table, storage.RecordRange{})
	if err != nil {
		return false, err
	}
	defer it.Close()
	return !it.Next(), it.Err()
}

func errIsView(ns Namespace) error {
	return mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", ns)
}

// DropIndexes removes indexes: one by name or key pattern, several by an array
// of names, or with "*" all but the one on _id. It returns how many there were.
func (d *DB) DropIndexes(ctx context.Context, ns Namespace, which bsonval.Value) (was int, err error) {
	err = d.catalog.Change(ctx, func(ch *catalog.Change) error {
		coll := ch.Collection(ns.DB, ns.Coll)
		switch {
		case coll == nil:
			return mongoerr.New(mongoerr.NamespaceNotFound, "ns not found %s", ns)
		case coll.IsView():
			return errIsView(ns)
		}
		if err := ch.Hold(coll); err != nil {
			return err
		}
		was = coll.NumIndexes()
		drop, err := chooseIndexes(coll, which)
		if err != nil || len(drop) == 0 {
			return err
		}
		if err := d.logDroppedIndexes(ctx, ch, coll, drop); err != nil {
			return err
		}
		return removeIndexes(ctx, ch, coll, drop)
	})
	return was, clientError(ctx, err)
}

// removeIndexes takes indexes out of a collection whose guard is held.
func removeIndexes(ctx context.Context, ch *catalog.Change, coll *catalog.Collection, drop []*catalog.Index) error {
	var keep []*catalog.Index
	for _, x := range coll.Indexes {
		if !slices.Contains(drop, x) {
			keep = append(keep, x)
			continue
		}
		if err := ch.DropIndex(ctx, x); err != nil {
			return err
		}
	}
	return ch.Put(ctx, coll.With(func(c *catalog.Collection) { c.Indexes = keep }))
}

// chooseIndexes finds the indexes that a dropIndexes argument means.
func chooseIndexes(coll *catalog.Collection, which bsonval.Value) ([]*catalog.Index, error) {
	switch which.Type() {
	case bsonval.TypeString:
		if which.Str() == "*" {
			return droppable(coll), nil
		}
		return namedIndexes(coll, which.Str())
	case bsonval.TypeArray:
		var names []string
		it := which.Doc().Iter()
		for it.Next() {
			if it.Value().Type() != bsonval.TypeString {
				return nil, mongoerr.New(mongoerr.TypeMismatch,
					"dropIndexes 'index' field must contain only strings when it is an array, found %s", it.Value().Type())
			}
			if it.Value().Str() == "*" {
				return droppable(coll), nil
			}
			names = append(names, it.Value().Str())
		}
		return namedIndexes(coll, names...)
	case bsonval.TypeDocument:
		return patternIndex(coll, which.Doc())
	}
	return nil, mongoerr.New(mongoerr.TypeMismatch,
		"BSON field 'dropIndexes.index' is the wrong type '%s', expected types '[string, array, object]'", which.Type())
}

// droppable are the indexes but that on _id.
func droppable(coll *catalog.Collection) []*catalog.Index {
	if len(coll.Indexes) == 0 {
		return nil
	}
	return coll.Indexes[1:]
}

func namedIndexes(coll *catalog.Collection, names ...string) ([]*catalog.Index, error) {
	var list []*catalog.Index
	for _, name := range names {
		x := coll.Index(name)
		switch {
		case x == nil || slices.Contains(list, x):
			return nil, mongoerr.New(mongoerr.IndexNotFound, "index not found with name [%s]", name)
		case x.IsID():
			return nil, errDropID(x)
		}
		list = append(list, x)
	}
	return list, nil
}

func patternIndex(coll *catalog.Collection, key bsonval.Doc) ([]*catalog.Index, error) {
	var list []*catalog.Index
	for _, x := range coll.Indexes {
		if sameKeyPattern(x.Key, key) {
			list = append(list, x)
		}
	}
	switch {
	case len(list) == 0:
		return nil, mongoerr.New(mongoerr.IndexNotFound, "can't find index with key: %s", bsonval.FormatDoc(key))
	case list[0].IsID():
		return nil, errDropID(list[0])
	case len(list) > 1:
		return nil, mongoerr.New(mongoerr.AmbiguousIndexKeyPattern, "%d indexes found for key: %s, identify by name instead. "+
			"Conflicting indexes: %s, %s", len(list), bsonval.FormatDoc(key), bsonval.FormatDoc(list[0].Spec), bsonval.FormatDoc(list[1].Spec))
	}
	return list, nil
}

func errDropID(x *catalog.Index) error {
	if x.Clustered {
		return mongoerr.New(5979800, "It is illegal to drop the clusteredIndex")
	}
	return mongoerr.New(mongoerr.InvalidOptions, "cannot drop _id index")
}

// KnownIndexOptions is an index specification without the fields that mean
// nothing.
func KnownIndexOptions(spec bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder()
	it := spec.Iter()
	for it.Next() {
		if _, known := indexOptions[it.KeyStr()]; known {
			b.Value(string(it.Key()), it.Value())
		}
	}
	return b.Build()
}

// ReIndex makes the indexes of a collection what their documents ask for, which
// is what building them again would do, and returns their specifications.
func (d *DB) ReIndex(ctx context.Context, ns Namespace) ([]bsonval.Doc, error) {
	out, err := d.Validate(ctx, ns, ValidateOptions{Repair: true})
	if err != nil {
		return nil, err
	}
	if !out.Valid && !out.Repaired {
		return nil, mongoerr.New(mongoerr.CannotBuildIndexKeys, "reIndex of %s failed: %v", ns, out.Errors)
	}
	var specs []bsonval.Doc
	for _, x := range out.Coll.Indexes {
		specs = append(specs, x.Spec)
	}
	return specs, nil
}
