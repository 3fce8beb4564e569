package database

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/storage"
)

// distantEngine is an engine that says that it is on another server.
type distantEngine struct{ storage.Engine }

func (distantEngine) IsDistant() bool { return true }

// joinValue is a value of a field k, in JSON, or nothing; so are values below a field.
func joinValue(r *rand.Rand, depth int) string {
	scalars := []string{
		`1`, `2`, `3`, `4`, `{"$numberDouble": "2"}`, `{"$numberDecimal": "3.0"}`, `{"$numberDouble": "NaN"}`, `"x"`, `"X"`, `"y"`, `null`, `null`,
		`{"$regularExpression": {"pattern": "x", "options": ""}}`, `{"b": 1}`, `{"b": null}`, `{"$gt": 1}`, `{"$minKey": 1}`, `true`,
	}
	if r.IntN(200) == 0 {
		return `{"$undefined": true}` // nothing can be compared with it
	}
	if depth == 0 || r.IntN(3) > 0 {
		return scalars[r.IntN(len(scalars))]
	}
	if r.IntN(3) == 0 {
		return fmt.Sprintf(`{"b": %s}`, joinValue(r, depth-1))
	}
	list := make([]string, r.IntN(4))
	for i := range list {
		list[i] = joinValue(r, depth-1)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// joinDocs are documents whose field k is anything, or of few kinds.
func joinDocs(t *testing.T, r *rand.Rand, n, kinds int) []bsonval.Doc {
	docs := make([]bsonval.Doc, n)
	for i := range docs {
		k := ""
		switch r.IntN(kinds) {
		case 0:
			k = fmt.Sprintf(`, "k": %d`, r.IntN(30))
		case 1:
			k = fmt.Sprintf(`, "k": {"b": %d}`, r.IntN(20))
		case 2:
			k = fmt.Sprintf(`, "k": [{"b": %d}, {"b": %d}]`, r.IntN(20), r.IntN(20))
		case 3:
			k = fmt.Sprintf(`, "k": [%d, %d]`, r.IntN(20), r.IntN(20))
		case 4: // lists in lists, and keys of null that do not equal null
			k = fmt.Sprintf(`, "k": [%d, [%d, %d]]`, r.IntN(3), r.IntN(3), r.IntN(3))
			if r.IntN(2) == 0 {
				k = fmt.Sprintf(`, "k": [%d, {"b": %d}]`, r.IntN(3), r.IntN(3))
			}
		case 5:
			if r.IntN(3) > 0 {
				k = `, "k": ` + joinValue(r, 3)
			}
		default:
			k = fmt.Sprintf(`, "k": "%c"`, "xXyYzZ"[r.IntN(6)])
		}
		z := fmt.Sprint(r.IntN(4))
		if kinds == 1 { // an index cannot have two arrays
			z = fmt.Sprintf("[%d, %d]", r.IntN(4), r.IntN(4))
		}
		docs[i] = doc(t, fmt.Sprintf(`{"_id": %d, "z": %s%s}`, i, z, k))
	}
	r.Shuffle(n, func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
	return docs
}

// oneByOne is what a pipeline gives, and the error that ends it.
func oneByOne(t *testing.T, d *DB, from Namespace, q *AggregateQuery) (out []string) {
	cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), from, q)
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	for more := true; more; {
		b, at := bsonval.BeginDoc(nil)
		if b, _, more, err = cur.AppendBatch(t.Context(), b, 1); err != nil {
			return append(out, err.Error())
		}
		out = append(out, bsonval.FormatDoc(bsonval.EndDoc(b, at)))
	}
	return out
}

// TestLookupInBatches compares $lookup in a distant engine with that in a local one, the order of
// what is found included.
func TestLookupInBatches(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := open(t)
		kinds := 1 + r.IntN(7)
		insert(t, d, joinDocs(t, r, 20+r.IntN(200), kinds)...)
		to := Namespace{DB: ns.DB, Coll: "c"}
		from := Namespace{DB: ns.DB, Coll: "outer"}
		res, err := d.Insert(t.Context(), d.NewOp(t.Context()), from, joinDocs(t, r, 10+r.IntN(150), kinds), true)
		if err != nil || len(res.Errors) > 0 {
			t.Fatal(err, res)
		}
		q := &AggregateQuery{}
		options := `{}`
		if r.IntN(3) == 0 {
			options = `{"collation": {"locale": "en", "strength": 2}}`
			if q.Collation, err = collation.Parse(doc(t, options).Lookup("collation").Doc()); err != nil {
				t.Fatal(err)
			}
		}
		key := []string{`{"k": 1}`, `{"k": -1}`, `{"k": 1, "z": -1}`, `{"k": -1, "z": 1}`, `{"k.b": 1}`, `{"k.b": -1, "_id": -1}`}[r.IntN(6)]
		addIndex(t, d, key, options)
		foreign, _, _ := doc(t, key).First()
		local := []string{"k", "k.b", "k", "none", "_id", "k.0"}[r.IntN(6)]
		stages := fmt.Sprintf(`{"p": [{"$sort": {"_id": %d}}, {"$skip": %d},
			{"$lookup": {"from": "%s", "localField": "%s", "foreignField": "%s", "as": "found"}},
			{"$project": {"k": 1, "r": "$found"}}]}`, 1-2*r.IntN(2), r.IntN(2), to.Coll, local, foreign)
		q.Pipeline = doc(t, stages).Lookup("p").Doc()
		want := oneByOne(t, d, from, q)
		engine := d.engine
		d.engine = distantEngine{engine}
		got := oneByOne(t, d, from, q)
		d.engine = engine
		if !slices.Equal(got, want) {
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Fatalf("seed %d, index %s %s, %s: document %d is\n%.1000s\nwant\n%.1000s", seed, key, options, local, i, got[min(i, len(got)-1)], want[i])
				}
			}
			t.Fatalf("seed %d: %d documents, want %d", seed, len(got), len(want))
		}
	}
}

// TestLookupInFewQueries counts how often an index is asked in a distant engine.
func TestLookupInFewQueries(t *testing.T) {
	d := open(t)
	var docs []bsonval.Doc
	for i := range 1000 {
		docs = append(docs, doc(t, fmt.Sprintf(`{"_id": %d, "k": %d, "to": %d}`, i, i, (i*7)%1000)))
	}
	insert(t, d, docs...)
	addIndex(t, d, `{"k": 1}`, `{}`)
	d.engine = distantEngine{d.engine}
	for _, c := range []struct {
		stages string
		most   int64
	}{
		{`[{"$lookup": {"from": "c", "localField": "to", "foreignField": "k", "as": "found"}}]`, 40},
		{`[{"$lookup": {"from": "c", "localField": "to", "foreignField": "k", "as": "found"}}, {"$match": {"found.k": {"$gte": 0}}}, {"$limit": 1}]`, 1},
	} {
		x := d.defined(d.NewOp(t.Context()), ns).Index(`{"k": 1}`)
		before := x.Uses.Load()
		cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), ns, &AggregateQuery{Pipeline: doc(t, `{"p": `+c.stages+`}`).Lookup("p").Doc()})
		results(t, cur, err)
		if n := x.Uses.Load() - before; n == 0 || n > c.most {
			t.Errorf("%s asks %d times, want at most %d", c.stages, n, c.most)
		}
	}
	addIndex(t, d, `{"k": 1, "to": 1}`, `{}`)
	if (&data{db: d, op: d.NewOp(t.Context()), c: &compilation{}}).Gathers(t.Context(), ns, "k") {
		t.Error("gathers with two indexes, whose orders differ")
	}
}
