package pgperf

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pgstore"
	"github.com/archelon-db/archelon/test/pgharness"
)

// rangeEntries is how many index entries the measured queries have to look at.
const rangeEntries = 10_000

// TestResiduals measures finds whose index leaves conditions for the documents: with
// an engine that is told about them on the way, and with the same engine that is not.
func TestResiduals(t *testing.T) {
	if os.Getenv("ARCHELON_PERF") == "" {
		t.Skip("set ARCHELON_PERF=1 to measure")
	}
	s, err := pgharness.Start(map[string]string{"fsync": "off", "shared_buffers": "512MB", "max_wal_size": "4GB"})
	if err != nil {
		t.Skip(err)
	}
	defer s.Close()
	ctx := t.Context()
	t.Logf("| %-9s | %-22s | %-10s | %6s | %9s | %8s | %s |", "documents", "further condition", "way", "found", "documents sent", "ms", "CPU ns per entry: PostgreSQL, Archelon")
	for _, size := range []int{300, 10_000} {
		engine, err := pgstore.Open(ctx, pgstore.Config{URL: s.URL() + fmt.Sprintf("&schema=residual%d", size)})
		if err != nil {
			t.Fatal(err)
		}
		r := &residuals{c: &candidates{t: t, url: s.URL()}, size: size}
		if r.told, err = database.Open(ctx, database.Config{Engine: engine, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		r.fill()
		// The documents are the same for both: the other one only reads.
		if r.untold, err = database.Open(ctx, database.Config{Engine: untold{engine}, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		r.measure()
		r.untold.Close()
		r.told.Close()
	}
}

// untold is an engine that is no storage.Reducer. Closing it is left to who has the
// engine.
type untold struct{ storage.Engine }

func (untold) Close() error { return nil }

type residuals struct {
	c            *candidates
	size         int
	told, untold *database.DB
}

var residualNS = database.Namespace{DB: "perf", Coll: "residuals"}

// fill makes twice as many documents as a query looks at.
func (r *residuals) fill() {
	ctx, t := context.Background(), r.c.t
	const batch = 500
	for at := 0; at < 2*rangeEntries; at += batch {
		var docs []bsonval.Doc
		for i := at; i < at+batch; i++ {
			d, _ := candidateDoc(i, r.size)
			docs = append(docs, d)
		}
		res, err := r.told.Insert(ctx, r.told.NewOp(ctx), residualNS, docs, true)
		if err != nil || len(res.Errors) > 0 {
			t.Fatal(err, res.Errors)
		}
	}
	index := bsonval.NewBuilder().StartDoc("key").Int32("number", 1).End().Str("name", "number_1").Build()
	if _, err := r.told.CreateIndexes(ctx, residualNS, []bsonval.Doc{index}); err != nil {
		t.Fatal(err)
	}
	conn := r.c.connect()
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var pid uint32
		if err := rows.Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids.Store(pid, nil)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		t.Fatal(err)
	}
}

// residualFilters are conditions beside the range, and limits.
var residualFilters = []struct {
	name      string
	condition func(*bsonval.Builder)
	limit     int64
}{
	{"text, 0.01 %", func(b *bsonval.Builder) { b.Str("rare", "yes") }, 0},
	{"text, 1 %", func(b *bsonval.Builder) { b.Str("some", "yes") }, 0},
	{"text, 1 %, first one", func(b *bsonval.Builder) { b.Str("some", "yes") }, 1},
	{"text, 50 %", func(b *bsonval.Builder) { b.Str("half", "yes") }, 0},
	{"date, one", func(b *bsonval.Builder) { b.Date("at", 1_700_000_000_000+rangeEntries) }, 0},
	{"a range, 10 %", func(b *bsonval.Builder) { b.StartDoc("score").Double("$lt", 100.0/7).End() }, 0},
	{"a field that none has", func(b *bsonval.Builder) { b.StartDoc("nowhere").Bool("$exists", true).End() }, 0},
}

func (r *residuals) measure() {
	const rounds = 5
	for _, f := range residualFilters {
		b := bsonval.NewBuilder().StartDoc("number").Int32("$gte", rangeEntries/2+1).Int32("$lte", rangeEntries/2+rangeEntries).End()
		f.condition(b)
		q := database.FindQuery{Filter: b.Build(), Limit: f.limit}
		type figures struct {
			found      int
			sent       int64
			took       time.Duration
			pgCPU, own time.Duration
		}
		best := [2]figures{{took: time.Hour}, {took: time.Hour}}
		for range rounds {
			for i, d := range []*database.DB{r.untold, r.told} {
				pg, own, sent := r.c.serverTime(), ownTime(), d.Metrics.ScannedDocs.Load()
				start := time.Now()
				found := r.find(d, q)
				if took := time.Since(start); took < best[i].took {
					best[i] = figures{found, d.Metrics.ScannedDocs.Load() - sent, took, r.c.serverTime() - pg, ownTime() - own}
				}
			}
		}
		for i, way := range []string{"not told", "told"} {
			x := best[i]
			r.c.t.Logf("| %6d B  | %-22s | %-10s | %6d | %9d | %8.2f | %d, %d |", r.size, f.name, way, x.found, x.sent,
				float64(x.took.Microseconds())/1000, x.pgCPU.Nanoseconds()/rangeEntries, x.own.Nanoseconds()/rangeEntries)
		}
	}
}

// find reads all that a query finds.
func (r *residuals) find(d *database.DB, q database.FindQuery) (found int) {
	ctx := context.Background()
	cur, err := d.Find(ctx, d.NewOp(ctx), residualNS, &q)
	if err != nil {
		r.c.t.Fatal(err)
	}
	defer cur.Close()
	for {
		_, n, more, err := cur.AppendBatch(ctx, nil, -1)
		if err != nil {
			r.c.t.Fatal(err)
		}
		if found += n; !more {
			return found
		}
	}
}
