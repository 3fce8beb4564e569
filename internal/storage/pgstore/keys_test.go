package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestLongKeys compares scans over keys that do not fit into a B-tree page, many of
// which begin alike, with a sorted list.
func TestLongKeys(t *testing.T) {
	s := open(t, freshURL(t))
	ctx := context.Background()
	type entry struct {
		key []byte
		id  storage.RecordID
	}
	var keys [][]byte
	for _, n := range []int{1, maxKey - 1, maxKey, maxKey + 1, 3000, 9000} {
		for _, ending := range []string{"a", "b", "m", "z"} {
			keys = append(keys, append(append(bytes.Repeat([]byte{'k'}, n), ending...), 4))
		}
	}
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true), tx.CreateIndex(1, 2, false)))
	all := map[storage.IndexID][]entry{}
	for i, k := range keys {
		id := storage.RecordID(len(keys) - i)
		must(t, tx.PutEntry(ctx, 1, k, id, []byte("u")))
		must(t, tx.PutEntry(ctx, 2, k, id, nil))
		must(t, tx.PutEntry(ctx, 2, k, id+1000, nil))
		all[1] = append(all[1], entry{k, id})
		all[2] = append(all[2], entry{k, id}, entry{k, id + 1000})
	}
	_, err := tx.Commit(ctx)
	must(t, err)
	for _, list := range all {
		slices.SortFunc(list, func(a, b entry) int {
			if c := bytes.Compare(a.key, b.key); c != 0 {
				return c
			}
			return int(a.id - b.id)
		})
	}

	tx = s.Begin(storage.TxnOptions{})
	defer tx.Rollback()
	for _, k := range keys {
		if id, err := tx.LookupUnique(ctx, 1, k); err != nil || !bytes.Equal(keys[len(keys)-int(id)], k) {
			t.Fatalf("lookup of %d bytes: %d, %v", len(k), id, err)
		}
		var dup *storage.DuplicateKeyError
		if err := tx.PutEntry(ctx, 1, k, 5000, nil); !errors.As(err, &dup) {
			t.Fatalf("got %v, want a duplicate key", err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		x := rapid.SampledFrom([]storage.IndexID{1, 2}).Draw(rt, "index")
		r := storage.IndexRange{Reverse: rapid.Bool().Draw(rt, "reverse")}
		pick := func(name string) []byte {
			if rapid.Bool().Draw(rt, name+" given") {
				return rapid.SampledFrom(keys).Draw(rt, name)
			}
			return nil
		}
		r.Lower, r.Upper, r.After = pick("lower"), pick("upper"), pick("after")
		if r.After != nil {
			r.AfterID = rapid.SampledFrom([]storage.RecordID{1, 12, 500, 1012, 9999}).Draw(rt, "after id")
		}
		var want []string
		for _, e := range all[x] {
			c := bytes.Compare(e.key, r.After)
			if c == 0 {
				c = int(e.id - r.AfterID)
			}
			if r.Reverse {
				c = -c
			}
			if bytes.Compare(e.key, r.Lower) >= 0 && (r.Upper == nil || bytes.Compare(e.key, r.Upper) < 0) && (r.After == nil || c > 0) {
				want = append(want, fmt.Sprintf("%d%s/%d", len(e.key), e.key[len(e.key)-2:], e.id))
			}
		}
		if r.Reverse {
			slices.Reverse(want)
		}
		it, err := tx.ScanIndex(ctx, x, r)
		must(t, err)
		defer it.Close()
		var got []string
		for it.Next() {
			got = append(got, fmt.Sprintf("%d%s/%d", len(it.Key()), it.Key()[len(it.Key())-2:], it.ID()))
		}
		if it.Err() != nil || !slices.Equal(got, want) {
			rt.Fatalf("%v\ngot  %q\nwant %q", it.Err(), got, want)
		}
	})
}

func FuzzSplitKey(f *testing.F) {
	f.Add([]byte("a"), []byte("b"))
	f.Add(bytes.Repeat([]byte("k"), 2*maxKey), bytes.Repeat([]byte("k"), 2*maxKey+1))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		sa, ta := splitKey(a)
		sb, tb := splitKey(b)
		if !bytes.Equal(fullKey(nil, sa, ta), a) {
			t.Fatalf("%x comes back as %x", a, fullKey(nil, sa, ta))
		}
		if bytes.Equal(sa, sb) != bytes.Equal(a, b) && !bytes.HasPrefix(a, b) && !bytes.HasPrefix(b, a) {
			t.Fatalf("%x and %x are stored as %x and %x", a, b, sa, sb)
		}
		// Where the stored keys differ in what they have of the keys, they have
		// their order.
		n := min(len(a), len(b), maxKey)
		if c := bytes.Compare(a[:n], b[:n]); c != 0 && c != bytes.Compare(sa, sb) {
			t.Fatalf("the order of %x and %x is lost", a, b)
		}
		_ = tb
	})
}
