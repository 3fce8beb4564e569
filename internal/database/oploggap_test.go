package database

import (
	"log/slog"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// reopened opens a store in a folder for one run, with the log if cfg is not nil.
func reopened(t *testing.T, dir string, cfg *OplogConfig, run func(d *DB)) {
	t.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler), Oplog: cfg})
	if err != nil {
		t.Fatal(err)
	}
	run(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRunWithoutOplog: a stream cannot be resumed across a run in which changes were not logged, and can across one in
// which they were.
func TestRunWithoutOplog(t *testing.T) {
	dir, ns := t.TempDir(), Namespace{DB: "shop", Coll: "orders"}
	log := &OplogConfig{SizeBytes: 64 << 10}
	var token, mark bsonval.Doc // of an event, and a high water mark
	resume := func(d *DB, token bsonval.Doc) (*Cursor, error) {
		return tryWatch(t, d, ns, `{"resumeAfter": {"_data": "`+token.Lookup("_data").Str()+`"}}`)
	}
	reopened(t, dir, log, func(d *DB) {
		if err := d.Create(t.Context(), ns, doc(t, `{"changeStreamPreAndPostImages": {"enabled": true}}`)); err != nil {
			t.Fatal(err)
		}
		cur := watch(t, d, ns, `{}`)
		defer cur.Close()
		insertJSON(t, d, ns, `{"_id": 1}`)
		token = take(t, cur, 1)[0].Lookup("_id").Doc().Clone()
		if _, _, _, err := cur.AppendBatch(t.Context(), nil, -1); err != nil {
			t.Fatal(err)
		}
		mark = cur.ResumeToken().Clone()
		for range 100 { // images, and pieces of the log
			insertJSON(t, d, ns, `{"filler": "0123456789012345678901234567890123456789"}`)
		}
		_, err := d.Delete(t.Context(), d.NewOp(t.Context()), ns, &DeleteStatement{Filter: doc(t, `{"_id": {"$ne": 1}}`), Multi: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.oplog.trim.trim(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	})
	reopened(t, dir, log, func(d *DB) {
		for _, from := range []bsonval.Doc{token, mark} {
			cur, err := resume(d, from)
			if err != nil {
				t.Fatal(err)
			}
			if got := kinds(take(t, cur, 1)); got[:6] != "insert" {
				t.Errorf("got %s", got)
			}
			cur.Close()
		}
	})
	for range 2 {
		reopened(t, dir, nil, func(d *DB) { insertJSON(t, d, ns, `{"unseen": true}`) })
	}
	for range 2 {
		reopened(t, dir, log, func(d *DB) {
			for _, from := range []bsonval.Doc{token, mark} {
				if _, err := resume(d, from); !mongoerr.Is(err, mongoerr.ChangeStreamHistoryLost) {
					t.Errorf("resumed across a run without the log: %v", err)
				}
			}
			_, err := tryWatch(t, d, ns, `{"startAtOperationTime": {"$timestamp": {"t": 1, "i": 1}}}`)
			if !mongoerr.Is(err, mongoerr.ChangeStreamHistoryLost) {
				t.Errorf("started before a run without the log: %v", err)
			}
			cur := watch(t, d, ns, `{}`)
			defer cur.Close()
			insertJSON(t, d, ns, `{"_id": "seen"}`)
			if got := kinds(take(t, cur, 1)); got != "insert seen" && got != `insert "seen"` {
				t.Errorf("got %s", got)
			}
			if _, err := d.Delete(t.Context(), d.NewOp(t.Context()), ns, &DeleteStatement{Filter: doc(t, `{"_id": "seen"}`)}); err != nil {
				t.Fatal(err)
			}
		})
	}
	reopened(t, dir, log, func(d *DB) {
		s, err := d.OplogStats(t.Context())
		if entries := rawEntries(t, d, 0); err != nil || int64(len(entries)) != s.Count || len(entries) != 5 {
			t.Errorf("%d entries, stats %+v, %v", len(entries), s, err)
		}
	})
}

// TestRetentionIsKept: what ResizeOplog says about time lasts, unless the start is told something else.
func TestRetentionIsKept(t *testing.T) {
	dir := t.TempDir()
	retention := func(cfg OplogConfig, set time.Duration) (got time.Duration) {
		reopened(t, dir, &cfg, func(d *DB) {
			s, err := d.OplogStats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got = s.MinRetention
			if err := d.ResizeOplog(t.Context(), 0, set); err != nil {
				t.Fatal(err)
			}
		})
		return got
	}
	for i, c := range []struct {
		cfg       OplogConfig
		want, set time.Duration
	}{
		{OplogConfig{}, 0, 90 * time.Minute},
		{OplogConfig{}, 90 * time.Minute, -1},
		{OplogConfig{MinRetention: time.Hour}, time.Hour, -1},
		{OplogConfig{}, 90 * time.Minute, 0},
		{OplogConfig{}, 0, -1},
	} {
		if got := retention(c.cfg, c.set); got != c.want {
			t.Errorf("start %d: %v, want %v", i, got, c.want)
		}
	}
}
