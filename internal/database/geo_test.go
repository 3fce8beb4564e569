package database

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
)

// geoPlace is a random place, mostly in one area.
func geoPlace(r *rand.Rand) (x, y float64) {
	if r.IntN(8) == 0 {
		return r.Float64()*360 - 180, r.Float64()*180 - 90
	}
	return 10 + r.NormFloat64(), 45 + r.NormFloat64()
}

func geoPair(r *rand.Rand) string {
	x, y := geoPlace(r)
	return fmt.Sprintf("[%v, %v]", x, y)
}

func geoSquare(r *rand.Rand) string {
	x, y := geoPlace(r)
	size := []float64{0.01, 0.3, 2}[r.IntN(3)]
	x, y = min(x, 179-size), min(y, 89-size)
	return fmt.Sprintf(`{"type": "Polygon", "coordinates": [[[%v, %v], [%v, %v], [%v, %v], [%v, %v], [%v, %v]]]}`,
		x, y, x+size, y, x+size, y+size, x, y+size, x, y)
}

func geoShape(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return geoSquare(r)
	case 1:
		return `{"type": "LineString", "coordinates": [` + geoPair(r) + `, ` + geoPair(r) + `]}`
	}
	return `{"type": "Point", "coordinates": ` + geoPair(r) + `}`
}

// geoCollection fills a collection: g holds geometries (in some documents several,
// or none), p legacy points.
func geoCollection(t *testing.T, d *DB, r *rand.Rand, n int) {
	for i := range n {
		g := `"g": ` + geoShape(r)
		if r.IntN(10) == 0 {
			g = `"x": 1`
		}
		insert(t, d, doc(t, fmt.Sprintf(`{"_id": %d, %s, "p": %s, "a": %d, "s": [{"g": %s}, {"g": %s, "b": [1, %d]}]}`, i, g,
			[]string{geoPair(r), `[` + geoPair(r) + `, ` + geoPair(r) + `]`}[r.IntN(2)], r.IntN(3), geoShape(r), geoShape(r), r.IntN(5))))
	}
}

func geoFilter(r *rand.Rand) string {
	size := []float64{0, 0.001, 0.5, 5, 100}[r.IntN(5)]
	round := fmt.Sprintf(`{"$geoWithin": {"$centerSphere": [%s, %v]}}`, geoPair(r), size/60)
	return []string{
		`{"g": {"$geoWithin": {"$geometry": ` + geoSquare(r) + `}}}`, `{"g": {"$geoIntersects": {"$geometry": ` + geoShape(r) + `}}}`,
		`{"a": 1, "g": ` + round + `}`, `{"g": ` + round + `}`, `{"p": ` + round + `}`,
		`{"s.g": {"$geoIntersects": {"$geometry": ` + geoShape(r) + `}}, "s.b": 1}`,
		`{"s": {"$elemMatch": {"g": {"$geoWithin": {"$geometry": ` + geoSquare(r) + `}}, "b": 1}}}`,
		`{"p": {"$geoWithin": {"$box": [` + geoPair(r) + `, ` + geoPair(r) + `]}}}`,
		fmt.Sprintf(`{"p": {"$geoWithin": {"$center": [%s, %v]}}, "a": {"$gt": 0}}`, geoPair(r), size),
		`{"p": {"$geoWithin": {"$polygon": [` + geoPair(r) + `, ` + geoPair(r) + `, ` + geoPair(r) + `]}}}`,
		`{"$or": [{"g": ` + round + `}, {"p": {"$geoWithin": {"$box": [` + geoPair(r) + `, ` + geoPair(r) + `]}}}]}`,
	}[r.IntN(11)]
}

func geoIndexes(t *testing.T, d *DB) {
	addIndex(t, d, `{"g": "2dsphere"}`, `{}`)
	addIndex(t, d, `{"a": 1, "g": "2dsphere"}`, `{"finestIndexedLevel": 12}`)
	addIndex(t, d, `{"s.g": "2dsphere", "s.b": -1}`, `{"2dsphereIndexVersion": 1}`)
	addIndex(t, d, `{"p": "2d", "a": 1}`, `{"bits": 20}`)
}

func TestGeoIndexesChangeNoResult(t *testing.T) {
	seed := rand.Uint64()
	d := open(t)
	r := rand.New(rand.NewPCG(seed, 0))
	geoCollection(t, d, r, 150)
	geoIndexes(t, d)
	geoSome := 0
	for range 150 {
		filter := doc(t, geoFilter(r))
		want := find(t, d, &FindQuery{Filter: filter, Hint: &plan.Hint{Natural: 1}})
		got := find(t, d, &FindQuery{Filter: filter})
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %s\n got %v\nwant %v", seed, bsonval.FormatDoc(filter), got, want)
		}
		if len(want) > 0 {
			geoSome++
		}
		if u := usedIndex(t, d, filter); u == "" {
			t.Fatalf("%s uses no index", bsonval.FormatDoc(filter))
		}
	}
	if geoSome < 20 {
		t.Errorf("only %d queries found something", geoSome)
	}
}

