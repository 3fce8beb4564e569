package pipeline

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// runDocs runs a pipeline on documents and returns the results as text.
func runDocs(t testing.TB, env *Env, stages string, docs []bsonval.Doc) ([]string, error) {
	t.Helper()
	p := parsePipeline(t, doc(t, stages))
	src, err := p.Open(context.Background(), env, NewList(docs))
	if err != nil {
		return nil, err
	}
	var out []string
	err = drain(context.Background(), src, func(d bsonval.Doc) error {
		out = append(out, bsonval.FormatDoc(d))
		return nil
	})
	return out, err
}

func numbered(n int) []bsonval.Doc {
	docs := make([]bsonval.Doc, n)
	for i := range docs {
		docs[i] = bsonval.NewBuilder().Int32("_id", int32(i)).Int32("k", int32(i*7919%97)).Int32("v", int32(i*31%1009)).
			Str("s", strings.Repeat("x", i%50)).Build()
	}
	return docs
}

// TestSpill checks that stages give the same in little memory, with the disk, and
// refuse without.
func TestSpill(t *testing.T) {
	docs := numbered(5000)
	for _, stages := range []string{
		`[{"$sort": {"v": -1, "_id": 1}}]`,
		`[{"$sort": {"v": 1, "_id": 1}}, {"$limit": 4000}]`,
		`[{"$group": {"_id": {"k": "$k", "m": {"$mod": ["$_id", 40]}}, "n": {"$sum": 1}, "avg": {"$avg": "$v"}, "all": {"$push": "$_id"}, "first": {"$first": "$s"}}}, {"$sort": {"_id": 1}}]`,
		`[{"$bucketAuto": {"groupBy": "$v", "buckets": 7, "output": {"n": {"$sum": "$v"}}}}]`,
	} {
		env := &Env{Expr: testEnv()}
		want, err := runDocs(t, env, stages, docs)
		if err != nil {
			t.Fatal(err)
		}
		env = &Env{Expr: testEnv(), MemoryLimit: 40_000, AllowDiskUse: true}
		files := 0
		env.TempFile = func() (TempFile, error) { files++; return &memFile{}, nil }
		got, err := runDocs(t, env, stages, docs)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: other results when spilling:\n%.300v\n%.300v", stages, got, want)
		}
		if files == 0 {
			t.Errorf("%s: nothing spilled", stages)
		}
		env.AllowDiskUse = false
		if _, err := runDocs(t, env, stages, docs); !mongoerr.Is(err, mongoerr.QueryExceededMemoryLimitNoDiskUseAllowed) {
			t.Errorf("%s: error %v without the disk, want code 292", stages, err)
		}
	}
}

