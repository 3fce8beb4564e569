package database

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
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
