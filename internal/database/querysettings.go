package database

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// querySettingsKey is the meta key of the query settings: a document by hash of
// {settings, representativeQuery, shape}.
var querySettingsKey = []byte("Q")

// QuerySettings are what has been set for one query shape
// (https://www.mongodb.com/docs/manual/reference/command/setQuerySettings/).
type QuerySettings struct {
	// Settings is as setQuerySettings returns it: indexHints, queryFramework,
	// reject and comment, those that are not the default.
	Settings bsonval.Doc
	// Representative is the query that the settings were set by, and Shape its
	// shape; nil if they were set by hash.
	Representative, Shape bsonval.Doc

	reject  bool
	indexes map[Namespace]*plan.IndexSet
}

// decode reads Settings, which have been checked when they were set.
func (s *QuerySettings) decode() {
	s.reject = s.Settings.Lookup("reject").Truthy()
	s.indexes = map[Namespace]*plan.IndexSet{}
	hints := s.Settings.Lookup("indexHints")
	if hints.Type() != bsonval.TypeArray {
		return
	}
	it := hints.Doc().Iter()
	for it.Next() {
		hint := it.Value().Doc()
		ns := hint.Lookup("ns").Doc()
		set := &plan.IndexSet{Advisory: true}
		list := hint.Lookup("allowedIndexes").Doc().Iter()
		for list.Next() {
			AddIndex(set, list.Value().Clone())
		}
		s.indexes[Namespace{DB: string(ns.Lookup("db").Bytes()), Coll: string(ns.Lookup("coll").Bytes())}] = set
	}
}

// AddIndex adds an index, by name or key pattern, or {$natural: ±1} to a set.
func AddIndex(set *plan.IndexSet, v bsonval.Value) {
	if v.Type() == bsonval.TypeString {
		set.Names = append(set.Names, v.Str())
		return
	}
	if name, direction, _ := v.Doc().First(); name == "$natural" {
		n := 1
		if direction.AsDouble() < 0 {
			n = -1
		}
		set.Natural = append(set.Natural, n)
		return
	}
	set.Keys = append(set.Keys, v.Doc())
}

// allowed is the set of indexes that may be used on a collection, nil for all.
func (s *QuerySettings) allowed(ns Namespace) *plan.IndexSet {
	if s == nil {
		return nil
	}
	return s.indexes[ns]
}

// settingsByHash is a version of all query settings; it is not changed.
type settingsByHash map[string]*QuerySettings

func (m settingsByHash) encode() bsonval.Doc {
	b := bsonval.NewBuilder()
	for _, hash := range slices.Sorted(maps.Keys(m)) {
		s := m[hash]
		b.StartDoc(hash).Doc("settings", s.Settings)
		if s.Representative != nil {
			b.Doc("representativeQuery", s.Representative).Doc("shape", s.Shape)
		}
		b.End()
	}
	return b.Build()
}

// loadQuerySettings takes over what is stored, at start and when another process has
// changed it.
func (d *DB) loadQuerySettings(ctx context.Context) error {
	d.settingsChange.Lock() // before the snapshot: changes of this process are not undone
	defer d.settingsChange.Unlock()
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	m, err := readQuerySettings(ctx, txn)
	if err == nil {
		d.publishSettings(m)
	}
	return err
}

