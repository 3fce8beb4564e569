package database

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

// CollMod changes a collection or view. The options are fields of one document,
// those of the collMod command; the result names what has changed of indexes.
func (d *DB) CollMod(ctx context.Context, ns Namespace, options bsonval.Doc) (bsonval.Doc, error) {
	m := &modification{o: createOptions{given: options, ns: ns}, result: bsonval.NewBuilder()}
	if err := m.checkAlone(); err != nil {
		return nil, err
	}
	err := d.catalog.Change(ctx, func(ch *catalog.Change) error {
		m.result, m.oldIndex = bsonval.NewBuilder(), bsonval.NewBuilder()
		coll := ch.Collection(ns.DB, ns.Coll)
		if coll == nil {
			return mongoerr.New(mongoerr.NamespaceNotFound, "ns does not exist: %s", ns)
		}
		if err := ch.Hold(coll); err != nil {
			return err
		}
		if coll.IsView() {
			return m.changeView(ctx, d, ch, coll)
		}
		return m.changeCollection(ctx, d, ch, coll)
	})
	return m.result.Build(), clientError(ctx, err)
}

// modification is a collMod under way.
type modification struct {
	o      createOptions
	result *bsonval.Builder

	oldIndex *bsonval.Builder // what an index was like, for the log
}

func (m *modification) invalid(format string, args ...any) error {
	return mongoerr.New(mongoerr.InvalidOptions, format, args...)
}

// checkAlone checks what does not depend on the collection.
func (m *modification) checkAlone() error {
	if err := checkValidationWords(m.o.get("validationLevel"), m.o.get("validationAction")); err != nil {
		return err
	}
	if v := m.o.get("cappedSize"); !v.IsMissing() {
		if n := roundHalf(v); n < 1 || n > maxCappedSize {
			return mongoerr.New(mongoerr.BadValue, "BSON field 'collMod.cappedSize' value must be >= 1 and <= %d, actual value '%d'", maxCappedSize, n)
		}
	}
	if v := m.o.get("cappedMax"); !v.IsMissing() && roundHalf(v) > maxCappedDocs {
		return mongoerr.New(mongoerr.BadValue, "BSON field 'collMod.cappedMax' value must be <= %d, actual value '%s'", maxCappedDocs, bsonval.Format(v))
	}
	if v := m.o.get("viewOn"); !v.IsMissing() {
		if v.Str() == "" {
			return mongoerr.New(mongoerr.BadValue, "'viewOn' cannot be empty")
		}
		if err := CheckViewName(v.Str()); err != nil {
			return err
		}
	}
	return nil
}

func (m *modification) changeCollection(ctx context.Context, d *DB, ch *catalog.Change, coll *catalog.Collection) error {
	for _, name := range []string{"viewOn", "pipeline"} {
		if m.o.has(name) {
			return m.invalid("%s option only supported on a view", name)
		}
	}
	if coll.Log && (m.o.has("cappedSize") || m.o.has("cappedMax")) {
		return m.invalid("The size of the oplog is changed by replSetResizeOplog, not by collMod")
	}
	if (m.o.has("cappedSize") || m.o.has("cappedMax")) && coll.Capped == nil {
		return m.invalid("Collection must be capped.")
	}
	if m.o.has("timeseries") {
		return m.invalid("option only supported on a time-series collection: timeseries")
	}
	if m.o.has("expireAfterSeconds") && !coll.Clustered {
		return m.invalid("'expireAfterSeconds' is only supported on time-series collections or when the 'clusteredIndex' option is specified")
	}
	changed := coll
	if v := m.o.get("index"); !v.IsMissing() {
		var err error
		if changed, err = m.changeIndex(coll, v.Doc()); err != nil {
			return err
		}
	}
	if err := checkImages(m.o.ns, m.o.get("changeStreamPreAndPostImages")); err != nil {
		return err
	}
	if v := m.o.get("validator"); !v.IsMissing() {
		if err := checkValidator(m.o.ns, v.Doc(), coll.Collation); err != nil {
			return err
		}
	}
	options := m.newOptions(changed.Options)
	if coll.Capped != nil {
		options = recapped(options, m.o.get("cappedSize"), m.o.get("cappedMax"))
	}
	if v := m.o.get("expireAfterSeconds"); !v.IsMissing() {
		var err error
		if options, err = expiring(options, v); err != nil {
			return err
		}
	}
	if changed == coll && string(options) == string(coll.Options) {
		return nil
	}
	checked, err := catalog.NewCollection(coll.DB, coll.Name, options)
	if err != nil {
		return err
	}
	if err := d.logCollMod(ctx, ch, coll, m.o.given, m.oldIndex.Build()); err != nil {
		return err
	}
	return ch.Put(ctx, changed.With(func(c *catalog.Collection) {
		c.Options, c.Validator, c.Capped, c.Images = options, checked.Validator, checked.Capped, checked.Images
	}))
}

