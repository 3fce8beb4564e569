package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var windowFillOperators = []windowOperator{
	{"$expMovingAvg", "Returns the exponential moving average.", compileExpMovingAvg},
	{"$linearFill", "Fills null values on a line between their neighbours.", compileLinearFill},
	{"$locf", "Fills null values with the last one that is not null.", compileLOCF},
}

func compileLOCF(s *windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
	if err := s.checkNoWindow(); err != nil {
		return nil, err
	}
	input, err := s.c.Compile(s.arg)
	if err != nil {
		return nil, err
	}
	return func(p *partition) ([]bsonval.Value, error) {
		values, err := p.values(input)
		if err != nil {
			return nil, err
		}
		last := bsonval.Null
		for i, v := range values {
			if !v.IsNullish() {
				last = v.Clone()
			}
			values[i] = last
		}
		return values, nil
	}, nil
}

func compileLinearFill(s *windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
	if err := s.checkNoWindow(); err != nil {
		return nil, err
	}
	if s.sortBy == nil {
		return nil, mongoerr.New(605001, "$linearFill must be specified with a top level sortBy expression")
	}
	if len(s.sortBy.Parts()) != 1 || s.sortBy.HasMeta() {
		return nil, mongoerr.New(605001, "$linearFill must be specified with a top level sortBy expression with exactly one element")
	}
	input, err := s.c.Compile(s.arg)
	if err != nil {
		return nil, err
	}
	sortField, err := s.sortExpr()
	if err != nil {
		return nil, err
	}
	return func(p *partition) ([]bsonval.Value, error) { return linearFill(p, sortField, input) }, nil
}

func linearFill(p *partition, sortField, input expr.Expr) ([]bsonval.Value, error) {
	xs, err := p.values(sortField)
	if err != nil {
		return nil, err
	}
	ys, err := p.values(input)
	if err != nil {
		return nil, err
	}
	for i, x := range xs {
		if !x.IsNumber() && x.Type() != bsonval.TypeDate || i > 0 && x.Type().Order() != xs[i-1].Type().Order() {
			return nil, mongoerr.New(mongoerr.TypeMismatch, "Value to be sorted by must be numeric or a date")
		}
		if i > 0 && bsonval.Compare(x, xs[i-1]) == 0 {
			return nil, mongoerr.New(6050106, "There can be no repeated values in the sort field")
		}
		if !ys[i].IsNumber() && !ys[i].IsNullish() {
			return nil, mongoerr.New(mongoerr.TypeMismatch, "Value to be filled must be numeric or nullish")
		}
	}
	results := make([]bsonval.Value, len(ys))
	last := -1
	for i, y := range ys {
		results[i] = bsonval.Null
		if y.IsNullish() {
			continue
		}
		results[i] = y.Clone()
		for j := last + 1; last >= 0 && j < i; j++ {
			results[j] = interpolate(xs, ys, last, i, j)
		}
		last = i
	}
	return results, nil
}

// interpolate is the value at j on the line from point a to point b.
func interpolate(xs, ys []bsonval.Value, a, b, j int) bsonval.Value {
	number := func(v bsonval.Value) bsonval.Value {
		if v.Type() == bsonval.TypeDate {
			return bsonval.Int64(v.Int64())
		}
		return v
	}
	rise, _ := bsonval.Sub(ys[b], ys[a])
	run, _ := bsonval.Sub(number(xs[b]), number(xs[a]))
	step, _ := bsonval.Sub(number(xs[j]), number(xs[a]))
	part, _ := bsonval.Mul(quotient(rise, run), step)
	sum, _ := bsonval.Add(ys[a], part)
	return sum
}

func compileExpMovingAvg(s *windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
	if err := s.checkNoWindow(); err != nil {
		return nil, err
	}
	if s.sortBy == nil {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$expMovingAvg requires an explicit 'sortBy'")
	}
	raw, err := splitArguments(s.name, s.arg, mongoerr.FailedToParse, mongoerr.FailedToParse,
		namedArgument{"input", mongoerr.FailedToParse}, namedArgument{"N", 0}, namedArgument{"alpha", 0})
	if err != nil {
		return nil, err
	}
	alpha, err := movingAlpha(raw[1], raw[2])
	if err != nil {
		return nil, err
	}
	input, err := s.c.Compile(raw[0])
	if err != nil {
		return nil, err
	}
	return func(p *partition) ([]bsonval.Value, error) {
		values, err := p.values(input)
		if err != nil {
			return nil, err
		}
		average := bsonval.Null
		for i, v := range values {
			average = movingStep(average, v, alpha)
			values[i] = average
		}
		return values, nil
	}, nil
}

// movingAlpha is the weight of a new value: given, or 2/(N+1).
func movingAlpha(n, alpha bsonval.Value) (bsonval.Value, error) {
	switch {
	case n.IsMissing() == alpha.IsMissing():
		return alpha, mongoerr.New(mongoerr.FailedToParse, "$expMovingAvg must have exactly one of 'N' and 'alpha'")
	case alpha.IsMissing():
		count, ok := n.AsInt64()
		if !ok || count <= 0 {
			return alpha, mongoerr.New(mongoerr.FailedToParse, "'N' field must be an integer greater than 0, but found N: %s",
				bsonval.Format(n))
		}
		return bsonval.Double(2 / (float64(count) + 1)), nil
	case !alpha.IsNumber():
		return alpha, mongoerr.New(mongoerr.FailedToParse, "'alpha' field must be a number, but found alpha: %s", bsonval.Format(alpha))
	}
	if f := alpha.AsDouble(); !(f > 0 && f < 1) {
		return alpha, mongoerr.New(mongoerr.FailedToParse, "'alpha' must be between 0 and 1 (exclusive), found alpha: %s",
			bsonval.Format(alpha))
	}
	return alpha.Clone(), nil
}

// movingStep takes one value into the average; values that are no numbers leave
// it as it is.
func movingStep(average, v, alpha bsonval.Value) bsonval.Value {
	switch {
	case !v.IsNumber():
		return average
	case average.IsNullish() && v.Type() == bsonval.TypeDecimal128:
		return v.Clone()
	case average.IsNullish():
		return bsonval.Double(v.AsDouble())
	case v.Type() == bsonval.TypeDecimal128 || average.Type() == bsonval.TypeDecimal128:
		a := alpha.AsDecimal()
		rest := bsonval.DecimalFromInt64(1).Sub(a)
		return bsonval.DecimalValue(v.AsDecimal().Mul(a).Add(average.AsDecimal().Mul(rest)))
	}
	a := alpha.AsDouble()
	return bsonval.Double(v.AsDouble()*a + average.AsDouble()*(1-a))
}
