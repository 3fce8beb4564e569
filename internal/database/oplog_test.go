package database

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
	"github.com/archelon-db/archelon/internal/update"
)

// openLogged opens a database in memory that logs its changes.
func openLogged(t testing.TB, cfg OplogConfig) *DB {
	t.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	return openOn(t, engine, &cfg)
}

func openOn(t testing.TB, engine storage.Engine, cfg *OplogConfig) *DB {
	t.Helper()
	d, err := Open(context.Background(), Config{
		Engine: engine, Logger: slog.New(slog.DiscardHandler), JS: js.New(js.Limits{}), Oplog: cfg,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// rawEntries are the entries behind a time.
func rawEntries(t testing.TB, d *DB, after uint64) []bsonval.Doc {
	t.Helper()
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	it, err := txn.Scan(t.Context(), d.oplog.table, storage.RecordRange{Min: storage.RecordID(after) + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var list []bsonval.Doc
	for it.Next() {
		entry := bsonval.Doc(it.Doc()).Clone()
		if ts := entry.Lookup("ts"); ts.Int64() != int64(it.ID()) {
			t.Errorf("entry %d has ts %d", it.ID(), ts.Int64())
		}
		if wall := entry.Lookup("wall").Int64(); time.Since(time.UnixMilli(wall)).Abs() > time.Hour {
			t.Errorf("entry has wall %d", wall)
		}
		list = append(list, entry)
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return list
}

// TestOplogIsNotWritten: nobody but the server writes the log.
func TestOplogIsNotWritten(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	for _, log := range []Namespace{oplogNS, imagesNS} {
		fails(t, insertIn(t, d, nil, log, `{"_id": 1}`), mongoerr.InvalidNamespace)
		_, err := d.Delete(t.Context(), d.NewOp(t.Context()), log, &DeleteStatement{Filter: bsonval.EmptyDoc, Multi: true})
		fails(t, err, mongoerr.InvalidNamespace)
		_, _, err = d.Drop(t.Context(), log)
		fails(t, err, mongoerr.IllegalOperation)
		_, err = d.CreateIndexes(t.Context(), log, []bsonval.Doc{doc(t, `{"v": 2, "key": {"w": 1}, "name": "w_1"}`)})
		fails(t, err, mongoerr.CannotCreateIndex)
		if _, err := d.DropIndexes(t.Context(), log, bsonval.String("*")); err != nil {
			t.Error(err)
		}
		fails(t, d.ConvertToCapped(t.Context(), log, 4096), mongoerr.IllegalOperation)
	}
	fails(t, d.Rename(t.Context(), oplogNS, Namespace{DB: "local", Coll: "x"}, false), mongoerr.IllegalOperation)
	_, err := d.CollMod(t.Context(), oplogNS, doc(t, `{"cappedMax": 5}`))
	fails(t, err, mongoerr.InvalidOptions)
	fails(t, d.Create(t.Context(), oplogNS, doc(t, `{"capped": true, "size": 4096}`)), mongoerr.NamespaceExists)
	if _, err := d.DropDatabase(t.Context(), "config"); err != nil {
		t.Error(err)
	}
	if d.Catalog().Collection(imagesNS.DB, imagesNS.Coll) == nil {
		t.Error("the images went with the database config")
	}
}

// TestMergeOfTheSame: what $merge leaves as it is is not written, nor logged.
func TestMergeOfTheSame(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	insertJSON(t, d, ns, `{"_id": 1, "a": 1}`, `{"_id": 2, "a": 1}`)
	for _, mode := range []string{"merge", "replace"} {
		logged := -1
		for range 3 {
			q := &AggregateQuery{Pipeline: doc(t, fmt.Sprintf(`{"p": [{"$merge": {"into": "into_%s", "whenMatched": "%s"}}]}`, mode, mode)).Lookup("p").Doc()}
			cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), ns, q)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, err = cur.AppendBatch(t.Context(), nil, -1); err != nil {
				t.Fatal(err)
			}
			cur.Close()
			n := len(rawEntries(t, d, 0))
			if logged >= 0 && n != logged {
				t.Errorf("%s: %d entries of nothing", mode, n-logged)
			}
			logged = n
		}
	}
}

// TestOplogHasNoHoles: a reader that goes on from the last entry it has seen misses
// none, however many write.
func TestOplogHasNoHoles(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	if err := insertIn(t, d, nil, ns, `{"_id": -1}`); err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 100
	seen, last := map[int32]bool{}, d.engine.Clock().Applied()
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range each {
				op := d.NewOp(context.Background())
				op.NoSync = true
				id := bsonval.NewBuilder().Int32("_id", int32(w*each+i)).Build()
				if _, err := d.Insert(context.Background(), op, ns, []bsonval.Doc{id}, true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(seen) < writers*each && time.Now().Before(deadline) {
		for _, e := range rawEntries(t, d, last) {
			last = uint64(e.Lookup("ts").Int64())
			seen[e.Lookup("o").Doc().Lookup("_id").Int32()] = true
		}
	}
	work.Wait()
	for _, e := range rawEntries(t, d, 0) {
		if id := e.Lookup("o2").Doc().Lookup("_id"); id.Type() == bsonval.TypeInt32 && id.Int32() >= 0 && !seen[id.Int32()] {
			seen[id.Int32()] = true
			if uint64(e.Lookup("ts").Int64()) <= last {
				t.Errorf("entry of %d was missed", id.Int32())
			}
		}
	}
}

// TestOplogReopens: the log goes on where it ended, and what is in it has been counted.
func TestOplogReopens(t *testing.T) {
	dir := t.TempDir()
	var last uint64
	for i := range 3 {
		engine, err := pebblestore.Open(pebblestore.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler), JournalInterval: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler), Oplog: &OplogConfig{SizeBytes: 64 << 10}})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 50 {
			if err := insertIn(t, d, nil, ns, fmt.Sprintf(`{"_id": "%d-%d"}`, i, n)); err != nil {
				t.Fatal(err)
			}
			if n%10 == 0 {
				if err := d.oplog.trim.trim(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
		}
		entries := rawEntries(t, d, 0)
		if len(entries) != 1+1+50*(i+1) {
			t.Errorf("%d entries after %d opens", len(entries), i+1)
		}
		s, err := d.OplogStats(t.Context())
		// A piece closed while a commit is under way may miss it until the log is counted again.
		if off := s.Count - int64(len(entries)); err != nil || off < -2 || off > 2 || s.First != uint64(entries[0].Lookup("ts").Int64()) || s.MaxBytes != 64<<10 {
			t.Errorf("stats %+v, %v; there are %d entries", s, err, len(entries))
		}
		if behind := rawEntries(t, d, last); i > 0 && len(behind) != 50 {
			t.Errorf("%d entries behind the last", len(behind))
		}
		last = s.Last
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOplogIsTrimmed: a log that is too large loses its oldest entries, unless they are
// too young.
func TestOplogIsTrimmed(t *testing.T) {
	d := openLogged(t, OplogConfig{SizeBytes: 32 << 10, MinRetention: time.Hour})
	if err := d.Create(t.Context(), ns, doc(t, `{"changeStreamPreAndPostImages": {"enabled": true}}`)); err != nil {
		t.Fatal(err)
	}
	if err := insertIn(t, d, nil, ns, `{"_id": 1, "v": 0}`); err != nil {
		t.Fatal(err)
	}
	write := func(now time.Time) {
		t.Helper()
		for i := range 500 {
			if err := setIn(t, d, nil, "1", fmt.Sprint(i+1)); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				if err := d.oplog.trim.trim(t.Context(), now); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := setIn(t, d, nil, "1", "0"); err != nil {
			t.Fatal(err)
		}
	}
	write(time.Now())
	if n := len(rawEntries(t, d, 0)); n != 504 {
		t.Errorf("%d entries although all are young", n)
	}
	write(time.Now().Add(2 * time.Hour))
	entries := rawEntries(t, d, 0)
	bytes := 0
	for _, e := range entries {
		bytes += len(e)
	}
	if bytes > 40<<10 || bytes < 24<<10 {
		t.Errorf("the log of 32 KiB has %d bytes", bytes)
	}
	s, err := d.OplogStats(t.Context())
	if err != nil || s.Bytes < int64(bytes)-1000 || s.Bytes > int64(bytes)+1000 {
		t.Errorf("stats %+v, %v; the log has %d bytes", s, err, bytes)
	}
	first, err := endOf(t.Context(), d.engine.Begin(storage.TxnOptions{ReadOnly: true}), d.oplog.images, false)
	if err != nil || uint64(first) < s.First {
		t.Errorf("the first image is of %d, the first entry of %d, %v", first, s.First, err)
	}
	if err := d.ResizeOplog(t.Context(), 8<<10, 0); err != nil {
		t.Fatal(err)
	}
	if s, err = d.OplogStats(t.Context()); err != nil || s.Bytes > 10<<10 || s.MaxBytes != 8<<10 {
		t.Errorf("after the resize: %+v, %v", s, err)
	}
	d.SetImagesExpiry(time.Hour)
	if err := d.oplog.trim.trim(t.Context(), time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if first, err = endOf(t.Context(), d.engine.Begin(storage.TxnOptions{ReadOnly: true}), d.oplog.images, false); first != 0 || err != nil {
		t.Errorf("image %d has not expired, %v", first, err)
	}
}

// TestOplogTail: a query on ts reads the part of the log it asks for, and a cursor at
// the end is woken by the next commit.
func TestOplogTail(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	for i := range 10 {
		if err := insertIn(t, d, nil, ns, fmt.Sprintf(`{"_id": %d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	all := rawEntries(t, d, 0)
	eighth := all[len(all)-3].Lookup("ts")
	after := bsonval.NewBuilder().StartDoc("ts").Value("$gt", eighth).End().Str("ns", ns.String()).Build()
	got := find2(t, d, oplogNS, &FindQuery{Filter: after})
	if len(got) != 2 {
		t.Errorf("%d entries after the eighth: %v", len(got), got)
	}
	up := bsonval.NewBuilder().StartDoc("ts").Value("$lte", eighth).End().Build()
	if got := find2(t, d, oplogNS, &FindQuery{Filter: up}); len(got) != len(all)-2 {
		t.Errorf("%d entries up to the eighth", len(got))
	}
	if got := find2(t, d, oplogNS, &FindQuery{Filter: doc(t, `{"_id": 1}`)}); len(got) != 0 {
		t.Errorf("entries have an _id: %v", got)
	}
	if got := find2(t, d, oplogNS, &FindQuery{Sort: doc(t, `{"$natural": -1}`), Limit: 1}); len(got) != 1 || !strings.Contains(got[0], "_id: 9") {
		t.Errorf("the newest entry: %v", got)
	}
	now := bsonval.NewBuilder().StartDoc("ts").Value("$gte", bsonval.TimestampBits(d.engine.Clock().Time()+1)).End().Build()
	for i, filter := range []bsonval.Doc{now, after} {
		cur, err := d.Find(t.Context(), d.NewOp(t.Context()), oplogNS, &FindQuery{Filter: filter, Tailable: true, AwaitData: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _, more, err := cur.AppendBatch(t.Context(), nil, 100)
		if err != nil || !more {
			t.Fatalf("the cursor at the end: more %v, %v", more, err)
		}
		cur.Park()
		woken := make(chan int, 1)
		go func() {
			_, n, _, err := cur.AwaitBatch(context.Background(), nil, 100, 10*time.Second)
			if err != nil {
				t.Error(err)
			}
			woken <- n
		}()
		if err := insertIn(t, d, nil, ns, fmt.Sprintf(`{"x": %d}`, i)); err != nil {
			t.Fatal(err)
		}
		if n := <-woken; n != 1 {
			t.Errorf("woken with %d entries", n)
		}
		cur.Close()
	}
}

func find2(t testing.TB, d *DB, ns Namespace, q *FindQuery) []string {
	t.Helper()
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, q)
	return results(t, cur, err)
}

// TestScalarUpdatesNeedNoTargets: the diff of an update that sets scalars is the same
// without its paths.
func TestScalarUpdatesNeedNoTargets(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	olds := []string{`{"_id": 1}`, `{"_id": 1, "a": {"b": {"c": 1}, "x": [1]}, "n": 5, "d": 1}`, `{"_id": 1, "a": 1, "n": 1}`}
	updates := map[string]bool{
		`{"$set": {"a": 1}}`: true, `{"$set": {"a.b": "x", "n": 7}, "$unset": {"d": 1}}`: true, `{"$inc": {"n": 1}, "$currentDate": {"d": {"$type": "date"}}}`: true,
		`{"$set": {"a": {"b": 1}}}`: false, `{"$set": {"a.0": 1}}`: false, `{"$push": {"a": 1}}`: false, `{"$rename": {"a": "z"}}`: false,
	}
	for u, scalar := range updates {
		if got := setsScalars(doc(t, u)); got != scalar {
			t.Errorf("%s: %v", u, got)
		}
		if !scalar {
			continue
		}
		up, err := d.newUpdater(d.NewOp(t.Context()), ns, nil, &UpdateStatement{Update: bsonval.Document(doc(t, u))})
		if err != nil {
			t.Fatal(err)
		}
		for _, old := range olds {
			changed, _, err := up.prog.Apply(nil, doc(t, old), update.Input{ArrayIndex: -1})
			if err != nil {
				continue // a path through a scalar
			}
			var f oplog.Differ
			with, ok := f.Diff(nil, doc(t, old), changed, oplog.NewTargets(up.prog.LoggedPaths()...))
			without, ok2 := f.Diff(nil, doc(t, old), changed, d.oplog.scalars)
			if !ok || !ok2 || string(with) != string(without) {
				t.Errorf("%s of %s: %s, with its paths %s", u, old, bsonval.FormatDoc(without), bsonval.FormatDoc(with))
			}
		}
	}
}

// TestPeriodicNoop: a no-op is due while nothing happens and somebody watches or knows
// a later time.
func TestPeriodicNoop(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	clock := d.engine.Clock()
	due := func(before int64) bool { return d.oplog.wantsNoop(before, clock.Time()) }
	entries := d.oplog.guard.Count.Load
	if due(entries()) {
		t.Error("due although nobody wants it")
	}
	release := d.WatchOplog()
	if !due(entries()) || due(entries()-1) {
		t.Error("not due for a watcher, or due although something has happened")
	}
	release()
	release()
	if due(entries()) {
		t.Error("due although the watcher has gone")
	}
	if err := clock.Advance(clock.Time() + 5); err != nil {
		t.Fatal(err)
	}
	if !due(entries()) {
		t.Error("not due although a later time is known")
	}
	if err := d.Noop(t.Context(), oplog.Message("periodic noop")); err != nil {
		t.Fatal(err)
	}
	if due(entries()) {
		t.Error("due although the log has come up with the time")
	}
}
