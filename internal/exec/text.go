package exec

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// hit is a document that has one of the terms of a text search, or that was chosen.
type hit struct {
	id    storage.RecordID
	score float64 // the sum of the terms' scores; 0 without a text search
}

// nextHit goes on with a text search. The documents that have one of the terms
// are found at once, since the last term may add to the score of the first
// document; a cursor that waits keeps their ids and scores.
func (s *Scan) nextHit(ctx context.Context) (Row, error) {
	if !s.hitsSet {
		if err := s.search(ctx); err != nil {
			return Row{}, err
		}
		s.hitsSet = true
	}
	s.foresee()
	for s.hit < len(s.hits) {
		h := s.hits[s.hit]
		s.hit++
		s.Stats.Works++
		if s.seen != nil {
			if _, dup := s.seen[h.id]; dup {
				s.Stats.DupsDropped++
				continue
			}
		}
		doc, err := s.view.txn.Get(ctx, s.coll.Table, h.id)
		if errors.Is(err, storage.ErrNotFound) {
			continue // deleted since
		}
		if err != nil {
			return Row{}, err
		}
		s.Stats.DocsExamined++
		ok, err := s.matches(s.Plan.Filter, doc)
		if err != nil {
			return Row{}, err
		}
		if ok {
			if s.seen != nil {
				s.seen[h.id] = struct{}{}
			}
			return Row{ID: h.id, Doc: doc, Score: h.score}, nil
		}
		if err := s.pause(ctx); err != nil {
			return Row{}, err
		}
	}
	return Row{}, io.EOF
}

// foresee tells the transaction which records are going to be read, once.
func (s *Scan) foresee() {
	if s.foreseen {
		return
	}
	s.foreseen = true
	a, ok := s.view.txn.(storage.AheadReader)
	if !ok || s.hit == len(s.hits) {
		return
	}
	ids := make([]storage.RecordID, 0, len(s.hits)-s.hit)
	for _, h := range s.hits[s.hit:] {
		ids = append(ids, h.id)
	}
	a.ReadAhead(s.coll.Table, ids)
}

// search fills hits, in the order of the terms and of their keys.
func (s *Scan) search(ctx context.Context) error {
	s.hits = s.hits[:0]
	at := map[storage.RecordID]int{}
	for _, r := range s.Plan.Text.Ranges {
		if err := s.searchTerm(ctx, r, at); err != nil {
			return err
		}
	}
	return nil
}

// searchTerm adds the documents under a range of keys; at is where each is in
// hits.
func (s *Scan) searchTerm(ctx context.Context, r plan.KeyRange, at map[storage.RecordID]int) error {
	x := s.Plan.Index
	if s.desc == nil {
		for _, f := range x.Fields {
			s.desc = append(s.desc, f.Desc)
		}
	}
	it, err := s.view.txn.ScanIndex(ctx, x.ID, storage.IndexRange{Lower: r.Lower, Upper: r.Upper})
	if err != nil {
		return err
	}
	defer it.Close()
	s.Stats.Seeks++
	for it.Next() {
		s.Stats.KeysExamined++
		s.Stats.Works++
		s.vals, err = keystring.Decode(s.vals[:0], it.Key(), it.TypeBits(), s.desc, s.Plan.Text.ScoreAt+1)
		if err != nil {
			return fmt.Errorf("index %s of %s: %w", x.Name, s.coll.Namespace(), err)
		}
		score := s.vals[s.Plan.Text.ScoreAt]
		i, known := at[it.ID()]
		if !known {
			i = len(s.hits)
			at[it.ID()] = i
			s.hits = append(s.hits, hit{id: it.ID()})
		}
		s.hits[i].score += score.AsDouble()
		if s.Stats.Works&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return it.Err()
}
