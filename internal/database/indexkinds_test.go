package database

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/text"
)

// hashable are values without arrays, which hashed indexes take.
var hashable = []string{
	`null`, `1`, `2`, `{"$numberLong": "2"}`, `2.5`, `2.6`, `"a"`, `"ab"`, `{}`, `{"b": 1}`, `{"b": {"$numberLong": "1"}}`,
	`true`, `{"$minKey": 1}`, `{"$date": "2020-01-01T00:00:00Z"}`, `{"$numberDecimal": "2"}`, `-1`, `{"$numberDouble": "NaN"}`,
}

// hashableDoc is a random document without arrays.
func hashableDoc(r *rand.Rand, id int) string {
	s := fmt.Sprintf(`{"_id": %d`, id)
	for _, f := range []string{"a", "d", "e"} {
		if r.IntN(5) > 0 {
			s += fmt.Sprintf(`, %q: %s`, f, hashable[r.IntN(len(hashable))])
		}
	}
	return s + "}"
}

// mixedDoc has an array nowhere under e, as the regular fields of compound
// wildcard indexes need it.
func mixedDoc(r *rand.Rand, id int) string {
	s := strings.TrimSuffix(randomDoc(r, id), "}")
	if i := strings.Index(s, `, "e": `); i >= 0 {
		s = s[:i]
	}
	return s + fmt.Sprintf(`, "e": %s}`, hashable[r.IntN(len(hashable))])
}

// TestIndexKindsChangeNoResult asks random queries with an index of each kind
// and without.
func TestIndexKindsChangeNoResult(t *testing.T) {
	seed := rand.Uint64()
	for i, tc := range []struct {
		key, options string
		doc          func(*rand.Rand, int) string
	}{
		{`{"a": "hashed"}`, `{}`, hashableDoc},
		{`{"a": "hashed"}`, `{"sparse": true}`, hashableDoc},
		{`{"e": -1, "a": "hashed", "d": 1}`, `{}`, hashableDoc},
		{`{"a": "hashed"}`, `{"partialFilterExpression": {"a": {"$exists": true}}}`, hashableDoc},
		{`{"$**": 1}`, `{}`, randomDoc},
		{`{"a.$**": -1}`, `{}`, randomDoc},
		{`{"$**": 1}`, `{"wildcardProjection": {"a.b": 0, "d": 0}}`, randomDoc},
		{`{"$**": 1}`, `{"wildcardProjection": {"a": 1, "d.b": 1}}`, randomDoc},
		{`{"$**": 1}`, `{"partialFilterExpression": {"a": {"$exists": true}}}`, randomDoc},
		{`{"e": 1, "$**": 1}`, `{"wildcardProjection": {"e": 0}}`, mixedDoc},
		{`{"e": -1, "a.$**": -1, "z": 1}`, `{}`, mixedDoc},
	} {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		d := open(t)
		for n := range 60 {
			insert(t, d, doc(t, tc.doc(r, n)))
			if n == 20 {
				addIndex(t, d, tc.key, tc.options)
			}
		}
		used := 0
		x := d.Catalog().Collection(ns.DB, ns.Coll).Indexes[1]
		for range 200 {
			filter := randomFilter(r)
			sort := []string{`{}`, `{"a": 1, "_id": 1}`, `{"d": -1, "_id": 1}`}[r.IntN(3)]
			want := find(t, d, &FindQuery{Filter: doc(t, filter), Sort: doc(t, sort), Hint: &plan.Hint{Natural: 1}})
			before := x.Uses.Load()
			got := find(t, d, &FindQuery{Filter: doc(t, filter), Sort: doc(t, sort)})
			if x.Uses.Load() > before {
				used++
			}
			if sort == `{}` {
				slices.Sort(got)
				slices.Sort(want)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: %s %s: filter %s sort %s:\n got %v\nwant %v", seed, tc.key, tc.options, filter, sort, got, want)
			}
		}
		if used == 0 {
			t.Errorf("seed %d: %s %s is never used", seed, tc.key, tc.options)
		}
		out, err := d.Validate(t.Context(), ns, ValidateOptions{})
		if err != nil || !out.Valid {
			t.Errorf("seed %d: %s: validate: %+v %v", seed, tc.key, out, err)
		}
	}
}

