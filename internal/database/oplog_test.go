package database

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

var updateGoldens = flag.Bool("update-goldens", false, "write the golden files anew")

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
		if wall := entry.Lookup("wall").Int64(); time.Since(time.UnixMilli(wall)).Abs() > time.Minute {
			t.Errorf("entry has wall %d", wall)
		}
		list = append(list, entry)
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return list
}

// shown prints entries without their times and with names for UUIDs.
type shown struct{ uuids map[string]string }

func (s *shown) entry(e bsonval.Doc) string {
	return s.value(bsonval.Document(stripped(e)))
}

// stripped is an entry without the last four fields.
func stripped(e bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder()
	it := e.Iter()
	for it.Next() {
		if name := it.KeyStr(); name != "ts" && name != "t" && name != "v" && name != "wall" {
			b.Value(name, it.Value())
		}
	}
	return b.Build()
}

func (s *shown) value(v bsonval.Value) string {
	switch v.Type() {
	case bsonval.TypeDocument, bsonval.TypeArray:
		var parts []string
		it := v.Doc().Iter()
		for it.Next() {
			p := s.value(it.Value())
			if v.Type() == bsonval.TypeDocument {
				p = it.KeyStr() + ": " + p
			}
			parts = append(parts, p)
		}
		if v.Type() == bsonval.TypeArray {
			return "[" + strings.Join(parts, ", ") + "]"
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case bsonval.TypeBinary:
		if len(v.Bytes()) == 16 {
			name, ok := s.uuids[string(v.Bytes())]
			if !ok {
				name = fmt.Sprintf("uuid%d", len(s.uuids)+1)
				s.uuids[string(v.Bytes())] = name
			}
			return name
		}
	}
	return bsonval.Format(v)
}

// step runs a step of a golden and prints the entries it has logged.
type golden struct {
	t     testing.TB
	d     *DB
	shown shown
	out   strings.Builder
	last  uint64
}

func (g *golden) step(name string, fn func() error) {
	g.t.Helper()
	if err := fn(); err != nil {
		fmt.Fprintf(&g.out, "%s\n  error %v\n", name, err)
	} else {
		fmt.Fprintln(&g.out, name)
	}
	for _, e := range rawEntries(g.t, g.d, g.last) {
		g.last = uint64(e.Lookup("ts").Int64())
		fmt.Fprintln(&g.out, "  "+g.shown.entry(e))
	}
}

func (g *golden) check(file string) {
	g.t.Helper()
	path := filepath.Join("testdata", file)
	got := temporary.ReplaceAllString(g.out.String(), "${1}N$2")
	if *updateGoldens {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			g.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		g.t.Fatal(err)
	}
	if got != string(want) {
		g.t.Errorf("%s differs; got:\n%s", path, got)
	}
}

// temporary matches the numbers in names of temporary collections.
var temporary = regexp.MustCompile(`(tmp|tmp\.agg_out\.)\d+(\.|")`)

func newGolden(t testing.TB) *golden {
	return &golden{t: t, d: openLogged(t, OplogConfig{}), shown: shown{map[string]string{}}}
}

// TestOplogWrites compares the entries of writes with testdata/oplog_writes.
func TestOplogWrites(t *testing.T) {
	g := newGolden(t)
	d := g.d
	insert := func(docs ...string) func() error {
		return func() error { return insertIn(t, d, nil, ns, docs...) }
	}
	update := func(s UpdateStatement) func() error {
		return func() error { _, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &s); return err }
	}
	set := func(filter, change string) func() error {
		return update(UpdateStatement{Filter: doc(t, filter), Update: bsonval.Document(doc(t, change))})
	}
	remove := func(filter string, multi bool) func() error {
		return func() error {
			_, err := d.Delete(t.Context(), d.NewOp(t.Context()), ns, &DeleteStatement{Filter: doc(t, filter), Multi: multi})
			return err
		}
	}
	g.step("open", func() error { return nil })
	g.step("insert into a new collection", insert(`{"_id": 1, "a": 1}`, `{"_id": 2, "b": [1, 2]}`))
	g.step("insert a duplicate", insert(`{"_id": 1}`))
	g.step("$set", set(`{"_id": 1}`, `{"$set": {"a": 2, "c.d": {"x": 1}}}`))
	g.step("nothing changes", set(`{"_id": 1}`, `{"$set": {"a": 2}}`))
	g.step("$push", set(`{"_id": 2}`, `{"$push": {"b": 3}}`))
	g.step("$unset", set(`{"_id": 1}`, `{"$unset": {"a": 1}}`))
	g.step("replacement", set(`{"_id": 1}`, `{"z": 1}`))
	g.step("pipeline", update(UpdateStatement{
		Filter: doc(t, `{"_id": 2}`), Update: bsonval.Array(doc(t, `{"0": {"$set": {"q": "something rather long"}}}`)),
	}))
	g.step("pipeline that makes a small document", update(UpdateStatement{
		Filter: doc(t, `{"_id": 2}`), Update: bsonval.Array(doc(t, `{"0": {"$replaceWith": {"_id": "$_id", "n": 1}}}`)),
	}))
	g.step("multi", update(UpdateStatement{Filter: doc(t, `{}`), Multi: true, Update: bsonval.Document(doc(t, `{"$inc": {"n": 1}}`))}))
	g.step("upsert", update(UpdateStatement{Filter: doc(t, `{"_id": 3}`), Upsert: true, Update: bsonval.Document(doc(t, `{"$set": {"n": 1}}`))}))
	g.step("delete", remove(`{"_id": 1}`, false))
	g.step("delete nothing", remove(`{"_id": 1}`, false))
	g.step("delete many", remove(`{}`, true))
	lsid := doc(t, `{"id": {"$uuid": "00000000-0000-4000-8000-000000000001"}}`)
	g.step("retryable insert", func() error {
		op := d.NewOp(t.Context())
		op.Retryable = &Retryable{LSID: lsid, TxnNumber: 7, Stmt: func(i int) int32 { return int32(10 + i) }}
		_, err := d.Insert(t.Context(), op, ns, []bsonval.Doc{doc(t, `{"_id": 1}`), doc(t, `{"_id": 1}`), doc(t, `{"_id": 2}`)}, false)
		return err
	})
	g.step("transaction", func() error {
		tx := begin(t, d)
		tx.SetSession(lsid, 8)
		for _, err := range []error{
			setIn(t, d, tx, "1", "7"),
			insertIn(t, d, tx, Namespace{DB: "test", Coll: "made"}, `{"_id": 1}`),
		} {
			if err != nil {
				return err
			}
		}
		_, err := d.Delete(t.Context(), opIn(t, d, tx), ns, &DeleteStatement{Filter: doc(t, `{"_id": 2}`)})
		if err != nil {
			return err
		}
		return tx.Commit(t.Context(), nil)
	})
	g.step("transaction without writes", func() error { return begin(t, d).Commit(t.Context(), nil) })
	g.step("aborted transaction", func() error {
		tx := begin(t, d)
		defer tx.Abort()
		return insertIn(t, d, tx, ns, `{"_id": 9}`)
	})
	g.step("no-op", func() error { return d.Noop(t.Context(), oplog.Message("hello")) })
	g.step("local database", func() error { return insertIn(t, d, nil, Namespace{DB: "local", Coll: "c"}, `{"_id": 1}`) })
	g.step("$out", func() error {
		cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), ns, &AggregateQuery{Pipeline: doc(t, `{"0": {"$out": "made"}}`)})
		if err == nil {
			cur.Close()
		}
		return err
	})
	g.check("oplog_writes")
}

