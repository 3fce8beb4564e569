package accumulator

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var windowStatisticsOperators = []windowOperator{
	{"$covariancePop", "Returns the covariance of two populations.", compileCovariance(false)},
	{"$covarianceSamp", "Returns the covariance of two samples.", compileCovariance(true)},
	{"$minMaxScaler", "Scales a value from the window's range to another.", compileMinMaxScaler},
}

func compileCovariance(sample bool) func(*windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
	return func(s *windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
		return s.compileAccumulator(&operator{name: s.name, start: func(*expr.Context, int) (collector, error) {
			return &covariance{sample: sample}, nil
		}})
	}
}

// covariance takes [x, y]; pairs that are not two numbers are ignored.
type covariance struct {
	sample       bool
	count        int64
	meanX, meanY float64
	sum          float64 // of the products of the distances from the means
}

func (k *covariance) add(_ *expr.Context, v bsonval.Value) error {
	if v.Type() != bsonval.TypeArray || v.Doc().Len() != 2 {
		return nil
	}
	vx, vy := v.Doc().Index(0), v.Doc().Index(1)
	if !vx.IsNumber() || !vy.IsNumber() {
		return nil
	}
	x, y := vx.AsDouble(), vy.AsDouble()
	k.count++
	dx := x - k.meanX
	k.meanX += dx / float64(k.count)
	k.meanY += (y - k.meanY) / float64(k.count)
	k.sum += dx * (y - k.meanY)
	return nil
}

func (k *covariance) result(*expr.Context) (bsonval.Value, error) {
	n := k.count
	if k.sample {
		n--
	}
	if n <= 0 {
		return bsonval.Null, nil
	}
	return bsonval.Double(k.sum / float64(n)), nil
}

func (k *covariance) size() int { return 0 }

func (k *covariance) partial() bsonval.Value {
	return bsonval.ArrayOf(bsonval.Int64(k.count), bsonval.Double(k.meanX), bsonval.Double(k.meanY), bsonval.Double(k.sum))
}

func (k *covariance) merge(_ *expr.Context, partial bsonval.Value) error {
	a := partial.Doc()
	n, m := float64(k.count), float64(a.Index(0).Int64())
	if m == 0 {
		return nil
	}
	dx, dy := a.Index(1).Double()-k.meanX, a.Index(2).Double()-k.meanY
	k.sum += a.Index(3).Double() + dx*dy*n*m/(n+m)
	k.meanX += dx * m / (n + m)
	k.meanY += dy * m / (n + m)
	k.count += int64(m)
	return nil
}

func compileMinMaxScaler(s *windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
	if err := s.checkExtra(); err != nil {
		return nil, err
	}
	raw, err := splitArguments(s.name, s.arg, mongoerr.FailedToParse, mongoerr.FailedToParse,
		namedArgument{"input", mongoerr.FailedToParse}, namedArgument{"min", 0}, namedArgument{"max", 0})
	if err != nil {
		return nil, err
	}
	low, high := bsonval.Int32(0), bsonval.Int32(1)
	for i, limit := range []*bsonval.Value{&low, &high} {
		if v := raw[i+1]; v.IsNumber() {
			*limit = v.Clone()
		} else if !v.IsMissing() {
			return nil, mongoerr.New(mongoerr.FailedToParse, "$minMaxScaler 'min' and 'max' must be numbers, found %s", bsonval.Format(v))
		}
	}
	if bsonval.CompareNumbers(low, high) >= 0 {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$minMaxScaler 'min' must be less than 'max'")
	}
	input, err := s.c.Compile(raw[0])
	if err != nil {
		return nil, err
	}
	b, err := s.compileBounds()
	if err != nil {
		return nil, err
	}
	return func(p *partition) ([]bsonval.Value, error) { return minMaxScale(p, input, b, low, high) }, nil
}

func minMaxScale(p *partition, input expr.Expr, b *bounds, low, high bsonval.Value) ([]bsonval.Value, error) {
	values, err := p.values(input)
	if err != nil {
		return nil, err
	}
	frames, err := b.frames(p)
	if err != nil {
		return nil, err
	}
	span, _ := bsonval.Sub(high, low)
	results := make([]bsonval.Value, len(values))
	var smallest, largest bsonval.Value
	for i, f := range frames {
		if i == 0 || f != frames[i-1] {
			smallest, largest = frameRange(values[f.low:f.high])
		}
		v := values[i]
		if !v.IsNumber() || smallest.IsMissing() {
			results[i] = bsonval.Null
			continue
		}
		width, _ := bsonval.Sub(largest, smallest)
		if width.IsZero() {
			results[i] = low
			continue
		}
		above, _ := bsonval.Sub(v, smallest)
		scaled, _ := bsonval.Mul(quotient(above, width), span)
		results[i], _ = bsonval.Add(scaled, low)
	}
	return results, nil
}

// frameRange is the smallest and largest number, missing if there is none.
func frameRange(values []bsonval.Value) (smallest, largest bsonval.Value) {
	for _, v := range values {
		if !v.IsNumber() {
			continue
		}
		if smallest.IsMissing() || bsonval.CompareNumbers(v, smallest) < 0 {
			smallest = v
		}
		if largest.IsMissing() || bsonval.CompareNumbers(v, largest) > 0 {
			largest = v
		}
	}
	return smallest, largest
}

// slidingDeviation is $stdDevPop and $stdDevSamp over a window whose lower end
// moves: infinities and NaN make it null, and a single value deviates by the
// int32 0.
type slidingDeviation struct {
	deviation
	sample    bool
	nonFinite bool
}

func (d *slidingDeviation) add(c *expr.Context, v bsonval.Value) error {
	if v.IsNumber() {
		f := v.AsDouble()
		d.nonFinite = d.nonFinite || math.IsNaN(f) || math.IsInf(f, 0)
	}
	return d.deviation.add(c, v)
}

func (d *slidingDeviation) result(*expr.Context) (bsonval.Value, error) {
	switch {
	case d.nonFinite:
		return bsonval.Null, nil
	case d.dev.Count == 1 && !d.sample:
		return bsonval.Int32(0), nil
	}
	return d.dev.Value(d.sample), nil
}
