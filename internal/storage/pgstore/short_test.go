package pgstore

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestShortScans opens more scans of a few rows than there are connections, and reads them
// while others write: what was wanted comes at once, what comes behind it is as it is then.
func TestShortScans(t *testing.T) {
	ctx := context.Background()
	s := open(t, freshURL(t)+"&pool_max_conns=2")
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true)))
	var ids []storage.RecordID
	for i := range 10 {
		id, err := tx.Insert(ctx, 1, fmt.Appendf(nil, "doc %d", i))
		must(t, err)
		must(t, tx.PutEntry(ctx, 1, fmt.Appendf(nil, "%d\x04", i), id, nil))
		ids = append(ids, id)
	}
	commit(t, tx)
	first := s.Begin(storage.TxnOptions{ReadOnly: true})
	it, err := first.Scan(ctx, 1, storage.RecordRange{}) // how wide are they?
	must(t, err)
	for it.Next() {
	}
	must(t, errors.Join(it.Err(), it.Close()))
	first.Rollback()

	next := func(it interface {
		Next() bool
		Doc() []byte
		Err() error
	}, want string) {
		t.Helper()
		if !it.Next() || string(it.Doc()) != want {
			t.Fatalf("%q, want %q (%v)", it.Doc(), want, it.Err())
		}
	}
	var txns []storage.Txn
	for range 3 {
		tx := s.Begin(storage.TxnOptions{ReadOnly: true})
		defer tx.Rollback()
		txns = append(txns, tx)
	}
	records, err := txns[0].Scan(ctx, 1, storage.RecordRange{Min: ids[2], Likely: 2, Loose: true})
	must(t, err)
	entries, err := txns[1].ScanIndex(ctx, 1, storage.IndexRange{Fetch: 1, Reverse: true, Likely: 2, Loose: true})
	must(t, err)
	whole, err := txns[2].ScanIndex(ctx, 1, storage.IndexRange{Fetch: 1, Likely: 10, Loose: true})
	must(t, err)

	tx = s.Begin(storage.TxnOptions{})
	must(t, tx.Update(ctx, 1, ids[3], []byte("new 3")))
	must(t, tx.Update(ctx, 1, ids[4], []byte("new 4")))
	must(t, tx.Delete(ctx, 1, ids[7]))
	must(t, tx.DeleteEntry(ctx, 1, []byte("7\x04"), ids[7]))
	must(t, tx.Update(ctx, 1, ids[8], []byte("new 8")))
	commit(t, tx)

	for i := range 10 {
		next(whole, fmt.Sprintf("doc %d", i))
	}
	if whole.Next() {
		t.Error("more entries than there are")
	}
	must(t, whole.Close())
	next(records, "doc 2")
	next(records, "doc 3")
	next(records, "new 4")
	must(t, records.Close())
	txns[0].Rollback()
	next(entries, "doc 9")
	next(entries, "doc 8")
	next(entries, "doc 6")
	must(t, entries.Close())
}
