package database

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/oplog"
)

var updateGoldens = flag.Bool("update-goldens", false, "write the golden files anew")

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
