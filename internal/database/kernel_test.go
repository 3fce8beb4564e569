package database

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// open opens a database in memory that is validated and closed when the test
// ends.
func open(t testing.TB) *DB {
	t.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler), JS: js.New(js.Limits{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// doc makes a document of Extended JSON.
func doc(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(json), false, &raw); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return bsonval.Doc(raw)
}

var ns = Namespace{DB: "test", Coll: "c"}

func insert(t testing.TB, d *DB, docs ...bsonval.Doc) {
	t.Helper()
	res, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, docs, true)
	if err != nil || len(res.Errors) > 0 {
		t.Fatalf("insert: %v %v", err, res.Errors)
	}
}

// addIndex builds an index of a key pattern with options.
func addIndex(t testing.TB, d *DB, key string, options string) {
	t.Helper()
	spec := bsonval.NewBuilder().Int32("v", 2).Doc("key", doc(t, key)).Str("name", key)
	it := doc(t, options).Iter()
	for it.Next() {
		spec.Value(it.KeyStr(), it.Value())
	}
	if _, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{spec.Build()}); err != nil {
		t.Fatalf("index %s %s: %v", key, options, err)
	}
}

// results reads a whole cursor and returns the documents as text.
func results(t testing.TB, cur *Cursor, err error) []string {
	t.Helper()
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	defer cur.Close()
	out := []string{}
	for {
		d, at := bsonval.BeginDoc(nil)
		d, _, more, err := cur.AppendBatch(t.Context(), d, 3)
		if err != nil {
			t.Fatalf("batch: %v", err)
		}
		it := bsonval.Doc(bsonval.EndDoc(d, at)).Iter()
		for it.Next() {
			out = append(out, bsonval.Format(it.Value()))
		}
		if !more {
			return out
		}
	}
}

func find(t testing.TB, d *DB, q *FindQuery) []string {
	t.Helper()
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, q)
	return results(t, cur, err)
}

func TestWritesAndReads(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "a": 5}`), doc(t, `{"_id": 2, "a": 7}`), doc(t, `{"_id": 3, "a": [1, 9]}`))
	addIndex(t, d, `{"a": 1}`, `{}`)
	op := d.NewOp(t.Context())

	if got := find(t, d, &FindQuery{Filter: doc(t, `{"a": {"$gt": 6}}`), Sort: doc(t, `{"_id": 1}`)}); len(got) != 2 {
		t.Errorf("a > 6: %v", got)
	}
	res, err := d.Update(t.Context(), op, ns, &UpdateStatement{
		Filter: doc(t, `{"a": {"$gte": 5}}`), Update: bsonval.Document(doc(t, `{"$set": {"b": 1}}`)), Multi: true,
	})
	if err != nil || res.Matched != 3 || res.Modified != 3 {
		t.Errorf("update: %+v %v", res, err)
	}
	res, err = d.Update(t.Context(), op, ns, &UpdateStatement{
		Filter: doc(t, `{"_id": 9}`), Update: bsonval.Document(doc(t, `{"$inc": {"n": 2}}`)), Upsert: true,
	})
	if err != nil || res.Upserted.Int64() != 9 {
		t.Errorf("upsert: %+v %v", res, err)
	}
	if n, err := d.Delete(t.Context(), op, ns, &DeleteStatement{Filter: doc(t, `{"b": 1}`), Multi: true}); n != 3 || err != nil {
		t.Errorf("delete: %d %v", n, err)
	}
	if got := find(t, d, &FindQuery{}); !slices.Equal(got, []string{"{ _id: 9, n: 2 }"}) {
		t.Errorf("left: %v", got)
	}
	if n, err := d.Count(t.Context(), op, ns, &FindQuery{}); n != 1 || err != nil {
		t.Errorf("count: %d %v", n, err)
	}
}

func TestDuplicateKey(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "a": "x"}`))
	addIndex(t, d, `{"a": 1}`, `{"unique": true}`)
	res, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, []bsonval.Doc{
		doc(t, `{"_id": 2, "a": "x"}`), doc(t, `{"_id": 3, "a": "y"}`), doc(t, `{"_id": 1}`),
	}, false)
	if err != nil || res.N != 1 || len(res.Errors) != 2 {
		t.Fatalf("insert: %+v %v", res, err)
	}
	e := res.Errors[0].Err
	if e.Code != mongoerr.DuplicateKey || bsonval.FormatDoc(e.Extra) != `{ keyPattern: { a: 1 }, keyValue: { a: "x" } }` {
		t.Errorf("error: %v %s", e, bsonval.FormatDoc(e.Extra))
	}
	if res.Errors[1].Index != 2 {
		t.Errorf("index of second error: %d", res.Errors[1].Index)
	}
}

