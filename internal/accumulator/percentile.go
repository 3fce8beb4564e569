package accumulator

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var percentileOperators = []operator{
	{name: "$median", doc: "Returns the median of numbers.", compile: compilePercentile(7436100)},
	{name: "$percentile", doc: "Returns percentiles of numbers.", compile: compilePercentile(7429703)},
}

func compilePercentile(notObject mongoerr.Code) func(*expr.Compiler, *operator, bsonval.Value) (*Factory, error) {
	return func(c *expr.Compiler, op *operator, arg bsonval.Value) (*Factory, error) {
		p, err := expr.CompilePercentile(c, op.name, arg, notObject)
		if err != nil {
			return nil, err
		}
		return &Factory{name: op.name, input: p.Input, start: func(*expr.Context, int) (collector, error) {
			return &percentile{p: p}, nil
		}}, nil
	}
}

// percentile is $percentile and $median.
type percentile struct {
	p       *expr.Percentile
	numbers []float64
}

func (p *percentile) add(_ *expr.Context, v bsonval.Value) error {
	p.numbers = expr.AppendNumber(p.numbers, v)
	return nil
}

func (p *percentile) result(*expr.Context) (bsonval.Value, error) { return p.p.Result(p.numbers), nil }

func (p *percentile) size() int { return 8 * cap(p.numbers) }

// partial packs the numbers' bits into one binary value.
func (p *percentile) partial() bsonval.Value {
	b := make([]byte, 0, 8*len(p.numbers))
	for _, f := range p.numbers {
		b = bsonval.AppendValue(b, bsonval.Double(f))
	}
	return bsonval.Binary(0, b)
}

func (p *percentile) merge(_ *expr.Context, partial bsonval.Value) error {
	for b := partial.Bytes(); len(b) >= 8; b = b[8:] {
		bits := uint64(0)
		for i := range 8 {
			bits |= uint64(b[i]) << (8 * i)
		}
		p.numbers = append(p.numbers, math.Float64frombits(bits))
	}
	return nil
}