// TestOplogDefinitions compares the entries of changes of definitions with
// testdata/oplog_definitions.
func TestOplogDefinitions(t *testing.T) {
	g := newGolden(t)
	d := g.d
	create := func(coll, options string) func() error {
		return func() error { return d.Create(t.Context(), Namespace{DB: "test", Coll: coll}, doc(t, options)) }
	}
	index := func(spec string) func() error {
		return func() error { _, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{doc(t, spec)}); return err }
	}
	mod := func(coll, options string) func() error {
		return func() error {
			_, err := d.CollMod(t.Context(), Namespace{DB: "test", Coll: coll}, doc(t, options))
			return err
		}
	}
	rename := func(from, to string, drop bool) func() error {
		return func() error {
			f, t2, _ := strings.Cut(to, ".")
			return d.Rename(t.Context(), Namespace{DB: "test", Coll: from}, Namespace{DB: f, Coll: t2}, drop)
		}
	}
	g.step("create", create("c", `{"changeStreamPreAndPostImages": {"enabled": true}}`))
	g.step("create again", create("c", `{"changeStreamPreAndPostImages": {"enabled": true}}`))
	g.step("create clustered", create("clustered", `{"clusteredIndex": {"key": {"_id": 1}, "unique": true}}`))
	g.step("create capped", create("capped", `{"capped": true, "size": 4096, "max": 1}`))
	g.step("capped inserts", func() error {
		return insertIn(t, d, nil, Namespace{DB: "test", Coll: "capped"}, `{"_id": 1}`, `{"_id": 2}`)
	})
	g.step("create view", create("v", `{"viewOn": "c", "pipeline": [{"$match": {"a": 1}}]}`))
	g.step("change view", mod("v", `{"viewOn": "c", "pipeline": []}`))
	g.step("drop view", func() error { _, _, err := d.Drop(t.Context(), Namespace{DB: "test", Coll: "v"}); return err })
	g.step("index on nothing", index(`{"v": 2, "key": {"a": 1}, "name": "a_1", "expireAfterSeconds": 100000}`))
	g.step("insert", func() error { return insertIn(t, d, nil, ns, `{"_id": 1, "b": 1}`, `{"_id": 2, "b": 1}`) })
	g.step("index on documents", index(`{"v": 2, "key": {"c": 1}, "name": "c_1"}`))
	g.step("index that fails", index(`{"v": 2, "key": {"b": 1}, "name": "b_1", "unique": true}`))
	g.step("collMod index", mod("c", `{"index": {"name": "a_1", "expireAfterSeconds": 200000}}`))
	g.step("collMod validator", mod("c", `{"validator": {"x": {"$exists": false}}, "changeStreamPreAndPostImages": {"enabled": false}}`))
	g.step("collMod of nothing", mod("c", `{}`))
	g.step("dropIndexes", func() error { _, err := d.DropIndexes(t.Context(), ns, bsonval.String("*")); return err })
	g.step("rename", rename("clustered", "test.moved", false))
	g.step("rename over", rename("moved", "test.capped", true))
	g.step("rename to another database", rename("c", "other.c", false))
	g.step("convertToCapped", func() error { return d.ConvertToCapped(t.Context(), Namespace{DB: "other", Coll: "c"}, 4096) })
	g.step("drop", func() error { _, _, err := d.Drop(t.Context(), Namespace{DB: "other", Coll: "c"}); return err })
	g.step("dropDatabase", func() error { _, err := d.DropDatabase(t.Context(), "test"); return err })
	g.step("dropDatabase again", func() error { _, err := d.DropDatabase(t.Context(), "test"); return err })
	g.check("oplog_definitions")
}

