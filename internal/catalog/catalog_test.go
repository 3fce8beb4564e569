package catalog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

func document(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(json), false, &raw); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return bsonval.Doc(raw)
}

func openEngine(t testing.TB) storage.Engine {
	t.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

func openCatalog(t testing.TB, engine storage.Engine) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), engine)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func makeIndex(t testing.TB, spec string) *Index {
	t.Helper()
	x, err := NewIndex(document(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// create makes a collection with an _id index and others.
func create(t testing.TB, c *Catalog, name, options string, specs ...string) *Collection {
	t.Helper()
	coll, err := NewCollection("db", name, document(t, options))
	if err != nil {
		t.Fatal(err)
	}
	if !coll.IsView() {
		coll.Indexes = []*Index{makeIndex(t, `{"v": 2, "key": {"_id": 1}, "name": "_id_"}`)}
	}
	for _, spec := range specs {
		coll.Indexes = append(coll.Indexes, makeIndex(t, spec))
	}
	if err := c.Change(t.Context(), func(ch *Change) error { return ch.Create(t.Context(), coll) }); err != nil {
		t.Fatal(err)
	}
	return c.Collection("db", name)
}

// describe prints all that is stored of a catalog.
func describe(s *Snapshot) []string {
	var out []string
	for _, db := range s.Databases() {
		for _, c := range s.Collections(db) {
			line := fmt.Sprintf("%s %s %x table %d %s", c.Namespace(), c.Type, c.UUID[:], c.Table, bsonval.FormatDoc(c.Options))
			for _, x := range c.Indexes {
				line += fmt.Sprintf("; %d %s multikey %b ready %v unique %v", x.ID, bsonval.FormatDoc(x.Spec), x.MultikeyFields(), x.Ready, x.Unique)
			}
			out = append(out, line)
		}
	}
	return out
}

// TestReopen makes changes of all kinds and finds them again.
func TestReopen(t *testing.T) {
	ctx := t.Context()
	engine := openEngine(t)
	c := openCatalog(t, engine)
	a := create(t, c, "a", `{"collation": {"locale": "en"}}`, `{"v": 2, "key": {"x": 1, "y": -1}, "name": "xy", "unique": true}`,
		`{"v": 2, "key": {"z": 1}, "name": "z", "partialFilterExpression": {"z": {"$gt": 5}}, "sparse": false}`)
	create(t, c, "v", `{"viewOn": "a", "pipeline": [{"$match": {"x": 1}}]}`)
	create(t, c, "gone", `{}`)
	moving := create(t, c, "moving", `{"validator": {"x": {"$exists": true}}}`)
	err := c.Change(ctx, func(ch *Change) error {
		if err := ch.Drop(ctx, ch.Collection("db", "gone")); err != nil {
			return err
		}
		if _, err := ch.Rename(ctx, moving, "other", "moved"); err != nil {
			return err
		}
		if _, err := MarkMultikey(ctx, ch.Txn, a.Index("xy"), 2, 0); err != nil {
			return err
		}
		x := makeIndex(t, `{"v": 2, "key": {"w": 1}, "name": "w"}`)
		x.Ready = false
		if err := ch.CreateIndex(a, x); err != nil {
			return err
		}
		return ch.Put(ctx, a.With(func(n *Collection) { n.Indexes = append(n.Indexes, x) }))
	})
	if err != nil {
		t.Fatal(err)
	}
	want := describe(c.Snapshot())
	if len(want) != 3 {
		t.Fatalf("catalog: %v", want)
	}
	again := openCatalog(t, engine)
	if got := describe(again.Snapshot()); !slices.Equal(got, want) {
		t.Errorf("after opening again:\n%v\nwant\n%v", got, want)
	}
	m := again.Collection("other", "moved")
	if m == nil || m.UUID != moving.UUID || m.Table != moving.Table || m.Validator == nil {
		t.Errorf("renamed: %+v", m)
	}
	if v := again.Collection("db", "v"); !v.IsView() || v.ViewOn != "a" || v.IDIndex() != nil || v.Pipeline.Index(0).IsMissing() {
		t.Errorf("view: %+v", v)
	}
	if again.Snapshot().HasDatabase("nope") || again.Collection("db", "gone") != nil {
		t.Error("there is something that should not be")
	}
	if n := create(t, again, "new", `{}`); n.Table <= storage.TableID(again.Collection("db", "a").Indexes[3].ID) {
		t.Errorf("the id %d is used again", n.Table)
	}
}

// TestFailedChange leaves nothing behind.
func TestFailedChange(t *testing.T) {
	ctx := t.Context()
	c := openCatalog(t, openEngine(t))
	a := create(t, c, "a", `{}`)
	before := describe(c.Snapshot())
	boom := errors.New("boom")
	err := c.Change(ctx, func(ch *Change) error {
		coll, err := NewCollection("db", "b", bsonval.EmptyDoc)
		if err != nil {
			return err
		}
		if err := ch.Create(ctx, coll); err != nil {
			return err
		}
		if err := ch.Drop(ctx, a); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) || !slices.Equal(describe(c.Snapshot()), before) {
		t.Errorf("%v: %v", err, describe(c.Snapshot()))
	}
	// The guard that Drop held is free again.
	if !a.Guard.TryLock() {
		t.Fatal("the guard is still held")
	}
	a.Guard.Unlock()
}

// TestChangeWaitsForWriters drops a collection while writers hold it.
func TestChangeWaitsForWriters(t *testing.T) {
	ctx := t.Context()
	c := openCatalog(t, openEngine(t))
	a := create(t, c, "a", `{}`)
	a.Guard.RLock()
	dropped := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		dropped <- c.Change(ctx, func(ch *Change) error {
			close(started)
			return ch.Drop(ctx, a)
		})
	}()
	<-started
	select {
	case <-dropped:
		t.Fatal("dropped under a writer")
	default:
	}
	if c.Collection("db", "a") != a {
		t.Error("the change is seen before its end")
	}
	a.Guard.RUnlock()
	if err := <-dropped; err != nil || c.Collection("db", "a") != nil {
		t.Errorf("drop: %v", err)
	}
}

// TestConcurrentChanges creates collections from many goroutines.
func TestConcurrentChanges(t *testing.T) {
	c := openCatalog(t, openEngine(t))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			coll, err := NewCollection("db", fmt.Sprint("c", i), bsonval.EmptyDoc)
			if err == nil {
				err = c.Change(context.Background(), func(ch *Change) error { return ch.Create(context.Background(), coll) })
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ids := map[storage.TableID]bool{}
	for _, coll := range c.Snapshot().Collections("db") {
		ids[coll.Table] = true
	}
	if len(ids) != 20 {
		t.Errorf("%d tables", len(ids))
	}
}

// TestStoredForm pins the bytes of an entry.
func TestStoredForm(t *testing.T) {
	coll, err := NewCollection("db", "c", document(t, `{"collation": {"locale": "en"}}`))
	if err != nil {
		t.Fatal(err)
	}
	coll.Table = 7
	coll.UUID = UUID{0: 1, 15: 2}
	x := makeIndex(t, `{"v": 2, "key": {"_id": 1}, "name": "_id_"}`)
	x.ID = 8
	coll.Indexes = []*Index{x}
	const want = "cc0000001269640007000000000000000575756964001000000004010000000000000000000000000000020274797065000b0000" +
		"00636f6c6c656374696f6e00036f7074696f6e73002400000003636f6c6c6174696f6e0014000000026c6f63616c650003000000" +
		"656e00000004696e646578657300550000000330004d0000001269640008000000000000000373706563002e0000001076000200" +
		"0000036b6579000e000000105f6964000100000000026e616d6500050000005f69645f00000872656164790001000000"
	got := hex.EncodeToString(encodeCollection(coll))
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if key := string(collectionKey("db", "c")); key != "Cdb\x00c" {
		t.Errorf("key %q", key)
	}
	again, err := decodeCollection(collectionKey("db", "c"), encodeCollection(coll))
	if err != nil || again.UUID != coll.UUID || again.Table != 7 || again.IDIndex().ID != 8 || again.Collation == nil {
		t.Errorf("%+v %v", again, err)
	}
}

// FuzzDecode looks for entries that crash the reader.
func FuzzDecode(f *testing.F) {
	coll, err := NewCollection("db", "c", document(f, `{"validator": {"a": 1}, "collation": {"locale": "en"}}`))
	if err != nil {
		f.Fatal(err)
	}
	coll.Indexes = []*Index{makeIndex(f, `{"v": 2, "key": {"_id": 1}, "name": "_id_"}`),
		makeIndex(f, `{"v": 2, "key": {"a": 1, "$**": 1}, "name": "w", "partialFilterExpression": {"a": 1}}`)}
	f.Add([]byte("Cdb\x00c"), []byte(encodeCollection(coll)))
	f.Add([]byte("C"), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(key) == 0 {
			return
		}
		if c, err := decodeCollection(key, value); err == nil && c == nil {
			t.Fatal("neither a collection nor an error")
		}
	})
}