// TestSampleOnDisk checks a sample that does not fit into memory.
func TestSampleOnDisk(t *testing.T) {
	env := &Env{Expr: testEnv(), MemoryLimit: 20_000, AllowDiskUse: true, TempFile: func() (TempFile, error) { return &memFile{}, nil }}
	env.Expr.Rand = rand.New(rand.NewSource(1)).Float64
	got, err := runDocs(t, env, `[{"$sample": {"size": 1500}}, {"$group": {"_id": "$_id"}}, {"$count": "n"}]`, numbered(2000))
	if err != nil || len(got) != 1 || got[0] != "{ n: 1500 }" {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestTopK compares a sort with a limit to the whole sort.
func TestTopK(t *testing.T) {
	docs := numbered(2000)
	all, err := runDocs(t, &Env{Expr: testEnv()}, `[{"$sort": {"k": 1}}]`, docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2, 17, 1500, 1999, 2000, 5000} {
		p := parsePipeline(t, doc(t, fmt.Sprintf(`[{"$sort": {"k": 1}}, {"$limit": %d}]`, n)))
		p.Optimize()
		src, err := p.Open(context.Background(), &Env{Expr: testEnv()}, NewList(docs))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := drain(context.Background(), src, func(d bsonval.Doc) error { got = append(got, bsonval.FormatDoc(d)); return nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, all[:min(n, len(all))]) {
			t.Errorf("top %d differs from the sorted prefix", n)
		}
	}
}

func TestStages(t *testing.T) {
	in := []string{`{"_id": 1, "a": [1, 2], "g": "x", "n": 1}`, `{"_id": 2, "a": [], "g": "y", "n": 4}`, `{"_id": 3, "g": "x", "n": 10}`}
	docs := make([]bsonval.Doc, len(in))
	for i, s := range in {
		docs[i] = doc(t, s)
	}
	for _, c := range []struct{ stages, want string }{
		{`[{"$unwind": {"path": "$a", "preserveNullAndEmptyArrays": true, "includeArrayIndex": "i.j"}}, {"$project": {"a": 1, "i": 1}}]`,
			`{ _id: 1, a: 1, i: { j: 0 } } { _id: 1, a: 2, i: { j: 1 } } { _id: 2, i: { j: null } } { _id: 3, i: { j: null } }`},
		{`[{"$densify": {"field": "n", "range": {"step": 3, "bounds": "full"}}}, {"$project": {"n": 1, "_id": 0}}]`,
			`{ n: 1 } { n: 4 } { n: 7 } { n: 10 }`},
		{`[{"$densify": {"field": "n", "partitionByFields": ["g"], "range": {"step": 3, "bounds": "full"}}}, {"$project": {"n": 1, "g": 1, "_id": 0}}]`,
			`{ g: "x", n: 1 } { g: "y", n: 1 } { g: "y", n: 4 } { g: "x", n: 4 } { g: "x", n: 7 } { g: "x", n: 10 } { g: "y", n: 7 } { g: "y", n: 10 }`},
		{`[{"$densify": {"field": "n", "partitionByFields": ["g"], "range": {"step": 3, "bounds": "partition"}}}, {"$project": {"n": 1, "g": 1, "_id": 0}}]`,
			`{ g: "x", n: 1 } { g: "x", n: 4 } { g: "x", n: 7 } { g: "x", n: 10 } { g: "y", n: 4 }`},
		{`[{"$densify": {"field": "n", "range": {"step": 2, "bounds": [3, 9]}}}, {"$project": {"n": 1, "_id": 0}}]`,
			`{ n: 1 } { n: 3 } { n: 4 } { n: 5 } { n: 7 } { n: 10 }`},
		{`[{"$fill": {"sortBy": {"_id": 1}, "output": {"a": {"method": "locf"}, "z": {"value": 0}}}}, {"$project": {"a": 1, "z": 1}}]`,
			`{ _id: 1, a: [ 1, 2 ], z: 0 } { _id: 2, a: [], z: 0 } { _id: 3, a: [], z: 0 }`},
		{`[{"$bucketAuto": {"groupBy": "$n", "buckets": 2, "granularity": "R5"}}]`,
			`{ _id: { min: 0.63, max: 6.3 }, count: 2 } { _id: { min: 6.3, max: 16.0 }, count: 1 }`},
		{`[{"$bucketAuto": {"groupBy": "$n", "buckets": 3, "granularity": "POWERSOF2"}}]`,
			`{ _id: { min: 0.5, max: 2 }, count: 1 } { _id: { min: 2, max: 8 }, count: 1 } { _id: { min: 8, max: 16 }, count: 1 }`},
		{`[{"$sortByCount": "$g"}]`, `{ _id: "x", count: 2 } { _id: "y", count: 1 }`},
		{`[{"$facet": {"n": [{"$count": "c"}], "m": [{"$match": {"g": "y"}}, {"$project": {"n": 1}}]}}]`,
			`{ n: [ { c: 3 } ], m: [ { _id: 2, n: 4 } ] }`},
		{`[{"$redact": {"$cond": [{"$eq": ["$g", "x"]}, "$$KEEP", "$$PRUNE"]}}, {"$project": {"_id": 1}}]`, `{ _id: 1 } { _id: 3 }`},
		{`[{"$setWindowFields": {"partitionBy": "$g", "sortBy": {"_id": 1}, "output": {"sum": {"$sum": "$n", "window": {"documents": ["unbounded", "current"]}}}}}, {"$project": {"sum": 1}}]`,
			`{ _id: 1, sum: 1 } { _id: 3, sum: 11 } { _id: 2, sum: 4 }`},
		{`[{"$sample": {"size": 10}}, {"$count": "n"}]`, `{ n: 3 }`},
	} {
		got, err := runDocs(t, &Env{Expr: testEnv()}, c.stages, docs)
		if err != nil {
			t.Errorf("%s: %v", c.stages, err)
		} else if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s\ngives %s\nwant  %s", c.stages, s, c.want)
		}
	}
}

func TestJoins(t *testing.T) {
	data := newFakeData(testEnv())
	for _, s := range []string{
		`{"_id": 1, "b": 1, "to": 2}`, `{"_id": 2, "b": [1, 5], "to": 3}`, `{"_id": 3, "to": 1}`, `{"_id": 4, "b": {"c": 1}}`, `{"_id": 5, "b": null}`,
	} {
		if err := data.insert(Namespace{"db", "o"}, doc(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	docs := []bsonval.Doc{doc(t, `{"_id": 1, "a": 1}`), doc(t, `{"_id": 2}`), doc(t, `{"_id": 3, "a": [5, {"c": 1}]}`)}
	for _, c := range []struct{ stages, want string }{
		{`[{"$lookup": {"from": "o", "localField": "a", "foreignField": "b", "as": "j"}}, {"$project": {"r": "$j._id"}}]`,
			`{ _id: 1, r: [ 1, 2 ] } { _id: 2, r: [ 3, 5 ] } { _id: 3, r: [ 2, 4 ] }`},
		{`[{"$lookup": {"from": "o", "let": {"x": "$_id"}, "pipeline": [{"$match": {"$expr": {"$eq": ["$to", "$$x"]}}}, {"$project": {"x": "$$x"}}], "as": "j"}}, {"$project": {"j": 1}}]`,
			`{ _id: 1, j: [ { _id: 3, x: 1 } ] } { _id: 2, j: [ { _id: 1, x: 2 } ] } { _id: 3, j: [ { _id: 2, x: 3 } ] }`},
		{`[{"$lookup": {"localField": "a", "foreignField": "k", "pipeline": [{"$documents": [{"k": 1}, {"k": 5}]}], "as": "j"}}, {"$project": {"j": 1}}]`,
			`{ _id: 1, j: [ { k: 1 } ] } { _id: 2, j: [] } { _id: 3, j: [ { k: 5 } ] }`},
		{`[{"$graphLookup": {"from": "o", "startWith": "$_id", "connectFromField": "to", "connectToField": "_id", "depthField": "d", "maxDepth": 1, "as": "j"}}, {"$project": {"r": "$j._id", "d": "$j.d"}}]`,
			`{ _id: 1, r: [ 1, 2 ], d: [ 0, 1 ] } { _id: 2, r: [ 2, 3 ], d: [ 0, 1 ] } { _id: 3, r: [ 3, 1 ], d: [ 0, 1 ] }`},
		{`[{"$lookup": {"from": "o", "let": {"x": "$_id"}, "pipeline": [{"$match": {"_id": 1}}, {"$graphLookup": {"from": "o", "startWith": "$to", "connectFromField": "to", "connectToField": "_id", "restrictSearchWithMatch": {"$expr": {"$gt": ["$_id", "$$x"]}}, "as": "g"}}], "as": "j"}}, {"$project": {"r": "$j.g._id"}}]`,
			`{ _id: 1, r: [ [ 2, 3 ] ] } { _id: 2, r: [ [] ] } { _id: 3, r: [ [] ] }`},
		{`[{"$project": {"_id": 1}}, {"$unionWith": {"coll": "o", "pipeline": [{"$match": {"to": 1}}]}}]`,
			`{ _id: 1 } { _id: 2 } { _id: 3 } { _id: 3, to: 1 }`},
		{`[{"$lookup": {"from": "o", "localField": "a", "foreignField": "b", "pipeline": [{"$sort": {"_id": -1}}, {"$skip": 1}, {"$limit": 1}, {"$project": {"b": 1}}], "as": "j"}}, {"$project": {"j": 1}}]`,
			`{ _id: 1, j: [ { _id: 1, b: 1 } ] } { _id: 2, j: [ { _id: 3 } ] } { _id: 3, j: [ { _id: 2, b: [ 1, 5 ] } ] }`},
		{`[{"$lookup": {"from": "o", "localField": "a", "foreignField": "b", "let": {"x": "$_id"}, "pipeline": [{"$match": {"$expr": {"$gt": ["$_id", "$$x"]}}}, {"$set": {"x": "$$x"}}, {"$project": {"x": 1}}], "as": "j"}}, {"$project": {"j": 1}}]`,
			`{ _id: 1, j: [ { _id: 2, x: 1 } ] } { _id: 2, j: [ { _id: 3, x: 2 }, { _id: 5, x: 2 } ] } { _id: 3, j: [ { _id: 4, x: 3 } ] }`},
	} {
		for n := range 3 { // a hash table, queries, queries for several documents
			data.indexed, data.distant = n > 0, n > 1
			got, err := runDocs(t, &Env{Expr: testEnv(), Data: data}, c.stages, docs)
			if err != nil {
				t.Errorf("%s: %v", c.stages, err)
			} else if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s\ngives %s\nwant  %s", c.stages, s, c.want)
			}
		}
	}
}

// TestJoinAsksForLittle: what the planner can do of a sub-pipeline is asked for with the equality.
func TestJoinAsksForLittle(t *testing.T) {
	data := newFakeData(testEnv())
	data.indexed = true
	_, err := runDocs(t, &Env{Expr: testEnv(), Data: data}, `[{"$lookup": {"from": "o", "localField": "a", "foreignField": "b", "as": "j",
		"pipeline": [{"$match": {"c": 2}}, {"$sort": {"d": 1}}, {"$limit": 3}, {"$project": {"d": 1}}]}}]`, []bsonval.Doc{doc(t, `{"a": 1}`)})
	if err != nil {
		t.Fatal(err)
	}
	q := data.asked
	if got := bsonval.FormatDoc(q.Filter) + bsonval.FormatDoc(q.Sort); got != `{ $and: [ { b: { $eq: 1 } }, { c: 2 } ] }{ d: 1 }` || q.Limit != 3 || q.Deps == nil {
		t.Errorf("asks for %s, limit %d, fields %v", got, q.Limit, q.Deps)
	}
}

// TestTransform checks update pipelines.
func TestTransform(t *testing.T) {
	c := expr.NewCompiler(testEnv())
	p, err := Parse(doc(t, `[{"$set": {"n": {"$add": ["$n", 1]}}}, {"$unset": "x"}, {"$replaceWith": {"_id": "$_id", "m": "$n"}}]`), Options{Compiler: c, Update: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.Transform()
	if err != nil {
		t.Fatal(err)
	}
	out, err := f(c.NewContext(), doc(t, `{"_id": 1, "n": 2, "x": 3}`))
	if err != nil || bsonval.FormatDoc(out) != "{ _id: 1, m: 3 }" {
		t.Errorf("got %s, %v", bsonval.FormatDoc(out), err)
	}
	_, err = Parse(doc(t, `[{"$match": {}}]`), Options{Compiler: c, Update: true})
	if !mongoerr.Is(err, mongoerr.InvalidOptions) {
		t.Errorf("$match in an update: %v", err)
	}
}

// TestCancel checks that a cancelled context ends a blocking stage.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p := parsePipeline(t, doc(t, `[{"$sort": {"v": 1}}]`))
	src, err := p.Open(ctx, &Env{Expr: testEnv()}, NewList(numbered(2000)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Next(ctx); err != context.Canceled {
		t.Errorf("got %v, want a cancelled context", err)
	}
}

// TestTable checks that each stage has documentation.
func TestTable(t *testing.T) {
	for _, s := range Stages() {
		if !strings.HasPrefix(s.Name, "$") || !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("bad row %+v", s)
		}
	}
}

// FuzzParse parses and runs arbitrary pipelines.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`[{"$match": {"a": 1}}, {"$sort": {"a": 1}}]`, `[{"$group": {"_id": "$a", "n": {"$sum": 1}}}]`, `[{"$unwind": "$a"}]`,
		`[{"$lookup": {"from": "o", "localField": "a", "foreignField": "b", "as": "j"}}]`, `[{"$facet": {"x": [{"$count": "n"}]}}]`,
		`[{"$bucketAuto": {"groupBy": "$a", "buckets": 2, "granularity": "E192"}}]`, `[{"$densify": {"field": "a", "range": {"step": 1, "bounds": "full"}}}]`,
		`[{"$setWindowFields": {"sortBy": {"a": 1}, "output": {"x": {"$sum": 1, "window": {"range": [-1, 1]}}}}}]`, `[{"$merge": {"into": "x", "on": "a"}}]`,
		`[{"$graphLookup": {"from": "o", "startWith": "$a", "connectFromField": "a", "connectToField": "b", "as": "j"}}]`, `[{"$fill": {"output": {"a": {"value": 1}}}}]`,
	} {
		f.Add([]byte(doc(f, s)))
	}
	docs := []bsonval.Doc{doc(f, `{"_id": 1, "a": 1}`), doc(f, `{"_id": 2, "a": [1, {"b": 2}]}`), doc(f, `{"_id": 3, "a": 2.5, "b": null}`)}
	f.Fuzz(func(t *testing.T, b []byte) {
		if bsonval.Validate(b) != nil {
			return
		}
		c := expr.NewCompiler(testEnv())
		p, err := Parse(b, Options{Compiler: c, NS: Namespace{"db", "coll"}})
		if err != nil {
			return
		}
		p.Optimize()
		q, rest := p.Leading()
		data := newFakeData(testEnv())
		ctx := context.Background()
		src, err := data.query(docs, q)
		if err != nil {
			return
		}
		src, err = rest.Open(ctx, &Env{Expr: testEnv(), Data: data, MemoryLimit: 1 << 20}, src)
		if err != nil {
			return
		}
		for range 1000 {
			d, err := src.Next(ctx)
			if err != nil {
				break
			}
			if err := bsonval.Validate(d); err != nil && err != bsonval.ErrTooDeep {
				t.Fatalf("broken document of %s: %v", bsonval.Format(bsonval.Array(b)), err)
			}
		}
		src.Close()
	})
}

// repeat is a source of n documents without cost.
type repeat struct {
	docs []bsonval.Doc
	n, i int
}

func (r *repeat) Next(context.Context) (bsonval.Doc, error) {
	if r.i++; r.i > r.n {
		return nil, io.EOF
	}
	return r.docs[r.i%len(r.docs)], nil
}
func (r *repeat) Close() error { return nil }

func benchmark(b *testing.B, stages string) {
	docs := numbered(10_000)
	p := parsePipeline(b, doc(b, stages))
	p.Optimize()
	b.ReportAllocs()
	src, err := p.Open(context.Background(), &Env{Expr: testEnv()}, &repeat{docs: docs, n: b.N})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if err := drain(context.Background(), src, func(bsonval.Doc) error { return nil }); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkGroup(b *testing.B) {
	benchmark(b, `[{"$group": {"_id": "$k", "n": {"$sum": 1}, "v": {"$sum": "$v"}}}]`)
}
func BenchmarkCount(b *testing.B)   { benchmark(b, `[{"$count": "n"}]`) }
func BenchmarkMatch(b *testing.B)   { benchmark(b, `[{"$match": {"k": {"$lt": 50}}}]`) }
func BenchmarkProject(b *testing.B) { benchmark(b, `[{"$project": {"k": 1, "v": 1}}]`) }
func BenchmarkTopK(b *testing.B)    { benchmark(b, `[{"$sort": {"v": -1}}, {"$limit": 10}]`) }
func BenchmarkSort(b *testing.B)    { benchmark(b, `[{"$sort": {"v": -1}}]`) }

// TestGroupAllocations checks that grouping allocates nothing for a document of
// a group that exists.
func TestGroupAllocations(t *testing.T) {
	docs := numbered(1000)
	run := func(n int) float64 {
		return testing.AllocsPerRun(3, func() {
			p := parsePipeline(t, doc(t, `[{"$group": {"_id": "$k", "n": {"$sum": 1}, "v": {"$sum": "$v"}}}]`))
			src, err := p.Open(context.Background(), &Env{Expr: testEnv()}, &repeat{docs: docs, n: n})
			if err != nil {
				t.Fatal(err)
			}
			if err := drain(context.Background(), src, func(bsonval.Doc) error { return nil }); err != nil {
				t.Fatal(err)
			}
		})
	}
	if a, b := run(1000), run(11_000); b > a+100 {
		t.Errorf("%.0f allocations for 10000 more documents", b-a)
	}
}
