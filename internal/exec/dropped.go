package exec

import (
	"context"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// checkDropped fails if what the scan reads is not there any more for the transaction that it
// goes on with: it would end there as if that were all.
func (s *Scan) checkDropped(ctx context.Context) error {
	s.round = s.view.round
	coll, index, err := s.coll.Lasts(ctx, s.view.txn, s.Plan.Index)
	switch {
	case err != nil:
		return err
	case !coll:
		return mongoerr.New(mongoerr.QueryPlanKilled, "collection dropped or renamed. UUID %s", s.coll.UUID)
	case !index:
		return mongoerr.New(mongoerr.QueryPlanKilled, "query plan killed :: index '%s' dropped", s.Plan.Index.Name)
	}
	return nil
}