// TestOplogIsNotWritten: nobody but the server writes the log.
func TestOplogIsNotWritten(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	for _, log := range []Namespace{oplogNS, imagesNS} {
		fails(t, insertIn(t, d, nil, log, `{"_id": 1}`), mongoerr.InvalidNamespace)
		_, err := d.Delete(t.Context(), d.NewOp(t.Context()), log, &DeleteStatement{Filter: bsonval.EmptyDoc, Multi: true})
		if log == oplogNS {
			fails(t, err, mongoerr.InvalidNamespace)
		}
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

// TestOplogHasNoHoles: a reader that goes on from the last entry it has seen misses
// none, however many write.
func TestOplogHasNoHoles(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	if err := insertIn(t, d, nil, ns, `{"_id": -1}`); err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 100
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
	seen, last := map[int32]bool{}, d.engine.Clock().Applied()
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

// TestOplogImages: documents from before changes are found by the time of the entry.
func TestOplogImages(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	if err := d.Create(t.Context(), ns, doc(t, `{"changeStreamPreAndPostImages": {"enabled": true}}`)); err != nil {
		t.Fatal(err)
	}
	coll := d.Catalog().Collection(ns.DB, ns.Coll)
	var docs []string
	for i := range 40 {
		docs = append(docs, fmt.Sprintf(`{"_id": %d, "v": 0}`, i))
	}
	if err := insertIn(t, d, nil, ns, docs...); err != nil {
		t.Fatal(err)
	}
	start := d.engine.Clock().Applied()
	if err := setIn(t, d, nil, "1", "1"); err != nil {
		t.Fatal(err)
	}
	tx := begin(t, d)
	if err := insertIn(t, d, tx, ns, `{"_id": 100}`); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := setIn(t, d, tx, fmt.Sprint(i), "2"); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, tx)
	if _, err := d.Delete(t.Context(), d.NewOp(t.Context()), ns, &DeleteStatement{Filter: doc(t, `{"_id": 5}`)}); err != nil {
		t.Fatal(err)
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	image := func(ts uint64, index int) string {
		image, ok, err := d.PreImage(t.Context(), txn, coll.UUID, ts, index)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return "none"
		}
		return bsonval.FormatDoc(image)
	}
	entries := rawEntries(t, d, start)
	if len(entries) != 3 {
		t.Fatalf("%d entries", len(entries))
	}
	at := func(i int) uint64 { return uint64(entries[i].Lookup("ts").Int64()) }
	if got := image(at(0), 0); got != "{ _id: 1, v: 0 }" {
		t.Errorf("image of the update: %s", got)
	}
	if got := image(at(1), 0); got != "none" {
		t.Errorf("image of the transaction's insert: %s", got)
	}
	for i := range 40 {
		v := 0
		if i == 1 {
			v = 1
		}
		if got, want := image(at(1), i+1), fmt.Sprintf("{ _id: %d, v: %d }", i, v); got != want {
			t.Errorf("image %d of the transaction: %s, want %s", i, got, want)
		}
	}
	if got := image(at(1), 41); got != "none" {
		t.Errorf("image behind the transaction's last: %s", got)
	}
	if got := image(at(2), 0); got != "{ _id: 5, v: 2 }" {
		t.Errorf("image of the delete: %s", got)
	}
	if _, ok, err := d.PreImage(t.Context(), txn, catalog.NewUUID(), at(0), 0); ok || err != nil {
		t.Errorf("image of another collection: %v, %v", ok, err)
	}
}

// TestOplogLargeTransaction: a transaction that does not fit into an entry is a chain.
func TestOplogLargeTransaction(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	if err := d.Create(t.Context(), ns, doc(t, `{"changeStreamPreAndPostImages": {"enabled": true}}`)); err != nil {
		t.Fatal(err)
	}
	coll := d.Catalog().Collection(ns.DB, ns.Coll)
	large := strings.Repeat("x", 6<<20)
	for i := range 5 {
		b := bsonval.NewBuilder().Int32("_id", int32(i)).Str("v", large).Build()
		if _, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, []bsonval.Doc{b}, true); err != nil {
			t.Fatal(err)
		}
	}
	start := d.engine.Clock().Applied()
	tx := begin(t, d)
	for i := range 5 {
		if err := setIn(t, d, tx, fmt.Sprint(i), `"`+large+`y"`); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, tx)
	entries := rawEntries(t, d, start)
	if len(entries) != 3 {
		t.Fatalf("%d entries", len(entries))
	}
	txn := d.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	n := int32(0)
	for i, raw := range entries {
		e, err := oplog.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && e.Prev.TS != uint64(entries[i-1].Lookup("ts").Int64()) || i == 0 && !e.Prev.IsNull() {
			t.Errorf("entry %d is behind %+v", i, e.Prev)
		}
		if e.Partial() != (i < 2) {
			t.Errorf("entry %d: partial %v", i, e.Partial())
		}
		ops := e.Ops()
		for index := 0; ops.Next(); index++ {
			image, ok, err := d.PreImage(t.Context(), txn, coll.UUID, e.TS, index)
			if !ok || err != nil || image.Lookup("_id").Int32() != n || len(image.Lookup("v").Str()) != len(large) {
				t.Errorf("image %d of entry %d: %v, %v", index, i, ok, err)
			}
			n++
		}
	}
}

// TestOplogReopens: the log goes on where it ended, and what is in it has been counted.
func TestOplogReopens(t *testing.T) {
	dir := t.TempDir()
	var last uint64
	for i := range 3 {
		engine, err := pebblestore.Open(pebblestore.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
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
	if err := d.SetImagesExpiry(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
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
