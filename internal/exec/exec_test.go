package exec

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/sortkey"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

func document(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(json), false, &raw); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return bsonval.Doc(raw)
}

// store is a collection of its own in memory.
type store struct {
	t      *testing.T
	engine storage.Engine
	coll   *catalog.Collection
}

func open(t *testing.T, indexes ...string) *store {
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	cat, err := catalog.Open(t.Context(), engine)
	if err != nil {
		t.Fatal(err)
	}
	coll, err := catalog.NewCollection("test", "c", bsonval.EmptyDoc)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range indexes {
		x, err := catalog.NewIndex(bsonval.NewBuilder().Int32("v", 2).Doc("key", document(t, key)).Str("name", key).Build())
		if err != nil {
			t.Fatal(err)
		}
		coll.Indexes = append(coll.Indexes, x)
	}
	if err := cat.Change(t.Context(), func(ch *catalog.Change) error { return ch.Create(t.Context(), coll) }); err != nil {
		t.Fatal(err)
	}
	return &store{t, engine, coll}
}

// put inserts documents.
func (s *store) put(docs ...string) {
	s.t.Helper()
	txn := s.engine.Begin(storage.TxnOptions{})
	defer txn.Rollback()
	var keys indexkey.Keys
	for _, json := range docs {
		d := document(s.t, json)
		id, err := txn.Insert(s.t.Context(), s.coll.Table, d)
		for _, x := range s.coll.Indexes {
			if err == nil {
				err = keys.Of(x.Generator, d, nil)
			}
			if err == nil && keys.Multikey != 0 {
				_, err = catalog.MarkMultikey(s.t.Context(), txn, x, keys.Multikey, 0)
			}
			for _, k := range keys.List {
				if err == nil {
					err = txn.PutEntry(s.t.Context(), x.ID, k.Bytes, id, k.TypeBits)
				}
			}
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := txn.Commit(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// query makes the candidates for {filter, sort, hint, need, distinct}.
func (s *store) plans(json string) []*plan.Plan {
	s.t.Helper()
	d := document(s.t, json)
	q := &plan.Query{}
	filter := bsonval.EmptyDoc
	if v := d.Lookup("filter"); !v.IsMissing() {
		filter = v.Doc()
	}
	var err error
	if q.Filter, err = match.Compile(filter, match.Options{Compiler: expr.NewCompiler(&expr.Env{})}); err != nil {
		s.t.Fatal(err)
	}
	if v := d.Lookup("sort"); !v.IsMissing() {
		if q.Sort, err = sortkey.Compile(v.Doc()); err != nil {
			s.t.Fatal(err)
		}
	}
	if v := d.Lookup("need"); !v.IsMissing() {
		q.Need = []string{}
		for _, p := range v.Doc().Values(nil) {
			q.Need = append(q.Need, p.Str())
		}
	}
	if v := d.Lookup("distinct"); !v.IsMissing() {
		q.Distinct = v.Str()
	}
	if v := d.Lookup("hint"); v.IsNumber() {
		q.Hint = &plan.Hint{Natural: int(v.TruncInt64())}
	} else if !v.IsMissing() {
		q.Hint = &plan.Hint{Name: v.Str()}
	}
	plans, err := plan.Candidates(s.coll, q)
	if err != nil {
		s.t.Fatal(err)
	}
	return plans
}

// view begins to read.
func (s *store) attach(v *View) { v.Attach(s.engine.Begin(storage.TxnOptions{ReadOnly: true})) }

func (s *store) detach(v *View) {
	txn := v.Txn()
	v.Detach()
	txn.Rollback()
}

// rows runs a plan; before each row but the first, pause is called with the
// view detached. A nil pause keeps the view.
func (s *store) rows(p *plan.Plan, pause func(n int)) []string {
	s.t.Helper()
	var v View
	s.attach(&v)
	scan := Open(&v, s.coll, p, nil)
	out := []string{}
	for {
		row, err := scan.Next(s.t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, bsonval.FormatDoc(row.Doc))
		if pause != nil {
			s.detach(&v)
			pause(len(out))
			s.attach(&v)
		}
	}
	scan.Close()
	s.detach(&v)
	return out
}

var queries = []string{
	`{}`, `{"hint": -1}`, `{"filter": {"c": {"$gt": 3}}}`,
	`{"filter": {"a": {"$gte": 2}}}`, `{"filter": {"a": {"$gte": 2}}, "sort": {"a": -1}}`,
	`{"filter": {"a": {"$in": [1, 3, 5]}, "b": {"$in": [1, 3]}}}`,
	`{"filter": {"a": {"$in": [1, 3, 5]}, "b": {"$in": [1, 3]}}, "sort": {"a": -1}}`,
	`{"filter": {"a": {"$gt": 1}, "b": 1, "c": {"$mod": [2, 0]}}}`,
	`{"filter": {"a": {"$in": [1, 2, 4]}}, "sort": {"b": 1}}`,
	`{"filter": {"a": {"$in": [1, 2, 4]}}, "sort": {"b": -1}}`,
	`{"filter": {"a": {"$in": [1, 2]}}, "sort": {"b": 1}, "need": ["a", "b"]}`,
	`{"filter": {"tags": {"$gte": "a"}}}`, `{"filter": {"tags": "b"}}`,
	`{"filter": {"$or": [{"tags": "a"}, {"a": 3}, {"tags": "c"}]}}`,
	`{"filter": {"a": 2}, "need": ["b"]}`, `{"filter": {"a": {"$gt": 2}}, "need": []}`,
	`{"distinct": "a", "need": ["a"]}`, `{"distinct": "b", "need": ["b"], "filter": {"a": 3}}`,
	`{"distinct": "n", "need": ["n"]}`,
}

func filled(t *testing.T) *store {
	s := open(t, `{"_id": 1}`, `{"a": 1, "b": -1}`, `{"tags": 1}`, `{"n": 1}`)
	tags := []string{`[]`, `["a", "b"]`, `["b", "c", "a"]`, `"b"`}
	var docs []string
	for i := range 60 {
		n := ""
		if i%3 > 0 {
			n = []string{"", `, "n": null`, `, "n": 7`}[i%3]
		}
		docs = append(docs, fmt.Sprintf(`{"_id": %d, "a": %d, "b": %d, "c": %d, "tags": %s%s}`, i, i*7%6, i%4, i*5%9, tags[i%4], n))
	}
	s.put(docs...)
	return s
}

// TestDetachEverywhere lets a scan go on in a new transaction after each row.
func TestDetachEverywhere(t *testing.T) {
	s := filled(t)
	for _, q := range queries {
		for _, p := range s.plans(q) {
			want := s.rows(p, nil)
			if got := s.rows(p, func(int) {}); !slices.Equal(got, want) {
				t.Errorf("%s by %s:\n got %v\nwant %v", q, p.Identity(), got, want)
			}
			if len(want) == 0 {
				t.Errorf("%s by %s: no rows", q, p.Identity())
			}
		}
	}
}

// TestChangesWhileDetached inserts documents between rows: those that were there
// from the start come once each.
func TestChangesWhileDetached(t *testing.T) {
	for _, q := range queries {
		if document(t, q).Lookup("distinct").Type() != bsonval.TypeMissing || document(t, q).Lookup("need").Type() != bsonval.TypeMissing {
			continue
		}
		s := filled(t)
		for _, p := range s.plans(q) {
			seen := map[string]int{}
			for _, d := range s.rows(p, nil) {
				seen[d]++
			}
			added := 0
			for _, d := range s.rows(p, func(n int) {
				if added++; added <= 20 {
					s.put(fmt.Sprintf(`{"_id": %d, "a": %d, "b": %d, "c": 4, "tags": ["b", "z"]}`, 1000+added, added%6, added%4))
				}
			}) {
				seen[d]--
				if n := seen[d]; n < -1 {
					t.Errorf("%s by %s: %s comes %d times", q, p.Identity(), d, -n)
				}
			}
			for d, n := range seen {
				if n > 0 {
					t.Errorf("%s by %s: %s is missing", q, p.Identity(), d)
				}
			}
		}
	}
}

// TestDistinctSkips checks that a distinct scan reads about one key a value.
func TestDistinctSkips(t *testing.T) {
	s := open(t, `{"a": 1}`)
	var docs []string
	for i := range 300 {
		docs = append(docs, fmt.Sprintf(`{"a": %d}`, i%3))
	}
	s.put(append(docs, `{}`, `{"a": null}`, `{"a": false}`)...)
	var v View
	s.attach(&v)
	defer s.detach(&v)
	scan := Open(&v, s.coll, s.plans(`{"distinct": "a", "need": ["a"]}`)[0], nil)
	defer scan.Close()
	n := 0
	for {
		if _, err := scan.Next(t.Context()); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 6 || scan.Stats.KeysExamined > 7 {
		t.Errorf("%d values of %d keys", n, scan.Stats.KeysExamined)
	}
}

// TestChooseIsBounded gives a trial candidates that find nothing for long.
func TestChooseIsBounded(t *testing.T) {
	s := open(t, `{"a": 1}`, `{"b": 1}`)
	for range 10 {
		var docs []string
		for i := range 1000 {
			docs = append(docs, fmt.Sprintf(`{"a": 1, "b": 1, "c": %d}`, i))
		}
		s.put(docs...)
	}
	s.put(`{"a": 1, "b": 2, "c": -1}`)
	var v View
	s.attach(&v)
	defer s.detach(&v)
	trials, err := Choose(t.Context(), &v, s.coll, s.plans(`{"filter": {"a": 1, "b": 1, "c": "x"}}`), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	works := int64(0)
	for _, tr := range trials {
		works += tr.Stats.Works
	}
	if len(trials) != 2 || works > trialWorks {
		t.Errorf("%d candidates took %d steps", len(trials), works)
	}
	trials, err = Choose(t.Context(), &v, s.coll, s.plans(`{"filter": {"a": 1, "b": 2}}`), false, nil)
	if err != nil || trials[0].Plan.Index.Name != `{"b": 1}` || !trials[0].EOF {
		t.Errorf("the winner is %v (%v)", trials[0].Plan.Identity(), err)
	}
	if trials[1].Stats.Works > 2*trialTurn {
		t.Errorf("the loser took %d steps, the winner %d", trials[1].Stats.Works, trials[0].Stats.Works)
	}
}

// TestWatch lets a scan that finds nothing change its plan.
func TestWatch(t *testing.T) {
	s := open(t, `{"a": 1}`, `{"b": 1}`)
	var docs []string
	for i := range 500 {
		docs = append(docs, fmt.Sprintf(`{"a": 1, "b": %d}`, i))
	}
	s.put(docs...)
	plans := s.plans(`{"filter": {"a": 1, "b": 400}}`)
	var v View
	s.attach(&v)
	defer s.detach(&v)
	scan := Open(&v, s.coll, plans[0], nil)
	asked := 0
	scan.Watch(100, func(context.Context) (*plan.Plan, error) { asked++; return plans[1], nil }, func() { t.Error("late") })
	row, err := scan.Next(t.Context())
	if err != nil || row.Doc.Lookup("b").TruncInt64() != 400 || asked != 1 || scan.Plan != plans[1] || scan.Stats.Works != 1 {
		t.Errorf("%v %v, asked %d, %+v", row, err, asked, scan.Stats)
	}
	scan.Close()

	// One that finds something soon keeps its plan, but tells when it was slow.
	scan = Open(&v, s.coll, s.plans(`{"filter": {"a": 1, "c": null, "b": {"$in": [5, 450]}}, "hint": "{\"a\": 1}"}`)[0], nil)
	late := false
	scan.Watch(100, func(context.Context) (*plan.Plan, error) { t.Error("asked"); return plans[0], nil }, func() { late = true })
	for err = nil; err == nil; {
		_, err = scan.Next(t.Context())
	}
	scan.Close()
	if err != io.EOF || scan.Stats.Returned != 2 || !late {
		t.Errorf("%v %+v late %v", err, scan.Stats, late)
	}
}

func TestCancel(t *testing.T) {
	s := filled(t)
	var docs []string
	for i := range 3000 {
		docs = append(docs, fmt.Sprintf(`{"_id": %d, "a": 9}`, 2000+i))
	}
	s.put(docs...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, q := range []string{`{"filter": {"z": 1}}`, `{"filter": {"a": 9, "z": 1}}`, `{"filter": {"$or": [{"a": 9, "z": 1}, {"n": 7, "z": 1}]}}`} {
		var v View
		s.attach(&v)
		scan := Open(&v, s.coll, s.plans(q)[0], nil)
		if _, err := scan.Next(ctx); err != context.Canceled {
			t.Errorf("%s: %v", q, err)
		}
		scan.Close()
		s.detach(&v)
	}
}

// TestSettle gives a scan another plan when it learns that its own is not right for
// the snapshot.
func TestSettle(t *testing.T) {
	s := open(t, `{"a": 1}`)
	s.put(`{"_id": 1, "a": 1}`, `{"_id": 2, "a": 2}`)
	txn := s.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	var view View
	view.Attach(txn)
	scan := Open(&view, s.coll, s.plans(`{"filter": {"a": 1}}`)[0], nil)
	defer scan.Close()
	asked := 0
	scan.Settle(func() bool { asked++; return false }, func(context.Context) (*plan.Plan, error) {
		return s.plans(`{"filter": {"a": 2}}`)[0], nil
	})
	row, err := scan.Next(t.Context())
	if err != nil || row.Doc.Lookup("_id").Int64() != 2 || asked != 1 {
		t.Fatalf("%v %v, asked %d times", bsonval.FormatDoc(row.Doc), err, asked)
	}
	if _, err := scan.Next(t.Context()); err != io.EOF {
		t.Fatal(err)
	}
}