// readQuerySettings reads the settings that are stored.
func readQuerySettings(ctx context.Context, txn storage.Txn) (settingsByHash, error) {
	m := settingsByHash{}
	raw, err := txn.GetMeta(ctx, querySettingsKey)
	if errors.Is(err, storage.ErrNotFound) {
		return m, nil
	}
	if err == nil {
		err = bsonval.Validate(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("read query settings: %w", err)
	}
	it := bsonval.Doc(raw).Clone().Iter()
	for it.Next() {
		v := it.Value().Doc()
		s := &QuerySettings{Settings: v.Lookup("settings").Doc()}
		if q := v.Lookup("representativeQuery"); !q.IsMissing() {
			s.Representative, s.Shape = q.Doc(), v.Lookup("shape").Doc()
		}
		s.decode()
		m[string(it.Key())] = s
	}
	return m, nil
}

func (d *DB) publishSettings(m settingsByHash) {
	if len(m) == 0 {
		d.settings.Store(nil)
		return
	}
	d.settings.Store(&m)
}

// QuerySettings returns the settings of all shapes by hash.
func (d *DB) QuerySettings() map[string]*QuerySettings {
	if m := d.settings.Load(); m != nil {
		return *m
	}
	return nil
}

// ChangeQuerySettings stores what change makes of the settings of a shape; nil
// removes them. Neither argument nor result of change may be altered.
func (d *DB) ChangeQuerySettings(ctx context.Context, hash string, change func(*QuerySettings) (*QuerySettings, error)) error {
	d.settingsChange.Lock()
	defer d.settingsChange.Unlock()
	for attempt := 0; ; attempt++ {
		m, err := d.storeSettings(ctx, hash, change)
		switch {
		case errors.Is(err, storage.ErrWriteConflict): // another process was faster
			if err := pause(ctx, attempt); err != nil {
				return clientError(ctx, err)
			}
		case err != nil:
			return clientError(ctx, err)
		default:
			d.publishSettings(m)
			d.plans.forget(nil)
			return nil
		}
	}
}

// storeSettings changes the settings of a shape in the store, and returns all.
func (d *DB) storeSettings(ctx context.Context, hash string, change func(*QuerySettings) (*QuerySettings, error)) (settingsByHash, error) {
	txn := d.engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	m, err := readQuerySettings(ctx, txn)
	if err != nil {
		return nil, err
	}
	s, err := change(m[hash])
	switch {
	case err != nil:
		return nil, err
	case s == nil && m[hash] == nil:
		return m, nil
	case s == nil:
		delete(m, hash)
	default:
		s.decode()
		m[hash] = s
	}
	raw := m.encode()
	if len(raw) > bsonval.MaxDocumentBytes {
		return nil, mongoerr.New(mongoerr.BSONObjectTooLarge, "the query settings exceed 16 MiB together")
	}
	if err := txn.PutMeta(ctx, querySettingsKey, raw); err != nil {
		return nil, err
	}
	if err := d.Touch(ctx, txn); err != nil {
		return nil, err
	}
	_, err = txn.Commit(ctx)
	return m, err
}

// applySettings finds the settings of a command's shape, the outermost one's only.
// Explained commands are not rejected.
func (op *Op) applySettings(d *DB, explain bool, shape func() bsonval.Doc) error {
	if op.settled {
		return nil
	}
	op.settled = true
	m := d.settings.Load()
	if m == nil {
		return nil
	}
	op.settings = (*m)[ShapeHash(shape())]
	if op.settings != nil && op.settings.reject && !explain {
		return mongoerr.New(mongoerr.QueryRejectedBySettings, "Query rejected by admin query settings")
	}
	return nil
}

// applyFindSettings is applySettings for a find or the reading of a distinct.
func (d *DB) applyFindSettings(op *Op, ns Namespace, q *FindQuery) error {
	if d.settings.Load() == nil {
		return nil
	}
	return op.applySettings(d, q.explain, func() bsonval.Doc {
		if q.distinct != "" {
			return DistinctShape(ns, q.distinct, q)
		}
		return FindShape(ns, q)
	})
}

// applyAggregateSettings is applySettings for an aggregate.
func (d *DB) applyAggregateSettings(op *Op, ns Namespace, q *AggregateQuery, explain bool) error {
	if d.settings.Load() == nil {
		return nil
	}
	return op.applySettings(d, explain, func() bsonval.Doc { return AggregateShape(ns, q) })
}

// document is what explain shows of the settings, nil for none.
func (s *QuerySettings) document() bsonval.Doc {
	if s == nil {
		return nil
	}
	return s.Settings
}

// querySettingsStage lists the settings of all shapes.
func (d *DB) querySettingsStage(debug bool) []bsonval.Doc {
	all := d.QuerySettings()
	docs := make([]bsonval.Doc, 0, len(all))
	for _, hash := range slices.Sorted(maps.Keys(all)) {
		s := all[hash]
		b := bsonval.NewBuilder().Str("queryShapeHash", hash)
		if debug && s.Shape != nil {
			b.Doc("debugQueryShape", s.Shape)
		}
		b.Doc("settings", s.Settings)
		if s.Representative != nil {
			b.Doc("representativeQuery", s.Representative)
		}
		docs = append(docs, b.Build())
	}
	return docs
}
