package database

import (
	"context"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/plan"
)

// Plans depend on multikey marks, which must be those of the transaction's snapshot
// or newer ones. To take the snapshot before planning is a round trip in some engines,
// so it is taken by the first read, and the marks are compared afterwards.

// marksOf is a number that grows whenever an index of a collection gets a multikey
// mark.
func marksOf(coll *catalog.Collection) (sum uint64) {
	for _, x := range coll.Indexes {
		sum += uint64(x.MultikeyFields())
	}
	return sum
}

// isSimple says whether a plan reads one index, or none, from the start to the end.
func isSimple(p *plan.Plan) bool { return p.Union == nil && p.Near == nil && p.Text == nil }

// openSimple opens a scan of a simple plan that was made when the marks were some
// number.
func (d *DB) openSimple(view *exec.View, coll *catalog.Collection, q *plan.Query, p *plan.Plan, marks uint64, ec *expr.Context) *exec.Scan {
	scan := exec.Open(view, coll, p, ec)
	if p.Index == nil || p.Index.IsID() { // it has no marks
		return scan
	}
	scan.Settle(func() bool { return marksOf(coll) == marks }, func(context.Context) (*plan.Plan, error) {
		plans, err := d.candidates(coll, q)
		if err != nil {
			return nil, err
		}
		return plans[0], nil
	})
	return scan
}

// settle takes the snapshot and plans again if the marks have changed.
func (d *DB) settle(view *exec.View, coll *catalog.Collection, q *plan.Query, plans []*plan.Plan, marks uint64) ([]*plan.Plan, error) {
	view.Txn().Snapshot()
	if marksOf(coll) == marks {
		return plans, nil
	}
	return d.candidates(coll, q)
}
