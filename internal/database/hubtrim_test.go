package database

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// TestHubOvertaken cuts entries off before the hub has read them: the stream that
// follows it fails rather than leave them out, and one that is opened then goes on.
func TestHubOvertaken(t *testing.T) {
	d := openLogged(t, OplogConfig{SizeBytes: 64 << 10})
	ns := Namespace{DB: "shop", Coll: "orders"}
	insertJSON(t, d, ns, `{"_id": -1}`)
	cur := watch(t, d, ns, `{}`)
	if _, n, _, err := cur.AppendBatch(t.Context(), nil, -1); n != 0 || err != nil { // live from here
		t.Fatal(n, err)
	}
	filler := bytes.Repeat([]byte("x"), 1000)
	write := func() {
		for i := range 200 {
			insertJSON(t, d, ns, fmt.Sprintf(`{"n": %d, "filler": %q}`, i, filler))
		}
		if err := d.oplog.trim.trim(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	d.hub.mu.Lock() // the hub is slow
	write()
	d.hub.mu.Unlock()
	if events, err := tryTake(t.Context(), cur, 200); !mongoerr.Is(err, mongoerr.ChangeStreamHistoryLost) &&
		(err != nil || len(events) != 200) { // all is right too: the hub may hold a state from before the cut
		t.Errorf("%d events, then %v: some were cut off before they were read", len(events), err)
	}
	cur.Close()

	cur = watch(t, d, ns, `{}`)
	insertJSON(t, d, ns, `{"_id": 1}`)
	if got := kinds(take(t, cur, 1)); got != "insert 1" {
		t.Errorf("got %s", got)
	}
}

// TestStreamFromTheBeginning starts streams at and before the log's first entry, which
// nothing has been cut off before.
func TestStreamFromTheBeginning(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	ns := Namespace{DB: "shop", Coll: "orders"}
	first, err := d.oplog.end(t.Context(), false)
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	insertJSON(t, d, ns, `{"_id": 1}`)
	for _, seconds := range []uint64{uint64(first) >> 32, 1} {
		inc := uint64(first) & (1<<32 - 1)
		at := fmt.Sprintf(`{"startAtOperationTime": {"$timestamp": {"t": %d, "i": %d}}}`, seconds, inc)
		cur, err := tryWatch(t, d, ns, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := kinds(take(t, cur, 1)); got != "insert 1" {
			t.Errorf("at %d: got %s", seconds, got)
		}
	}
}
