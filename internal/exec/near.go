package exec

import (
	"container/heap"
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/plan"
)

// ringDocs is how many documents a ring should find: rings get wider as long as
// they find fewer, and narrower if they find many more.
const ringDocs = 200

// near finds documents in the order of their distance: ring by ring around the
// point, each ring's documents sorted. A document found before its ring waits.
type near struct {
	hi         float64 // up to here everything is found
	width, end float64
	narrowest  float64
	done       bool // everything up to the end is found
	waiting    rowHeap
}

// nearRow is a document and its distance.
type nearRow struct {
	distance float64
	row      Row
}

func newNear(p *plan.Plan) *near {
	n := &near{hi: p.Near.Node.Min}
	n.width, n.end = p.Near.Extent(p.Index)
	n.narrowest = n.width
	return n
}

// nextNear returns the nearest document that was not returned yet.
func (s *Scan) nextNear(ctx context.Context) (Row, error) {
	n := s.near
	for {
		if len(n.waiting) > 0 && (n.done || n.waiting[0].distance < n.hi) {
			return heap.Pop(&n.waiting).(nearRow).row, nil
		}
		if n.done {
			return Row{}, io.EOF
		}
		lo := n.hi
		n.hi = min(lo+n.width, n.end)
		n.done = n.hi >= n.end
		found, err := s.readRing(ctx, lo, n.hi)
		if err != nil {
			return Row{}, err
		}
		switch {
		case found == 0:
			n.width *= 4
		case found < ringDocs:
			n.width *= 2
		case found > 4*ringDocs && !s.Plan.Near.RingsOverlap(s.Plan.Index):
			n.width = max(n.width/2, n.narrowest)
		}
	}
}

// readRing reads what the index has at distances from lo to hi.
func (s *Scan) readRing(ctx context.Context, lo, hi float64) (found int, err error) {
	ring := Open(s.view, s.coll, s.Plan.Ring(lo, hi), s.ctx)
	ring.seen, ring.shared = s.seen, true
	defer func() {
		s.Stats.KeysExamined += ring.Stats.KeysExamined
		s.Stats.DocsExamined += ring.Stats.DocsExamined
		s.Stats.Works += ring.Stats.Works
		s.Stats.Seeks += ring.Stats.Seeks
		s.Stats.DupsDropped += ring.Stats.DupsDropped
		ring.Close()
	}()
	for {
		row, err := ring.Next(ctx)
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		distance, ok := s.Plan.Near.Node.Distance(row.Doc)
		if !ok {
			continue
		}
		found++
		heap.Push(&s.near.waiting, nearRow{distance, Row{ID: row.ID, Doc: row.Doc.Clone()}})
	}
}

// rowHeap has the nearest row on top; of rows equally far, the older one.
type rowHeap []nearRow

func (h rowHeap) Len() int      { return len(h) }
func (h rowHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *rowHeap) Push(x any)   { *h = append(*h, x.(nearRow)) }

func (h rowHeap) Less(i, j int) bool {
	if h[i].distance != h[j].distance {
		return h[i].distance < h[j].distance
	}
	return h[i].row.ID < h[j].row.ID
}

func (h *rowHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nearRow{}
	*h = old[:len(old)-1]
	return last
}
