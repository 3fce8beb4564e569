package database

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
)

func createCapped(t testing.TB, d *DB, ns Namespace, options string) {
	t.Helper()
	if err := d.Create(t.Context(), ns, doc(t, options)); err != nil {
		t.Fatal(err)
	}
}

// idsOf reads a batch and returns the _ids of its documents.
func idsOf(t testing.TB, cur *Cursor, patience time.Duration) (ids []int64, more bool) {
	t.Helper()
	b, at := bsonval.BeginElement(nil, bsonval.TypeArray, "b")
	head := len(b) - 4
	b, _, more, err := cur.AwaitBatch(t.Context(), b, -1, patience)
	if err != nil {
		t.Fatal(err)
	}
	it := bsonval.Doc(bsonval.EndDoc(b, at)[head:]).Iter()
	for it.Next() {
		ids = append(ids, it.Value().Doc().Lookup("_id").TruncInt64())
	}
	return ids, more
}

func findIDs(t testing.TB, d *DB, q *FindQuery) []int64 {
	t.Helper()
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, q)
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	ids, _ := idsOf(t, cur, 0)
	return ids
}

func numbered(t testing.TB, from, to int) (docs []bsonval.Doc) {
	for i := from; i <= to; i++ {
		docs = append(docs, bsonval.NewBuilder().Int32("_id", int32(i)).Build())
	}
	return docs
}

func TestCappedKeepsTheLast(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := open(t)
		size, most := rapid.IntRange(30, 400).Draw(rt, "size"), rapid.IntRange(0, 9).Draw(rt, "max")
		createCapped(t, d, ns, fmt.Sprintf(`{"capped": true, "size": %d, "max": %d}`, size, most))
		type record struct{ id, size int }
		var model []record
		next := 0
		for range rapid.IntRange(1, 6).Draw(rt, "inserts") {
			var docs []bsonval.Doc
			for range rapid.IntRange(1, 8).Draw(rt, "documents") {
				next++
				x := bsonval.NewBuilder().Int32("_id", int32(next)).Str("s", string(make([]byte, rapid.IntRange(0, 50).Draw(rt, "length")))).Build()
				docs = append(docs, x)
				if len(x) > size {
					continue
				}
				model = append(model, record{next, len(x)})
				sum := func() (n int) {
					for _, r := range model {
						n += r.size
					}
					return n
				}
				for sum() > size || most > 0 && len(model) > most {
					model = model[1:]
				}
			}
			res, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, docs, false)
			if err != nil {
				rt.Fatal(err)
			}
			for _, e := range res.Errors {
				if e.Err.Code != mongoerr.BadValue {
					rt.Fatal(e.Err)
				}
			}
		}
		var want []int64
		for _, r := range model {
			want = append(want, int64(r.id))
		}
		if got := findIDs(t, d, &FindQuery{}); !slices.Equal(got, want) {
			rt.Fatalf("got %v, want %v", got, want)
		}
		slices.Reverse(want)
		if got := findIDs(t, d, &FindQuery{Sort: doc(t, `{"$natural": -1}`)}); !slices.Equal(got, want) {
			rt.Fatalf("backwards: got %v, want %v", got, want)
		}
		if out, err := d.Validate(t.Context(), ns, ValidateOptions{}); err != nil || !out.Valid {
			rt.Fatalf("validate: %v %v", out.Errors, err)
		}
	})
}

func TestTailableCursor(t *testing.T) {
	d := open(t)
	createCapped(t, d, ns, `{"capped": true, "size": 100000, "max": 3}`)
	q := &FindQuery{Tailable: true, AwaitData: true}
	tail := func(q *FindQuery) *Cursor {
		cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, q)
		if err != nil {
			t.Fatal(err)
		}
		return cur
	}
	if ids, more := idsOf(t, tail(q), 0); len(ids) > 0 || more {
		t.Errorf("an empty collection: %v, open: %t", ids, more)
	}
	insert(t, d, numbered(t, 1, 2)...)
	cur, hinted := tail(q), tail(&FindQuery{Tailable: true, Hint: &plan.Hint{Name: "_id_"}})
	defer hinted.Close()
	for _, c := range []*Cursor{cur, hinted} {
		if ids, more := idsOf(t, c, 0); !slices.Equal(ids, []int64{1, 2}) || !more {
			t.Errorf("first batch: %v, open: %t", ids, more)
		}
	}
	if ids, more := idsOf(t, cur, time.Millisecond); len(ids) > 0 || !more {
		t.Errorf("nothing new: %v, open: %t", ids, more)
	}
	done := make(chan error, 1)
	go func() {
		_, err := d.Insert(context.Background(), d.NewOp(context.Background()), ns, numbered(t, 3, 3), true)
		done <- err
	}()
	if ids, more := idsOf(t, cur, time.Minute); !slices.Equal(ids, []int64{3}) || !more {
		t.Errorf("after an insert: %v, open: %t", ids, more)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	insert(t, d, numbered(t, 4, 7)...)
	_, _, _, err := cur.AppendBatch(t.Context(), nil, -1)
	fails(t, err, mongoerr.CappedPositionLost)
	cur.Close()
}

