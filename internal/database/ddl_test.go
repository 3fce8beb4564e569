package database

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

var bareKey = regexp.MustCompile(`([{,]\s*)([$A-Za-z_][\w]*):`)

// parse makes a document of JSON whose field names need no quotes.
func parse(t testing.TB, s string) bsonval.Doc {
	t.Helper()
	return doc(t, bareKey.ReplaceAllString(s, `$1"$2":`))
}

// fails fails the test unless err has the code; 0 means no error.
func fails(t *testing.T, err error, code mongoerr.Code) {
	t.Helper()
	if code == 0 && err != nil || code != 0 && !mongoerr.Is(err, code) {
		t.Fatalf("got error %v, want code %d", err, code)
	}
}

// sound fails the test unless the collection validates.
func sound(t *testing.T, d *DB, ns Namespace) *Validation {
	t.Helper()
	v, err := d.Validate(t.Context(), ns, ValidateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !v.Valid || len(v.Warnings) > 0 {
		t.Fatalf("%s: errors %v %v, warnings %v, missing %v, extra %v", ns, v.Errors, v.IndexErrors, v.Warnings, v.Missing, v.Extra)
	}
	return v
}

func TestCreateOptions(t *testing.T) {
	d := open(t)
	for i, c := range []struct {
		options string
		code    mongoerr.Code
		stored  string
	}{
		{`{}`, 0, `{}`},
		{`{validator: {}, storageEngine: {}, changeStreamPreAndPostImages: {enabled: false}}`, 0, `{}`},
		{`{validator: {a: {$gt: 1}}, validationLevel: "moderate"}`, 0, `{ validator: { a: { $gt: 1 } }, validationLevel: "moderate" }`},
		{`{validator: {$where: "1"}}`, mongoerr.BadValue, ``},
		{`{validationLevel: "some"}`, mongoerr.BadValue, ``},
		{`{capped: true}`, mongoerr.InvalidOptions, ``},
		{`{capped: true, size: 4097.9, max: 0}`, 0, `{ capped: true, size: 4097, max: 2147483647 }`},
		{`{size: 4096}`, mongoerr.InvalidOptions, ``},
		{`{timeseries: {timeField: "t"}, capped: true, size: 1}`, mongoerr.InvalidOptions, ``},
		{`{timeseries: {timeField: "t"}}`, mongoerr.NotImplemented, ``},
		{`{clusteredIndex: true}`, 5979703, ``},
		{`{clusteredIndex: {key: {_id: 1}, unique: true}, expireAfterSeconds: 5}`, 0,
			`{ clusteredIndex: { v: 2, key: { _id: 1 }, name: "_id_", unique: true }, expireAfterSeconds: 5 }`},
		{`{pipeline: []}`, mongoerr.InvalidOptions, ``},
		{`{viewOn: ""}`, mongoerr.BadValue, ``},
		{`{viewOn: "c", pipeline: [{$out: "x"}]}`, mongoerr.OptionNotSupportedOnView, ``},
		{`{viewOn: "c", capped: true, size: 1}`, mongoerr.InvalidOptions, ``},
		{`{viewOn: "c"}`, 0, `{ viewOn: "c", pipeline: [] }`},
		{`{idIndex: {key: {_id: 1}, name: "x", unique: true}}`, mongoerr.InvalidIndexSpecificationOption, ``},
		{`{idIndex: {key: {a: 1}, name: "x"}}`, mongoerr.BadValue, ``},
		{`{collation: {locale: "simple"}}`, 0, `{}`},
		{`{storageEngine: {other: {}}}`, mongoerr.InvalidOptions, ``},
		{`{expireAfterSeconds: 5}`, mongoerr.InvalidOptions, ``},
	} {
		ns := Namespace{DB: "opts", Coll: fmt.Sprintf("c%d", i)}
		err := d.Create(t.Context(), ns, parse(t, c.options))
		if code := mongoerr.As(err); c.code == 0 && err != nil || c.code != 0 && (code == nil || code.Code != c.code) {
			t.Errorf("%s: got %v, want %d", c.options, err, c.code)
			continue
		}
		if c.code != 0 {
			continue
		}
		if got := bsonval.FormatDoc(d.Catalog().Collection(ns.DB, ns.Coll).Options); got != c.stored {
			t.Errorf("%s: stored as %s, want %s", c.options, got, c.stored)
		}
		fails(t, d.Create(t.Context(), ns, parse(t, c.options)), 0)
	}
	fails(t, d.Create(t.Context(), Namespace{DB: "opts", Coll: "c0"}, parse(t, `{validator: {a: 1}}`)), mongoerr.NamespaceExists)
	fails(t, d.Create(t.Context(), Namespace{DB: "OPTS", Coll: "c0"}, parse(t, `{}`)), mongoerr.DatabaseDifferCase)
	for _, name := range []string{"", ".x", "a$b", "system.test", strings.Repeat("x", 251)} {
		fails(t, d.Create(t.Context(), Namespace{DB: "opts", Coll: name}, parse(t, `{}`)), mongoerr.InvalidNamespace)
	}
}

func TestViews(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	view := func(name, on, stages string) error {
		return d.Create(ctx, Namespace{DB: "v", Coll: name}, parse(t, fmt.Sprintf(`{viewOn: "%s", pipeline: %s}`, on, stages)))
	}
	for i := 1; i <= maxViewDepth; i++ {
		on := "c"
		if i > 1 {
			on = fmt.Sprintf("v%d", i-1)
		}
		fails(t, view(fmt.Sprintf("v%d", i), on, fmt.Sprintf(`[{$addFields: {f%d: 1}}]`, i)), 0)
	}
	fails(t, view("v21", "v20", `[]`), mongoerr.ViewDepthLimitExceeded)
	fails(t, view("self", "self", `[]`), mongoerr.GraphContainsCycle)
	fails(t, view("c", "v3", `[]`), mongoerr.GraphContainsCycle)
	fails(t, view("l", "x", `[{$lookup: {from: "l", pipeline: [], as: "y"}}]`), mongoerr.GraphContainsCycle)
	_, err := d.CollMod(ctx, Namespace{DB: "v", Coll: "v1"}, parse(t, `{viewOn: "v2"}`))
	fails(t, err, mongoerr.GraphContainsCycle)
	_, err = d.CollMod(ctx, Namespace{DB: "v", Coll: "v1"}, parse(t, `{pipeline: [{$match: {a: 1}}]}`))
	fails(t, err, 0)

	base, stages, err := d.resolveView(Namespace{DB: "v", Coll: "v3"})
	fails(t, err, 0)
	if base.Coll != "c" || bsonval.Format(bsonval.Array(stages)) != `[ { $match: { a: 1 } }, { $addFields: { f2: 1 } }, { $addFields: { f3: 1 } } ]` {
		t.Fatalf("base %s, stages %s", base, bsonval.Format(bsonval.Array(stages)))
	}
	docs := d.ListCollections("v", true)
	if last := docs[len(docs)-1]; last.Lookup("name").Str() != "system.views" {
		t.Fatalf("last of the list is %s", bsonval.FormatDoc(last))
	}
	if n, existed, err := d.Drop(ctx, Namespace{DB: "v", Coll: "system.views"}); err != nil || !existed || n != 1 || d.Catalog().HasDatabase("v") {
		t.Fatalf("drop of system.views: %d %v %v", n, existed, err)
	}
}

func TestIndexSpecs(t *testing.T) {
	d := open(t)
	for _, c := range []struct {
		spec string
		code mongoerr.Code
	}{
		{`{key: {a: 1}, name: "a_1"}`, 0},
		{`{key: {a: 1}, name: "a_1", unique: true}`, mongoerr.IndexKeySpecsConflict},
		{`{key: {a: 1}, name: "other"}`, mongoerr.IndexOptionsConflict},
		{`{key: {b: 1}, name: "a_1"}`, mongoerr.IndexKeySpecsConflict},
		{`{key: {a: 1}, name: "ttl", expireAfterSeconds: 5}`, mongoerr.IndexOptionsConflict},
		{`{key: {a: 1}, name: "sparse", sparse: true}`, 0},
		{`{key: {a: 1}, name: "en", collation: {locale: "en"}}`, 0},
		{`{key: {}, name: "x"}`, mongoerr.CannotCreateIndex},
		{`{key: {a: 0}, name: "x"}`, mongoerr.CannotCreateIndex},
		{`{key: {a: true}, name: "x"}`, mongoerr.CannotCreateIndex},
		{`{key: {"a..b": 1}, name: "x"}`, mongoerr.CannotCreateIndex},
		{`{key: {"$a": 1}, name: "x"}`, mongoerr.CannotCreateIndex},
		{`{key: {a: "abc"}, name: "x"}`, mongoerr.CannotCreateIndex},
		{`{key: {a: "hashed"}, name: "hashed"}`, 0},
		{`{key: {a: "hashed", b: "hashed"}, name: "x"}`, 31303},
		{`{key: {a: "text"}, name: "x", weights: {a: 0}}`, mongoerr.CannotCreateIndex},
		{`{key: {a: "text"}, name: "text"}`, 0},
		{`{key: {b: "text"}, name: "x"}`, mongoerr.IndexOptionsConflict},
		{`{key: {b: 1, a: "text"}, name: "x"}`, mongoerr.CannotCreateIndex},
		{`{key: {a: "text"}, name: "x", textIndexVersion: 2}`, mongoerr.NotImplemented},
		{`{key: {"$**": 1}, name: "wildcard"}`, 0},
		{`{key: {"$**": 1}, name: "x", wildcardProjection: {a: 1, b: 0}}`, 31254},
		{`{key: {_id: -1}, name: "x"}`, mongoerr.BadValue},
		{`{key: {a: 1}, name: "_id_"}`, mongoerr.BadValue},
		{`{key: {_id: 1}, name: "other"}`, 0},
		{`{key: {_id: 1}, name: "x", sparse: true}`, mongoerr.InvalidIndexSpecificationOption},
		{`{key: {c: 1}, name: "x", nonsense: 1}`, mongoerr.InvalidIndexSpecificationOption},
		{`{key: {c: 1}}`, mongoerr.FailedToParse},
		{`{key: {c: 1}, name: "x", v: 3}`, mongoerr.CannotCreateIndex},
		{`{key: {c: 1}, name: "x", sparse: true, partialFilterExpression: {c: 1}}`, mongoerr.CannotCreateIndex},
		{`{key: {c: 1}, name: "x", partialFilterExpression: {c: {$ne: 1}}}`, mongoerr.CannotCreateIndex},
		{`{key: {c: 1}, name: "x", partialFilterExpression: {$expr: true}}`, mongoerr.QueryFeatureNotAllowed},
		{`{key: {c: 1}, name: "x", bucketSize: 1}`, mongoerr.NotImplemented},
		{`{key: {c: 1}, name: "x", partialFilterExpression: {$or: [{c: {$gt: 1}}, {d: {$exists: true}}]}}`, 0},
		{`{key: {t: 1}, name: "t", expireAfterSeconds: -1}`, mongoerr.CannotCreateIndex},
		{`{key: {t: 1, u: 1}, name: "t", expireAfterSeconds: 1}`, mongoerr.CannotCreateIndex},
	} {
		if _, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{parse(t, c.spec)}); c.code == 0 && err != nil || c.code != 0 && !mongoerr.Is(err, c.code) {
			t.Errorf("%s: got %v, want code %d", c.spec, err, c.code)
		}
	}
	_, err := d.CollMod(t.Context(), ns, parse(t, `{index: {name: "a_1", hidden: true}}`))
	fails(t, err, 0)
	if !d.Catalog().Collection(ns.DB, ns.Coll).Index("a_1").Hidden {
		t.Error("index is not hidden")
	}
	res, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{parse(t, `{key: {a: 1}, name: "a_1"}`)})
	if err != nil || res.Before != res.After {
		t.Errorf("hidden index is not the same index: %v %v", res, err)
	}
	_, err = d.DropIndexes(t.Context(), ns, bsonval.String("_id_"))
	fails(t, err, mongoerr.InvalidOptions)
	_, err = d.DropIndexes(t.Context(), ns, bsonval.Document(parse(t, `{a: 1}`)))
	fails(t, err, mongoerr.AmbiguousIndexKeyPattern)
	was, err := d.DropIndexes(t.Context(), ns, bsonval.String("*"))
	if err != nil || was != 8 || len(d.Catalog().Collection(ns.DB, ns.Coll).Indexes) != 1 {
		t.Errorf("drop of all indexes: were %d, %v", was, err)
	}
}

