package database

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

func aggregate(t *testing.T, d *DB, stages string) ([]string, error) {
	t.Helper()
	cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), ns,
		&AggregateQuery{Pipeline: doc(t, `{"p": `+stages+`}`).Lookup("p").Doc()})
	if err != nil {
		return nil, err
	}
	return results(t, cur, nil), nil
}

// in lists the documents of another collection of the test database.
func in(t *testing.T, d *DB, coll string) []string {
	t.Helper()
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), Namespace{DB: "test", Coll: coll}, &FindQuery{Sort: doc(t, `{"_id": 1}`)})
	return results(t, cur, err)
}

// TestOutIsAtomic fails in the middle of $out: the target stays as it was and no
// temporary collection is left.
func TestOutIsAtomic(t *testing.T) {
	d := open(t)
	fill(t, d, 30)
	if _, err := aggregate(t, d, `[{"$match": {"_id": {"$lt": 2}}}, {"$out": "target"}]`); err != nil {
		t.Fatal(err)
	}
	before := in(t, d, "target")
	if !slices.Equal(before, []string{"{ _id: 0, a: 0 }", "{ _id: 1, a: 1 }"}) {
		t.Fatalf("target: %v", before)
	}
	for _, stages := range []string{
		`[{"$project": {"x": {"$divide": [1, {"$subtract": ["$_id", 20]}]}}}, {"$out": "target"}]`,
		`[{"$project": {"_id": {"$mod": ["$_id", 25]}}}, {"$out": "target"}]`,
	} {
		if _, err := aggregate(t, d, stages); err == nil {
			t.Errorf("%s: no error", stages)
		}
		if got := in(t, d, "target"); !slices.Equal(got, before) {
			t.Errorf("%s: target is %v", stages, got)
		}
	}
	if n := len(d.Catalog().Collections("test")); n != 2 {
		t.Errorf("%d collections", n)
	}
}

// TestMerge applies each of the actions; what was written before a failure stays.
func TestMerge(t *testing.T) {
	d := open(t)
	fill(t, d, 4)
	merge := func(options string) error {
		_, err := aggregate(t, d, `[{"$match": {"_id": {"$lt": 3}}}, {"$merge": {"into": "target", `+options+`}}]`)
		return err
	}
	if err := merge(`"whenMatched": "fail"`); err != nil {
		t.Fatal(err)
	}
	if err := merge(`"whenMatched": "fail"`); !mongoerr.Is(err, mongoerr.DuplicateKey) {
		t.Errorf("fail: %v", err)
	}
	if err := merge(`"whenMatched": [{"$set": {"a": {"$add": ["$a", "$$new.a"]}}}]`); err != nil {
		t.Errorf("pipeline: %v", err)
	}
	want := []string{"{ _id: 0, a: 0 }", "{ _id: 1, a: 2 }", "{ _id: 2, a: 4 }"}
	if got := in(t, d, "target"); !slices.Equal(got, want) {
		t.Errorf("target: %v", got)
	}
	if err := merge(`"whenMatched": "replace", "whenNotMatched": "discard"`); err != nil {
		t.Errorf("replace: %v", err)
	}
	if _, err := aggregate(t, d, `[{"$merge": {"into": "target", "whenNotMatched": "fail"}}]`); !mongoerr.Is(err, mongoerr.MergeStageNoMatchingDocument) {
		t.Errorf("not matched: %v", err)
	}
}

func TestValidator(t *testing.T) {
	for _, c := range []struct {
		level, action   string
		insert, update  bool // of a document that is valid before
		updateOfInvalid bool
	}{
		{"strict", "error", false, false, false},
		{"moderate", "error", false, false, true},
		{"off", "error", true, true, true},
		{"strict", "warn", true, true, true},
	} {
		d := open(t)
		insert(t, d, doc(t, `{"_id": 1, "a": 1}`), doc(t, `{"_id": 2, "a": "x"}`))
		options := fmt.Sprintf(`{"validator": {"a": {"$type": "number"}}, "validationLevel": %q, "validationAction": %q}`, c.level, c.action)
		if _, err := d.CollMod(t.Context(), ns, doc(t, options)); err != nil {
			t.Fatal(err)
		}
		res, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, []bsonval.Doc{doc(t, `{"_id": 3, "a": "y"}`)}, true)
		if err != nil || (res.N == 1) != c.insert {
			t.Errorf("%+v: insert %+v %v", c, res, err)
		}
		if !c.insert && (len(res.Errors) != 1 || res.Errors[0].Err.Code != mongoerr.DocumentValidationFailure) {
			t.Errorf("%+v: insert %+v", c, res)
		}
		update := func(id int) bool {
			_, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &UpdateStatement{
				Filter: doc(t, fmt.Sprintf(`{"_id": %d}`, id)), Update: bsonval.Document(doc(t, `{"$set": {"a": "z"}}`)),
			})
			if err != nil && !mongoerr.Is(err, mongoerr.DocumentValidationFailure) {
				t.Fatal(err)
			}
			return err == nil
		}
		if got := update(1); got != c.update {
			t.Errorf("%+v: update of a valid document: %v", c, got)
		}
		if got := update(2); got != c.updateOfInvalid {
			t.Errorf("%+v: update of an invalid document: %v", c, got)
		}
	}
}

