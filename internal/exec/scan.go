package exec

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// Row is one record that a scan found. Doc is valid until the next call of Next
// or Detach.
type Row struct {
	ID  storage.RecordID
	Doc bsonval.Doc
}

// Stats count what a scan did, for explain and the choice between plans.
type Stats struct {
	KeysExamined int64
	DocsExamined int64
	Returned     int64
	Works        int64
	Seeks        int64
	DupsDropped  int64
}

// Scan runs one plan.
type Scan struct {
	Plan  *plan.Plan
	Stats Stats

	view    *View
	coll    *catalog.Collection
	ctx     *expr.Context // for filters that need one; may be nil
	seen    map[storage.RecordID]struct{}
	shared  bool // seen belongs to the union above
	done    bool
	records storage.RecordIterator
	entries storage.IndexIterator
	checker *plan.Checker

	// The position to go on from after Detach.
	lastID  storage.RecordID
	lastKey []byte

	children []*Scan // of a union
	child    int

	vals []bsonval.Value
	desc []bool
	buf  []byte
}

// Open starts a plan. Nothing is read before Next. The context evaluates
// filters with expressions.
func Open(v *View, coll *catalog.Collection, p *plan.Plan, c *expr.Context) *Scan {
	s := &Scan{Plan: p, view: v, coll: coll, ctx: c}
	if p.Union != nil {
		s.seen = map[storage.RecordID]struct{}{}
		for _, u := range p.Union {
			child := Open(v, coll, u, c)
			child.seen, child.shared = s.seen, true
			s.children = append(s.children, child)
		}
	} else if p.Index != nil && p.Index.IsMultikey() && !p.Point {
		s.seen = map[storage.RecordID]struct{}{}
	}
	v.add(s)
	return s
}

// Children are the scans of a union, for explain.
func (s *Scan) Children() []*Scan { return s.children }

// Close ends the scan.
func (s *Scan) Close() error {
	s.detach()
	s.view.remove(s)
	for _, c := range s.children {
		c.Close()
	}
	s.done = true
	return nil
}

func (s *Scan) detach() {
	if s.records != nil {
		s.records.Close()
		s.records = nil
	}
	if s.entries != nil {
		s.lastKey = append(s.lastKey[:0], s.lastKey...)
		s.entries.Close()
		s.entries = nil
	}
}

// Next returns the next record, or io.EOF.
func (s *Scan) Next(ctx context.Context) (Row, error) {
	if s.done || s.Plan.Nothing {
		return Row{}, io.EOF
	}
	var row Row
	var err error
	switch {
	case s.children != nil:
		row, err = s.nextOfUnion(ctx)
	case s.Plan.Index == nil:
		row, err = s.nextRecord(ctx)
	case s.Plan.Point:
		row, err = s.point(ctx)
	default:
		row, err = s.nextEntry(ctx)
	}
	if err == nil {
		s.Stats.Returned++
	} else if err == io.EOF {
		s.done = true
		s.detach()
	}
	return row, err
}

func (s *Scan) nextOfUnion(ctx context.Context) (Row, error) {
	for s.child < len(s.children) {
		c := s.children[s.child]
		row, err := c.Next(ctx)
		s.Stats.KeysExamined, s.Stats.DocsExamined, s.Stats.Works = 0, 0, 0
		for _, o := range s.children {
			s.Stats.KeysExamined += o.Stats.KeysExamined
			s.Stats.DocsExamined += o.Stats.DocsExamined
			s.Stats.Works += o.Stats.Works
		}
		if err != io.EOF {
			return row, err
		}
		s.child++
	}
	return Row{}, io.EOF
}

func (s *Scan) matches(d bsonval.Doc) (bool, error) {
	if s.Plan.Filter == nil {
		return true, nil
	}
	return s.Plan.Filter.Match(s.ctx, d)
}

func (s *Scan) nextRecord(ctx context.Context) (Row, error) {
	if s.records == nil {
		r := storage.RecordRange{Reverse: s.Plan.Reverse}
		if s.lastID != 0 && s.Plan.Reverse {
			r.Max = s.lastID - 1
			if r.Max == 0 {
				return Row{}, io.EOF
			}
		} else if s.lastID != 0 {
			r.Min = s.lastID + 1
		}
		it, err := s.view.txn.Scan(ctx, s.coll.Table, r)
		if err != nil {
			return Row{}, err
		}
		s.records = it
	}
	for s.records.Next() {
		s.Stats.Works++
		s.Stats.DocsExamined++
		s.lastID = s.records.ID()
		d := bsonval.Doc(s.records.Doc())
		ok, err := s.matches(d)
		if err != nil {
			return Row{}, err
		}
		if ok {
			return Row{s.lastID, d}, nil
		}
		if s.Stats.Works&1023 == 0 && ctx.Err() != nil {
			return Row{}, ctx.Err()
		}
	}
	if err := s.records.Err(); err != nil {
		return Row{}, err
	}
	return Row{}, io.EOF
}

// point looks up one key of a unique index.
func (s *Scan) point(ctx context.Context) (Row, error) {
	s.done = true
	s.Stats.Works++
	s.Stats.Seeks++
	key, _, _, _ := s.Plan.Bounds.Range(s.Plan.Index)
	id, err := s.view.txn.LookupUnique(ctx, s.Plan.Index.ID, key)
	if errors.Is(err, storage.ErrNotFound) {
		return Row{}, io.EOF
	}
	if err != nil {
		return Row{}, err
	}
	s.Stats.KeysExamined++
	if s.seen != nil {
		if _, dup := s.seen[id]; dup {
			return Row{}, io.EOF
		}
		s.seen[id] = struct{}{}
	}
	doc, err := s.view.txn.Get(ctx, s.coll.Table, id)
	if err != nil {
		return Row{}, s.torn(id, err)
	}
	s.Stats.DocsExamined++
	ok, err := s.matches(doc)
	if err == nil && !ok {
		err = io.EOF
	}
	return Row{id, doc}, err
}

