package expr

import (
	"math"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// The accumulators as expressions work on their arguments, or on the elements
// of their only argument if that is an array.
var accumulateOperators = []operator{
	{name: "$avg", doc: "Returns the average of numbers.", max: -1, fn: average},
	{name: "$firstN", doc: "Returns the first n elements of an array.", compile: nSignature(firstN).compile},
	{name: "$lastN", doc: "Returns the last n elements of an array.", compile: nSignature(lastN).compile},
	{name: "$max", doc: "Returns the largest value.", max: -1, fn: maximum},
	{name: "$maxN", doc: "Returns the n largest elements of an array.", compile: nSignature(maxN).compile},
	{name: "$median", doc: "Returns the median of numbers.", compile: compilePercentile},
	{name: "$min", doc: "Returns the smallest value.", max: -1, fn: minimum},
	{name: "$minN", doc: "Returns the n smallest elements of an array.", compile: nSignature(minN).compile},
	{name: "$percentile", doc: "Returns percentiles of numbers.", compile: compilePercentile},
	{name: "$stdDevPop", doc: "Returns the standard deviation of a population.", max: -1, fn: stdDevPop},
	{name: "$stdDevSamp", doc: "Returns the standard deviation of a sample.", max: -1, fn: stdDevSamp},
	{name: "$sum", doc: "Returns the sum of numbers.", max: -1, fn: sum},
}

// accumulated calls f with each value that an accumulator's arguments hold.
func accumulated(args []bsonval.Value, f func(bsonval.Value)) {
	if len(args) == 1 && args[0].Type() == bsonval.TypeArray {
		it := args[0].Doc().Iter()
		for it.Next() {
			f(it.Value())
		}
		return
	}
	for _, v := range args {
		f(v)
	}
}

func sum(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	var s Sum
	accumulated(args, func(v bsonval.Value) {
		if v.IsNumber() {
			s.Add(v)
		}
	})
	return s.Value(), nil
}

func average(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	var s Sum
	n := int64(0)
	accumulated(args, func(v bsonval.Value) {
		if v.IsNumber() {
			s.Add(v)
			n++
		}
	})
	return s.Average(n), nil
}

// Average is the total divided by the number of terms, a decimal if there were
// any, else a double; null if there are no terms.
func (s *Sum) Average(n int64) bsonval.Value {
	switch {
	case n == 0:
		return bsonval.Null
	case s.Type() == bsonval.TypeDecimal128:
		return bsonval.DecimalValue(s.Decimal().Quo(bsonval.DecimalFromInt64(n)))
	}
	return bsonval.Double(s.Double() / float64(n))
}

func minimum(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	return extreme(c, args, -1), nil
}

func maximum(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	return extreme(c, args, 1), nil
}

// extreme returns the smallest (sign -1) or largest (1) value that is not null.
func extreme(c *Context, args []bsonval.Value, sign int) bsonval.Value {
	best := bsonval.Null
	accumulated(args, func(v bsonval.Value) {
		if v.IsNullish() {
			return
		}
		if best.IsNullish() || bsonval.CompareCollated(v, best, c.Env.Collator) == sign {
			best = v
		}
	})
	return best
}

func stdDevPop(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	var s StdDev
	accumulated(args, s.Add)
	return s.Value(false), nil
}

func stdDevSamp(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	var s StdDev
	accumulated(args, s.Add)
	return s.Value(true), nil
}

// CheckN checks the n of $firstN, $topN and the like.
func CheckN(v bsonval.Value) (int64, error) {
	if !v.IsNumber() {
		return 0, mongoerr.New(5787902, "Value for 'n' must be of integral type, but found %s", bsonval.Format(v))
	}
	n, ok := v.AsInt64()
	if !ok {
		return 0, mongoerr.New(5787903, "Value for 'n' must be of integral type, but found %s", bsonval.Format(v))
	}
	if n <= 0 {
		return 0, mongoerr.New(5787908, "'n' must be greater than 0, found %d", n)
	}
	return n, nil
}

// nSignature is the signature of {n, input}; pick chooses from input's elements.
func nSignature(pick func(c *Context, list []bsonval.Value, n int) []bsonval.Value) *signature {
	return &signature{notObject: 5787900, unknown: 5787901, args: []argument{{"n", 5787906}, {"input", 5787907}},
		fn: func(c *Context, args []bsonval.Value, _ argumentSet) (bsonval.Value, error) {
			n, err := CheckN(args[0])
			if err != nil {
				return bsonval.Missing, err
			}
			if args[1].Type() != bsonval.TypeArray {
				return bsonval.Missing, mongoerr.New(5788200, "Input must be an array")
			}
			return bsonval.ArrayOf(pick(c, args[1].Doc().Values(nil), int(min(n, math.MaxInt32)))...), nil
		}}
}

func firstN(_ *Context, list []bsonval.Value, n int) []bsonval.Value { return list[:min(n, len(list))] }

func lastN(_ *Context, list []bsonval.Value, n int) []bsonval.Value {
	return list[max(0, len(list)-n):]
}

func minN(c *Context, list []bsonval.Value, n int) []bsonval.Value { return extremes(c, list, n, 1) }

func maxN(c *Context, list []bsonval.Value, n int) []bsonval.Value { return extremes(c, list, n, -1) }

func extremes(c *Context, list []bsonval.Value, n, sign int) []bsonval.Value {
	list = slices.DeleteFunc(list, bsonval.Value.IsNullish)
	slices.SortStableFunc(list, func(a, b bsonval.Value) int {
		return sign * bsonval.CompareCollated(a, b, c.Env.Collator)
	})
	return list[:min(n, len(list))]
}
