package streams

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// TestImages has many change the same documents. Each event's images must fit: the image before is the one after the
// document's change before, and with the update's description it makes the one after.
func TestImages(t *testing.T) {
	const shared, each = 6, 40
	n := seed(t)
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), t.TempDir())
	client, disconnect := dial(t, s, patient)
	defer disconnect()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db := client.Database("images")
	if err := db.CreateCollection(ctx, "c", options.CreateCollection().SetChangeStreamPreAndPostImages(d("enabled", true))); err != nil {
		t.Fatal(err)
	}
	coll := db.Collection("c")
	open := func(opts *options.ChangeStreamOptionsBuilder) *mongo.ChangeStream {
		cs, err := coll.Watch(ctx, mongo.Pipeline{}, opts.SetMaxAwaitTime(200*time.Millisecond).SetFullDocument(options.Required).SetFullDocumentBeforeChange(options.Required))
		if err != nil {
			t.Fatal(err)
		}
		return cs
	}
	live := open(options.ChangeStream())
	defer live.Close(context.WithoutCancel(ctx))
	if live.TryNext(ctx) {
		t.Fatal(live.Current)
	}
	began, start := live.ResumeToken(), time.Now()

	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			x := &imageWriter{coll, rand.New(rand.NewPCG(n, uint64(w)))}
			for range each {
				if err := x.change(ctx, x.rng.IntN(shared)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
		t.Log("written in", time.Since(start))
		if _, err := coll.InsertOne(ctx, d("_id", last)); err != nil {
			t.Error(err)
		}
	}()
	events, err := untilLast(ctx, live)
	t.Log(len(events), "events read by", time.Since(start), "token", began)
	<-done
	if err != nil || t.Failed() {
		t.Fatal(err)
	}
	later := open(options.ChangeStream().SetStartAfter(began))
	defer later.Close(context.WithoutCancel(ctx))
	again, err := untilLast(ctx, later)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(events, again, func(a, b bson.Raw) bool { return bytes.Equal(a, b) }) {
		t.Errorf("the events seen live are not those seen later: %d, %d", len(events), len(again))
	}
	images, kinds := map[string]bson.Raw{}, map[string]int{}
	for _, e := range events {
		kinds[e.Lookup("operationType").StringValue()]++
		if err := checkImages(images, e); err != nil {
			t.Fatalf("%v\n%s", err, e)
		}
	}
	cur, err := coll.Find(ctx, d())
	if err != nil {
		t.Fatal(err)
	}
	for cur.Next(ctx) {
		id := cur.Current.Lookup("_id").String()
		if !bytes.Equal(images[id], cur.Current) {
			t.Errorf("the server has %s, the events end with %s", cur.Current, images[id])
		}
		delete(images, id)
	}
	if cur.Err() != nil || len(images) > 0 {
		t.Errorf("%v; deleted without an event: %v", cur.Err(), images)
	}
	t.Log(kinds)
}

// untilLast reads events to the insertion of the last document.
func untilLast(ctx context.Context, cs *mongo.ChangeStream) (list []bson.Raw, err error) {
	for cs.Next(ctx) {
		list = append(list, bytes.Clone(cs.Current))
		if id, ok := cs.Current.Lookup("documentKey", "_id").StringValueOK(); ok && id == last {
			return list, nil
		}
	}
	return nil, fmt.Errorf("after %d events: %w", len(list), cs.Err())
}

// imageWriter changes documents in the ways that make different diffs.
type imageWriter struct {
	coll *mongo.Collection
	rng  *rand.Rand
}

func (x *imageWriter) change(ctx context.Context, id int) (err error) {
	one, n := d("_id", id), x.rng.Int64N(1000)
	switch x.rng.IntN(12) {
	case 0:
		_, err = x.coll.DeleteOne(ctx, one)
	case 1:
		_, err = x.coll.ReplaceOne(ctx, one, d("n", n, "list", bson.A{n}, "sub", d("b", n)), options.Replace().SetUpsert(true))
	case 2:
		return x.twice(ctx, id)
	default:
		changes := []bson.D{
			d("$inc", d("n", n, "sub.a.deep", 1)), d("$push", d("list", n)), d("$pop", d("list", 1)), d("$pop", d("list", -1)), d("$unset", d("sub.a", "")),
			d("$set", d("sub.b", n, "text", strconv.FormatInt(n, 36))), d("$push", d("list", d("$each", bson.A{n, n + 1}, "$position", 1, "$slice", 4))),
			d("$unset", d("text", ""), "$set", d("sub.c", bson.A{n, d("x", n)})),
		}
		_, err = x.coll.UpdateOne(ctx, one, changes[x.rng.IntN(len(changes))], options.UpdateOne().SetUpsert(true))
		if mongo.IsDuplicateKeyError(err) {
			err = nil // another upsert was there first
		}
	}
	return err
}

