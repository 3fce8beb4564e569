package database

import (
	"fmt"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// cached is the plan that is remembered for the only query shape.
func cached(t *testing.T, d *DB) string {
	t.Helper()
	if n := len(d.plans.entries); n > 1 {
		t.Fatalf("%d shapes", n)
	}
	for _, p := range d.plans.entries {
		return p.identity
	}
	return ""
}

func clearPlans(t *testing.T, d *DB) {
	t.Helper()
	if err := d.PlanCacheClear(d.NewOp(t.Context()), ns, nil); err != nil {
		t.Fatal(err)
	}
}

// TestReplan makes a remembered plan a bad one for the next values: it is given
// up and another one is found.
func TestReplan(t *testing.T) {
	d := open(t)
	var docs []bsonval.Doc
	// A few documents have a = 1, many a = 2; with b it is the other way round.
	for i := range 6000 {
		a, b := 1, 2
		if i >= 5 {
			a, b = 2, i
		}
		docs = append(docs, doc(t, fmt.Sprintf(`{"_id": %d, "a": %d, "b": %d}`, i, a, b)))
	}
	insert(t, d, docs...)
	addIndex(t, d, `{"a": 1}`, `{}`)
	addIndex(t, d, `{"b": 1}`, `{}`)
	query := func(filter string, want int) {
		t.Helper()
		if got := find(t, d, &FindQuery{Filter: doc(t, filter)}); len(got) != want {
			t.Errorf("%s: %d documents", filter, len(got))
		}
	}
	query(`{"a": 1, "b": {"$gte": 0}}`, 5)
	if got := cached(t, d); got != `IXSCAN:{"a": 1}` {
		t.Fatalf("first choice: %s", got)
	}
	query(`{"a": 2, "b": {"$gte": 5998}}`, 2)
	if got := cached(t, d); got != `IXSCAN:{"b": 1}` {
		t.Errorf("after a bad run: %s", got)
	}
	// With a sort the order must not suffer from a plan that changes under way.
	clearPlans(t, d)
	sorted := func(filter, want string) {
		t.Helper()
		got := find(t, d, &FindQuery{Filter: doc(t, filter), Sort: doc(t, `{"b": -1}`), Limit: 2, Projection: doc(t, `{"_id": 1}`)})
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v", filter, got)
		}
	}
	sorted(`{"a": 2}`, "[{ _id: 5999 } { _id: 5998 }]")
	if got := cached(t, d); got != `IXSCAN:{"b": 1}:-` {
		t.Fatalf("first choice: %s", got)
	}
	sorted(`{"a": 1}`, "[{ _id: 0 } { _id: 1 }]")
	if got := cached(t, d); got != `IXSCAN:{"a": 1}` {
		t.Errorf("after a bad run: %s", got)
	}
}

// TestPlanCache forgets plans when the collection changes or is told to.
func TestPlanCache(t *testing.T) {
	d := open(t)
	fill(t, d, 50)
	addIndex(t, d, `{"a": 1}`, `{}`)
	addIndex(t, d, `{"a": 1, "b": 1}`, `{}`)
	query := func() { find(t, d, &FindQuery{Filter: doc(t, `{"a": 3}`)}) }
	query()
	if cached(t, d) == "" {
		t.Fatal("nothing remembered")
	}
	clearPlans(t, d)
	if got := cached(t, d); got != "" {
		t.Errorf("after clearing: %s", got)
	}
	query()
	query()
	d.plans.forget(nil)
	if got := cached(t, d); got != "" {
		t.Errorf("after forgetting all: %s", got)
	}
}