// newOptions is the collection's options with the validation and the images as asked for.
func (m *modification) newOptions(old bsonval.Doc) bsonval.Doc {
	names := []string{"validator", "validationLevel", "validationAction", "changeStreamPreAndPostImages"}
	b := bsonval.NewBuilder()
	it := old.Iter()
	for it.Next() {
		name := string(it.Key())
		if isOneOf(name, names) && m.o.has(name) {
			continue
		}
		b.Value(name, it.Value())
	}
	for _, name := range names {
		v := m.o.get(name)
		if v.IsMissing() || v.Type() == bsonval.TypeDocument && v.Doc().IsEmpty() ||
			name == "changeStreamPreAndPostImages" && !wantsImages(v) {
			continue
		}
		b.Value(name, v)
	}
	return b.Build()
}

func isOneOf(s string, list []string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// changeIndex changes one index and returns the collection with it.
func (m *modification) changeIndex(coll *catalog.Collection, d bsonval.Doc) (*catalog.Collection, error) {
	o := createOptions{given: d}
	name, pattern := o.get("name"), o.get("keyPattern")
	expire, hidden, unique, prepare := o.get("expireAfterSeconds"), o.get("hidden"), o.get("unique"), o.get("prepareUnique")
	switch {
	case !name.IsMissing() && !pattern.IsMissing():
		return nil, m.invalid("Cannot specify both key pattern and name.")
	case name.IsMissing() && pattern.IsMissing():
		return nil, m.invalid("Must specify either index name or key pattern.")
	case expire.IsMissing() && hidden.IsMissing() && unique.IsMissing() && prepare.IsMissing():
		return nil, m.invalid("no expireAfterSeconds, hidden, unique, or prepareUnique field")
	}
	x, err := m.findIndex(coll, name, pattern)
	if err != nil {
		return nil, err
	}
	spec := x.Spec
	if spec, err = m.expire(x, spec, expire); err != nil {
		return nil, err
	}
	if spec, err = m.hide(x, spec, hidden); err != nil {
		return nil, err
	}
	if err := m.unify(x, unique, prepare, !hidden.IsMissing() || !expire.IsMissing()); err != nil {
		return nil, err
	}
	changed, err := catalog.NewIndex(spec)
	if err != nil {
		return nil, err
	}
	next := *x
	next.Spec, next.Hidden = spec, changed.Hidden
	return coll.With(func(c *catalog.Collection) {
		for i := range c.Indexes {
			if c.Indexes[i] == x {
				c.Indexes[i] = &next
			}
		}
	}), nil
}

func (m *modification) findIndex(coll *catalog.Collection, name, pattern bsonval.Value) (*catalog.Index, error) {
	if !name.IsMissing() {
		if x := coll.Index(name.Str()); x != nil && !x.Clustered {
			return x, nil
		}
		return nil, mongoerr.New(mongoerr.IndexNotFound, "cannot find index %s for ns %s", name.Str(), m.o.ns)
	}
	var found *catalog.Index
	for _, x := range coll.Indexes {
		if !sameKeyPattern(x.Key, pattern.Doc()) || x.Clustered {
			continue
		}
		if found != nil {
			return nil, mongoerr.New(mongoerr.AmbiguousIndexKeyPattern, "index keyPattern %s matches 2 or more indexes, must use "+
				"index name. Conflicting indexes: %s, %s", bsonval.FormatDoc(pattern.Doc()), bsonval.FormatDoc(found.Spec), bsonval.FormatDoc(x.Spec))
		}
		found = x
	}
	if found == nil {
		return nil, mongoerr.New(mongoerr.IndexNotFound, "cannot find index %s for ns %s", bsonval.FormatDoc(pattern.Doc()), m.o.ns)
	}
	return found, nil
}

// expire sets when the documents of a TTL index expire, or makes an index one.
func (m *modification) expire(x *catalog.Index, spec bsonval.Doc, v bsonval.Value) (bsonval.Doc, error) {
	if v.IsMissing() {
		return spec, nil
	}
	if !v.IsNumber() {
		return nil, m.invalid("TTL index 'expireAfterSeconds' option must be numeric")
	}
	n, err := expireSeconds(v, mongoerr.InvalidOptions)
	if err != nil {
		return nil, err
	}
	old := spec.Lookup("expireAfterSeconds")
	switch {
	case x.IsID():
		return nil, m.invalid("the _id field does not support TTL indexes")
	case len(x.Fields) > 1:
		return nil, m.invalid("TTL indexes are single-field indexes, compound indexes do not support TTL")
	case old.IsNumber() && old.TruncInt64() == n:
		return spec, nil
	}
	if old.IsNumber() {
		m.result.Int64("expireAfterSeconds_old", old.TruncInt64())
		m.oldIndex.Int64("expireAfterSeconds", old.TruncInt64())
	}
	m.result.Int64("expireAfterSeconds_new", n)
	return withField(spec, "expireAfterSeconds", bsonval.Int32(int32(n))), nil
}

// hide shows or hides an index.
func (m *modification) hide(x *catalog.Index, spec bsonval.Doc, v bsonval.Value) (bsonval.Doc, error) {
	if v.IsMissing() {
		return spec, nil
	}
	if x.IsID() {
		return nil, mongoerr.New(mongoerr.BadValue, "can't hide _id index")
	}
	if v.Truthy() == x.Hidden {
		return spec, nil
	}
	m.result.Bool("hidden_old", x.Hidden).Bool("hidden_new", v.Truthy())
	m.oldIndex.Bool("hidden", x.Hidden)
	if v.Truthy() {
		return withField(spec, "hidden", bsonval.True), nil
	}
	return withField(spec, "hidden", bsonval.Missing), nil
}

// unify checks requests to make an index unique. An index can only become unique
// after it has been prepared, which is not done yet.
func (m *modification) unify(x *catalog.Index, unique, prepare bsonval.Value, others bool) error {
	if !unique.IsMissing() {
		switch {
		case !prepare.IsMissing():
			return m.invalid("Cannot use unique and prepareUnique at the same time")
		case !unique.Truthy():
			return mongoerr.New(mongoerr.BadValue, "collMod does not support converting an index from unique to non-unique")
		case x.Unique:
			return nil
		}
		return m.invalid("Cannot make index unique with 'prepareUnique=false'. Run collMod to set it first.")
	}
	if !prepare.Truthy() || x.Unique {
		return nil
	}
	if others {
		return m.invalid("prepareUnique cannot be combined with any other modification to an index.")
	}
	return mongoerr.New(mongoerr.NotImplemented, "'collMod.index.prepareUnique' is not implemented")
}

// withField is a document with a field set, or removed if v is missing.
func withField(d bsonval.Doc, name string, v bsonval.Value) bsonval.Doc {
	b := bsonval.NewBuilder()
	it := d.Iter()
	for it.Next() {
		if it.KeyStr() != name {
			b.Value(string(it.Key()), it.Value())
		}
	}
	if !v.IsMissing() {
		b.Value(name, v)
	}
	return b.Build()
}

func (m *modification) changeView(ctx context.Context, d *DB, ch *catalog.Change, coll *catalog.Collection) error {
	for _, name := range []string{"index", "validator", "validationLevel", "validationAction", "cappedSize", "cappedMax",
		"expireAfterSeconds", "timeseries", "changeStreamPreAndPostImages"} {
		if m.o.has(name) {
			return m.invalid("option not supported on a view: %s", name)
		}
	}
	on, pipeline := m.o.get("viewOn"), m.o.get("pipeline")
	if on.IsMissing() && pipeline.IsMissing() {
		return nil
	}
	b := bsonval.NewBuilder()
	if on.IsMissing() {
		on = bsonval.String(coll.ViewOn)
	}
	if pipeline.IsMissing() {
		pipeline = bsonval.Array(coll.Pipeline)
	}
	b.Value("viewOn", on).Value("pipeline", pipeline)
	if coll.Collation != nil {
		b.Doc("collation", coll.Collation.Doc())
	}
	view, err := catalog.NewCollection(coll.DB, coll.Name, b.Build())
	if err != nil {
		return err
	}
	view.UUID = coll.UUID
	if err := d.checkView(ch.Snapshot(), view); err != nil {
		return err
	}
	if err := d.logView(ctx, ch, oplog.Update, view); err != nil {
		return err
	}
	return ch.Put(ctx, view)
}