// twice changes a document twice, and another one, in one transaction.
func (x *imageWriter) twice(ctx context.Context, id int) error {
	session, err := x.coll.Database().Client().StartSession()
	if err != nil {
		return err
	}
	defer session.EndSession(ctx)
	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		for i, k := range []int{id, id, id + 1} {
			_, err := x.coll.UpdateOne(ctx, d("_id", k), d("$inc", d("n", int64(1)), "$push", d("list", int64(i))), options.UpdateOne().SetUpsert(true))
			if err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	return err
}

// checkImages checks an event's images against each other and against the document's image so far.
func checkImages(images map[string]bson.Raw, e bson.Raw) error {
	id := e.Lookup("documentKey", "_id").String()
	before, _ := e.Lookup("fullDocumentBeforeChange").DocumentOK()
	after, _ := e.Lookup("fullDocument").DocumentOK()
	if !bytes.Equal(before, images[id]) {
		return fmt.Errorf("image before %s, but the change before had made %s", before, images[id])
	}
	if after == nil {
		delete(images, id)
	} else {
		images[id] = after
	}
	if e.Lookup("operationType").StringValue() != "update" {
		return nil
	}
	var change struct {
		UpdatedFields   bson.Raw `bson:"updatedFields"`
		RemovedFields   []string `bson:"removedFields"`
		TruncatedArrays []struct {
			Field   string `bson:"field"`
			NewSize int    `bson:"newSize"`
		} `bson:"truncatedArrays"`
	}
	if err := bson.Unmarshal(e.Lookup("updateDescription").Document(), &change); err != nil {
		return err
	}
	have, want := plain(before), plain(after)
	for _, c := range change.TruncatedArrays {
		at := reach(have, c.Field)
		list, ok := at.get().(bson.A)
		if !ok || len(list) < c.NewSize {
			return fmt.Errorf("%s truncated to %d: it is %v", c.Field, c.NewSize, at.get())
		}
		at.set(list[:c.NewSize])
	}
	updated, err := change.UpdatedFields.Elements()
	if err != nil {
		return err
	}
	for _, f := range updated {
		reach(have, f.Key()).set(plainValue(f.Value()))
	}
	for _, f := range change.RemovedFields {
		at := reach(have, f)
		delete(at.in.(bson.M), at.key)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		return fmt.Errorf("image after -, image before with the update +:\n%s", diff)
	}
	return nil
}

// plain makes maps and lists of a document, and text of what is in them.
func plain(d bson.Raw) bson.M {
	m := bson.M{}
	elements, _ := d.Elements()
	for _, e := range elements {
		m[e.Key()] = plainValue(e.Value())
	}
	return m
}

func plainValue(v bson.RawValue) any {
	switch v.Type {
	case bson.TypeEmbeddedDocument:
		return plain(v.Document())
	case bson.TypeArray:
		list := bson.A{}
		values, _ := v.Array().Values()
		for _, v := range values {
			list = append(list, plainValue(v))
		}
		return list
	}
	return v.String()
}

// spot is a field of a document or a member of a list, or the end of it.
type spot struct {
	in  any // bson.M or bson.A
	key string
	up  *spot // of the list
}

// reach finds the spot of a dotted path.
func reach(m bson.M, path string) *spot {
	parts := strings.Split(path, ".")
	at := &spot{in: m, key: parts[0]}
	for _, p := range parts[1:] {
		at = &spot{in: at.get(), key: p, up: at}
	}
	return at
}

func (s *spot) get() any {
	switch in := s.in.(type) {
	case bson.M:
		return in[s.key]
	case bson.A:
		if i, err := strconv.Atoi(s.key); err == nil && i < len(in) {
			return in[i]
		}
	}
	return nil
}

func (s *spot) set(v any) {
	switch in := s.in.(type) {
	case bson.M:
		in[s.key] = v
	case bson.A:
		i, err := strconv.Atoi(s.key)
		if err == nil && i < len(in) {
			in[i] = v
		} else {
			s.up.set(append(in, v))
		}
	}
}
