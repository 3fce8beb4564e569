package database

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
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
	checkSamples(t, told, len(docs))
}

// TestIndexesChangeNoResultOnPostgres is TestIndexesChangeNoResult where counts are PostgreSQL's.
func TestIndexesChangeNoResultOnPostgres(t *testing.T) {
	server, err := pgharness.Start(map[string]string{"fsync": "off"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for i := range 2 {
		engine, err := pgstore.Open(t.Context(), pgstore.Config{URL: fmt.Sprintf("%s&schema=round%d", server.URL(), i)})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler), JS: js.New(js.Limits{})})
		if err != nil {
			t.Fatal(err)
		}
		compareIndexes(t, d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// checkSamples draws samples of a collection of n documents.
func checkSamples(t *testing.T, d *DB, n int) {
	t.Helper()
	for _, size := range []int{1, 5, n / 20, n/20 + 1, n - 1, n, n + 1, 1e6} {
		for _, stages := range []string{`{"0": {"$sample": {"size": %d}}}`, `{"0": {"$sample": {"size": %d}}, "1": {"$project": {"a": 1}}}`} {
			var ids [2][]string
			for i := range ids {
				cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), ns, &AggregateQuery{Pipeline: doc(t, fmt.Sprintf(stages, size))})
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range batches(t, cur, 500) {
					id, _, _ := strings.Cut(s, ",")
					ids[i] = append(ids[i], strings.TrimSuffix(id, " }"))
				}
				cur.Close()
			}
			if size >= 20 && slices.Equal(ids[0], ids[1]) {
				t.Errorf("%s: the same twice: %v", fmt.Sprintf(stages, size), ids[0])
			}
			got := slices.Clone(ids[0])
			slices.Sort(got)
			if size >= 20 && slices.Equal(got, ids[0]) {
				t.Errorf("%s: in order", fmt.Sprintf(stages, size))
			}
			if want := min(n, size); len(got) != want || len(slices.Compact(got)) != want {
				t.Errorf("%s: %d documents, %d different ones", fmt.Sprintf(stages, size), len(got), len(slices.Compact(got)))
			}
		}
	}
}

// TestSample draws samples from a local engine.
func TestSample(t *testing.T) {
	d := open(t)
	var docs []bsonval.Doc
	for i := range 400 {
		docs = append(docs, doc(t, fmt.Sprintf(`{"_id": %d, "a": 1}`, i)))
	}
	insert(t, d, docs...)
	checkSamples(t, d, len(docs))
}

func inBatches(t *testing.T, d *DB, q *FindQuery, size int) []string {
	t.Helper()
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, q)
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	return batches(t, cur, size)
}

// batches reads a cursor to its end.
func batches(t *testing.T, cur *Cursor, size int) []string {
	t.Helper()
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
