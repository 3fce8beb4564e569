package database

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// twoIndexes makes a collection with the indexes a_1 and b_1, of which a_1 is
// the better one for {a: 1, b: 1}.
func twoIndexes(t *testing.T, d *DB) {
	t.Helper()
	for i := range 200 {
		insert(t, d, bsonval.NewBuilder().Int32("_id", int32(i)).Int32("a", int32(i)).Int32("b", int32(i%2)).Build())
	}
	for _, spec := range []string{`{"key": {"a": 1}, "name": "a_1"}`, `{"key": {"b": 1}, "name": "b_1"}`} {
		if _, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{doc(t, spec)}); err != nil {
			t.Fatal(err)
		}
	}
}

// chosen is the index of the winning plan, "" for a collection scan, and what
// explain says of index filters.
func chosen(t *testing.T, d *DB, q *FindQuery) (index string, filtered bool) {
	t.Helper()
	out, err := d.ExplainFind(t.Context(), d.NewOp(t.Context()), ns, q, ExplainPlanner)
	if err != nil {
		t.Fatal(err)
	}
	planner := out.Lookup("queryPlanner").Doc()
	stage := planner.Lookup("winningPlan").Doc()
	for stage != nil && stage.Lookup("indexName").IsMissing() {
		next := stage.Lookup("inputStage")
		if next.Type() != bsonval.TypeDocument {
			return "", planner.Lookup("indexFilterSet").Bool()
		}
		stage = next.Doc()
	}
	return string(stage.Lookup("indexName").Bytes()), planner.Lookup("indexFilterSet").Bool()
}

func TestIndexFilter(t *testing.T) {
	d := open(t)
	twoIndexes(t, d)
	q := func(filter string) *FindQuery { return &FindQuery{Filter: doc(t, filter)} }
	expect := func(what string, q *FindQuery, index string, filtered bool) {
		t.Helper()
		if got, set := chosen(t, d, q); got != index || set != filtered {
			t.Errorf("%s: index %q, filtered %v; want %q, %v", what, got, set, index, filtered)
		}
	}
	set := func(filter string, s *plan.IndexSet) {
		t.Helper()
		if err := d.SetIndexFilter(d.NewOp(t.Context()), ns, q(filter), s); err != nil {
			t.Fatal(err)
		}
	}
	expect("no filter", q(`{"a": 7, "b": 1}`), "a_1", false)
	set(`{"a": 1, "b": 1}`, &plan.IndexSet{Names: []string{"b_1"}})
	expect("by name", q(`{"a": 7, "b": 1}`), "b_1", true)
	expect("other order of fields", q(`{"b": 1, "a": 7}`), "b_1", true)
	expect("other shape", q(`{"a": {"$lt": 2}, "b": 1}`), "a_1", false)
	expect("the filter wins over a hint", &FindQuery{Filter: doc(t, `{"a": 7, "b": 1}`), Hint: &plan.Hint{Name: "a_1"}}, "b_1", true)
	set(`{"a": 1, "b": 1}`, &plan.IndexSet{Keys: []bsonval.Doc{doc(t, `{"a": 1}`)}})
	expect("by key, replacing", q(`{"a": 7, "b": 1}`), "a_1", true)
	set(`{"a": 1, "b": 1}`, &plan.IndexSet{Names: []string{"gone"}})
	expect("no such index", q(`{"a": 7, "b": 1}`), "", true)
	if got := d.IndexFilters(ns); len(got) != 1 {
		t.Fatalf("%d filters listed, want 1", len(got))
	}
	// A count of the same filter has the same shape.
	if n, err := d.Count(t.Context(), d.NewOp(t.Context()), ns, q(`{"a": 7, "b": 1}`)); n != 1 || err != nil {
		t.Errorf("count: %d, %v", n, err)
	}
	if err := d.ClearIndexFilters(d.NewOp(t.Context()), ns, q(`{"a": 3, "b": 4}`)); err != nil {
		t.Fatal(err)
	}
	expect("cleared", q(`{"a": 7, "b": 1}`), "a_1", false)
	err := d.SetIndexFilter(d.NewOp(t.Context()), Namespace{DB: "test", Coll: "none"}, q(`{}`), &plan.IndexSet{})
	if e := mongoerr.As(err); e == nil || e.Code != mongoerr.BadValue {
		t.Errorf("filter on a missing collection: %v", err)
	}
}

