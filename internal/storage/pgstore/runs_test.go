package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// entry is an index entry and its record.
type entry struct {
	key []byte
	id  storage.RecordID
	doc string
}

// runKey is a key; some are too long to be stored whole.
func runKey(n int) []byte {
	if n%29 == 0 {
		return append(benchKey(n), bytes.Repeat([]byte{7}, maxKey)...)
	}
	return benchKey(n)
}

// TestRuns scans runs of an index of short and of long keys, of one entry and of many, and
// compares with those that lie in them.
func TestRuns(t *testing.T) {
	s, ctx := open(t, freshURL(t)), t.Context()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, false)))
	var all []entry
	for i := range 900 {
		e := entry{doc: fmt.Sprint("document ", i), key: runKey(i / 3)}
		if i < 300 {
			e.key = runKey(50) // a long run
		}
		var err error
		e.id, err = tx.Insert(ctx, 1, []byte(e.doc))
		must(t, err)
		must(t, tx.PutEntry(ctx, 1, e.key, e.id, nil))
		all = append(all, e)
	}
	commit(t, tx)
	slices.SortFunc(all, func(a, b entry) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return int(a.id) - int(b.id)
	})
	tx = s.Begin(storage.TxnOptions{ReadOnly: true})
	it, err := tx.ScanIndex(ctx, 1, storage.IndexRange{Fetch: 1}) // tells how wide rows are
	must(t, errors.Join(err, it.Close()))
	tx.Rollback()
	rng := rand.New(rand.NewPCG(7, 8))
	for round := range 150 {
		r := storage.IndexRange{Reverse: rng.IntN(2) == 0, Likely: int64(rng.IntN(2) * rng.IntN(60)), Fetch: storage.TableID(rng.IntN(2))}
		for n := rng.IntN(3); n < 320; n += 1 + rng.IntN(3) + rng.IntN(2)*rng.IntN(40) {
			to := n + 1 + rng.IntN(2)*rng.IntN(3)
			r.Runs = append(r.Runs, storage.KeyRun{Lower: benchKey(n), Upper: benchKey(to)})
			n = to
		}
		r.Lower, r.Upper = r.Runs[0].Lower, r.Runs[len(r.Runs)-1].Upper
		var want []entry
		for _, e := range all {
			if slices.ContainsFunc(r.Runs, func(run storage.KeyRun) bool { return lies(run, e.key) }) {
				want = append(want, e)
			}
		}
		if r.Reverse {
			slices.Reverse(want)
		}
		if len(want) > 5 && rng.IntN(3) == 0 {
			at := rng.IntN(len(want))
			r.After, r.AfterID = want[at].key, want[at].id
			want = want[at+1:]
		}
		tx := s.Begin(storage.TxnOptions{ReadOnly: true}).(*txn)
		it, err := tx.ScanIndex(ctx, 1, r)
		must(t, err)
		inside := func() bool {
			return slices.ContainsFunc(r.Runs, func(run storage.KeyRun) bool { return lies(run, it.Key()) })
		}
		more := func(there bool) bool { // entries outside of the runs may come
			for there && !inside() {
				there = it.Next()
			}
			return there
		}
		seeks := rng.IntN(3) == 0
		for at := 0; ; at++ {
			there := false
			if seeks && at < len(want) && rng.IntN(10) == 0 {
				target := want[min(at+rng.IntN(30), len(want)-1)].key
				there = more(it.SeekGE(target))
				for bytes.Compare(want[at].key, target) < 0 != r.Reverse && !bytes.Equal(want[at].key, target) {
					at++
				}
			} else {
				there = it.Next()
				if !seeks && there && !inside() {
					t.Fatalf("round %d: %x is outside", round, it.Key())
				}
				there = more(there)
			}
			if there != (at < len(want)) {
				t.Fatalf("round %d: entry %d of %d is there: %v (%v)", round, at, len(want), there, it.Err())
			}
			if !there {
				break
			}
			if w := want[at]; !bytes.Equal(it.Key(), w.key) || it.ID() != w.id || r.Fetch != 0 && string(it.Doc()) != w.doc {
				t.Fatalf("round %d: entry %d is %x of %d, want %x of %d", round, at, it.Key(), it.ID(), w.key, w.id)
			}
		}
		must(t, errors.Join(it.Err(), it.Close()))
		tx.Rollback()
	}
}

func lies(run storage.KeyRun, key []byte) bool {
	return bytes.Compare(run.Lower, key) <= 0 && bytes.Compare(key, run.Upper) < 0
}

// TestRunsTravelTogether counts the statements and the rows of a scan of many runs of one entry each.
func TestRunsTravelTogether(t *testing.T) {
	s, ctx := open(t, freshURL(t)), t.Context()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true)))
	for i := range 2000 {
		id, err := tx.Insert(ctx, 1, []byte("document"))
		must(t, err)
		must(t, tx.PutEntry(ctx, 1, benchKey(i), id, nil))
	}
	commit(t, tx)
	r := storage.IndexRange{Lower: benchKey(0), Upper: benchKey(2000), Fetch: 1}
	for n := 0; n < 2000; n += 10 {
		r.Runs = append(r.Runs, storage.KeyRun{Lower: benchKey(n), Upper: benchKey(n + 1)})
	}
	for round := range 2 { // the first scan tells how wide rows are
		read := s.Begin(storage.TxnOptions{ReadOnly: true}).(*txn)
		it, err := read.ScanIndex(ctx, 1, r)
		must(t, err)
		rows, fetches := 0, 0
		for it.Next() {
			if it.(*iterator).at == 0 {
				fetches++
				rows += len(it.(*iterator).rows)
			}
		}
		must(t, errors.Join(it.Err(), it.Close()))
		if round > 0 && (rows != len(r.Runs) || fetches > 3) {
			t.Errorf("%d rows in %d fetches", rows, fetches)
		}
		read.Rollback()
	}
}

// TestRunsThatAreTooLong: a scan of runs with a bound that is not stored whole is an ordinary one, and ends.
func TestRunsThatAreTooLong(t *testing.T) {
	s := open(t, freshURL(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, false)))
	keys := [][]byte{runKey(1), runKey(29), runKey(58)}
	for _, key := range keys {
		id, err := tx.Insert(ctx, 1, []byte("document"))
		must(t, err)
		must(t, tx.PutEntry(ctx, 1, key, id, nil))
	}
	commit(t, tx)
	for _, reverse := range []bool{false, true} {
		r := storage.IndexRange{Lower: keys[0], Upper: append(bytes.Clone(keys[2]), 0xff), Reverse: reverse}
		for _, key := range keys {
			r.Runs = append(r.Runs, storage.KeyRun{Lower: key, Upper: append(bytes.Clone(key), 0xff)})
		}
		read := s.Begin(storage.TxnOptions{ReadOnly: true})
		it, err := read.ScanIndex(ctx, 1, r)
		must(t, err)
		n := 0
		for it.Next() {
			n++
		}
		must(t, errors.Join(it.Err(), it.Close()))
		if n != len(keys) {
			t.Errorf("reverse %v: %d entries, want %d", reverse, n, len(keys))
		}
		read.Rollback()
	}
}
