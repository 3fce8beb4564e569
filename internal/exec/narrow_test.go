package exec

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// narrowTxn is a transaction of an engine that leaves out all entries that it may.
type narrowTxn struct {
	storage.Txn
	left   int
	likely []int64 // what was told
}

func (tx *narrowTxn) ScanIndex(ctx context.Context, x storage.IndexID, r storage.IndexRange) (storage.IndexIterator, error) {
	it, err := tx.Txn.ScanIndex(ctx, x, r)
	return &narrowIter{it, tx, r.Contains, nil}, err
}

type narrowIter struct {
	storage.IndexIterator
	tx       *narrowTxn
	contains storage.Contains
	until    []byte
}

func (it *narrowIter) Narrow(c storage.Contains, until []byte, likely int64) {
	it.contains, it.until = c, bytes.Clone(until)
	it.tx.likely = append(it.tx.likely, likely)
}

func (it *narrowIter) Next() bool {
	for it.IndexIterator.Next() {
		if it.until != nil && bytes.Compare(it.Key(), it.until) >= 0 {
			it.contains = nil
		}
		if it.contains.In(it.Doc()) {
			return true
		}
		it.tx.left++
	}
	return false
}

// TestNarrow runs plans in an engine that can leave out entries: when it is told to
// depends on what the scan has seen, and on who counts its steps.
func TestNarrow(t *testing.T) {
	s := open(t, `{"a": 1}`, `{"b": 1}`)
	var docs []string
	for i := range 4000 {
		docs = append(docs, fmt.Sprintf(`{"a": %d, "b": %d, "rare": "v%d", "first": "v%d", "late": "v%d"}`, i, i%10, i%100, min(i/100, 1), max(0, i-3000)%2))
	}
	s.put(docs...)
	const none = -1
	for _, c := range []struct {
		name   string
		query  string
		likely int64
		begin  func(*Scan)
		batch  int // rows after which the view is detached
		left   int // entries, of 4000 or as many as the query says
		told   int64
	}{
		{name: "rare", query: `{"filter": {"a": {"$gte": 0}, "rare": "v7"}}`, left: 4000 - 32 - 40 + 1},
		{name: "in batches", query: `{"filter": {"a": {"$gte": 0}, "rare": "v7"}}`, batch: 3, left: 4000 - 32 - 40 + 1},
		{name: "few are wanted", query: `{"filter": {"a": {"$gte": 0}, "rare": "v7"}}`, likely: 30, left: 4000 - 32 - 40 + 1, told: 29},
		{name: "one is wanted", query: `{"filter": {"a": {"$gte": 0}, "rare": "v77"}}`, likely: 1, left: 4000 - 32 - 40, told: 1},
		{name: "few entries", query: `{"filter": {"a": {"$lt": 32}, "rare": "v77"}}`, left: 0},
		{name: "most match", query: `{"filter": {"a": {"$gte": 0}, "late": {"$ne": "v1"}}}`, left: 0, told: none},
		{name: "matches come late", query: `{"filter": {"a": {"$gte": 0}, "late": "v1"}}`, left: 4000 - 32 - 500, told: 0},
		{name: "matches come first", query: `{"filter": {"a": {"$gte": 0}, "first": "v0"}}`, left: 4000 - 32 - 1023 - 24},
		{name: "only the name is known", query: `{"filter": {"a": {"$gte": 0}, "rare": {"$gt": "v98"}}}`, left: 0, told: none},
		{name: "short parts", query: `{"filter": {"a": {"$in": [1, 2, 3]}, "rare": "v7"}}`, left: 0, told: none},
		{name: "long parts", query: `{"filter": {"b": {"$in": [1, 2, 7]}, "rare": "v7"}}`, left: 400 - 32 + 2*(400-24) - 37},
		{name: "long parts in batches", query: `{"filter": {"b": {"$in": [1, 2, 7]}, "rare": "v7"}}`, left: 823, batch: 3},
		{name: "ranges are parts", query: `{"filter": {"a": {"$ne": 2000}, "rare": "v7"}, "sort": {"a": 1}}`, left: 2000 - 32 - 20 + 1 + 1999 - 24 - 20 + 1},
		{name: "asked for its steps", query: `{"filter": {"a": {"$gte": 0}, "rare": "v7"}}`, left: 0, told: none, begin: func(s *Scan) { s.Examine = true }},
		{name: "compared with an earlier run", query: `{"filter": {"a": {"$gte": 0}, "rare": "v7"}}`, left: 4000 - 1001 - 30, begin: func(s *Scan) {
			s.Watch(1000, func(context.Context) (*plan.Plan, error) { return nil, io.ErrUnexpectedEOF }, func() {})
		}},
		{name: "union", query: `{"filter": {"$or": [{"a": {"$lt": 1000}}, {"b": 3}], "rare": "v7"}}`, left: 1000 - 32 - 10 + 1 + 400 - 32},
		{name: "part of a watched union", query: `{"filter": {"$or": [{"a": {"$lt": 1000}}, {"b": 3}], "rare": "v7"}}`, left: 0, told: none, begin: func(s *Scan) {
			s.Watch(2000, func(context.Context) (*plan.Plan, error) { return nil, io.ErrUnexpectedEOF }, func() {})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.plans(c.query)[0]
			want := s.rows(p, nil)
			push(p)
			tx := &narrowTxn{}
			attach := func(v *View) {
				tx.Txn = s.engine.Begin(storage.TxnOptions{ReadOnly: true})
				v.Attach(tx)
			}
			var v View
			attach(&v)
			scan := Open(&v, s.coll, p, nil)
			scan.Likely = c.likely
			if c.begin != nil {
				c.begin(scan)
			}
			n := 0
			for {
				row, err := scan.Next(t.Context())
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := bsonval.FormatDoc(row.Doc); n >= len(want) || got != want[n] {
					t.Errorf("document %d is %s", n, got)
				}
				if n++; c.batch > 0 && n%c.batch == 0 {
					v.Detach()
					tx.Txn.Rollback()
					attach(&v)
				}
			}
			scan.Close()
			v.Detach()
			tx.Txn.Rollback()
			if n != len(want) || n == 0 && c.left > 0 {
				t.Errorf("%d documents, not %d", n, len(want))
			}
			if tx.left != c.left {
				t.Errorf("%d entries were left out, not %d", tx.left, c.left)
			}
			if told := c.told == none; told != (len(tx.likely) == 0) || !told && tx.likely[0] != c.told {
				t.Errorf("told %v", tx.likely)
			}
		})
	}
}

func push(p *plan.Plan) {
	p.Push = func(clauses [][][]byte) [][][]byte { return clauses }
	for _, u := range p.Union {
		push(u)
	}
}

// TestNarrowTrials checks that trials read all entries.
func TestNarrowTrials(t *testing.T) {
	s := open(t, `{"a": 1}`, `{"b": 1}`)
	var docs []string
	for i := range 2000 {
		docs = append(docs, fmt.Sprintf(`{"a": %d, "b": %d}`, i, 5000-i))
	}
	s.put(docs...)
	plans := s.plans(`{"filter": {"a": {"$gte": 0}, "b": {"$gte": 4999}}}`)
	for _, p := range plans {
		push(p)
	}
	tx := &narrowTxn{Txn: s.engine.Begin(storage.TxnOptions{ReadOnly: true})}
	defer tx.Rollback()
	var v View
	v.Attach(tx)
	trials, err := Choose(t.Context(), &v, s.coll, plans, false, nil)
	v.Detach()
	if err != nil || trials[0].Plan.Index.Name != `{"b": 1}` || tx.left != 0 || tx.likely != nil {
		t.Errorf("the winner is %s, %d entries were left out (%v)", trials[0].Plan.Identity(), tx.left, err)
	}
}