// TestBuildUnderWrites builds indexes while documents come, change and go.
func TestBuildUnderWrites(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	var docs []bsonval.Doc
	for i := range 12_000 {
		docs = append(docs, parse(t, fmt.Sprintf(`{_id: %d, a: %d, tags: ["x%d", "y"]}`, i, i%100, i%7)))
	}
	insert(t, d, docs...)
	stop := make(chan struct{})
	var work sync.WaitGroup
	for g := range 2 {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := (i*7919 + g) % 13_000
				u := &UpdateStatement{Filter: parse(t, fmt.Sprintf(`{_id: %d}`, id)), Upsert: true,
					Update: bsonval.Document(parse(t, fmt.Sprintf(`{$set: {a: %d, tags: ["z"]}}`, i)))}
				if _, err := d.Update(ctx, d.NewOp(ctx), ns, u); err != nil {
					t.Error(err)
					return
				}
				if _, err := d.Delete(ctx, d.NewOp(ctx), ns, &DeleteStatement{Filter: parse(t, fmt.Sprintf(`{_id: %d}`, (id+3)%13_000))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var builders sync.WaitGroup
	for range 2 {
		builders.Go(func() {
			res, err := d.CreateIndexes(ctx, ns, []bsonval.Doc{
				parse(t, `{key: {a: 1, _id: -1}, name: "a"}`), parse(t, `{key: {tags: 1}, name: "tags"}`),
			})
			if err != nil || res.After != 3 {
				t.Errorf("%+v %v", res, err)
			}
		})
	}
	builders.Wait()
	close(stop)
	work.Wait()
	sound(t, d, ns)
	n, err := d.Count(ctx, d.NewOp(ctx), ns, &FindQuery{Filter: parse(t, `{tags: "y"}`), Hint: &plan.Hint{Name: "tags"}})
	all, err2 := d.Count(ctx, d.NewOp(ctx), ns, &FindQuery{Filter: parse(t, `{tags: "y"}`), Hint: &plan.Hint{Natural: 1}})
	if err != nil || err2 != nil || n != all {
		t.Fatalf("%d by index, %d by scan (%v, %v)", n, all, err, err2)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	d := open(t)
	var docs []bsonval.Doc
	for i := range 11_000 {
		docs = append(docs, parse(t, fmt.Sprintf(`{_id: %d, a: %d}`, i, i%10_500)))
	}
	insert(t, d, docs...)
	_, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{parse(t, `{key: {b: 1}, name: "b"}`), parse(t, `{key: {a: 1}, name: "a", unique: true}`)})
	fails(t, err, mongoerr.DuplicateKey)
	if n := len(d.Catalog().Collection(ns.DB, ns.Coll).Indexes); n != 1 {
		t.Fatalf("%d indexes are left", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.CreateIndexes(ctx, ns, []bsonval.Doc{parse(t, `{key: {b: 1}, name: "b"}`)}); err == nil {
		t.Fatal("a cancelled build succeeded")
	}
	sound(t, d, ns)
}

func TestRename(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	insert(t, d, parse(t, `{_id: 1, a: 1}`), parse(t, `{_id: 2, a: 2}`))
	_, err := d.CreateIndexes(ctx, ns, []bsonval.Doc{parse(t, `{key: {a: 1}, name: "a"}`)})
	fails(t, err, 0)
	other := Namespace{DB: "test", Coll: "other"}
	fails(t, d.Rename(ctx, other, ns, false), mongoerr.NamespaceNotFound)
	fails(t, d.Rename(ctx, ns, Namespace{DB: "test", Coll: "system.js"}, false), mongoerr.IllegalOperation)
	fails(t, d.Create(ctx, other, parse(t, `{}`)), 0)
	fails(t, d.Rename(ctx, ns, other, false), mongoerr.NamespaceExists)
	fails(t, d.Rename(ctx, ns, other, true), 0)
	sound(t, d, other)
	far := Namespace{DB: "far", Coll: "away"}
	fails(t, d.Rename(ctx, other, far, false), 0)
	if v := sound(t, d, far); v.Records != 2 || v.Keys["a"] != 2 {
		t.Fatalf("%d documents moved", v.Records)
	}
	if d.Catalog().HasDatabase("test") || len(d.Catalog().Collections("far")) != 1 {
		t.Fatal("something is left behind")
	}
	if existed, err := d.DropDatabase(ctx, "far"); err != nil || !existed || d.Catalog().HasDatabase("far") {
		t.Fatal("database is still there", err)
	}
}

func TestValidateFindsAndMendsDamage(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	insert(t, d, parse(t, `{_id: 1, a: 1}`), parse(t, `{_id: 2, a: 2}`), parse(t, `{_id: 3, a: [3, 4]}`))
	_, err := d.CreateIndexes(ctx, ns, []bsonval.Doc{parse(t, `{key: {a: 1}, name: "a"}`)})
	fails(t, err, 0)
	sound(t, d, ns)
	x := d.Catalog().Collection(ns.DB, ns.Coll).Index("a")
	txn := d.engine.Begin(storage.TxnOptions{})
	w := &writer{db: d, op: d.NewOp(ctx), coll: d.Catalog().Collection(ns.DB, ns.Coll), txn: txn}
	fails(t, w.keysOf(x, parse(t, `{a: 2}`), &w.keys), 0)
	fails(t, txn.DeleteEntry(ctx, x.ID, w.keys.List[0].Bytes, 2), 0)
	fails(t, w.keysOf(x, parse(t, `{a: 9}`), &w.keys), 0)
	fails(t, txn.PutEntry(ctx, x.ID, w.keys.List[0].Bytes, 77, nil), 0)
	_, err = txn.Commit(ctx)
	fails(t, err, 0)

	v, err := d.Validate(ctx, ns, ValidateOptions{})
	fails(t, err, 0)
	if v.Valid || len(v.Missing) != 1 || len(v.Extra) != 1 || bsonval.FormatDoc(v.Missing[0].Lookup("indexKey").Doc()) != `{ a: 2 }` {
		t.Fatalf("valid %v, missing %d, extra %d", v.Valid, len(v.Missing), len(v.Extra))
	}
	if v, err = d.Validate(ctx, ns, ValidateOptions{Repair: true}); err != nil || !v.Repaired {
		t.Fatalf("not repaired: %v", err)
	}
	sound(t, d, ns)
}

func TestExpire(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	now := time.UnixMilli(1_700_000_000_000)
	old, young := now.UnixMilli()-61_000, now.UnixMilli()-59_000
	b := func(id int32, v bsonval.Value) bsonval.Doc {
		return bsonval.NewBuilder().Int32("_id", id).Value("t", v).Bool("p", id%2 == 1).Build()
	}
	insert(t, d, b(1, bsonval.Date(old)), b(2, bsonval.Date(young)), b(3, bsonval.ArrayOf(bsonval.Date(young), bsonval.Date(old))),
		b(4, bsonval.Int64(old)), b(5, bsonval.Null), b(6, bsonval.Date(old)))
	_, err := d.CreateIndexes(ctx, ns, []bsonval.Doc{
		parse(t, `{key: {t: 1}, name: "t", expireAfterSeconds: 60, partialFilterExpression: {p: true}}`)})
	fails(t, err, 0)
	if n := d.Expire(ctx, now); n != 2 {
		t.Fatalf("%d documents expired, want 2", n)
	}
	changes, err := d.CollMod(ctx, ns, parse(t, `{index: {name: "t", expireAfterSeconds: 10}}`))
	if err != nil || bsonval.FormatDoc(changes) != `{ expireAfterSeconds_old: 60, expireAfterSeconds_new: 10 }` {
		t.Fatal(bsonval.FormatDoc(changes), err)
	}
	sound(t, d, ns)
}

func TestUnfinishedIndexesGoAtStart(t *testing.T) {
	d := open(t)
	insert(t, d, parse(t, `{_id: 1, a: 1}`))
	a := &indexAddition{db: d, ns: ns}
	s, err := parseIndexSpec(parse(t, `{key: {a: 1}, name: "a"}`))
	fails(t, err, 0)
	a.specs = []*indexSpec{s}
	fails(t, d.catalog.Change(t.Context(), func(ch *catalog.Change) error { return a.register(t.Context(), ch) }), 0)
	if x := d.Catalog().Collection(ns.DB, ns.Coll).Index("a"); x == nil || x.Ready {
		t.Fatal("the index is not under construction")
	}
	fails(t, d.dropUnfinishedIndexes(t.Context(), func(*catalog.Index) bool { return true }), 0)
	if n := len(d.Catalog().Collection(ns.DB, ns.Coll).Indexes); n != 1 {
		t.Fatalf("%d indexes are left", n)
	}
}