// TestHotDocument counts one field up from many goroutines.
func TestHotDocument(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "n": 0}`))
	const writers, each = 16, 50
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				_, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &UpdateStatement{
					Filter: doc(t, `{"_id": 1}`), Update: bsonval.Document(doc(t, `{"$inc": {"n": 1}}`)),
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := find(t, d, &FindQuery{}); got[0] != fmt.Sprintf("{ _id: 1, n: %d }", writers*each) {
		t.Errorf("got %v", got)
	}
}

// awkward are values that indexes have to tell apart or keep together.
var awkward = []string{
	`null`, `1`, `2`, `{"$numberLong": "2"}`, `2.5`, `{"$numberDouble": "NaN"}`, `"a"`, `"ab"`, `"b"`, `"A"`, `"AB"`, `["B", "a"]`, `[]`, `[1]`, `[1, 2]`,
	`[[1]]`, `[null]`, `{}`, `{"b": 1}`, `{"b": [1, 2]}`, `[{"b": 1}, {"b": 2}]`, `[{"b": [1, 3]}, 2]`, `true`, `{"$minKey": 1}`,
	`{"$maxKey": 1}`, `{"$date": "2020-01-01T00:00:00Z"}`, `{"$numberDecimal": "2"}`, `{"c": 1}`, `-1`,
}

func randomDoc(r *rand.Rand, id int) string {
	s := fmt.Sprintf(`{"_id": %d`, id)
	for _, f := range []string{"a", "d", "e"} {
		if r.IntN(5) > 0 {
			s += fmt.Sprintf(`, %q: %s`, f, awkward[r.IntN(len(awkward))])
		}
	}
	for _, f := range []string{"f", "g"} {
		if r.IntN(6) > 0 {
			s += fmt.Sprintf(`, %q: %s`, f, scalars[r.IntN(len(scalars))])
		}
	}
	return s + "}"
}

// scalars are values that are no arrays, few so that they repeat.
var scalars = []string{`null`, `1`, `2`, `{"$numberDouble": "2"}`, `3`, `"a"`, `"b"`, `{"b": 1}`, `true`}

func randomCondition(r *rand.Rand) string {
	path := []string{"a", "d", "e", "f", "g", "f", "g", "a.b", "d.b", "a.0", "f.b"}[r.IntN(11)]
	v := func() string { return awkward[r.IntN(len(awkward))] }
	switch r.IntN(18) {
	case 16, 17:
		return fmt.Sprintf(`{"$or": [{%q: %s}, {%q: {"$in": [%s, %s]}}]}`, path, v(), path, v(), v())
	case 14, 15:
		op := []string{"$eq", "$lt", "$lte", "$gt", "$gte", "$ne"}[r.IntN(6)]
		return fmt.Sprintf(`{"$expr": {%q: [%q, {"$literal": %s}]}}`, op, "$"+path, v())
	case 0, 1, 2:
		return fmt.Sprintf(`{%q: %s}`, path, v())
	case 3:
		return fmt.Sprintf(`{%q: {"$gt": %s}}`, path, v())
	case 4:
		return fmt.Sprintf(`{%q: {"$gte": %s, "$lt": %s}}`, path, v(), v())
	case 5:
		return fmt.Sprintf(`{%q: {"$in": [%s, %s, %s]}}`, path, v(), v(), v())
	case 6:
		return fmt.Sprintf(`{%q: {"$ne": %s}}`, path, v())
	case 7:
		return fmt.Sprintf(`{%q: {"$exists": %v}}`, path, r.IntN(2) == 0)
	case 8:
		return fmt.Sprintf(`{%q: {"$elemMatch": {"$gte": %s, "$lte": %s}}}`, path, v(), v())
	case 9:
		return fmt.Sprintf(`{%q: {"$elemMatch": {"b": %s}}}`, path, v())
	case 10:
		return fmt.Sprintf(`{%q: {"$nin": [%s, %s]}}`, path, v(), v())
	case 11:
		return fmt.Sprintf(`{%q: {"$regex": "^a"}}`, path)
	case 12:
		return fmt.Sprintf(`{%q: {"$type": ["number", "string", "object"]}}`, path)
	}
	return fmt.Sprintf(`{%q: {"$not": {"$lte": %s}}}`, path, v())
}

func randomFilter(r *rand.Rand) string {
	switch r.IntN(6) {
	case 0:
		return fmt.Sprintf(`{"$or": [%s, %s]}`, randomCondition(r), randomCondition(r))
	case 1, 2:
		return fmt.Sprintf(`{"$and": [%s, %s]}`, randomCondition(r), randomCondition(r))
	case 3:
		return fmt.Sprintf(`{"$and": [%s, {"$or": [%s, %s]}]}`, randomCondition(r), randomCondition(r), randomCondition(r))
	}
	return randomCondition(r)
}

// TestIndexesChangeNoResult asks random queries with every index by hint, by
// choice, and without any.
func TestIndexesChangeNoResult(t *testing.T) {
	rounds := 15
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		compareIndexes(t, open(t))
	}
}

// compareIndexes asks random queries by each index of a database that is empty.
func compareIndexes(t *testing.T, d *DB) {
	t.Helper()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 60 {
		res, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, []bsonval.Doc{doc(t, randomDoc(r, i))}, true)
		if err != nil || len(res.Errors) > 0 {
			t.Fatalf("seed %d: insert: %v %v", seed, err, res.Errors)
		}
		if i == 20 {
			addIndex(t, d, `{"a": 1}`, `{}`)
			addIndex(t, d, `{"a.b": -1}`, `{}`)
			addIndex(t, d, `{"d": -1}`, `{"sparse": true}`)
			addIndex(t, d, `{"e": 1}`, `{"partialFilterExpression": {"e": {"$gt": 1}}}`)
			addIndex(t, d, `{"f": 1, "g": -1, "_id": 1}`, `{}`)
			addIndex(t, d, `{"g": 1}`, `{"sparse": true}`)
			addIndex(t, d, `{"f.b": 1, "a": 1}`, `{}`)
			addIndex(t, d, `{"a": -1}`, `{"collation": {"locale": "en", "strength": 2}}`)
		}
	}
	label := fmt.Sprintf("seed %d", seed)
	indexes := d.Catalog().Collection(ns.DB, ns.Coll).Indexes
	for range 60 {
		filter := randomFilter(r)
		sort := []string{`{}`, `{"a": 1, "_id": 1}`, `{"d": -1, "_id": 1}`, `{"g": 1, "_id": -1}`}[r.IntN(4)]
		// Half the queries fold case, so that an index in another order must not
		// serve their strings.
		var order *collation.Spec
		if r.IntN(2) == 0 {
			var err error
			if order, err = collation.Parse(doc(t, `{"locale": "en", "strength": 2}`)); err != nil {
				t.Fatal(err)
			}
		}
		want := find(t, d, &FindQuery{Filter: doc(t, filter), Sort: doc(t, sort), Collation: order, Hint: &plan.Hint{Natural: 1}})
		check := func(how string, q *FindQuery) {
			q.Collation = order
			got := find(t, d, q)
			w := slices.Clone(want)
			if sort == `{}` {
				slices.Sort(got)
				slices.Sort(w)
			}
			if !slices.Equal(got, w) {
				t.Fatalf("%s: filter %s sort %s %s:\n got %v\nwant %v", label, filter, sort, how, got, w)
			}
			n, err := d.Count(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Filter: q.Filter, Hint: q.Hint, Collation: order})
			if err != nil || int(n) != len(want) {
				t.Fatalf("%s: filter %s %s: count %d, want %d (%v)", label, filter, how, n, len(want), err)
			}
			part := &FindQuery{Filter: q.Filter, Hint: q.Hint, Collation: order, Skip: int64(r.IntN(4)), Limit: int64(1 + r.IntN(20))}
			if n, err = d.Count(t.Context(), d.NewOp(t.Context()), ns, part); err != nil || n != clip(int64(len(want)), part) {
				t.Fatalf("%s: filter %s %s, skip %d, limit %d: count %d of %d (%v)", label, filter, how, part.Skip, part.Limit, n, len(want), err)
			}
			if n := grouped(t, d, part); n != 3*clip(int64(len(want)), part) {
				t.Fatalf("%s: filter %s %s, skip %d, limit %d: three times %d make %d", label, filter, how, part.Skip, part.Limit, len(want), n)
			}
		}
		check("by choice", &FindQuery{Filter: doc(t, filter), Sort: doc(t, sort)})
		for _, x := range indexes {
			if x.Sparse || x.Partial != nil {
				continue // a hint on these may leave documents out
			}
			// Of equal numbers distinct may list either.
			for _, key := range []string{"f", "g", "a.b"} {
				distinct := func(h *plan.Hint) string {
					v, err := d.Distinct(t.Context(), d.NewOp(t.Context()), ns, key, &FindQuery{Filter: doc(t, filter), Hint: h})
					if err != nil {
						t.Fatal(err)
					}
					return string(keystring.Append(nil, bsonval.Array(v), false, nil))
				}
				if distinct(&plan.Hint{Natural: 1}) != distinct(&plan.Hint{Name: x.Name}) || distinct(nil) != distinct(&plan.Hint{Natural: 1}) {
					t.Fatalf("%s: distinct %s of %s with %s differs", label, key, filter, x.Name)
				}
			}
			check("with "+x.Name, &FindQuery{Filter: doc(t, filter), Sort: doc(t, sort), Hint: &plan.Hint{Name: x.Name}})
		}
	}
}

// grouped adds three for each document that a query finds, by a pipeline.
func grouped(t *testing.T, d *DB, q *FindQuery) int64 {
	t.Helper()
	b := bsonval.NewArrayBuilder()
	b.StartDoc("").StartDoc("$group").Int32("_id", 1).StartDoc("n").Int32("$sum", 3).End().End().End()
	cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), ns, &AggregateQuery{
		Pipeline: concatArrays(findStages(q), b.Build()), Hint: q.Hint, Collation: q.Collation,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	buf, at := bsonval.BeginDoc(nil)
	if buf, _, _, err = cur.AppendBatch(t.Context(), buf, 10); err != nil {
		t.Fatal(err)
	}
	list := bsonval.Doc(bsonval.EndDoc(buf, at))
	if list.Len() > 1 {
		t.Fatalf("groups: %s", bsonval.FormatDoc(list))
	}
	if list.IsEmpty() {
		return 0
	}
	return int64(list.Index(0).Doc().Lookup("n").Int32())
}

// TestIdleCursor changes the collection between the batches of cursors.
func TestIdleCursor(t *testing.T) {
	d := open(t)
	for i := range 100 {
		insert(t, d, doc(t, fmt.Sprintf(`{"_id": %d, "a": %d}`, i, i%10)))
	}
	addIndex(t, d, `{"a": 1}`, `{}`)
	for _, q := range []*FindQuery{{}, {Filter: doc(t, `{"a": {"$gte": 0}}`)}, {Sort: doc(t, `{"a": -1}`)}} {
		cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, q)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for i := 0; ; i++ {
			buf, at := bsonval.BeginDoc(nil)
			buf, _, more, err := cur.AppendBatch(context.Background(), buf, 7)
			if err != nil {
				t.Fatal(err)
			}
			it := bsonval.Doc(bsonval.EndDoc(buf, at)).Iter()
			for it.Next() {
				id := bsonval.Format(it.Value().Doc().Lookup("_id"))
				if seen[id] {
					t.Errorf("%s twice", id)
				}
				seen[id] = true
			}
			if !more {
				break
			}
			id := cur.Park()
			insert(t, d, doc(t, fmt.Sprintf(`{"a": %d}`, i%10)))
			if cur, err = d.CheckOut(id, ns, "", nil); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 {
			if !seen[fmt.Sprint(i)] {
				t.Errorf("document %d missed", i)
			}
		}
		cur.Close()
	}
}

// TestUpdateNearest changes the document nearest to a point.
func TestUpdateNearest(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "p": [10, 10]}`), doc(t, `{"_id": 2, "p": [1, 1]}`), doc(t, `{"_id": 3, "p": [5, 5]}`))
	addIndex(t, d, `{"p": "2d"}`, `{}`)
	res, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &UpdateStatement{
		Filter: doc(t, `{"p": {"$near": [0, 0]}}`), Update: bsonval.Document(doc(t, `{"$set": {"near": true}}`)),
	})
	if err != nil || res.Modified != 1 {
		t.Fatalf("update: %+v %v", res, err)
	}
	if got := find(t, d, &FindQuery{Filter: doc(t, `{"near": true}`)}); !slices.Equal(got, []string{"{ _id: 2, p: [ 1, 1 ], near: true }"}) {
		t.Errorf("got %v", got)
	}
}

// TestSimpleCollationOverrides asks by _id under another collation than the
// collection's.
func TestSimpleCollationOverrides(t *testing.T) {
	d := open(t)
	if err := d.Create(t.Context(), ns, doc(t, `{"collation": {"locale": "en", "strength": 2}}`)); err != nil {
		t.Fatal(err)
	}
	insert(t, d, doc(t, `{"_id": "a"}`))
	simple := &collation.Spec{Locale: collation.Simple}
	for _, c := range []struct {
		spec *collation.Spec
		id   string
		n    int64
	}{{nil, "A", 1}, {simple, "A", 0}, {simple, "a", 1}} {
		filter := bsonval.NewBuilder().Str("_id", c.id).Build()
		if got := find(t, d, &FindQuery{Filter: filter, Collation: c.spec}); int64(len(got)) != c.n {
			t.Errorf("find %q under %v: %v", c.id, c.spec, got)
		}
		res, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &UpdateStatement{
			Filter: filter, Collation: c.spec, Update: bsonval.Document(doc(t, `{"$inc": {"n": 1}}`)),
		})
		if err != nil || res.Matched != c.n {
			t.Errorf("update %q under %v: %+v %v", c.id, c.spec, res, err)
		}
	}
}