// setSettings sets the settings of a find's shape.
func setSettings(t *testing.T, d *DB, filter, settings string) string {
	t.Helper()
	shape := FindShape(ns, &FindQuery{Filter: doc(t, filter)})
	hash := ShapeHash(shape)
	err := d.ChangeQuerySettings(t.Context(), hash, func(*QuerySettings) (*QuerySettings, error) {
		if settings == "" {
			return nil, nil
		}
		return &QuerySettings{Settings: doc(t, settings), Representative: doc(t, filter), Shape: shape}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestQuerySettings(t *testing.T) {
	d := open(t)
	twoIndexes(t, d)
	const hints = `{"indexHints": [{"ns": {"db": "test", "coll": "c"}, "allowedIndexes": [%s]}]}`
	for _, c := range []struct{ allowed, want string }{
		{`"b_1"`, "b_1"}, {`{"b": 1}`, "b_1"}, {`{"$natural": 1}`, ""}, {`"gone"`, "a_1"},
	} {
		setSettings(t, d, `{"a": 1, "b": 1}`, strings.Replace(hints, "%s", c.allowed, 1))
		if got, _ := chosen(t, d, &FindQuery{Filter: doc(t, `{"a": 7, "b": 1}`)}); got != c.want {
			t.Errorf("allowed %s: index %q, want %q", c.allowed, got, c.want)
		}
	}
	setSettings(t, d, `{"a": 1, "b": 1}`, `{"reject": true}`)
	_, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Filter: doc(t, `{"a": 5, "b": 2}`)})
	if e := mongoerr.As(err); e == nil || e.Code != mongoerr.QueryRejectedBySettings {
		t.Errorf("rejected shape: %v", err)
	}
	if got, _ := chosen(t, d, &FindQuery{Filter: doc(t, `{"a": 7, "b": 1}`)}); got != "a_1" {
		t.Errorf("explain of a rejected shape: index %q", got)
	}
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Filter: doc(t, `{"a": 5, "b": "x"}`)})
	if err != nil {
		t.Fatalf("other shape: %v", err)
	}
	cur.Close()
	setSettings(t, d, `{"a": 1, "b": 1}`, "")
	if len(d.QuerySettings()) != 0 {
		t.Error("settings left after their removal")
	}
}

func TestQuerySettingsSurviveRestart(t *testing.T) {
	engine, err := pebblestore.Open(pebblestore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Engine: engine, Logger: slog.New(slog.DiscardHandler)}
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	hash := setSettings(t, d, `{"x": 1}`, `{"reject": true}`)
	if err := d.loadQuerySettings(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := d.QuerySettings()[hash]
	if got == nil || !got.reject || got.Representative.Lookup("x").TruncInt64() != 1 {
		t.Errorf("settings read back: %+v", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestShapes(t *testing.T) {
	same := [][2]string{
		{`{"a": 1}`, `{"a": 2.5}`},
		{`{"a": 1, "b": "x"}`, `{"$and": [{"a": 7}, {"b": "y"}]}`},
		{`{"a": {"$in": [1, 2]}}`, `{"a": {"$in": [3]}}`},
		{`{"a": {"$elemMatch": {"b": 1}}}`, `{"a": {"$elemMatch": {"b": 4}}}`},
		{`{"$expr": {"$eq": ["$a", 1]}}`, `{"$expr": {"$eq": ["$a", 2]}}`},
	}
	different := [][2]string{
		{`{"a": 1}`, `{"b": 1}`}, {`{"a": 1}`, `{"a": "x"}`}, {`{"a": 1}`, `{"a": {"$gt": 1}}`},
		{`{"a": {"$in": [1]}}`, `{"a": {"$in": ["x"]}}`},
		{`{"$expr": {"$eq": ["$a", 1]}}`, `{"$expr": {"$eq": ["$b", 1]}}`},
	}
	hash := func(filter string) string { return ShapeHash(FindShape(ns, &FindQuery{Filter: doc(t, filter)})) }
	for _, p := range same {
		if hash(p[0]) != hash(p[1]) {
			t.Errorf("%s and %s have different shapes", p[0], p[1])
		}
	}
	for _, p := range different {
		if hash(p[0]) == hash(p[1]) {
			t.Errorf("%s and %s have the same shape", p[0], p[1])
		}
	}
	agg := func(stages string) string {
		return ShapeHash(AggregateShape(ns, &AggregateQuery{Pipeline: doc(t, `{"p": `+stages+`}`).Lookup("p").Doc()}))
	}
	if agg(`[{"$match": {"a": 1}}, {"$limit": 3}]`) != agg(`[{"$match": {"a": 2}}, {"$limit": 4}]`) {
		t.Error("values make a difference between pipelines")
	}
	if agg(`[{"$lookup": {"from": "x", "pipeline": [{"$match": {"a": 1}}], "as": "y"}}]`) ==
		agg(`[{"$lookup": {"from": "z", "pipeline": [{"$match": {"a": 1}}], "as": "y"}}]`) {
		t.Error("collections make no difference between pipelines")
	}
}

func TestPlanCacheStats(t *testing.T) {
	d := open(t)
	twoIndexes(t, d)
	for range 3 {
		cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Filter: doc(t, `{"a": 7, "b": 1}`)})
		if err != nil {
			t.Fatal(err)
		}
		cur.Close()
	}
	docs, err := d.planCacheStats(ns)
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d entries, %v", len(docs), err)
	}
	e := docs[0]
	if got := e.LookupPath("cachedPlan", "inputStage", "indexName"); string(got.Bytes()) != "a_1" {
		t.Errorf("cached plan: %s", bsonval.FormatDoc(e.Lookup("cachedPlan").Doc()))
	}
	if got := e.LookupPath("createdFromQuery", "query", "$and"); got.IsMissing() {
		t.Errorf("created from: %s", bsonval.FormatDoc(e.Lookup("createdFromQuery").Doc()))
	}
	if n := e.Lookup("candidatePlanScores").Doc().Len(); n != 2 {
		t.Errorf("%d scores, want 2", n)
	}
	if err := d.PlanCacheClear(d.NewOp(t.Context()), ns, &FindQuery{Filter: doc(t, `{"a": 9, "b": 8}`)}); err != nil {
		t.Fatal(err)
	}
	if docs, _ := d.planCacheStats(ns); len(docs) != 0 {
		t.Errorf("%d entries after clearing the shape", len(docs))
	}
}
