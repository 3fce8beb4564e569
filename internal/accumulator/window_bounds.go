package accumulator

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// frame is a range of a partition's documents: low ≤ i < high.
type frame struct{ low, high int }

// bounds are a compiled window: by documents, or by a range of the sort field's
// values.
type bounds struct {
	low, high bound
	byRange   bool
	unit      string    // of a range of dates
	sortField expr.Expr // of a range
}

// bound is one end of a window.
type bound struct {
	unbounded bool
	offset    bsonval.Value // a number
}

func (b bound) int() int { return int(b.offset.TruncInt64()) }

var wholePartition = &bounds{low: bound{unbounded: true}, high: bound{unbounded: true}}

// compileBounds compiles the window; without one, it is the whole partition.
func (s *windowSpec) compileBounds() (*bounds, error) {
	if s.window.IsMissing() {
		return wholePartition, nil
	}
	if s.window.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "'window' field must be an object")
	}
	var documents, rng, unit bsonval.Value
	it := s.window.Doc().Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "documents":
			documents = it.Value()
		case "range":
			rng = it.Value()
		case "unit":
			unit = it.Value()
		default:
			return nil, mongoerr.New(mongoerr.FailedToParse, "'window' field can only contain 'documents' as the only argument "+
				"or 'range' with an optional 'unit' field, found %s", it.Key())
		}
	}
	switch {
	case !documents.IsMissing() && (!rng.IsMissing() || !unit.IsMissing()):
		return nil, mongoerr.New(mongoerr.FailedToParse, "'window' field can only contain 'documents' as the only argument "+
			"or 'range' with an optional 'unit' field")
	case !documents.IsMissing():
		return s.documentBounds(documents)
	case !rng.IsMissing():
		return s.rangeBounds(rng, unit)
	case !unit.IsMissing():
		return nil, mongoerr.New(mongoerr.FailedToParse, "Window bounds can only specify 'unit' with range-based bounds.")
	}
	return wholePartition, nil
}

func (s *windowSpec) documentBounds(v bsonval.Value) (*bounds, error) {
	b, err := s.ends(v, "documents", true)
	if err != nil {
		return nil, err
	}
	if s.sortBy == nil && !(b.low.unbounded && b.high.unbounded) {
		return nil, mongoerr.New(5339901, "Document-based bounds require a sortBy")
	}
	return b, nil
}

func (s *windowSpec) rangeBounds(v, unit bsonval.Value) (*bounds, error) {
	b, err := s.ends(v, "range", !unit.IsMissing())
	if err != nil {
		return nil, err
	}
	b.byRange = true
	if !unit.IsMissing() {
		if unit.Type() != bsonval.TypeString {
			return nil, mongoerr.New(mongoerr.FailedToParse, "'unit' must be a string")
		}
		b.unit = string(unit.Bytes())
		if _, err := expr.DateAdd(0, b.unit, 0); err != nil {
			return nil, err
		}
	}
	if s.sortBy == nil || len(s.sortBy.Parts()) != 1 || s.sortBy.HasMeta() {
		return nil, mongoerr.New(5339902, "Range-based bounds require sortBy a single field")
	}
	if s.sortBy.Parts()[0].Desc {
		return nil, mongoerr.New(8947401, "Range-based bounds require an ascending sortBy")
	}
	b.sortField, err = s.sortExpr()
	return b, err
}

// sortExpr is the sort field as an expression.
func (s *windowSpec) sortExpr() (expr.Expr, error) {
	return s.c.Compile(bsonval.String("$" + s.sortBy.Parts()[0].Path))
}

// ends reads [lower, upper]; integers says that offsets must be integers.
func (s *windowSpec) ends(v bsonval.Value, name string, integers bool) (*bounds, error) {
	if v.Type() != bsonval.TypeArray || v.Doc().Len() != 2 {
		return nil, mongoerr.New(mongoerr.FailedToParse, "Window bounds must be a 2-element array: %s: %s", name, bsonval.Format(v))
	}
	b := &bounds{}
	var err error
	if b.low, err = compileBound(v.Doc().Index(0), integers); err != nil {
		return nil, err
	}
	if b.high, err = compileBound(v.Doc().Index(1), integers); err != nil {
		return nil, err
	}
	if !b.low.unbounded && !b.high.unbounded && bsonval.CompareNumbers(b.low.offset, b.high.offset) > 0 {
		return nil, mongoerr.New(5339900, "Lower bound must not exceed upper bound: %s", bsonval.Format(v))
	}
	return b, nil
}

func compileBound(v bsonval.Value, integers bool) (bound, error) {
	if v.Type() == bsonval.TypeString {
		switch v.Str() {
		case "unbounded":
			return bound{unbounded: true}, nil
		case "current":
			return bound{offset: bsonval.Int32(0)}, nil
		}
		return bound{}, mongoerr.New(mongoerr.FailedToParse, "Window bounds must be 'unbounded', 'current', or a number.")
	}
	if !v.IsNumber() {
		return bound{}, mongoerr.New(mongoerr.FailedToParse, "Window bounds must be 'unbounded', 'current', or a number.")
	}
	if n, ok := v.AsInt64(); integers && (!ok || n > math.MaxInt32 || n < math.MinInt32) {
		return bound{}, mongoerr.New(mongoerr.FailedToParse, "Window bounds must be integers: %s", bsonval.Format(v))
	}
	return bound{offset: v.Clone()}, nil
}

// frames computes the frame of each document.
func (b *bounds) frames(p *partition) ([]frame, error) {
	if b.byRange {
		return b.rangeFrames(p)
	}
	n := len(p.docs)
	list := make([]frame, n)
	for i := range list {
		f := frame{0, n}
		if !b.low.unbounded {
			f.low = min(max(i+b.low.int(), 0), n)
		}
		if !b.high.unbounded {
			f.high = max(min(i+b.high.int()+1, n), f.low)
		}
		list[i] = f
	}
	return list, nil
}

func (b *bounds) rangeFrames(p *partition) ([]frame, error) {
	keys, err := p.values(b.sortField)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		switch {
		case b.unit == "" && !k.IsNumber():
			return nil, mongoerr.New(5429414, "Invalid range: Expected the sortBy field to be a number, but it was %s", k.Type())
		case b.unit != "" && k.Type() != bsonval.TypeDate:
			return nil, mongoerr.New(5429513, "Invalid range: Expected the sortBy field to be a Date, but it was %s", k.Type())
		}
	}
	n := len(keys)
	list := make([]frame, n)
	f := frame{}
	for i, k := range keys {
		if !b.low.unbounded {
			limit, err := b.shift(k, b.low)
			if err != nil {
				return nil, err
			}
			for f.low < n && bsonval.Compare(keys[f.low], limit) < 0 {
				f.low++
			}
		}
		if b.high.unbounded {
			f.high = n
		} else {
			limit, err := b.shift(k, b.high)
			if err != nil {
				return nil, err
			}
			for f.high < n && bsonval.Compare(keys[f.high], limit) <= 0 {
				f.high++
			}
		}
		list[i] = frame{min(f.low, f.high), f.high}
	}
	return list, nil
}

// shift is a sort value moved by a bound's offset.
func (b *bounds) shift(v bsonval.Value, by bound) (bsonval.Value, error) {
	if b.unit == "" {
		sum, _ := bsonval.Add(v, by.offset)
		return sum, nil
	}
	ms, err := expr.DateAdd(v.Int64(), b.unit, by.offset.TruncInt64())
	return bsonval.Date(ms), err
}
