package exec

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// checkPosition fails if a scan of a capped collection is to go on from a record
// that has been removed meanwhile: it would skip records without telling.
func (s *Scan) checkPosition(ctx context.Context) error {
	if s.coll.Capped == nil || s.lastID == 0 {
		return nil
	}
	_, err := s.view.txn.Get(ctx, s.coll.Table, s.lastID)
	if errors.Is(err, storage.ErrNotFound) {
		return mongoerr.New(mongoerr.CappedPositionLost, "CollectionScan died due to position in capped collection being deleted. "+
			"Last seen record id: RecordId(%d)", s.lastID)
	}
	return err
}

// Resume lets a collection scan that has come to the end go on with the records
// that were added since.
func (s *Scan) Resume() {
	if s.Plan.Index == nil && s.children == nil && !s.Plan.Nothing {
		s.done = false
	}
}

// Positioned says whether a collection scan knows where to go on: behind the record
// it has seen last, or in a log where its range begins.
func (s *Scan) Positioned() bool { return s.lastID != 0 || s.Plan.MinRecord != 0 }
