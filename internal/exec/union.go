package exec

import (
	"bytes"
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/keystring"
)

// nextOfUnion runs the children one after the other.
func (s *Scan) nextOfUnion(ctx context.Context) (Row, error) {
	for s.child < len(s.children) {
		row, err := s.step(ctx, s.children[s.child])
		if err != io.EOF {
			return row, err
		}
		s.child++
	}
	return Row{}, io.EOF
}

// step takes the next row of a child, within the steps that are left.
func (s *Scan) step(ctx context.Context, c *Scan) (Row, error) {
	if s.limit > 0 {
		c.limit = max(c.Stats.Works+s.limit-s.Stats.Works, 1)
	}
	if c.Likely == 0 {
		c.Likely = s.likely()
	}
	row, err := c.Next(ctx)
	returned := s.Stats.Returned
	s.Stats = Stats{Returned: returned}
	for _, o := range s.children {
		s.Stats.add(o.Stats)
	}
	return row, err
}

// nextOfMerge returns the rows of all children in the order of their keys from
// the component MergeFrom on: children scan the same index, each in order.
func (s *Scan) nextOfMerge(ctx context.Context) (Row, error) {
	for !s.merging {
		if s.child == len(s.children) {
			s.merging = true
			break
		}
		if err := s.advance(ctx, s.children[s.child]); err != nil {
			return Row{}, err
		}
		s.child++
	}
	if len(s.heap) > 0 && s.heap[0].head.ID == 0 {
		// The row returned last was its.
		c := s.heap[0]
		s.heap = s.heap[1:]
		if err := s.advance(ctx, c); err != nil {
			s.heap = append([]*Scan{c}, s.heap...)
			return Row{}, err
		}
	}
	if len(s.heap) == 0 {
		return Row{}, io.EOF
	}
	row := s.heap[0].head
	s.heap[0].head = Row{}
	return row, nil
}

// advance finds a child's next row and puts the child where it belongs.
func (s *Scan) advance(ctx context.Context, c *Scan) error {
	row, err := s.step(ctx, c)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	at := 0
	for i := range s.Plan.MergeFrom {
		n, err := keystring.ComponentLen(c.lastKey[at:], c.Plan.Index.Fields[i].Desc)
		if err != nil {
			return err
		}
		at += n
	}
	c.head, c.suffix = row, append(c.suffix[:0], c.lastKey[at:]...)
	// The heap is short and mostly in order already: a sorted list serves.
	lo, hi := 0, len(s.heap)
	for lo < hi {
		if mid := (lo + hi) / 2; s.before(s.heap[mid], c) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	s.heap = append(s.heap, nil)
	copy(s.heap[lo+1:], s.heap[lo:])
	s.heap[lo] = c
	return nil
}

// before says whether a's row comes before b's. Equal keys go by record, so
// that the order is always the same.
func (s *Scan) before(a, b *Scan) bool {
	d := bytes.Compare(a.suffix, b.suffix)
	if d == 0 {
		if a.head.ID < b.head.ID {
			d = -1
		} else {
			d = 1
		}
	}
	if a.Plan.Reverse {
		return d > 0
	}
	return d < 0
}