// usedIndex says which index, if any, a query is planned with.
func usedIndex(t *testing.T, d *DB, filter bsonval.Doc) string {
	plans := candidates(t, d, filter)
	for plans[0].Union != nil {
		plans = plans[0].Union
	}
	if plans[0].Index == nil {
		return ""
	}
	return plans[0].Index.Name
}

func candidates(t *testing.T, d *DB, filter bsonval.Doc) []*plan.Plan {
	t.Helper()
	m, err := match.Compile(filter, match.Options{})
	if err != nil {
		t.Fatal(err)
	}
	plans, err := plan.Candidates(d.Catalog().Collection(ns.DB, ns.Coll), &plan.Query{Filter: m})
	if err != nil {
		t.Fatal(err)
	}
	return plans
}

// TestNear compares the order of distances with that of a sort.
func TestNear(t *testing.T) {
	seed := rand.Uint64()
	d := open(t)
	r := rand.New(rand.NewPCG(seed, 1))
	geoCollection(t, d, r, 150)
	all := find(t, d, &FindQuery{})
	geoIndexes(t, d)
	docs := map[string]bsonval.Doc{}
	it := bsonCollect(t, d)
	for i, text := range all {
		docs[text] = it[i]
	}
	for range 60 {
		limits := []string{``, `, "$maxDistance": 200000`, `, "$minDistance": 100000`, `, "$minDistance": 1000, "$maxDistance": 3e6`}[r.IntN(4)]
		small := []string{``, `, "$maxDistance": 0.5`, `, "$minDistance": 0.1`}[r.IntN(3)]
		filter := doc(t, []string{
			`{"g": {"$near": {"$geometry": {"type": "Point", "coordinates": ` + geoPair(r) + `}` + limits + `}}}`,
			`{"a": 1, "g": {"$nearSphere": {"$geometry": {"type": "Point", "coordinates": ` + geoPair(r) + `}` + limits + `}}}`,
			`{"s.g": {"$nearSphere": ` + geoPair(r) + small + `}}`,
			`{"p": {"$near": ` + geoPair(r) + small + `}, "a": {"$lt": 2}}`, `{"p": {"$nearSphere": ` + geoPair(r) + small + `}}`,
		}[r.IntN(5)])
		m, err := match.Compile(filter, match.Options{})
		if err != nil {
			t.Fatal(err)
		}
		near := nearNode(m.Root())
		type far struct {
			text     string
			distance float64
		}
		var want []far
		for text, d := range docs {
			if ok, _ := m.Match(nil, d); ok {
				x, _ := near.Distance(d)
				want = append(want, far{text, x})
			}
		}
		slices.SortFunc(want, func(a, b far) int { return cmp.Compare(a.distance, b.distance) })
		got := find(t, d, &FindQuery{Filter: filter})
		if len(got) != len(want) {
			t.Fatalf("seed %d: %s: %d documents, want %d", seed, bsonval.FormatDoc(filter), len(got), len(want))
		}
		for i, text := range got {
			if x, _ := near.Distance(docs[text]); x != want[i].distance {
				t.Fatalf("seed %d: %s: document %d at %v, want %v", seed, bsonval.FormatDoc(filter), i, x, want[i].distance)
			}
		}
	}
}

func nearNode(n match.Node) *match.GeoNear {
	if near, ok := n.(*match.GeoNear); ok {
		return near
	}
	for _, c := range match.Children(n) {
		if near := nearNode(c); near != nil {
			return near
		}
	}
	return nil
}

// bsonCollect reads all documents in natural order.
func bsonCollect(t *testing.T, d *DB) []bsonval.Doc {
	t.Helper()
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{})
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	var out []bsonval.Doc
	for more := true; more; {
		b, at := bsonval.BeginDoc(nil)
		if b, _, more, err = cur.AppendBatch(t.Context(), b, 100); err != nil {
			t.Fatal(err)
		}
		it := bsonval.Doc(bsonval.EndDoc(b, at)).Iter()
		for it.Next() {
			out = append(out, it.Value().Doc())
		}
	}
	return out
}

// TestNearCost checks that the nearest few of many cost a few.
func TestNearCost(t *testing.T) {
	d := open(t)
	r := rand.New(rand.NewPCG(1, 2))
	var docs []bsonval.Doc
	for i := range 5000 {
		docs = append(docs, doc(t, fmt.Sprintf(`{"_id": %d, "p": [%v, %v]}`, i, r.Float64()*20, r.Float64()*20)))
	}
	insert(t, d, docs...)
	addIndex(t, d, `{"p": "2dsphere"}`, `{}`)
	addIndex(t, d, `{"p": "2d"}`, `{}`)
	for _, filter := range []string{
		`{"p": {"$near": {"$geometry": {"type": "Point", "coordinates": [10, 10]}}}}`, `{"p": {"$nearSphere": [10, 10]}}`,
		`{"p": {"$near": [10, 10]}}`, `{"p": {"$geoWithin": {"$centerSphere": [[10, 10], 0.01]}}}`,
		`{"p": {"$geoWithin": {"$box": [[10, 10], [11, 11]]}}}`,
	} {
		before := d.Metrics.ScannedKeys.Load()
		if got := find(t, d, &FindQuery{Filter: doc(t, filter), Limit: 3}); len(got) != 3 {
			t.Errorf("%s: %d documents", filter, len(got))
		}
		if keys := d.Metrics.ScannedKeys.Load() - before; keys > 500 {
			t.Errorf("%s: %d keys", filter, keys)
		}
	}
}

