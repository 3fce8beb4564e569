package pgstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestLockAhead changes and removes many records that it has told of, in transactions with
// and without savepoints, and compares what is there with a map.
func TestLockAhead(t *testing.T) {
	s, ctx := open(t, freshURL(t)), t.Context()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true), tx.CreateIndex(1, 2, false)))
	type state struct{ unique, other int }
	want := map[storage.RecordID]state{}
	var ids []storage.RecordID
	doc := func(v state) []byte { return fmt.Appendf(nil, "%d/%d", v.unique, v.other) }
	for i := range 600 {
		v := state{i, i % 10}
		id, err := tx.Insert(ctx, 1, doc(v))
		must(t, err)
		must(t, errors.Join(tx.PutEntry(ctx, 1, benchKey(v.unique), id, nil), tx.PutEntry(ctx, 2, benchKey(v.other), id, nil)))
		want[id] = v
		ids = append(ids, id)
	}
	commit(t, tx)
	rng := rand.New(rand.NewPCG(3, 4))
	next := 1000
	for round := range 12 {
		rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		list := ids[:rng.IntN(len(ids))]
		tx := s.Begin(storage.TxnOptions{})
		if round%3 == 2 {
			tx.Savepoint()
		}
		tx.(storage.AheadLocker).LockAhead(1, list)
		for _, id := range list {
			v, there := want[id]
			if rng.IntN(20) == 0 {
				id, v = ids[0], want[ids[0]] // not as told
				_, there = want[id]
			}
			got, err := tx.Get(ctx, 1, id)
			if !there {
				wantErr(t, err, storage.ErrNotFound)
				continue
			}
			must(t, err)
			if string(got) != string(doc(v)) {
				t.Fatalf("record %d is %q, want %q", id, got, doc(v))
			}
			now := state{v.unique, rng.IntN(10)}
			if rng.IntN(3) == 0 {
				now.unique = next
				next++
			}
			must(t, errors.Join(tx.Lock(ctx, 1, id), tx.DeleteEntry(ctx, 1, benchKey(v.unique), id), tx.DeleteEntry(ctx, 2, benchKey(v.other), id)))
			if rng.IntN(8) == 0 {
				must(t, tx.Delete(ctx, 1, id))
				delete(want, id)
				continue
			}
			must(t, tx.Update(ctx, 1, id, doc(now)))
			must(t, errors.Join(tx.PutEntry(ctx, 1, benchKey(now.unique), id, nil), tx.PutEntry(ctx, 2, benchKey(now.other), id, nil)))
			want[id] = now
		}
		commit(t, tx)
		read := s.Begin(storage.TxnOptions{ReadOnly: true})
		for _, x := range []storage.IndexID{1, 2} {
			it, err := read.ScanIndex(ctx, x, storage.IndexRange{Fetch: 1})
			must(t, err)
			n := 0
			for ; it.Next(); n++ {
				v, there := want[it.ID()]
				key := v.unique
				if x == 2 {
					key = v.other
				}
				if !there || string(it.Doc()) != string(doc(v)) || string(it.Key()) != string(benchKey(key)) {
					t.Fatalf("round %d: index %d: record %d is %q under %x, want %v", round, x, it.ID(), it.Doc(), it.Key(), v)
				}
			}
			must(t, errors.Join(it.Err(), it.Close()))
			if n != len(want) {
				t.Fatalf("round %d: index %d has %d entries, want %d", round, x, n, len(want))
			}
		}
		read.Rollback()
	}
}

// TestReadAhead reads records that it has told of, some of which are not there, in their order and
// in another, and counts the statements.
func TestReadAhead(t *testing.T) {
	s, ctx := open(t, freshURL(t)), t.Context()
	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	var ids []storage.RecordID
	for i := range 500 {
		id, err := tx.Insert(ctx, 1, fmt.Appendf(nil, "%d", i))
		must(t, err)
		ids = append(ids, id)
	}
	commit(t, tx)
	tx = s.Begin(storage.TxnOptions{})
	for i := 0; i < len(ids); i += 9 {
		must(t, tx.Delete(ctx, 1, ids[i]))
	}
	commit(t, tx)
	rng := rand.New(rand.NewPCG(5, 6))
	for _, strange := range []int{0, 20} {
		tx := s.Begin(storage.TxnOptions{ReadOnly: true}).(*txn)
		tx.ReadAhead(1, ids)
		_, err := tx.Get(ctx, 1, ids[1]) // gives it a connection
		must(t, err)
		before := tx.c.tick
		for i := range ids {
			at := i
			if strange > 0 && rng.IntN(strange) == 0 {
				at = rng.IntN(len(ids)) // not as told
			}
			got, err := tx.Get(ctx, 1, ids[at])
			if at%9 == 0 {
				wantErr(t, err, storage.ErrNotFound)
				continue
			}
			must(t, err)
			if string(got) != fmt.Sprint(at) {
				t.Fatalf("record %d is %q", at, got)
			}
		}
		// One for each that is not there, and a few for the others.
		if n := tx.c.tick - before; strange == 0 && n > uint64(len(ids)/9+10) {
			t.Errorf("%d statements", n)
		}
		tx.Rollback()
	}
}

// TestLockAheadOfOthers tells of records that others have: those of the same process and of
// another one are in the way only when it is their turn.
func TestLockAheadOfOthers(t *testing.T) {
	a, b := openTwo(t)
	var ids []storage.RecordID
	for i := range 20 {
		ids = append(ids, insertOne(t, a, fmt.Sprint(i)))
	}
	here, there := a.Begin(storage.TxnOptions{}), b.Begin(storage.TxnOptions{})
	defer here.Rollback()
	defer there.Rollback()
	must(t, here.Update(t.Context(), 1, ids[5], []byte("here")))
	must(t, there.Lock(t.Context(), 1, ids[15]))
	tx := a.Begin(storage.TxnOptions{})
	defer tx.Rollback()
	tx.(storage.AheadLocker).LockAhead(1, ids)
	for i, id := range ids {
		switch err := tx.Lock(t.Context(), 1, id); i {
		case 5, 15:
			wantErr(t, err, storage.ErrWriteConflict)
		default:
			must(t, err)
			must(t, tx.Update(t.Context(), 1, id, []byte("new")))
		}
	}
	commit(t, tx)
	for i, id := range ids {
		want := "new"
		if i == 5 || i == 15 {
			want = fmt.Sprint(i)
		}
		if got := read(t, b, id); got != want {
			t.Errorf("record %d is %q, want %q", i, got, want)
		}
	}
}