// TestTextSearchFindsWhatMatches compares searches by the index with a look at
// every document.
func TestTextSearchFindsWhatMatches(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	words := strings.Fields("tea teas time timing the cup cups café coffee run running")
	phrase := func(n int) string {
		var s []string
		for range 1 + r.IntN(n) {
			s = append(s, words[r.IntN(len(words))])
		}
		return strings.Join(s, " ")
	}
	d := open(t)
	addIndex(t, d, `{"p": 1, "t": "text", "u.v": "text"}`, `{"weights": {"t": 3}}`)
	var docs []bsonval.Doc
	for i := range 80 {
		s := fmt.Sprintf(`{"_id": %d, "p": %d, "t": %q, "u": [{"v": %q}, {"v": 5}]}`, i, i%2, phrase(6), phrase(3))
		docs = append(docs, doc(t, s))
		insert(t, d, docs[i])
	}
	spec := d.Catalog().Collection(ns.DB, ns.Coll).TextSpec()
	for range 100 {
		search := phrase(2)
		switch r.IntN(4) {
		case 0:
			search += " -" + phrase(1)
		case 1:
			search += ` "` + phrase(2) + `"`
		}
		q, err := text.NewQuery(spec, text.Search{Text: search})
		if err != nil {
			t.Fatal(err)
		}
		want := map[int]float64{}
		for i, d := range docs {
			if i%2 == 1 && q.Matches(d) {
				terms, _ := spec.Terms(d)
				for _, term := range q.Terms() {
					want[i] += terms[term]
				}
			}
		}
		filter := bsonval.NewBuilder().StartDoc("$text").Str("$search", search).End().Int32("p", 1).Build()
		cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{
			Filter: filter, Projection: doc(t, `{"s": {"$meta": "textScore"}}`), Sort: doc(t, `{"s": {"$meta": "textScore"}}`),
		})
		if err != nil {
			t.Fatalf("seed %d: %q: %v", seed, search, err)
		}
		last, n := math.Inf(1), 0
		var buf []byte
		for {
			buf, err = cur.out.Append(t.Context(), buf[:0])
			if err != nil {
				break
			}
			n++
			found := bsonval.Doc(buf)
			id, score := int(found.Lookup("_id").Int32()), found.Lookup("s").Double()
			if math.Abs(score-want[id]) > 1e-9 || score > last {
				t.Errorf("seed %d: %q: document %d has score %v after %v, want %v", seed, search, id, score, last, want[id])
			}
			last = score
		}
		cur.Close()
		if n != len(want) {
			t.Errorf("seed %d: %q: found %d, want %d", seed, search, n, len(want))
		}
	}
	out, err := d.Validate(t.Context(), ns, ValidateOptions{})
	if err != nil || !out.Valid {
		t.Errorf("seed %d: validate: %+v %v", seed, out, err)
	}
}

func TestTextRefusals(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1, "a": 1, "t": "tea"}`))
	find := func(filter string, q FindQuery) error {
		q.Filter = doc(t, filter)
		cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &q)
		if err == nil {
			cur.Close()
		}
		return err
	}
	check := func(what string, err error, code mongoerr.Code) {
		t.Helper()
		if !mongoerr.Is(err, code) {
			t.Errorf("%s: %v, want code %d", what, err, code)
		}
	}
	check("no index", find(`{"$text": {"$search": "tea"}}`, FindQuery{}), mongoerr.IndexNotFound)
	check("score without search", find(`{}`, FindQuery{Projection: doc(t, `{"s": {"$meta": "textScore"}}`)}), 40218)
	addIndex(t, d, `{"a": 1, "t": "text"}`, `{}`)
	check("no prefix", find(`{"$text": {"$search": "tea"}}`, FindQuery{}), mongoerr.NoQueryExecutionPlans)
	check("range of prefix", find(`{"$text": {"$search": "tea"}, "a": {"$gt": 0}}`, FindQuery{}), mongoerr.NoQueryExecutionPlans)
	check("hint", find(`{"$text": {"$search": "tea"}, "a": 1}`, FindQuery{Hint: &plan.Hint{Name: "_id_"}}), mongoerr.BadValue)
	check("branch without index", find(`{"a": 1, "$or": [{"$text": {"$search": "tea"}}, {"b": 1}]}`, FindQuery{}), mongoerr.NoQueryExecutionPlans)
	check("language", find(`{"$text": {"$search": "tea", "$language": "klingon"}, "a": 1}`, FindQuery{}), mongoerr.BadValue)
	if err := find(`{"a": 1, "$or": [{"$text": {"$search": "tea"}}, {"_id": 1}]}`, FindQuery{}); err != nil {
		t.Errorf("branches with indexes: %v", err)
	}
	shown, err := d.ExplainFind(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{
		Filter: doc(t, `{"$text": {"$search": "tea -cup"}, "a": 1}`),
	}, ExplainStats)
	winner := shown.Lookup("queryPlanner").Doc().Lookup("winningPlan").Doc()
	if err != nil || winner.Lookup("stage").Str() != "TEXT_MATCH" ||
		bsonval.Format(winner.Lookup("parsedTextQuery")) != `{ terms: [ "tea" ], negatedTerms: [ "cup" ], phrases: [], negatedPhrases: [] }` {
		t.Errorf("explain: %v %v", bsonval.FormatDoc(winner), err)
	}
	_, err = d.CreateIndexes(t.Context(), ns, []bsonval.Doc{doc(t, `{"v": 2, "key": {"u": "text"}, "name": "second"}`)})
	check("second text index", err, mongoerr.CannotCreateIndex)
	res, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &UpdateStatement{
		Filter: doc(t, `{"a": 1, "$text": {"$search": "teas"}}`), Update: bsonval.Document(doc(t, `{"$set": {"b": 2}}`)), Multi: true,
	})
	if err != nil || res.Modified != 1 {
		t.Errorf("update by search: %+v %v", res, err)
	}
}
