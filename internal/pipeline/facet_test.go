package pipeline

import (
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// TestFacetStreams gives $facet more input than it may hold at once; some of the
// sub-pipelines end early, some read all.
func TestFacetStreams(t *testing.T) {
	docs := numbered(60_000)
	size := 0
	for _, d := range docs {
		size += len(d)
	}
	if size < 3*facetBatch {
		t.Fatalf("only %d bytes of input", size)
	}
	env := &Env{Expr: testEnv(), MemoryLimit: facetBatch}
	got, err := runDocs(t, env, `[{"$facet": {
		"n": [{"$count": "n"}], "first": [{"$limit": 2}, {"$project": {"v": 1}}], "none": [{"$match": {"k": -1}}],
		"last": [{"$skip": 59999}, {"$project": {"_id": 1}}],
		"sum": [{"$unwind": "$k"}, {"$group": {"_id": {"$mod": ["$k", 2]}, "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]}}]`, docs)
	want := []string{`{ n: [ { n: 60000 } ], first: [ { _id: 0, v: 0 }, { _id: 1, v: 31 } ], none: [], ` +
		`last: [ { _id: 59999 } ], sum: [ { _id: 0, n: 30308 }, { _id: 1, n: 29692 } ] }`}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v %v\nwant %v", got, err, want)
	}
	if _, err := runDocs(t, env, `[{"$facet": {"all": []}}]`, docs); err == nil {
		t.Error("a result that is too large is accepted")
	}
	empty, err := runDocs(t, env, `[{"$facet": {"a": [{"$count": "n"}], "b": []}}]`, []bsonval.Doc{})
	if err != nil || !slices.Equal(empty, []string{`{ a: [], b: [] }`}) {
		t.Errorf("of nothing: %v %v", empty, err)
	}
}