// TestCountsAfterCrash stops a database without the farewell that writes the
// counts.
func TestCountsAfterCrash(t *testing.T) {
	dir := t.TempDir()
	start := func() *DB {
		engine, err := pebblestore.Open(pebblestore.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	count := func(d *DB) int64 {
		t.Helper()
		n, err := d.Count(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	d := start()
	fill(t, d, 20)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = start()
	if n := count(d); n != 20 {
		t.Errorf("after a clean stop: %d", n)
	}
	insert(t, d, doc(t, `{"_id": 100}`))
	d.stop()
	d.work.Wait()
	if err := d.engine.Close(); err != nil {
		t.Fatal(err)
	}
	d = start()
	insert(t, d, doc(t, `{"_id": 101}`))
	if n := count(d); n != 22 {
		t.Errorf("after a crash: %d", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOutMeetsDefinitions changes definitions while $out writes: an index of the target that was made meanwhile is not lost, and
// what is left of the documents when somebody drops the database is not the result.
func TestOutMeetsDefinitions(t *testing.T) {
	target := Namespace{DB: "test", Coll: "target"}
	for _, c := range []struct {
		name   string
		change func(d *DB) error
		code   mongoerr.Code
	}{
		{"nothing", func(*DB) error { return nil }, 0},
		{"index", func(d *DB) error {
			_, err := d.CreateIndexes(t.Context(), target, []bsonval.Doc{doc(t, `{"key": {"a": 1}, "name": "a_1"}`)})
			return err
		}, mongoerr.CommandFailed},
		{"options", func(d *DB) error {
			_, err := d.CollMod(t.Context(), target, doc(t, `{"validator": {"a": 1}}`))
			return err
		}, mongoerr.CommandFailed},
		{"drop", func(d *DB) error { _, _, err := d.Drop(t.Context(), target); return err }, 0},
		{"database", func(d *DB) error { _, err := d.DropDatabase(t.Context(), "test"); return err }, mongoerr.NamespaceNotFound},
	} {
		for _, behind := range []int{0, 1} { // documents
			d := open(t)
			if _, err := d.Insert(t.Context(), d.NewOp(t.Context()), target, []bsonval.Doc{doc(t, `{"_id": 0}`)}, true); err != nil {
				t.Fatal(err)
			}
			w, err := (&data{db: d, op: d.NewOp(t.Context())}).Out(t.Context(), pipeline.OutSpec{NS: target})
			if err != nil {
				t.Fatal(err)
			}
			for i := range insertBatchDocs + behind {
				if i == insertBatchDocs {
					if err := c.change(d); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Write(t.Context(), doc(t, fmt.Sprintf(`{"_id": %d}`, i))); err != nil {
					t.Fatal(err)
				}
			}
			if behind == 0 {
				if err := c.change(d); err != nil {
					t.Fatal(err)
				}
			}
			err = w.Commit(t.Context())
			w.Abort()
			if c.code == 0 && err != nil || c.code != 0 && !mongoerr.Is(err, c.code) {
				t.Errorf("%s, %d documents behind it: %v", c.name, behind, err)
			}
			if n := len(in(t, d, "target")); c.code == 0 && n != insertBatchDocs+behind || c.code != 0 && n > 1 {
				t.Errorf("%s, %d documents behind it: %d in the target", c.name, behind, n)
			}
			if c.name == "database" && len(d.Catalog().Collections("test")) > 0 {
				t.Errorf("%d documents behind the drop have made the database again", behind)
			}
		}
	}
}

// TestCopyMeetsDrop copies documents to a temporary collection that was dropped: it is not made again, for which the change of
// definitions that copies would wait for itself.
func TestCopyMeetsDrop(t *testing.T) {
	d := open(t)
	fill(t, d, 2)
	err := d.catalog.Change(t.Context(), func(ch *catalog.Change) error {
		return d.copyDocuments(t.Context(), ch.Collection(ns.DB, ns.Coll), Namespace{DB: "test", Coll: "tmp"})
	})
	if !mongoerr.Is(err, mongoerr.NamespaceNotFound) {
		t.Error(err)
	}
}
