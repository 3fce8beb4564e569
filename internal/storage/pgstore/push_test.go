package pgstore

import (
	"errors"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// insertKeys inserts records under the keys from one to another, with entries in the
// unique index 1 and in the other one, until an error.
func insertKeys(t *testing.T, tx storage.Txn, from, to int) error {
	t.Helper()
	for k := from; k < to; k++ {
		id, err := tx.Insert(t.Context(), 1, benchKey(k))
		if err == nil {
			err = tx.PutEntry(t.Context(), 1, benchKey(k), id, nil)
		}
		for _, bits := range []string{"a", "b"} { // the second one is put on top
			if err == nil {
				err = tx.PutEntry(t.Context(), 2, benchKey(k%7), id, []byte(bits))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestPush inserts so much that it is on its way before it is committed, and takes it back,
// meets what is there already or what another process has inserted meanwhile, and commits.
func TestPush(t *testing.T) {
	for name, opts := range map[string]storage.TxnOptions{"ordinary": {}, "hopeful": {Hopeful: true}} {
		t.Run(name, func(t *testing.T) { testPush(t, opts) })
	}
}

func testPush(t *testing.T, opts storage.TxnOptions) {
	a, b := openTwo(t)
	tx := a.Begin(storage.TxnOptions{})
	must(t, tx.CreateIndex(1, 2, false))
	commit(t, tx)
	check := func(s *Store, want int) {
		t.Helper()
		tx := s.Begin(storage.TxnOptions{ReadOnly: true})
		defer tx.Rollback()
		for _, x := range []storage.IndexID{1, 2} {
			it, err := tx.ScanIndex(t.Context(), x, storage.IndexRange{Fetch: 1})
			must(t, err)
			entries := 0
			for ; it.Next(); entries++ {
				if it.Doc() == nil || x == 2 && string(it.TypeBits()) != "b" {
					t.Fatalf("entry %q of record %d has the bits %q", it.Key(), it.ID(), it.TypeBits())
				}
			}
			must(t, errors.Join(it.Err(), it.Close()))
			if entries != want {
				t.Fatalf("index %d has %d entries, want %d", x, entries, want)
			}
		}
	}
	refused := func(tx storage.Txn, err error) {
		t.Helper()
		if err == nil {
			_, err = tx.Commit(t.Context())
		}
		tx.Rollback()
		var dup *storage.DuplicateKeyError
		if !errors.Is(err, storage.ErrWriteConflict) && !errors.As(err, &dup) {
			t.Fatalf("a key that is there: %v", err)
		}
	}

	for _, n := range []int{10, 70, 700} {
		back := a.Begin(opts)
		must(t, insertKeys(t, back, 0, n))
		back.Rollback()
	}
	check(a, 0)

	part := a.Begin(opts)
	must(t, insertKeys(t, part, 0, 300))
	sp := part.Savepoint()
	must(t, insertKeys(t, part, 300, 900))
	must(t, part.RollbackTo(sp))
	must(t, insertKeys(t, part, 300, 400))
	commit(t, part)
	few := a.Begin(opts)
	must(t, insertKeys(t, few, 2000, 2010))
	commit(t, few)
	check(b, 410)

	for _, from := range []int{399, 395, 100} {
		again := a.Begin(opts)
		refused(again, insertKeys(t, again, from, 500))
	}
	check(b, 410)

	met := a.Begin(opts)
	must(t, insertKeys(t, met, 1000, 1100))
	other := b.Begin(opts)
	must(t, insertKeys(t, other, 1500, 1501))
	commit(t, other)
	refused(met, insertKeys(t, met, 1100, 2000))
	check(a, 411)
	check(b, 411)
}
