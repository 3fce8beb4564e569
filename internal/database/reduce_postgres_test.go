package database

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pgstore"
	"github.com/archelon-db/archelon/test/pgharness"
)

// untold is an engine that cannot be told what documents hold. Closing it is left to
// who has the engine.
type untold struct{ storage.Engine }

func (untold) Close() error { return nil }

// TestReducedScansOfPostgres asks random queries by each index of a database in
// PostgreSQL, and of one on the same data whose engine leaves out nothing.
func TestReducedScansOfPostgres(t *testing.T) {
	server, err := pgharness.Start(map[string]string{"fsync": "off"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	engine, err := pgstore.Open(t.Context(), pgstore.Config{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	config := Config{Engine: engine, Logger: slog.New(slog.DiscardHandler), JS: js.New(js.Limits{})}
	told, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 3))
	var docs []bsonval.Doc
	for i := range 1500 {
		docs = append(docs, doc(t, randomDoc(r, i)))
	}
	insert(t, told, docs...)
	hints := []string{"", `{"a": 1}`, `{"f": 1, "g": -1}`, `{"d": -1}`, `{"f": -1, "e": 1, "g": 1}`}
	for _, key := range hints[1:] {
		addIndex(t, told, key, `{}`)
	}
	config.Engine = untold{engine}
	all, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	for i := range 300 {
		filter := doc(t, randomFilter(r))
		q := &FindQuery{Filter: filter, Limit: int64(r.IntN(4) * r.IntN(100))}
		if hint := hints[r.IntN(len(hints))]; hint != "" {
			q.Hint = &plan.Hint{Key: doc(t, hint)}
		}
		if r.IntN(3) == 0 {
			q.Sort = doc(t, `{"f": -1, "g": 1, "_id": 1}`)
		}
		size := 1 + r.IntN(60)
		got, want := inBatches(t, told, q, size), inBatches(t, all, q, size)
		if q.Hint == nil && q.Sort == nil && q.Limit == 0 { // each may have chosen another plan
			slices.Sort(got)
			slices.Sort(want)
		}
		if (q.Hint != nil || q.Limit == 0) && !slices.Equal(got, want) || len(got) != len(want) {
			t.Fatalf("seed %d: query %d: filter %s, hint %v, limit %d:\n got %v\nwant %v", seed, i, bsonval.FormatDoc(filter), q.Hint, q.Limit, got, want)
		}
	}
	if a, b := told.Metrics.ScannedDocs.Load(), all.Metrics.ScannedDocs.Load(); a*10 > b*9 {
		t.Errorf("%d documents were looked at, and %d by the one that leaves out nothing", a, b)
	}
}

func inBatches(t *testing.T, d *DB, q *FindQuery, size int) []string {
	t.Helper()
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, q)
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	out := []string{}
	for {
		batch, at := bsonval.BeginDoc(nil)
		batch, _, more, err := cur.AppendBatch(t.Context(), batch, size)
		if err != nil {
			return append(out, fmt.Sprint(err))
		}
		it := bsonval.Doc(bsonval.EndDoc(batch, at)).Iter()
		for it.Next() {
			out = append(out, bsonval.Format(it.Value()))
		}
		if !more {
			return out
		}
	}
}
