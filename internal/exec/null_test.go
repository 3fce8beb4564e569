package exec

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

var nullish = []string{
	``, `"a": null`, `"a": {"$undefined": true}`, `"a": 1`, `"a": 2`, `"a": {}`, `"a": {"b": null}`, `"a": {"b": 1}`, `"a": {"b": {}}`, `"a": {"z": 1}`,
	`"a": []`, `"a": [null]`, `"a": [1]`, `"a": [1, null]`, `"a": [[]]`, `"a": [[null]]`, `"a": [{}]`, `"a": [{"b": 1}]`, `"a": [{"b": null}]`,
	`"a": [{"b": 1}, {"z": 1}]`, `"a": [1, {"b": 1}]`, `"a": {"b": []}`, `"a": {"b": [null, 1]}`, `"a": [{"b": []}]`,
}

// TestNull compares what index scans find of documents with and without a value with what is found
// without an index: for each document alone, whose index is multikey or not, and for all together.
func TestNull(t *testing.T) {
	conditions := []string{
		`null`, `{"$ne": null}`, `{"$in": [null, 1]}`, `{"$nin": [null, 1]}`, `{"$nin": [1]}`, `{"$exists": false}`, `{"$exists": true}`,
		`{"$not": {"$in": [null]}}`, `{"$elemMatch": {"$eq": null}}`, `{"$elemMatch": {"$ne": null}}`, `{"$gte": null}`, `{"$lte": null}`,
		`{"$elemMatch": {"b": null}}`, `{"$elemMatch": {"b": {"$ne": null}}}`,
	}
	collections := [][]string{}
	for _, d := range nullish {
		collections = append(collections, []string{d})
	}
	plain := slices.DeleteFunc(slices.Clone(nullish), func(d string) bool { return strings.Contains(d, "[") })
	collections = append(collections, nullish, plain)
	indexes := []string{`{"a": 1}`, `{"a.b": -1}`, `{"a": 1, "c": 1}`, `{"c": 1, "a.b": 1}`, `{"$**": 1}`}
	used := 0
	for _, docs := range collections {
		s := open(t, indexes...)
		var list []string
		for i, d := range docs {
			list = append(list, strings.ReplaceAll(fmt.Sprintf(`{"_id": %d, "c": 5, %s}`, i, d), ", }", "}"))
		}
		s.put(list...)
		for _, path := range []string{"a", "a.b"} {
			for _, c := range conditions {
				filter := fmt.Sprintf(`"filter": {"c": 5, "%s": %s}`, path, c)
				want := s.rows(s.plans(`{` + filter + `, "hint": 1}`)[0], nil)
				slices.Sort(want)
				for _, q := range []string{`{` + filter + `}`, fmt.Sprintf(`{"filter": {"%s": %s}}`, path, c)} {
					for _, p := range s.plans(q) {
						if p.Index != nil {
							used++
						}
						got := s.rows(p, nil)
						if slices.Sort(got); !slices.Equal(got, want) {
							t.Errorf("%v: %s by %s:\n got %v\nwant %v", list, q, p.Identity(), got, want)
						}
					}
				}
				for _, p := range s.plans(`{` + filter + `, "need": []}`) {
					if got := s.rows(p, nil); len(got) != len(want) {
						t.Errorf("%v: count of %s by %s is %d, want %d", list, filter, p.Identity(), len(got), len(want))
					}
				}
			}
		}
	}
	if used < 1000 {
		t.Errorf("%d plans use an index", used)
	}
}

// reads counts records that are read one by one.
type reads struct {
	storage.Txn
	n int
}

func (r *reads) Get(ctx context.Context, t storage.TableID, id storage.RecordID) ([]byte, error) {
	r.n++
	return r.Txn.Get(ctx, t, id)
}

// TestNullsAreReadTogether scans keys of which most do not tell whether the field is missing.
func TestNullsAreReadTogether(t *testing.T) {
	s := open(t, `{"a": 1, "b": 1}`, `{"f": 1, "g": 1}`)
	var docs []string
	for i := range 100 {
		docs = append(docs, `{"a": 1, "b": null}`, `{"a": 1}`, fmt.Sprintf(`{"a": 1, "b": %d}`, i))
	}
	for i := range 10 {
		docs = append(docs, strings.Repeat(fmt.Sprintf(`{"f": %d, "g": null};`, i), 3)+fmt.Sprintf(`{"f": %d}`, i))
	}
	s.put(strings.Split(strings.Join(docs, ";"), ";")...)
	for _, c := range []struct {
		query string
		want  int
	}{
		{`{"filter": {"a": 1}, "need": ["a", "b"]}`, 300},
		{`{"filter": {"a": 1, "b": null}, "need": []}`, 200},
		{`{"filter": {"a": 1, "b": {"$exists": false}}, "need": []}`, 100},
		{`{"distinct": "b", "need": ["b"], "filter": {"a": 1}}`, 300},
		{`{"distinct": "f", "need": ["f"], "filter": {"f": {"$gte": 0}, "g": {"$exists": false}}}`, 10},
	} {
		p := s.plans(c.query)[0]
		if !p.Covered && p.Distinct == 0 {
			t.Errorf("%s: the plan is not covered", c.query)
		}
		if n := s.countReads(p); n > fewNulls+1 {
			t.Errorf("%s: %d records are read one by one", c.query, n)
		}
		got := s.rows(p, nil)
		if len(got) != c.want {
			t.Errorf("%s: %d rows, want %d", c.query, len(got), c.want)
		}
		if paused := s.rows(p, func(int) {}); !slices.Equal(got, paused) {
			t.Errorf("%s: with pauses\n%v\nwithout\n%v", c.query, paused, got)
		}
	}
}

// countReads runs a plan and returns how many records it reads one by one.
func (s *store) countReads(p *plan.Plan) int {
	var v View
	r := &reads{Txn: s.engine.Begin(storage.TxnOptions{ReadOnly: true})}
	v.Attach(r)
	defer s.detach(&v)
	scan := Open(&v, s.coll, p, nil)
	defer scan.Close()
	for {
		if _, err := scan.Next(s.t.Context()); err != nil {
			return r.n
		}
	}
}
