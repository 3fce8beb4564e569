package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// modelEntry is an index entry with its record, nil if that does not exist.
type modelEntry struct {
	key []byte
	id  storage.RecordID
	doc []byte
}

// TestContainsOfEntries compares index scans with random conditions, set at the start
// or on the way, with looking at the records: short and long keys, ranges in both
// directions, scans that go on behind an entry or jump ahead, and entries whose record
// does not exist.
func TestContainsOfEntries(t *testing.T) {
	s := open(t, freshURL(t))
	ctx := context.Background()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 2))
	for _, pad := range []int{0, 3000} {
		table := storage.TableID(1 + pad)
		var indexes [2][]modelEntry // the first one is unique
		unique := storage.IndexID(1 + pad)
		tx := s.Begin(storage.TxnOptions{})
		must(t, tx.CreateTable(table))
		for n := range indexes {
			must(t, tx.CreateIndex(table, unique+storage.IndexID(n), n == 0))
		}
		for i := range 400 {
			doc := randomRecord(rng, pad)
			id, err := tx.Insert(ctx, table, doc)
			must(t, err)
			if rng.IntN(50) == 0 {
				must(t, tx.Delete(ctx, table, id))
				doc = nil
			}
			for n := range indexes {
				key := []byte(fmt.Sprintf("%03d", rng.IntN(60)))
				if rng.IntN(5) == 0 {
					key = append(bytes.Repeat([]byte("005"), maxKey), key...)
				}
				if n == 0 {
					key = fmt.Appendf(key, "/%d", i)
				}
				key = append(key, 4)
				must(t, tx.PutEntry(ctx, unique+storage.IndexID(n), key, id, nil))
				indexes[n] = append(indexes[n], modelEntry{key, id, doc})
			}
		}
		commit(t, tx)
		left := 0
		for round := range 200 {
			w := &entryWalk{t: t, rng: rng, name: fmt.Sprintf("seed %d: pad %d: round %d", seed, pad, round), contains: randomContains(rng)}
			left += w.run(s, table, unique+storage.IndexID(round%2), indexes[round%2])
		}
		if left == 0 {
			t.Error("nothing was left out")
		}
	}
}

type entryWalk struct {
	t        *testing.T
	rng      *rand.Rand
	name     string
	contains storage.Contains
	entries  []modelEntry // of the range, in the scan's order
}

// run walks an index in a random way and says how many entries were left out.
func (w *entryWalk) run(s *Store, table storage.TableID, x storage.IndexID, all []modelEntry) (left int) {
	ctx, rng := context.Background(), w.rng
	r := storage.IndexRange{Fetch: table, Reverse: rng.IntN(2) == 0, Likely: int64(rng.IntN(2) * rng.IntN(100)), Loose: rng.IntN(2) == 0}
	pick := func() modelEntry { return all[rng.IntN(len(all))] }
	if rng.IntN(3) == 0 {
		r.Lower = pick().key
	}
	if rng.IntN(3) == 0 {
		r.Upper = pick().key
	}
	if rng.IntN(3) == 0 {
		e := pick()
		r.After, r.AfterID = e.key, e.id
	}
	w.choose(all, r)
	narrowAt := rng.IntN(2) * rng.IntN(60)
	if narrowAt == 0 {
		r.Contains = w.contains
	}
	readOnly := rng.IntN(2) == 0
	tx := s.Begin(storage.TxnOptions{ReadOnly: readOnly})
	defer tx.Rollback()
	it, err := tx.ScanIndex(ctx, x, r)
	must(w.t, err)
	at := -1
	var until []byte
	for n := 1; ; n++ {
		if n == narrowAt {
			if rng.IntN(2) == 0 {
				until = pick().key
			}
			it.(storage.Narrower).Narrow(w.contains, until, int64(rng.IntN(2)*rng.IntN(20)))
		}
		if !readOnly && rng.IntN(100) == 0 { // what is written now is not seen
			must(w.t, tx.PutEntry(ctx, x, fmt.Appendf(nil, "%03d/%d\x04", rng.IntN(60), 1000+n), 1, nil))
		}
		from, more := at+1, false
		if rng.IntN(20) == 0 {
			key := pick().key
			if until != nil && rng.IntN(3) == 0 {
				key = until
			}
			for from < len(w.entries) && w.compare(w.entries[from].key, key, r) < 0 {
				from++
			}
			more = it.SeekGE(key)
		} else {
			more = it.Next()
		}
		must(w.t, it.Err())
		found := len(w.entries)
		if more {
			found = slices.IndexFunc(w.entries, func(e modelEntry) bool { return e.id == it.ID() && bytes.Equal(e.key, it.Key()) })
			if found < from || !bytes.Equal(w.entries[found].doc, it.Doc()) || (w.entries[found].doc == nil) != (it.Doc() == nil) {
				w.t.Fatalf("%s: %+v: entry %q/%d with %q comes at %d of %d", w.name, r, it.Key(), it.ID(), it.Doc(), from, len(w.entries))
			}
		}
		for _, e := range w.entries[from:found] {
			if left++; e.doc == nil || w.contains.In(e.doc) || n < narrowAt || until != nil && w.compare(e.key, until, r) >= 0 && !(r.Reverse && bytes.Equal(e.key, until)) {
				w.t.Fatalf("%s: %+v: entry %q/%d with %q is missing for %q", w.name, r, e.key, e.id, e.doc, w.contains)
			}
		}
		if at = found; !more {
			break
		}
	}
	must(w.t, it.Close())
	return left
}

func (w *entryWalk) compare(a, b []byte, r storage.IndexRange) int {
	if r.Reverse {
		a, b = b, a
	}
	return bytes.Compare(a, b)
}

// choose keeps the entries of a range.
func (w *entryWalk) choose(all []modelEntry, r storage.IndexRange) {
	order := func(a, b modelEntry) int {
		c := cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.id, b.id))
		if r.Reverse {
			c = -c
		}
		return c
	}
	for _, e := range all {
		if bytes.Compare(e.key, r.Lower) < 0 || r.Upper != nil && bytes.Compare(e.key, r.Upper) >= 0 ||
			r.After != nil && order(e, modelEntry{key: r.After, id: r.AfterID}) <= 0 {
			continue
		}
		w.entries = append(w.entries, e)
	}
	slices.SortFunc(w.entries, order)
}
