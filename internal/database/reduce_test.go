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
	left, entries atomic.Int64
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
		if it.contains.In(it.Doc()) {
			return true
		}
		it.e.left.Add(1)
	}
	return false
}

func (tx *reducerTxn) ScanIndex(ctx context.Context, x storage.IndexID, r storage.IndexRange) (storage.IndexIterator, error) {
	it, err := tx.Txn.ScanIndex(ctx, x, r)
	if err != nil || r.Fetch == 0 {
		return it, err
	}
	return &narrowIter{it, r.Contains, nil, r.Reverse, tx.e}, nil
}

type narrowIter struct {
	storage.IndexIterator
	contains storage.Contains
	until    []byte
	reverse  bool
	e        *reducer
}

func (it *narrowIter) Narrow(c storage.Contains, until []byte, _ int64) {
	it.contains, it.until = c, bytes.Clone(until)
}

func (it *narrowIter) Next() bool { return it.wanted(it.IndexIterator.Next()) }

func (it *narrowIter) SeekGE(key []byte) bool { return it.wanted(it.IndexIterator.SeekGE(key)) }

// wanted goes on until the entry is one that may not be left out.
func (it *narrowIter) wanted(more bool) bool {
	for ; more; more = it.IndexIterator.Next() {
		if it.until != nil && (bytes.Compare(it.Key(), it.until) >= 0) != it.reverse {
			it.contains = nil
		}
		if it.contains.In(it.Doc()) {
			return true
		}
		it.e.entries.Add(1)
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
	for i := range 400 {
		d := doc(t, randomDoc(r, i))
		insert(t, plain, d)
		insert(t, reduced, d)
	}
	for i := range 800 {
		if i == 400 { // scans of indexes from here on
			for _, d := range []*DB{plain, reduced} {
				addIndex(t, d, `{"a": 1}`, `{}`)
				addIndex(t, d, `{"f": 1, "g": -1}`, `{}`)
				addIndex(t, d, `{"e": -1}`, `{"sparse": true}`)
			}
		}
		filter := doc(t, randomFilter(r))
		q := &FindQuery{Filter: filter, Skip: int64(r.IntN(3)), Limit: int64(r.IntN(4))}
		switch r.IntN(4) {
		case 0:
			q.Sort = doc(t, `{"a": 1, "_id": 1}`)
		case 1:
			q.Sort = doc(t, `{"f": -1, "g": 1}`)
		}
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
	if e.left.Load() == 0 || e.entries.Load() == 0 {
		t.Errorf("%d records and %d entries were left out", e.left.Load(), e.entries.Load())
	}
	for _, c := range []struct{ filter, want string }{
		{`{"d": "b"}`, `stage: "COLLSCAN", filter: { d: { $eq: "b" } }, direction: "forward", pushdown: { contains: [ [ "\x04d\x00", "\x02d\x00\x02`},
		{`{"a": {"$gt": 1}, "d": "b"}`, `stage: "FETCH", filter: { d: { $eq: "b" } }, pushdown: { contains: [ [ "\x04d\x00", "\x02d\x00\x02`},
		{`{"f": {"$gt": 1}, "g": "b", "d": {"$exists": true}}`, `stage: "FETCH", filter: { d: { $exists: true } }, pushdown: { contains: [ [ "d\x00" ] ] }, inputStage`},
		{`{"f": {"$gt": 1}, "d": null}`, `stage: "FETCH", filter: { d: { $eq: null } }, inputStage`},
		{`{"$or": [{"a": 1, "d": "a"}, {"f": 2, "d": "b"}]}`, `stage: "FETCH", filter: { d: { $eq: "b" } }, pushdown: { contains: [ [ "\x04d`},
	} {
		explained, err := reduced.ExplainFind(t.Context(), reduced.NewOp(t.Context()), ns, &FindQuery{Filter: doc(t, c.filter)}, ExplainPlanner)
		if err != nil {
			t.Fatal(err)
		}
		if got := bsonval.FormatDoc(explained); !strings.Contains(got, c.want) {
			t.Errorf("%s is not in %s", c.want, got)
		}
	}
}

// TestReducedStats checks that explain tells what an index scan examines without
// leaving out anything, as in MongoDB.
func TestReducedStats(t *testing.T) {
	engine, err := pebblestore.Open(pebblestore.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	e := &reducer{Engine: engine}
	d, err := Open(t.Context(), Config{Engine: e, Logger: slog.New(slog.DiscardHandler), JS: js.New(js.Limits{})})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i := range 300 {
		insert(t, d, doc(t, fmt.Sprintf(`{"_id": %d, "a": %d, "b": "v%d"}`, i, i, i%100)))
	}
	addIndex(t, d, `{"a": 1}`, `{}`)
	q := &FindQuery{Filter: doc(t, `{"a": {"$gte": 50}, "b": "v7"}`)}
	explained, err := d.ExplainFind(t.Context(), d.NewOp(t.Context()), ns, q, ExplainStats)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := bsonval.FormatDoc(explained), `totalKeysExamined: 250, totalDocsExamined: 250`; !strings.Contains(got, want) {
		t.Errorf("%s is not in %s", want, got)
	}
	if n := e.entries.Load(); n != 0 {
		t.Errorf("%d entries were left out", n)
	}
	if got := find(t, d, q); len(got) != 2 {
		t.Errorf("found %v", got)
	}
	if n := e.entries.Load(); n != 250-2-32 { // all but the matches and the first ones
		t.Errorf("%d entries were left out", n)
	}
}
