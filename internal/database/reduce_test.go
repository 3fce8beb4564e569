package database

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
)

// reducer is an engine that leaves out all records that it may leave out.
type reducer struct {
	storage.Engine
	left atomic.Int64
}

func (e *reducer) Reduces(c storage.Contains) storage.Contains { return c }

func (e *reducer) Begin(o storage.TxnOptions) storage.Txn { return &reducerTxn{e.Engine.Begin(o), e} }

type reducerTxn struct {
	storage.Txn
	e *reducer
}

func (tx *reducerTxn) Scan(ctx context.Context, t storage.TableID, r storage.RecordRange) (storage.RecordIterator, error) {
	it, err := tx.Txn.Scan(ctx, t, r)
	if err != nil || r.Contains == nil {
		return it, err
	}
	return &reducerIter{it, r.Contains, tx.e}, nil
}

type reducerIter struct {
	storage.RecordIterator
	contains storage.Contains
	e        *reducer
}

func (it *reducerIter) Next() bool {
	for it.RecordIterator.Next() {
		all := true
		for _, clause := range it.contains {
			all = all && slices.ContainsFunc(clause, func(s []byte) bool { return bytes.Contains(it.Doc(), s) })
		}
		if all {
			return true
		}
		it.e.left.Add(1)
	}
	return false
}

// TestReducedScans asks random queries of an engine that leaves out what cannot
// match, and of one that does not.
func TestReducedScans(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	plain := open(t)
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	e := &reducer{Engine: engine}
	reduced, err := Open(t.Context(), Config{Engine: e, Logger: slog.New(slog.DiscardHandler), JS: js.New(js.Limits{})})
	if err != nil {
		t.Fatal(err)
	}
	defer reduced.Close()
	for i := range 200 {
		d := doc(t, randomDoc(r, i))
		insert(t, plain, d)
		insert(t, reduced, d)
	}
	for i := range 400 {
		filter := doc(t, randomFilter(r))
		q := &FindQuery{Filter: filter, Skip: int64(r.IntN(3)), Limit: int64(r.IntN(4))}
		if got, want := find(t, reduced, q), find(t, plain, q); !slices.Equal(got, want) {
			t.Fatalf("seed %d: filter %s:\n got %v\nwant %v", seed, bsonval.FormatDoc(filter), got, want)
		}
		counts := [2]string{}
		for n, d := range []*DB{plain, reduced} {
			count, err := d.Count(t.Context(), d.NewOp(t.Context()), ns, &FindQuery{Filter: filter})
			if err != nil {
				t.Fatal(err)
			}
			counts[n] = fmt.Sprint(count)
			if i%10 == 0 {
				u := doc(t, fmt.Sprintf(`{"$set": {"f": %s}}`, scalars[i/10%len(scalars)]))
				res, err := d.Update(t.Context(), d.NewOp(t.Context()), ns, &UpdateStatement{Filter: filter, Update: bsonval.Document(u), Multi: true})
				if err != nil {
					t.Fatal(err)
				}
				counts[n] += fmt.Sprint(" ", res.Matched)
			}
		}
		if counts[0] != counts[1] {
			t.Fatalf("seed %d: filter %s: counted, changed %s, want %s", seed, bsonval.FormatDoc(filter), counts[1], counts[0])
		}
	}
	if e.left.Load() == 0 {
		t.Error("nothing was left out")
	}
	explained, err := reduced.ExplainFind(t.Context(), reduced.NewOp(t.Context()), ns, &FindQuery{Filter: doc(t, `{"a": "b"}`)}, "queryPlanner")
	if err != nil {
		t.Fatal(err)
	}
	if want := `pushdown: { contains: [ [ "\x04a\x00", "\x02a\x00\x02`; !strings.Contains(bsonval.FormatDoc(explained), want) {
		t.Errorf("%s is not in %s", want, bsonval.FormatDoc(explained))
	}
}
