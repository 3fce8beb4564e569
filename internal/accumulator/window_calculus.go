package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var windowCalculusOperators = []windowOperator{
	{"$derivative", "Returns the average rate of change within the window.", compileCalculus(derivative)},
	{"$integral", "Returns the area under the curve within the window.", compileCalculus(integral)},
}

// curve is the points of a partition: x from the sort field, y the values.
type curve struct {
	x []bsonval.Value // numbers: milliseconds divided by the unit's, or plain
	y []bsonval.Value
}

// calculus computes a result from the points of one frame.
type calculus func(k *curve, f frame) bsonval.Value

func compileCalculus(compute calculus) func(*windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
	return func(s *windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
		if err := s.checkExtra(); err != nil {
			return nil, err
		}
		raw, err := splitArguments(s.name, s.arg, mongoerr.FailedToParse, mongoerr.FailedToParse,
			namedArgument{"input", mongoerr.FailedToParse}, namedArgument{"unit", 0})
		if err != nil {
			return nil, err
		}
		if s.sortBy == nil || len(s.sortBy.Parts()) != 1 {
			return nil, mongoerr.New(mongoerr.FailedToParse, "%s requires a sortBy with exactly one element", s.name)
		}
		if s.window.IsMissing() && s.name == "$derivative" {
			return nil, mongoerr.New(mongoerr.FailedToParse, "$derivative requires explicit window bounds")
		}
		unit, err := calculusUnit(s.name, raw[1])
		if err != nil {
			return nil, err
		}
		input, err := s.c.Compile(raw[0])
		if err != nil {
			return nil, err
		}
		sortField, err := s.sortExpr()
		if err != nil {
			return nil, err
		}
		b, err := s.compileBounds()
		if err != nil {
			return nil, err
		}
		return func(p *partition) ([]bsonval.Value, error) {
			k, err := newCurve(p, s.name, sortField, input, unit)
			if err != nil {
				return nil, err
			}
			frames, err := b.frames(p)
			if err != nil {
				return nil, err
			}
			results := make([]bsonval.Value, len(frames))
			for i, f := range frames {
				results[i] = compute(k, f)
			}
			return results, nil
		}, nil
	}
}

// calculusUnit is the length of the unit in milliseconds; 0 without one.
func calculusUnit(op string, v bsonval.Value) (int64, error) {
	if v.IsMissing() {
		return 0, nil
	}
	if v.Type() != bsonval.TypeString {
		return 0, mongoerr.New(mongoerr.FailedToParse, "%s 'unit' must be a string", op)
	}
	ms, ok := expr.TimeUnitMillis(v.Str())
	if ok {
		return ms, nil
	}
	if _, err := expr.DateAdd(0, string(v.Bytes()), 0); err != nil {
		return 0, err
	}
	return 0, mongoerr.New(5490710, "unit must be 'week' or smaller")
}

func newCurve(p *partition, op string, sortField, input expr.Expr, unit int64) (*curve, error) {
	k := &curve{}
	var err error
	if k.x, err = p.values(sortField); err != nil {
		return nil, err
	}
	for i, x := range k.x {
		switch {
		case unit > 0 && x.Type() != bsonval.TypeDate:
			return nil, mongoerr.New(5624900, "%s with 'unit' expects the sortBy field to be a Date", op)
		case unit == 0 && !x.IsNumber():
			return nil, mongoerr.New(5624901, "%s (with no 'unit') expects the sortBy field to be numeric", op)
		case unit > 0:
			k.x[i] = bsonval.Double(float64(x.Int64()) / float64(unit))
			if x.Int64()%unit == 0 {
				k.x[i] = bsonval.Int64(x.Int64() / unit)
			}
		}
	}
	k.y, err = p.values(input)
	return k, err
}

// quotient divides as a decimal if one of the numbers is one, else as doubles;
// null for a zero divisor.
func quotient(a, b bsonval.Value) bsonval.Value {
	switch {
	case b.IsZero():
		return bsonval.Null
	case a.Type() == bsonval.TypeDecimal128 || b.Type() == bsonval.TypeDecimal128:
		return bsonval.DecimalValue(a.AsDecimal().Quo(b.AsDecimal()))
	}
	return bsonval.Double(a.AsDouble() / b.AsDouble())
}

// derivative is the slope between the first and the last point of the frame.
func derivative(k *curve, f frame) bsonval.Value {
	if f.high-f.low < 2 {
		return bsonval.Null
	}
	first, last := f.low, f.high-1
	if !k.y[first].IsNumber() || !k.y[last].IsNumber() {
		return bsonval.Null
	}
	rise, _ := bsonval.Sub(k.y[last], k.y[first])
	run, _ := bsonval.Sub(k.x[last], k.x[first])
	return quotient(rise, run)
}

// integral sums the trapezoids between the points of the frame; values that are
// no numbers are passed over.
func integral(k *curve, f frame) bsonval.Value {
	var sum expr.Sum
	sum.Add(bsonval.Double(0))
	last, points := -1, 0
	for i := f.low; i < f.high; i++ {
		if !k.y[i].IsNumber() {
			continue
		}
		points++
		if last >= 0 {
			width, _ := bsonval.Sub(k.x[i], k.x[last])
			heights, _ := bsonval.Add(k.y[i], k.y[last])
			area, _ := bsonval.Mul(heights, width)
			sum.Add(quotient(area, bsonval.Int32(2)))
		}
		last = i
	}
	if points == 0 {
		return bsonval.Null
	}
	return sum.Value()
}
