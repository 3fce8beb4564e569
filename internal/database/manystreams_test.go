package database

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// TestManyStreams has 2,000 streams open at once: idle ones are cheap, each gets its own events and no others, and
// nothing is left of them when they are closed.
func TestManyStreams(t *testing.T) {
	const (
		streams, colls = 2000, 50
		perIdle        = 16 << 10 // bytes
	)
	d := openLogged(t, OplogConfig{})
	place := func(i int) Namespace { return Namespace{DB: "many", Coll: fmt.Sprint("c", i%colls)} }
	for i := range colls {
		insertJSON(t, d, place(i), `{"_id": 0}`)
	}
	around := goleak.IgnoreCurrent()
	before := liveHeap()
	cursors := make([]*Cursor, streams)
	for i := range cursors {
		cursors[i] = watch(t, d, place(i), `{}`)
		if _, n, more, err := cursors[i].AppendBatch(t.Context(), nil, -1); n != 0 || !more || err != nil { // live from here
			t.Fatal(n, more, err)
		}
	}
	each := (liveHeap() - before) / streams
	t.Logf("an idle stream takes %d bytes", each)
	if each > perIdle {
		t.Errorf("an idle stream takes %d bytes, allowed are %d", each, perIdle)
	}

	// All wait, as clients do, each for three documents that are inserted into its collection.
	var wg sync.WaitGroup
	for i, cur := range cursors {
		wg.Go(func() {
			list, err := awaitAll(t.Context(), cur, 3)
			if err != nil || len(list) != 3 {
				t.Errorf("stream %d: %d events, %v", i, len(list), err)
				return
			}
			for n, e := range list {
				ns, id := e.LookupPath("ns", "coll").Str(), e.LookupPath("documentKey", "_id").Int32()
				if ns != place(i).Coll || id != int32(n+1) {
					t.Errorf("stream %d: event %d is of %s, %d", i, n, ns, id)
				}
			}
		})
	}
	for n := range 3 {
		for i := range colls {
			insertJSON(t, d, place(i), fmt.Sprintf(`{"_id": %d}`, n+1))
		}
	}
	wg.Wait()
	for _, cur := range cursors {
		if _, n, _, err := cur.AppendBatch(t.Context(), nil, -1); n != 0 || err != nil {
			t.Errorf("%d more events, %v", n, err)
			break
		}
	}

	for _, cur := range cursors {
		cur.Close()
	}
	clear(cursors)
	d.hub.mu.Lock()
	if n := len(d.hub.live); n != 0 {
		t.Errorf("%d followers are left", n)
	}
	d.hub.mu.Unlock()
	if err := goleak.Find(around); err != nil {
		t.Error(err)
	}
	insertJSON(t, d, place(0), `{"_id": 9}`) // the hub finds out that nobody is left
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		d.hub.mu.Lock()
		reading := d.hub.reading
		d.hub.mu.Unlock()
		if !reading {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the hub reads on for nobody")
		}
	}
	// The test's own clean-ups still hold on to the cursors, but not to what they read.
	if left := (liveHeap() - before) / streams; left > perIdle/2 {
		t.Errorf("%d bytes are left of each closed stream", left)
	}
}

// liveHeap is how much memory is in use.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// awaitAll reads n events, however long they take.
func awaitAll(ctx context.Context, cur *Cursor, n int) (list []bsonval.Doc, err error) {
	for deadline := time.Now().Add(time.Minute); len(list) < n && time.Now().Before(deadline); {
		more, err := tryTake(ctx, cur, n-len(list))
		if err != nil {
			return list, err
		}
		list = append(list, more...)
	}
	return list, nil
}
