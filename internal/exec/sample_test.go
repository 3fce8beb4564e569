package exec

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// drawn draws records of a collection and returns their ids, how many were read by their id, and how
// many documents were looked at. The view is detached after every record if pause is set.
func (s *store) drawn(query string, size int64, random func() float64, pause bool) (ids []storage.RecordID, one int, examined int64) {
	s.t.Helper()
	var v View
	counter := &reads{}
	attach := func() {
		counter.Txn = s.engine.Begin(storage.TxnOptions{ReadOnly: true})
		v.Attach(counter)
	}
	attach()
	defer func() { s.detach(&v) }()
	scan := Open(&v, s.coll, s.plans(query)[0], nil)
	defer scan.Close()
	scan.Draw(size, random)
	for {
		row, err := scan.Next(s.t.Context())
		if err == io.EOF {
			return ids, counter.n, scan.Stats.DocsExamined
		}
		if err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, row.ID)
		if pause {
			s.detach(&v)
			attach()
		}
	}
}

// TestDraw draws some of 200 records: of few only those are read, of many all.
func TestDraw(t *testing.T) {
	s := open(t, `{"a": 1}`)
	var docs []string
	for i := range 200 {
		docs = append(docs, fmt.Sprintf(`{"a": %d}`, i))
	}
	s.put(docs...)
	for _, c := range []struct {
		query         string
		size          int64
		reads, expect int
	}{
		{`{}`, 1, 1, 1}, {`{}`, 10, 10, 10}, {`{}`, 11, 0, 200}, {`{}`, 199, 0, 200}, {`{}`, 201, 0, 200}, {`{}`, maxDrawn + 1, 0, 200},
		{`{"hint": -1}`, 10, 10, 10},
		{`{"filter": {"z": null}}`, 10, 0, 200}, {`{"filter": {"a": {"$gte": 0}}}`, 10, 0, 200}, {`{"need": []}`, 10, 0, 200},
		{`{"filter": {"$or": [{"a": 1}, {"a": 2, "z": null}]}}`, 1, 0, 2},
	} {
		for _, pause := range []bool{false, true} {
			ids, reads, examined := s.drawn(c.query, c.size, rand.Float64, pause)
			if reads != c.reads || len(ids) != c.expect || reads > 0 && examined != int64(reads) {
				t.Errorf("%s, size %d: %d records, %d read one by one, %d looked at; want %d and %d", c.query, c.size, len(ids), reads,
					examined, c.expect, c.reads)
			}
			slices.Sort(ids)
			if len(slices.Compact(ids)) != c.expect {
				t.Errorf("%s, size %d: some come twice: %v", c.query, c.size, ids)
			}
		}
	}
}

// TestDrawIsFair draws often, and counts how often each record is drawn.
func TestDrawIsFair(t *testing.T) {
	s := open(t, `{"a": 1}`)
	for i := range 100 {
		s.put(fmt.Sprintf(`{"a": %d}`, i))
	}
	const rounds, size = 4000, 5
	r := rand.New(rand.NewPCG(1, 2)) // always the same, so that it never fails by chance
	count := map[storage.RecordID]int{}
	for range rounds {
		ids, _, _ := s.drawn(`{}`, size, r.Float64, false)
		for _, id := range ids {
			count[id]++
		}
	}
	// 200 each are expected, with a standard deviation of 13.8.
	for id, n := range count {
		if n < 140 || n > 260 {
			t.Errorf("record %d was drawn %d times of %d", id, n, rounds)
		}
	}
	if len(count) != 100 {
		t.Errorf("%d records were drawn", len(count))
	}
}
