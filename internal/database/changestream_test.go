package database

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// watch opens a change stream; stage is the argument of $changeStream and rest are
// the stages behind it.
func watch(t testing.TB, d *DB, ns Namespace, stage string, rest ...string) *Cursor {
	t.Helper()
	cur, err := tryWatch(t, d, ns, stage, rest...)
	if err != nil {
		t.Fatal(err)
	}
	return cur
}

func tryWatch(t testing.TB, d *DB, ns Namespace, stage string, rest ...string) (*Cursor, error) {
	t.Helper()
	list := append([]string{`{"$changeStream": ` + stage + `}`}, rest...)
	pipe := doc(t, `{"p": [`+strings.Join(list, ", ")+`]}`).Lookup("p").Doc()
	cur, err := d.Aggregate(t.Context(), d.NewOp(t.Context()), ns, &AggregateQuery{Pipeline: pipe, AllowDiskUse: true})
	if err == nil {
		t.Cleanup(cur.Close)
	}
	return cur, err
}

// take reads events until there are n, or none came for a while.
func take(t testing.TB, cur *Cursor, n int) []bsonval.Doc {
	t.Helper()
	list, err := tryTake(t.Context(), cur, n)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func tryTake(ctx context.Context, cur *Cursor, n int) (list []bsonval.Doc, err error) {
	for len(list) < n {
		b, at := bsonval.BeginDoc(nil)
		b, count, more, err := cur.AwaitBatch(ctx, b, n-len(list), 2*time.Second)
		if err != nil {
			return list, err
		}
		it := bsonval.Doc(bsonval.EndDoc(b, at)).Iter()
		for it.Next() {
			list = append(list, it.Value().Doc())
		}
		if count == 0 || !more {
			break
		}
	}
	return list, nil
}

// kinds are the events' types and keys, in short.
func kinds(events []bsonval.Doc) string {
	var list []string
	for _, e := range events {
		s := e.Lookup("operationType").Str()
		if key := e.LookupPath("documentKey", "_id"); !key.IsMissing() {
			s += " " + bsonval.Format(key)
		}
		list = append(list, s)
	}
	return strings.Join(list, ", ")
}

func insertJSON(t testing.TB, d *DB, ns Namespace, docs ...string) {
	t.Helper()
	if err := insertIn(t, d, nil, ns, docs...); err != nil {
		t.Fatal(err)
	}
}

func TestChangeStream(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	ns, other := Namespace{DB: "shop", Coll: "orders"}, Namespace{DB: "shop", Coll: "users"}
	insertJSON(t, d, ns, `{"_id": 0}`)
	coll := watch(t, d, ns, `{}`)
	base := watch(t, d, Namespace{DB: "shop"}, `{}`)
	all := watch(t, d, Namespace{DB: "admin"}, `{"allChangesForCluster": true}`)
	filtered := watch(t, d, ns, `{"fullDocument": "updateLookup"}`, `{"$match": {"operationType": "update"}}`,
		`{"$project": {"operationType": 1, "documentKey": 1, "fullDocument": 1}}`)

	insertJSON(t, d, ns, `{"_id": 1, "n": 1}`)
	insertJSON(t, d, other, `{"_id": 2}`)
	set := &UpdateStatement{Filter: doc(t, `{"_id": 1}`), Update: bsonval.Document(doc(t, `{"$set": {"n": 2}}`))}
	if _, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, set); err != nil {
		t.Fatal(err)
	}
	insertJSON(t, d, Namespace{DB: "else", Coll: "where"}, `{"_id": 3}`)
	if _, err := d.Delete(t.Context(), d.NewOp(t.Context()), ns, &DeleteStatement{Filter: doc(t, `{"_id": 1}`)}); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name string
		cur  *Cursor
		want string
	}{
		{"collection", coll, "insert 1, update 1, delete 1"},
		{"database", base, "insert 1, insert 2, update 1, delete 1"},
		{"cluster", all, "insert 1, insert 2, update 1, insert 3, delete 1"},
		{"filtered", filtered, "update 1"},
	} {
		if got := kinds(take(t, c.cur, strings.Count(c.want, ",")+1)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if token := coll.ResumeToken(); token.Lookup("_data").Type() != bsonval.TypeString {
		t.Errorf("resume token %s", bsonval.FormatDoc(token))
	}
}

func TestChangeStreamInvalidated(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	ns := Namespace{DB: "shop", Coll: "orders"}
	insertJSON(t, d, ns, `{"_id": 0}`)
	cur := watch(t, d, ns, `{}`)
	if _, _, err := d.Drop(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	insertJSON(t, d, ns, `{"_id": 1}`)
	events := take(t, cur, 3)
	if got := kinds(events); got != "drop, invalidate" {
		t.Fatalf("got %s", got)
	}
	_, _, more, err := cur.AppendBatch(t.Context(), nil, -1)
	if more || err != nil {
		t.Errorf("more %v, error %v behind an invalidate event", more, err)
	}
	token := fmt.Sprintf(`{"_data": %q}`, events[1].LookupPath("_id", "_data").Str())
	if _, err := tryWatch(t, d, ns, `{"resumeAfter": `+token+`}`); !mongoerr.Is(err, mongoerr.InvalidResumeToken) {
		t.Errorf("resumeAfter an invalidate event: %v", err)
	}
	if got := kinds(take(t, watch(t, d, ns, `{"startAfter": `+token+`}`), 1)); got != "insert 1" {
		t.Errorf("startAfter an invalidate event: %s", got)
	}
}

// TestChangeStreamResumed kills and resumes a consumer at random while others write: it
// sees each event once and in order.
func TestChangeStreamResumed(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	ns := Namespace{DB: "shop", Coll: "orders"}
	insertJSON(t, d, ns, `{"_id": "first"}`)
	cur := watch(t, d, ns, `{}`)
	const writers, each = 8, 250
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := insertIn(t, d, nil, ns, fmt.Sprintf(`{"_id": {"w": %d, "i": %d}}`, w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	next := make([]int32, writers)
	last := ""
	for seen := 0; seen < writers*each; {
		events := take(t, cur, 1+rng.IntN(40))
		if len(events) == 0 {
			t.Fatalf("no more events after %d", seen)
		}
		for _, e := range events {
			id := e.LookupPath("documentKey", "_id").Doc()
			w, i := id.Lookup("w").Int32(), id.Lookup("i").Int32()
			if i != next[w] {
				t.Fatalf("writer %d: got %d, want %d", w, i, next[w])
			}
			next[w]++
			if token := e.LookupPath("_id", "_data").Str(); token <= last {
				t.Fatalf("token %s behind %s", token, last)
			} else {
				last = token
			}
			seen++
		}
		if rng.IntN(3) == 0 {
			token := fmt.Sprintf(`{"_data": %q}`, cur.ResumeToken().Lookup("_data").Str())
			cur.Close()
			cur = watch(t, d, ns, `{"resumeAfter": `+token+`}`)
		}
	}
	wg.Wait()
}

// TestChangeStreamBehind has a reader who lets more wait than is kept for it.
func TestChangeStreamBehind(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	ns := Namespace{DB: "shop", Coll: "orders"}
	insertJSON(t, d, ns, `{"_id": "first"}`)
	cur := watch(t, d, ns, `{}`)
	if got := take(t, cur, 0); len(got) != 0 {
		t.Fatal(got)
	}
	if _, _, _, err := cur.AppendBatch(t.Context(), nil, -1); err != nil { // live from here
		t.Fatal(err)
	}
	const n = maxQueued + 1000
	var docs []bsonval.Doc
	for i := range n {
		docs = append(docs, bsonval.NewBuilder().Int32("_id", int32(i)).Build())
	}
	if _, err := d.Insert(t.Context(), d.NewOp(t.Context()), ns, docs, true); err != nil {
		t.Fatal(err)
	}
	for i, e := range take(t, cur, n) {
		if got := e.LookupPath("documentKey", "_id").Int32(); got != int32(i) {
			t.Fatalf("event %d is of document %d", i, got)
		}
	}
	if got := take(t, cur, 1); len(got) != 0 {
		t.Errorf("one more: %s", kinds(got))
	}
}
