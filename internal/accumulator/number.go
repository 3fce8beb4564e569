package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var numberOperators = []operator{
	{name: "$avg", doc: "Averages numbers.", start: func(*expr.Context, int) (collector, error) { return &average{}, nil }},
	{name: "$count", doc: "Counts documents.", compile: compileCount},
	{name: "$stdDevPop", doc: "Computes the standard deviation of a population.",
		start: func(*expr.Context, int) (collector, error) { return &deviation{}, nil }},
	{name: "$stdDevSamp", doc: "Computes the standard deviation of a sample.",
		start: func(*expr.Context, int) (collector, error) { return &deviation{sample: true}, nil }},
	{name: "$sum", doc: "Adds numbers.", start: startSum},
}

func startSum(*expr.Context, int) (collector, error) { return &total{}, nil }

func compileCount(_ *expr.Compiler, op *operator, arg bsonval.Value) (*Factory, error) {
	if arg.Type() != bsonval.TypeDocument || !arg.Doc().IsEmpty() {
		return nil, mongoerr.New(mongoerr.TypeMismatch, "$count takes no arguments, i.e. $count:{}")
	}
	return &Factory{name: op.name, input: expr.Constant(bsonval.Int32(1)), start: startSum}, nil
}

// total is $sum.
type total struct{ sum expr.Sum }

func (t *total) add(_ *expr.Context, v bsonval.Value) error {
	if v.IsNumber() {
		t.sum.Add(v)
	}
	return nil
}

// addTimes adds a small integer so many times.
func (t *total) addTimes(v bsonval.Value, n int64) {
	t.sum.Add(v)
	const most = 1 << 31 // of those the product is no larger than an int64
	for n--; n > 0; n -= most {
		t.sum.AddInt64(min(n, most) * v.Int64())
	}
}

func (t *total) result(*expr.Context) (bsonval.Value, error) { return t.sum.Value(), nil }

func (t *total) size() int { return 0 }

func (t *total) partial() bsonval.Value { return t.sum.State() }

func (t *total) merge(_ *expr.Context, partial bsonval.Value) error {
	o := expr.SumFromState(partial)
	t.sum.Merge(&o)
	return nil
}

// average is $avg.
type average struct {
	sum   expr.Sum
	count int64
}

func (a *average) add(_ *expr.Context, v bsonval.Value) error {
	if v.IsNumber() {
		a.sum.Add(v)
		a.count++
	}
	return nil
}

func (a *average) result(*expr.Context) (bsonval.Value, error) { return a.sum.Average(a.count), nil }

func (a *average) size() int { return 0 }

func (a *average) partial() bsonval.Value {
	return bsonval.ArrayOf(a.sum.State(), bsonval.Int64(a.count))
}

func (a *average) merge(_ *expr.Context, partial bsonval.Value) error {
	o := expr.SumFromState(partial.Doc().Index(0))
	a.sum.Merge(&o)
	a.count += partial.Doc().Index(1).Int64()
	return nil
}

// deviation is $stdDevPop and $stdDevSamp.
type deviation struct {
	dev    expr.StdDev
	sample bool
}

func (d *deviation) add(_ *expr.Context, v bsonval.Value) error {
	d.dev.Add(v)
	return nil
}

func (d *deviation) result(*expr.Context) (bsonval.Value, error) { return d.dev.Value(d.sample), nil }

func (d *deviation) size() int { return 0 }

func (d *deviation) partial() bsonval.Value {
	return bsonval.ArrayOf(bsonval.Int64(d.dev.Count), bsonval.Double(d.dev.Mean), bsonval.Double(d.dev.M2))
}

func (d *deviation) merge(_ *expr.Context, partial bsonval.Value) error {
	a := partial.Doc()
	d.dev.Merge(&expr.StdDev{Count: a.Index(0).Int64(), Mean: a.Index(1).Double(), M2: a.Index(2).Double()})
	return nil
}
