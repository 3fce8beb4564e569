package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

// doc makes a document, or an array, of Extended JSON.
func doc(t interface{ Fatalf(string, ...any) }, ejson string) bsonval.Doc {
	var v struct{ V bson.RawValue }
	if err := bson.UnmarshalExtJSON([]byte(`{"v": `+ejson+`}`), false, &v); err != nil {
		t.Fatalf("%s: %v", ejson, err)
	}
	return bsonval.Doc(v.V.Value)
}

func testEnv() *expr.Env {
	return &expr.Env{NowMS: 1_700_000_000_000, Rand: func() float64 { return 0.5 }}
}

func parsePipeline(t interface{ Fatalf(string, ...any) }, stages bsonval.Doc) *Pipeline {
	p, err := Parse(stages, Options{Compiler: expr.NewCompiler(testEnv()), NS: Namespace{"db", "coll"}})
	if err != nil {
		t.Fatalf("%s: %v", bsonval.Format(bsonval.Array(stages)), err)
	}
	return p
}

// TestOptimize shows what the optimiser makes of pipelines, and what is left to
// the planner.
func TestOptimize(t *testing.T) {
	datadriven.RunTest(t, "testdata/optimize", func(t *testing.T, d *datadriven.TestData) string {
		p := parsePipeline(t, doc(t, d.Input))
		p.Optimize()
		var b strings.Builder
		it := p.Explain().Iter()
		for it.Next() {
			fmt.Fprintln(&b, bsonval.Format(it.Value()))
		}
		if d.Cmd != "leading" {
			return b.String()
		}
		b.Reset()
		q, rest := p.Leading()
		if q.Filter != nil {
			fmt.Fprintf(&b, "filter: %s\n", bsonval.FormatDoc(q.Filter))
		}
		if q.Sort != nil {
			fmt.Fprintf(&b, "sort: %s\n", bsonval.FormatDoc(q.Sort))
		}
		fmt.Fprintf(&b, "skip: %d limit: %d\n", q.Skip, q.Limit)
		if q.Deps == nil {
			fmt.Fprintln(&b, "fields: all")
		} else {
			fmt.Fprintf(&b, "fields: %s\n", strings.Join(q.Deps.Fields, " "))
		}
		it = rest.Explain().Iter()
		for it.Next() {
			fmt.Fprintln(&b, bsonval.Format(it.Value()))
		}
		return b.String()
	})
}

// stageGen draws stages over the fields a, b, c.
var stageGen = rapid.SampledFrom([]string{
	`{"$match": {"a": 1}}`, `{"$match": {"b": {"$gt": 1}, "a": {"$lt": 3}}}`, `{"$match": {"$or": [{"c": 2}, {"b": 1}]}}`,
	`{"$match": {}}`, `{"$match": {"a.x": null}}`, `{"$match": {"$expr": {"$eq": ["$a", "$b"]}}}`,
	`{"$sort": {"a": 1, "_id": 1}}`, `{"$sort": {"b": -1, "_id": 1}}`, `{"$limit": 3}`, `{"$limit": 5}`, `{"$skip": 1}`, `{"$skip": 2}`,
	`{"$project": {"a": 1, "b": 1}}`, `{"$project": {"a": 0}}`, `{"$project": {"a": "$b", "c": 1}}`, `{"$addFields": {"b": {"$ifNull": ["$c", 9]}}}`,
	`{"$unset": "c"}`, `{"$unwind": "$c"}`, `{"$unwind": {"path": "$c", "preserveNullAndEmptyArrays": true, "includeArrayIndex": "i"}}`,
	`{"$replaceWith": {"_id": "$_id", "a": "$c", "c": "$a"}}`, `{"$lookup": {"from": "other", "localField": "a", "foreignField": "b", "as": "c"}}`,
	`{"$lookup": {"from": "other", "let": {"x": "$a"}, "pipeline": [{"$match": {"$expr": {"$eq": ["$b", "$$x"]}}}, {"$limit": 2}], "as": "d"}}`,
})

// TestOptimizeKeepsResults checks random pipelines with and without the
// optimiser and the planner's part.
func TestOptimizeKeepsResults(t *testing.T) {
	data := newFakeData(testEnv())
	values := []string{`1`, `2`, `null`, `[1, 2]`, `{"x": 1}`, `[{"x": null}, 3]`}
	for i := range 40 {
		for _, coll := range []string{"coll", "other"} {
			d := doc(t, fmt.Sprintf(`{"_id": %d, "a": %s, "b": %s, "c": %s}`, i,
				values[i%6], values[(i/6)%6], values[(i*7/5)%6]))
			if err := data.insert(Namespace{"db", coll}, d); err != nil {
				t.Fatal(err)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		stages := doc(t, "["+strings.Join(rapid.SliceOfN(stageGen, 0, 5).Draw(t, "stages"), ", ")+"]")
		want := results(t, data, stages, false)
		got := results(t, data, stages, true)
		if want != got {
			t.Fatalf("%s\ngives      %s\noptimised  %s", bsonval.Format(bsonval.Array(stages)), want, got)
		}
	})
}

func results(t *rapid.T, data *fakeData, stages bsonval.Doc, optimise bool) string {
	p := parsePipeline(t, stages)
	ctx := context.Background()
	var q Query
	if optimise {
		p.Optimize()
		q, p = p.Leading()
	}
	src, err := data.Open(ctx, Namespace{"db", "coll"}, q)
	if err == nil {
		src, err = p.Open(ctx, &Env{Expr: data.env, Data: data}, src)
	}
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	err = drain(ctx, src, func(d bsonval.Doc) error { b.WriteString(bsonval.FormatDoc(d)); return nil })
	if err != nil {
		return err.Error()
	}
	return b.String()
}
