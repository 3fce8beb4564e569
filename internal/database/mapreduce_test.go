package database

import (
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
)

func TestMapReduce(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "cust": "a", "price": 25}`), doc(t, `{"_id": 2, "cust": "b", "price": 70}`),
		doc(t, `{"_id": 3, "cust": "a", "price": 5}`), doc(t, `{"_id": 4, "cust": "c", "price": 1}`))
	run := func(out MapReduceOut, target string) []string {
		docs, err := d.MapReduce(t.Context(), d.NewOp(t.Context()), ns, &MapReduce{
			Query:    &FindQuery{Filter: doc(t, `{"price": {"$gt": 1}}`)},
			Map:      "function() { emit(this.cust, this.price * factor) }",
			Reduce:   "function(key, values) { return Array.sum(values) }",
			Finalize: "function(key, v) { return {total: v} }",
			Scope:    doc(t, `{"factor": 2}`), Out: out, Target: Namespace{DB: ns.DB, Coll: target},
		})
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, doc := range docs {
			text = append(text, bsonval.FormatDoc(doc))
		}
		return text
	}
	want := []string{`{ _id: "a", value: { total: 60.0 } }`, `{ _id: "b", value: { total: 140.0 } }`}
	if got := run(OutInline, ""); !slices.Equal(got, want) {
		t.Errorf("inline: %v", got)
	}
	run(OutReplace, "totals")
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), Namespace{DB: ns.DB, Coll: "totals"}, &FindQuery{})
	if got := results(t, cur, err); !slices.Equal(got, want) {
		t.Errorf("replace: %v", got)
	}
	run(OutMerge, "totals")
	cur, err = d.Find(t.Context(), d.NewOp(t.Context()), Namespace{DB: ns.DB, Coll: "totals"}, &FindQuery{})
	if got := results(t, cur, err); !slices.Equal(got, want) {
		t.Errorf("merge: %v", got)
	}
}