func TestTailableCursorEnds(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(d *DB, cur *Cursor) error
		code mongoerr.Code
	}{
		"killed": {func(d *DB, cur *Cursor) error {
			if !d.KillCursor(cur.id, ns) {
				return errors.New("no cursor")
			}
			return nil
		}, mongoerr.CursorKilled},
		"dropped": {func(d *DB, _ *Cursor) error {
			_, _, err := d.Drop(context.Background(), ns)
			return err
		}, mongoerr.QueryPlanKilled},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			createCapped(t, d, ns, `{"capped": true, "size": 100000}`)
			insert(t, d, numbered(t, 1, 1)...)
			cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Tailable: true, AwaitData: true})
			if err != nil {
				t.Fatal(err)
			}
			idsOf(t, cur, 0)
			if cur, err = d.CheckOut(cur.Park(), ns, "", nil); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				ended <- end.do(d, cur)
			}()
			_, _, _, err = cur.AwaitBatch(t.Context(), nil, -1, time.Minute)
			fails(t, err, end.code)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			cur.Close()
		})
	}
}

// A reader at the end of a capped collection misses nothing however many write.
func TestTailSeesAllInOrder(t *testing.T) {
	const writers, each = 4, 25
	d := open(t)
	createCapped(t, d, ns, `{"capped": true, "size": 1000000}`)
	insert(t, d, numbered(t, 0, 0)...)
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Tailable: true, AwaitData: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				id := 1 + w*each + i
				if _, err := d.Insert(context.Background(), d.NewOp(context.Background()), ns, numbered(t, id, id), true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var seen []int64
	for len(seen) < 1+writers*each {
		ids, more := idsOf(t, cur, 10*time.Second)
		if seen = append(seen, ids...); !more || len(ids) == 0 {
			t.Fatalf("ended after %d", len(seen))
		}
	}
	all.Wait()
	if got := findIDs(t, d, &FindQuery{}); !slices.Equal(got, seen) {
		t.Errorf("tailed %v, stored %v", seen, got)
	}
}

func TestCappedDefinition(t *testing.T) {
	d := open(t)
	insert(t, d, numbered(t, 1, 20)...)
	if _, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{doc(t, `{"key": {"a": 1}, "name": "a_1"}`)}); err != nil {
		t.Fatal(err)
	}
	_, err := d.Find(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Tailable: true})
	fails(t, err, mongoerr.BadValue)
	_, err = d.CollMod(t.Context(), ns, doc(t, `{"cappedMax": 3}`))
	fails(t, err, mongoerr.InvalidOptions)
	copied := Namespace{DB: ns.DB, Coll: "copy"}
	fails(t, d.CloneAsCapped(t.Context(), ns, copied, 1000), 0)
	fails(t, d.CloneAsCapped(t.Context(), ns, copied, 1000), mongoerr.NamespaceExists)
	before := d.Catalog().Collection(ns.DB, ns.Coll)
	fails(t, d.ConvertToCapped(t.Context(), ns, 14*5), 0)
	coll := d.Catalog().Collection(ns.DB, ns.Coll)
	if coll.UUID == before.UUID || len(coll.Indexes) != 1 || coll.Capped == nil || coll.Capped.Size != 70 {
		t.Errorf("converted to %+v with %d indexes", coll.Capped, len(coll.Indexes))
	}
	if got := findIDs(t, d, &FindQuery{}); !slices.Equal(got, []int64{16, 17, 18, 19, 20}) {
		t.Errorf("left: %v", got)
	}
	if _, err := d.CollMod(t.Context(), ns, doc(t, `{"cappedSize": 1000, "cappedMax": 3}`)); err != nil {
		t.Fatal(err)
	}
	insert(t, d, numbered(t, 21, 21)...)
	if got := findIDs(t, d, &FindQuery{}); !slices.Equal(got, []int64{19, 20, 21}) {
		t.Errorf("after collMod: %v", got)
	}
	tx := d.BeginTransaction()
	defer tx.Abort()
	op := d.NewOp(t.Context())
	op.Txn = tx
	_, err = d.Insert(t.Context(), op, ns, numbered(t, 30, 30), true)
	fails(t, err, mongoerr.OperationNotSupportedInTransaction)
}