func TestGeoNearStage(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "l": [{"g": [0, 3]}, {"g": [0, 1]}]}`), doc(t, `{"_id": 2, "l": {"g": [0, 2]}, "a": 1}`), doc(t, `{"_id": 3}`))
	run := func(stages string) []string {
		t.Helper()
		cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), ns, &AggregateQuery{Pipeline: doc(t, `{"p": `+stages+`}`).Lookup("p").Doc()})
		return results(t, cur, err)
	}
	addIndex(t, d, `{"l.g": "2d"}`, `{}`)
	got := run(`[{"$geoNear": {"near": [0, 0], "distanceField": "d", "includeLocs": "at", "distanceMultiplier": 10}}, {"$project": {"d": 1, "at": 1}}]`)
	want := []string{`{ _id: 1, d: 10.0, at: [ 0, 1 ] }`, `{ _id: 2, d: 20.0, at: [ 0, 2 ] }`}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	got = run(`[{"$geoNear": {"near": [0, 0], "distanceField": "d", "key": "l.g", "query": {"a": 1}, "maxDistance": {"$add": [1, 1]}}}, {"$limit": 1}, {"$project": {"d": 1}}]`)
	if !slices.Equal(got, []string{`{ _id: 2, d: 2.0 }`}) {
		t.Errorf("got %v", got)
	}
}

func TestGeoErrors(t *testing.T) {
	d := open(t)
	addIndex(t, d, `{"g": "2dsphere"}`, `{}`)
	addIndex(t, d, `{"p": "2d"}`, `{}`)
	for _, tc := range []struct {
		doc  string
		code mongoerr.Code
	}{
		{`{"g": {"type": "Point", "coordinates": [0, 100]}}`, 16755}, {`{"g": "x"}`, 16755}, {`{"g": [1]}`, 16755},
		{`{"g": [{"type": "Point", "coordinates": [0, 1]}]}`, 16755}, {`{"g": [200, 0]}`, 16755},
		{`{"g": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0]]]}}`, 16755},
		{`{"p": [1]}`, 13068}, {`{"p": [1, "x"]}`, 13026}, {`{"p": [181, 0]}`, 13027},
		{`{"p": {"type": "Point", "coordinates": [0, 0]}}`, 16804},
		{`{"g": null, "p": null}`, 0}, {`{"g": [], "p": []}`, 0}, {`{"g": {}, "p": "x"}`, 0}, {`{}`, 0},
		{`{"g": {"type": "Point", "coordinates": [180, 90]}, "p": {"lng": 180, "lat": -180}}`, 0},
	} {
		res, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, []bsonval.Doc{doc(t, tc.doc)}, true)
		if err != nil {
			t.Fatal(err)
		}
		var code mongoerr.Code
		if len(res.Errors) > 0 {
			code = mongoerr.As(res.Errors[0].Err).Code
		}
		if code != tc.code {
			t.Errorf("%s: code %d, want %d", tc.doc, code, tc.code)
		}
	}
	for filter, code := range map[string]mongoerr.Code{
		`{"a": {"$near": [0, 0]}}`:   mongoerr.NoQueryExecutionPlans,
		`{"g": {"$near": [0, 0]}}`:   mongoerr.NoQueryExecutionPlans,
		`{"p": {"$near": [0, 190]}}`: 16433,
		`{"p": {"$near": {"$geometry": {"type": "Point", "coordinates": [0, 0]}}}}`: mongoerr.NoQueryExecutionPlans,
	} {
		cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Filter: doc(t, filter)})
		if !mongoerr.Is(err, code) {
			t.Errorf("%s: %v", filter, err)
		}
		if err == nil {
			cur.Close()
		}
	}
	for _, tc := range []struct {
		key, options string
		code         mongoerr.Code
	}{
		{`{"a": 1, "g": "2d"}`, `{}`, 16801}, {`{"a": "2d", "b": "2d"}`, `{}`, 16800}, {`{"a": "2d"}`, `{"bits": 33}`, mongoerr.InvalidOptions},
		{`{"a": "2dsphere"}`, `{"finestIndexedLevel": 31}`, 16748}, {`{"a": "2dsphere"}`, `{"2dsphereIndexVersion": 4}`, mongoerr.CannotCreateIndex},
	} {
		spec := bsonval.NewBuilder().Doc("key", doc(t, tc.key)).Str("name", "x")
		it := doc(t, tc.options).Iter()
		for it.Next() {
			spec.Value(it.KeyStr(), it.Value())
		}
		if _, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{spec.Build()}); !mongoerr.Is(err, tc.code) {
			t.Errorf("%s %s: %v", tc.key, tc.options, err)
		}
	}
}
