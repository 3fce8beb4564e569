package exec

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// TestSkip passes over records, with and without pauses, and compares the others with those of a
// scan that does not.
func TestSkip(t *testing.T) {
	s := open(t, `{"_id": 1}`, `{"a": 1}`, `{"tags": 1}`)
	var docs []string
	for i := range 2 * leastPassed {
		docs = append(docs, fmt.Sprintf(`{"_id": %d, "a": %d, "tags": ["x", "y%d"]}`, i, i*7%900, i%3))
	}
	s.put(docs...)
	for _, c := range []struct {
		query  string
		passes bool
	}{
		{`{}`, true}, {`{"hint": -1}`, true}, {`{"sort": {"a": 1}}`, true}, {`{"sort": {"a": -1}}`, true},
		{`{"filter": {"a": {"$gte": 100}}}`, true}, {`{"filter": {"a": {"$in": [1, 2, 3]}}}`, true}, {`{"filter": {"tags": "x"}}`, true},
		{`{"filter": {"a": {"$gte": 10}, "z": null}}`, false}, {`{"filter": {"z": null}}`, false},
	} {
		for _, p := range s.plans(c.query) {
			whole := s.rows(p, nil)
			for _, skip := range []int{leastPassed - 1, leastPassed, leastPassed + 77, 3 * leastPassed} {
				for _, every := range []int{0, 1, 100} {
					got, empty := s.skipped(p, skip, every)
					if at := min(skip, len(whole)); !slices.Equal(got, whole[at:]) {
						t.Errorf("%s by %s, %d skipped: %d rows, want %d", c.query, p.Identity(), skip, len(got), len(whole)-at)
					}
					if passes := c.passes && skip >= leastPassed; passes != (empty > 0) {
						t.Errorf("%s by %s, %d skipped: %d come without a document", c.query, p.Identity(), skip, empty)
					}
				}
			}
		}
	}
}

// skipped runs a plan and returns what comes behind the first rows, and how many of those have no document. It
// detaches the view after every so many rows.
func (s *store) skipped(p *plan.Plan, skip, every int) (out []string, empty int) {
	var v View
	s.attach(&v)
	defer func() { s.detach(&v) }()
	scan := Open(&v, s.coll, p, nil)
	defer scan.Close()
	scan.Skip = int64(skip)
	seen := map[storage.RecordID]bool{}
	for n := 0; ; n++ {
		row, err := scan.Next(s.t.Context())
		if err == io.EOF {
			return out, empty
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if seen[row.ID] {
			s.t.Fatalf("record %d comes twice", row.ID)
		}
		seen[row.ID] = true
		switch {
		case n >= skip:
			out = append(out, bsonval.FormatDoc(row.Doc))
		case row.Doc.IsEmpty():
			empty++
		}
		if every > 0 && n%every == 0 {
			s.detach(&v)
			s.attach(&v)
		}
	}
}
