package pgstore

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestBulk inserts many documents in transactions of several statements, in
// ascending and in random order of their keys, with duplicates that are taken
// back, and compares what is there with a map.
func TestBulk(t *testing.T) {
	s := open(t, freshURL(t))
	ctx := t.Context()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true), tx.CreateIndex(1, 2, false)))
	rng := rand.New(rand.NewPCG(7, 7))
	want := map[int]storage.RecordID{}
	next := 0
	for round := range 8 {
		if round > 0 {
			tx = s.Begin(storage.TxnOptions{})
		}
		for range 700 {
			k := next
			if round%2 == 1 || rng.IntN(50) == 0 {
				k = rng.IntN(6000)
			}
			next = max(next, k+1)
			sp := tx.Savepoint()
			id, err := tx.Insert(ctx, 1, benchKey(k))
			must(t, err)
			must(t, tx.PutEntry(ctx, 2, benchKey(k%10), id, nil))
			err = tx.PutEntry(ctx, 1, benchKey(k), id, []byte("bits"))
			var dup *storage.DuplicateKeyError
			switch old, taken := want[k], want[k] != 0; {
			case taken && (!errors.As(err, &dup) || dup.Record != old):
				t.Fatalf("key %d of record %d again: %v", k, old, err)
			case taken:
				must(t, tx.RollbackTo(sp))
			case err != nil:
				t.Fatal(err)
			default:
				want[k] = id
			}
			if rng.IntN(20) == 0 && want[k] != 0 {
				must(t, tx.DeleteEntry(ctx, 1, benchKey(k), want[k]))
				must(t, tx.DeleteEntry(ctx, 2, benchKey(k%10), want[k]))
				must(t, tx.Delete(ctx, 1, want[k]))
				delete(want, k)
			}
		}
		commit(t, tx)
	}

	tx = s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	for _, x := range []storage.IndexID{1, 2} {
		it, err := tx.ScanIndex(ctx, x, storage.IndexRange{Fetch: 1})
		must(t, err)
		n := 0
		for ; it.Next(); n++ {
			k := int(int64Of(it.Doc()[:8]))
			if want[k] != it.ID() {
				t.Fatalf("index %d: record %d under key %d, which is record %d", x, it.ID(), k, want[k])
			}
		}
		must(t, it.Close())
		if n != len(want) {
			t.Fatalf("index %d has %d entries, want %d", x, n, len(want))
		}
	}
	it, err := tx.Scan(ctx, 1, storage.RecordRange{})
	must(t, err)
	n := 0
	for ; it.Next(); n++ {
	}
	must(t, it.Close())
	if n != len(want) {
		t.Fatalf("%d records, want %d", n, len(want))
	}
}