func (s *Scan) torn(id storage.RecordID, err error) error {
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return fmt.Errorf("index %s of %s names record %d, which does not exist: run validate", s.Plan.Index.Name,
		s.coll.Namespace(), id)
}

// openEntries opens the index iterator at the remembered position.
func (s *Scan) openEntries(ctx context.Context) (bool, error) {
	p := s.Plan
	lower, upper, exact, empty := p.Bounds.Range(p.Index)
	if p.Lower != nil {
		lower = p.Lower
	}
	if p.Upper != nil {
		upper = p.Upper
	}
	if empty {
		return false, nil
	}
	if !exact && s.checker == nil {
		s.checker = plan.NewChecker(p.Bounds, p.Index, p.Reverse)
	}
	r := storage.IndexRange{Lower: lower, Upper: upper, Reverse: p.Reverse}
	if s.lastID != 0 {
		r.After, r.AfterID = s.lastKey, s.lastID
	}
	if !p.Covered {
		r.Fetch = s.coll.Table
	}
	it, err := s.view.txn.ScanIndex(ctx, p.Index.ID, r)
	if err != nil {
		return false, err
	}
	s.Stats.Seeks++
	s.entries = it
	return true, nil
}

func (s *Scan) nextEntry(ctx context.Context) (Row, error) {
	if s.entries == nil {
		if ok, err := s.openEntries(ctx); !ok || err != nil {
			return Row{}, orEOF(err)
		}
	}
	more := s.entries.Next()
	for more {
		s.Stats.Works++
		s.Stats.KeysExamined++
		key := s.entries.Key()
		if s.checker != nil {
			verdict, target := s.checker.Check(key)
			if verdict == plan.Done {
				return Row{}, io.EOF
			}
			if verdict == plan.Seek {
				s.Stats.Seeks++
				s.lastKey = append(s.lastKey[:0], key...)
				if more = s.entries.SeekGE(target); more && string(s.entries.Key()) == string(s.lastKey) {
					more = s.entries.Next()
				}
				continue
			}
		}
		s.lastKey, s.lastID = append(s.lastKey[:0], key...), s.entries.ID()
		row, ok, err := s.entry(ctx)
		if ok || err != nil {
			return row, err
		}
		if s.Stats.Works&1023 == 0 && ctx.Err() != nil {
			return Row{}, ctx.Err()
		}
		more = s.entries.Next()
	}
	return Row{}, orEOF(s.entries.Err())
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// entry makes a row of the entry the iterator stands on; ok is false if it does
// not count.
func (s *Scan) entry(ctx context.Context) (row Row, ok bool, err error) {
	if s.seen != nil {
		if _, dup := s.seen[s.lastID]; dup {
			s.Stats.DupsDropped++
			return Row{}, false, nil
		}
	}
	var doc bsonval.Doc
	if s.Plan.Covered {
		if doc, err = s.rebuild(ctx); err != nil {
			return Row{}, false, err
		}
	} else {
		if doc = s.entries.Doc(); doc == nil {
			if s.entries.Err() != nil {
				return Row{}, false, s.entries.Err()
			}
			return Row{}, false, s.torn(s.lastID, nil)
		}
		s.Stats.DocsExamined++
	}
	if ok, err = s.matches(doc); !ok || err != nil {
		return Row{}, false, err
	}
	if s.seen != nil {
		s.seen[s.lastID] = struct{}{}
	}
	return Row{s.lastID, doc}, true, nil
}

// rebuild makes a document of the entry's key. A null may stand for a missing
// field, so then the record is read after all.
func (s *Scan) rebuild(ctx context.Context) (bsonval.Doc, error) {
	x := s.Plan.Index
	if s.desc == nil {
		for _, f := range x.Fields {
			s.desc = append(s.desc, f.Desc)
		}
	}
	var err error
	s.vals, err = keystring.Decode(s.vals[:0], s.entries.Key(), s.entries.TypeBits(), s.desc, len(x.Fields))
	if err != nil {
		return nil, fmt.Errorf("index %s of %s: %w", x.Name, s.coll.Namespace(), err)
	}
	dst, at := bsonval.BeginDoc(s.buf[:0])
	for i, v := range s.vals {
		if v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined {
			doc, err := s.view.txn.Get(ctx, s.coll.Table, s.lastID)
			if err != nil {
				return nil, s.torn(s.lastID, err)
			}
			s.Stats.DocsExamined++
			return doc, nil
		}
		dst = bsonval.AppendElement(dst, x.Fields[i].Path, v)
	}
	s.buf = bsonval.EndDoc(dst, at)
	return s.buf, nil
}

// KeyDoc returns the index key of the last record as a document of the index's
// fields: {} for plans without an index.
func (s *Scan) KeyDoc() bsonval.Doc {
	b := bsonval.NewBuilder()
	if s.Plan.Index == nil || s.entries == nil {
		return b.Build()
	}
	desc := make([]bool, len(s.Plan.Index.Fields))
	for i, f := range s.Plan.Index.Fields {
		desc[i] = f.Desc
	}
	vals, err := keystring.Decode(nil, s.entries.Key(), s.entries.TypeBits(), desc, len(desc))
	if err != nil {
		return b.Build()
	}
	for i, v := range vals {
		b.Value(s.Plan.Index.Fields[i].Path, v)
	}
	return b.Build()
}
