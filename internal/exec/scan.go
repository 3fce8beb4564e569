package exec

import (
	"context"
	"errors"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// Row is one record that a scan found. Doc is valid until the next call of Next
// or Detach.
type Row struct {
	ID  storage.RecordID
	Doc bsonval.Doc

	// Score is the document's score in a text search; 0 without one.
	Score float64
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

func (s *Stats) add(o Stats) {
	s.KeysExamined += o.KeysExamined
	s.DocsExamined += o.DocsExamined
	s.Works += o.Works
	s.Seeks += o.Seeks
	s.DupsDropped += o.DupsDropped
}

// errUnsettled says that a plan was made for another state of the indexes.
var errUnsettled = errors.New("exec: the plan is not for this snapshot")

// errLimit says that a scan has used up its steps. It may go on with more.
var errLimit = errors.New("exec: limit of steps reached")

// Scan runs one plan.
type Scan struct {
	Plan  *plan.Plan
	Stats Stats

	// Likely is how many records will be asked for, as far as one can say; 0 for
	// unknown.
	Likely int64

	// Skip is how many records are passed over first: their Doc may be empty.
	Skip int64

	// Loose says that nothing else is read in the transaction that has to be of the same
	// state as what the scan finds, which need not be of one state itself.
	Loose bool

	// Examine says that the numbers of keys and documents examined are asked for: an
	// index scan then reads the documents of all entries.
	Examine bool

	view    *View
	round   int // of the view, whose transaction has what is read
	coll    *catalog.Collection
	ctx     *expr.Context // for filters that need one; may be nil
	seen    map[storage.RecordID]struct{}
	shared  bool // seen belongs to the union above
	done    bool
	records storage.RecordIterator
	entries storage.IndexIterator
	checker *plan.Checker
	parent  *Scan // the union above; nil for none

	passing  bool // records are passed over, and their documents not read
	fetching bool // the entries come with their records
	nulls    int  // records that a covered scan has read for itself

	contains [][][]byte // what the plan knows of matching documents, once it is asked
	narrowed bool       // entries of other documents are left out
	until    []byte     // where that ends; nil for the end of the range
	sample   sample

	// limit is how many steps may be taken before Next returns errLimit; 0 is no
	// limit. replan, if set, gives a better plan then.
	limit  int64
	replan func(context.Context) (*plan.Plan, error)

	// worst is how many steps the first results may take; late is called when they
	// took more.
	worst int64
	late  func()

	// still says, once the transaction has its snapshot, whether the plan is right for
	// it; again makes another one. Nil if that is known.
	still func() bool
	again func(context.Context) (*plan.Plan, error)

	// The position to go on from after Detach.
	lastID  storage.RecordID
	lastKey []byte

	children []*Scan // of a union
	child    int
	heap     []*Scan // of a merge: the children that have a head, the next one first
	merging  bool    // the heap is filled
	head     Row     // of a child of a merge: the row it has found and the merge not returned
	suffix   []byte  // the part of head's key that decides the order of the merge

	near *near // of a plan by distance; nil for others

	hits     []hit // of a text search or a random choice
	hit      int   // hits tried
	hitsSet  bool
	draw     *draw // of a random choice of records; nil for others
	foreseen bool  // the transaction knows which are to be read

	vals   []bsonval.Value
	desc   []bool
	buf    []byte
	target []byte
}

// Open starts a plan. Nothing is read before Next. The context evaluates
// filters with expressions.
func Open(v *View, coll *catalog.Collection, p *plan.Plan, c *expr.Context) *Scan {
	s := &Scan{view: v, round: v.round, coll: coll, ctx: c}
	v.add(s)
	s.begin(p)
	return s
}

// begin makes the scan ready to run a plan from its start.
func (s *Scan) begin(p *plan.Plan) {
	s.Plan = p
	if p.Union != nil {
		if p.MergeFrom == 0 {
			s.seen = map[storage.RecordID]struct{}{}
		}
		for _, u := range p.Union {
			child := Open(s.view, s.coll, u, s.ctx)
			child.parent = s
			if p.MergeFrom == 0 {
				child.seen, child.shared = s.seen, true
			}
			s.children = append(s.children, child)
		}
	} else if p.Near != nil {
		s.seen = map[storage.RecordID]struct{}{}
		s.near = newNear(p)
	} else if p.Index != nil && (p.Index.IsMultikey() || p.Repeats) && !p.Point {
		s.seen = map[storage.RecordID]struct{}{}
	}
}

// Watch compares a scan with what is expected of it. One that has found nothing
// within a number of steps asks for another plan and starts again with that:
// results do not change but their order may, Plan tells. One that takes more steps
// for the first results of a trial calls late when it is closed.
func (s *Scan) Watch(works int64, replan func(context.Context) (*plan.Plan, error), late func()) {
	s.limit, s.worst, s.replan, s.late = works, works, replan, late
}

// Settle gives a scan whose transaction may have no snapshot yet a way to find out,
// when it has one, whether the plan is right for it, and to get another plan if not.
// That is known before the first record is returned.
func (s *Scan) Settle(still func() bool, again func(context.Context) (*plan.Plan, error)) {
	s.still, s.again = still, again
}

// settled is to be called when the snapshot has been taken.
func (s *Scan) settled() error {
	if s.still == nil {
		return nil
	}
	still := s.still()
	s.still = nil
	if !still {
		return errUnsettled
	}
	return nil
}

// Children are the scans of a union, for explain.
func (s *Scan) Children() []*Scan { return s.children }

// Close ends the scan.
func (s *Scan) Close() error {
	if s.late != nil && s.Stats.Works > s.worst && s.Stats.Returned < trialResults {
		s.late()
	}
	s.late = nil
	s.detach()
	s.view.remove(s)
	for _, c := range s.children {
		c.Close()
	}
	s.done = true
	return nil
}

// detach closes the iterators; the position stays.
func (s *Scan) detach() {
	if s.head.ID != 0 {
		s.head.Doc = s.head.Doc.Clone()
	}
	s.foreseen = false
	if s.records != nil {
		s.records.Close()
		s.records = nil
	}
	if s.entries != nil {
		s.entries.Close()
		s.entries = nil
	}
}

// Next returns the next record, or io.EOF.
func (s *Scan) Next(ctx context.Context) (Row, error) {
	for {
		row, err := s.next(ctx)
		switch {
		case err == nil:
			s.Stats.Returned++
			if s.replan != nil {
				s.limit, s.replan = 0, nil
			}
		case err == io.EOF:
			s.done = true
			s.detach()
		case err == errUnsettled:
			s.replan = s.again
			if err := s.restart(ctx); err != nil {
				return Row{}, err
			}
			continue
		case err == errLimit && s.replan != nil:
			if err := s.restart(ctx); err != nil {
				return Row{}, err
			}
			continue
		}
		return row, err
	}
}

func (s *Scan) next(ctx context.Context) (Row, error) {
	if s.done || s.Plan.Nothing {
		return Row{}, io.EOF
	}
	if s.round != s.view.round {
		if err := s.checkDropped(ctx); err != nil {
			return Row{}, err
		}
	}
	switch {
	case s.Plan.MergeFrom > 0:
		return s.nextOfMerge(ctx)
	case s.children != nil:
		return s.nextOfUnion(ctx)
	case s.draw != nil:
		return s.nextDrawn(ctx)
	case s.Plan.Index == nil:
		return s.nextRecord(ctx)
	case s.Plan.Point:
		return s.point(ctx)
	case s.Plan.Text != nil:
		return s.nextHit(ctx)
	case s.Plan.Near != nil:
		return s.nextNear(ctx)
	}
	return s.nextEntry(ctx)
}

// restart begins again with another plan.
func (s *Scan) restart(ctx context.Context) error {
	p, err := s.replan(ctx)
	if err != nil {
		return err
	}
	s.detach()
	for _, c := range s.children {
		c.Close()
	}
	*s = Scan{view: s.view, round: s.round, coll: s.coll, ctx: s.ctx, Examine: s.Examine}
	s.begin(p)
	return nil
}

// pause says whether to stop after a step that found nothing, and why.
func (s *Scan) pause(ctx context.Context) error {
	if s.limit > 0 && s.Stats.Works >= s.limit {
		return errLimit
	}
	if s.Stats.Works&1023 == 0 {
		return ctx.Err()
	}
	return nil
}

func (s *Scan) matches(m *match.Matcher, d bsonval.Doc) (bool, error) {
	if m == nil {
		return true, nil
	}
	return m.Match(s.ctx, d)
}

// nextRecord goes on with a collection scan.
func (s *Scan) nextRecord(ctx context.Context) (Row, error) {
	if s.records != nil && s.passed() {
		s.records.Close()
		s.records = nil
	}
	if s.records == nil {
		if err := s.checkPosition(ctx); err != nil {
			return Row{}, err
		}
		if s.contains == nil {
			s.contains = s.Plan.Contains()
			s.narrowed = s.contains != nil
		}
		r := storage.RecordRange{
			Min: storage.RecordID(s.Plan.MinRecord), Max: storage.RecordID(s.Plan.MaxRecord), Reverse: s.Plan.Reverse,
			Contains: s.contains, Likely: s.likely(), Loose: s.Loose,
		}
		s.passing = s.mayPass()
		r.Bare = s.Plan.KeyOnly || s.passing
		r.Loose = r.Loose && !s.passing

		if s.lastID != 0 && s.Plan.Reverse {
			r.Max = s.lastID - 1
			if r.Max == 0 {
				return Row{}, io.EOF
			}
		} else if s.lastID != 0 {
			r.Min = s.lastID + 1
		}
		if r.Max != 0 && r.Min > r.Max {
			return Row{}, io.EOF
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
		d := bsonval.EmptyDoc
		if !s.Plan.KeyOnly && !s.passing {
			d = s.records.Doc()
		}
		ok, err := s.matches(s.Plan.Filter, d)
		if err != nil {
			return Row{}, err
		}
		if ok {
			return Row{ID: s.lastID, Doc: d}, nil
		}
		if err := s.pause(ctx); err != nil {
			return Row{}, err
		}
	}
	return Row{}, orEOF(s.records.Err())
}

// leastPassed is how many records are worth a statement that reads no documents.
const leastPassed = 500

// mayPass says whether the next records are to be passed over without their documents.
func (s *Scan) mayPass() bool {
	return s.Skip-s.Stats.Returned >= leastPassed && s.Plan.Filter == nil && s.Plan.KeyFilter == nil && !s.Examine
}

// passed says whether the documents of the next records are needed, and were not till now.
func (s *Scan) passed() bool { return s.passing && s.Stats.Returned >= s.Skip }

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}
