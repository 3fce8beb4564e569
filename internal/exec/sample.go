package exec

import (
	"context"
	"slices"

	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// maxDrawn is up to how many records are drawn by their ids, which are kept in memory.
	maxDrawn = 100_000

	// drawnOf is of how many records at least one is drawn by its id: if more are wanted, it
	// is faster to read all.
	drawnOf = 20
)

// draw is a random choice of records.
type draw struct {
	size   int
	random func() float64
}

// Draw says that some random records are all that is wanted of the scan: it leaves others
// out if that takes less time. Random returns numbers in [0, 1).
func (s *Scan) Draw(size int64, random func() float64) {
	p := s.Plan
	whole := p.Index == nil && p.Union == nil && p.Filter == nil && p.MinRecord == 0 && p.MaxRecord == 0 && !p.Nothing
	if whole && !p.KeyOnly && size <= maxDrawn {
		s.draw = &draw{int(size), random}
	}
}

// nextDrawn goes on with a random choice.
func (s *Scan) nextDrawn(ctx context.Context) (Row, error) {
	if !s.hitsSet {
		few, err := s.choose(ctx)
		if err != nil {
			return Row{}, err
		}
		if !few {
			s.draw = nil
			return s.nextRecord(ctx)
		}
		s.hitsSet = true
	}
	return s.nextHit(ctx)
}

// choose fills hits with records of which each has the same chance, in natural order. It
// returns false if they are too many.
func (s *Scan) choose(ctx context.Context) (few bool, err error) {
	it, err := s.view.txn.Scan(ctx, s.coll.Table, storage.RecordRange{Bare: true})
	if err != nil {
		return false, err
	}
	defer it.Close()
	var ids []storage.RecordID
	n := 0
	for ; it.Next(); n++ {
		if n < s.draw.size {
			ids = append(ids, it.ID())
		} else if at := int(s.draw.random() * float64(n+1)); at < s.draw.size {
			ids[at] = it.ID()
		}
		if n&1023 == 1023 && ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	if err := it.Err(); err != nil || len(ids) > n/drawnOf {
		return false, err
	}
	slices.Sort(ids)
	s.hits = make([]hit, len(ids))
	for i, id := range ids {
		s.hits[i].id = id
	}
	return true, nil
}
