package pgstore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestGaps reads the first entries of each group of an index and then seeks the next group, and counts
// the statements and the rows.
func TestGaps(t *testing.T) {
	s, ctx := open(t, freshURL(t)), t.Context()
	tx := s.Begin(storage.TxnOptions{})
	const entries = 6000
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true)))
	for i := range entries {
		id, err := tx.Insert(ctx, 1, []byte("document"))
		must(t, err)
		must(t, tx.PutEntry(ctx, 1, benchKey(i), id, nil))
	}
	commit(t, tx)
	read := s.Begin(storage.TxnOptions{ReadOnly: true})
	it, err := read.ScanIndex(ctx, 1, storage.IndexRange{Fetch: 1}) // tells how wide rows are
	must(t, errors.Join(err, it.Close()))
	read.Rollback()
	for _, c := range []struct {
		name          string
		group         int
		wanted        func(group int) int
		likely        int64
		fetches, rows int // at most
	}{
		{"few of many", 60, func(int) int { return 3 }, 0, 100, 900},
		{"one of many", 60, func(int) int { return 1 }, 0, 100, 900},
		{"many expected", 60, func(int) int { return 3 }, 500, 100, entries},
		{"more than are fetched at first", 600, func(int) int { return 150 }, 0, 12, 4500},
		{"small gaps", 10, func(int) int { return 3 }, 0, 12, entries},
		{"some more, some less", 60, func(g int) int { return 1 + g*7%9 }, 0, 125, 2100},
		{"seldom many", 100, func(g int) int { return 1 + 90*(g%10/9) }, 0, 70, 1700},
	} {
		for _, reverse := range []bool{false, true} {
			read := s.Begin(storage.TxnOptions{ReadOnly: true}).(*txn)
			it, err := read.ScanIndex(ctx, 1, storage.IndexRange{Fetch: 1, Reverse: reverse, Likely: c.likely})
			must(t, err)
			fetches, rows := 0, 0
			key := func(n int) []byte {
				if reverse {
					n = entries - 1 - n
				}
				return benchKey(n)
			}
			for g := range entries / c.group {
				for n := range c.wanted(g) + 1 { // the last one tells that it is enough
					there := false
					if n == 0 && g > 0 {
						there = it.SeekGE(key(g * c.group))
					} else {
						there = it.Next()
					}
					if want := key(g*c.group + n); !there || !bytes.Equal(it.Key(), want) {
						t.Fatalf("%s: group %d, entry %d is not %x (%v)", c.name, g, n, want, it.Err())
					}
					if it.(*iterator).at == 0 {
						fetches++
						rows += len(it.(*iterator).rows)
					}
				}
			}
			must(t, errors.Join(it.Err(), it.Close()))
			read.Rollback()
			if fetches > c.fetches || rows > c.rows {
				t.Errorf("%s: %d rows in %d fetches", c.name, rows, fetches)
			}
		}
	}
}
