package expr

import (
	"math"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Percentile is a compiled {input, p, method} of $percentile or {input, method}
// of $median.
type Percentile struct {
	Input  Expr
	ps     []float64
	median bool
}

// CompilePercentile compiles the argument of $percentile and $median; notObject
// is the code when it is no object.
func CompilePercentile(c *Compiler, op string, arg bsonval.Value, notObject mongoerr.Code) (*Percentile, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(notObject, "specification must be an object; found %s: %s", op, bsonval.Format(arg))
	}
	p := &Percentile{median: op == "$median"}
	fields := map[string]bsonval.Value{}
	it := arg.Doc().Iter()
	for it.Next() {
		switch name := string(it.Key()); {
		case name == "input" || name == "method" || name == "p" && !p.median:
			if _, twice := fields[name]; twice {
				return nil, mongoerr.New(40413, "BSON field '%s.%s' is a duplicate field", op, name)
			}
			fields[name] = it.Value()
		default:
			return nil, mongoerr.New(40415, "BSON field '%s.%s' is an unknown field.", op, name)
		}
	}
	for _, name := range []string{"input", "p", "method"} {
		if fields[name].IsMissing() && !(name == "p" && p.median) {
			return nil, mongoerr.New(40414, "BSON field '%s.%s' is missing but a required field", op, name)
		}
	}
	if err := checkPercentileMethod(op, fields["method"]); err != nil {
		return nil, err
	}
	var err error
	if p.Input, err = c.Compile(fields["input"]); err != nil {
		return nil, err
	}
	if p.median {
		p.ps = []float64{0.5}
		return p, nil
	}
	return p, p.compilePs(c, fields["p"])
}

func checkPercentileMethod(op string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeString {
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.method' is the wrong type '%s', expected type 'string'",
			op, v.Type())
	}
	if v.Str() != "approximate" {
		return mongoerr.New(mongoerr.BadValue, "Currently only 'approximate' can be used as percentile 'method'.")
	}
	return nil
}

func (p *Percentile) compilePs(c *Compiler, v bsonval.Value) error {
	e, err := c.Compile(v)
	if err != nil {
		return err
	}
	list, ok := ConstantValue(e)
	if !ok || list.Type() != bsonval.TypeArray {
		return mongoerr.New(7750300, "The $percentile 'p' field must be an array of constant values, but found value: %s",
			bsonval.Format(v))
	}
	it := list.Doc().Iter()
	for it.Next() {
		x := it.Value()
		if !x.IsNumber() {
			return mongoerr.New(7750302, "The $percentile 'p' field must be an array of numbers from [0.0, 1.0], but found: %s",
				bsonval.Format(x))
		}
		f := x.AsDouble()
		if !(f >= 0 && f <= 1) {
			return mongoerr.New(7750303, "The $percentile 'p' field must be an array of numbers from [0.0, 1.0], but found: %s",
				bsonval.Format(x))
		}
		p.ps = append(p.ps, f)
	}
	if len(p.ps) == 0 {
		return mongoerr.New(7750301, "The $percentile 'p' field cannot be an empty array")
	}
	return nil
}

// Result computes the percentiles of a set of numbers, which it sorts. Each is
// the smallest number that at least a share p of the set does not exceed.
func (p *Percentile) Result(numbers []float64) bsonval.Value {
	slices.Sort(numbers)
	at := func(share float64) bsonval.Value {
		if len(numbers) == 0 {
			return bsonval.Null
		}
		i := int(math.Ceil(share*float64(len(numbers)))) - 1
		return bsonval.Double(numbers[min(max(i, 0), len(numbers)-1)])
	}
	if p.median {
		return at(0.5)
	}
	b := bsonval.NewArrayBuilder()
	for _, share := range p.ps {
		b.Add(at(share))
	}
	return bsonval.Array(b.Build())
}

// percentileCall is $percentile or $median of a value or an array of values.
type percentileCall struct{ p *Percentile }

func (e percentileCall) Eval(c *Context) (bsonval.Value, error) {
	v, err := e.p.Input.Eval(c)
	if err != nil {
		return bsonval.Missing, err
	}
	var numbers []float64
	if v.Type() == bsonval.TypeArray {
		it := v.Doc().Iter()
		for it.Next() {
			numbers = AppendNumber(numbers, it.Value())
		}
	} else {
		numbers = AppendNumber(numbers, v)
	}
	return e.p.Result(numbers), nil
}

// AppendNumber appends a value as a double unless it is no number, or NaN.
func AppendNumber(numbers []float64, v bsonval.Value) []float64 {
	if !v.IsNumber() || v.IsNaN() {
		return numbers
	}
	return append(numbers, v.AsDouble())
}

func compilePercentile(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	notObject := mongoerr.Code(7436200)
	if op.name == "$median" {
		notObject = 7436201
	}
	p, err := CompilePercentile(c, op.name, arg, notObject)
	if err != nil {
		return nil, err
	}
	if _, ok := p.Input.(constant); ok {
		return c.fold(percentileCall{p})
	}
	return percentileCall{p}, nil
}
