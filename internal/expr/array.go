package expr

import (
	"math"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var arrayOperators = []operator{
	{name: "$arrayElemAt", doc: "Returns the element at a position, counted from the end if negative.",
		min: 2, max: 2, fn: arrayElemAt},
	{name: "$concatArrays", doc: "Joins arrays into one.", max: -1, fn: concatArrays},
	{name: "$first", doc: "Returns the first element of an array.", min: 1, max: 1, fn: firstElement},
	{name: "$in", doc: "Says whether a value is in an array.", min: 2, max: 2, fn: inArray},
	{name: "$indexOfArray", doc: "Returns the position of a value in an array, or -1.", min: 2, max: 4, fn: indexOfArray},
	{name: "$isArray", doc: "Says whether a value is an array.", min: 1, max: 1, fn: isArray},
	{name: "$last", doc: "Returns the last element of an array.", min: 1, max: 1, fn: lastElement},
	{name: "$range", doc: "Returns the integers from a start up to an end, by steps.", min: 2, max: 3, fn: rangeArray},
	{name: "$reverseArray", doc: "Returns an array's elements in reverse order.", min: 1, max: 1, fn: reverseArray},
	{name: "$size", doc: "Returns the number of elements of an array.", min: 1, max: 1, fn: sizeOfArray},
	{name: "$slice", doc: "Returns a part of an array.", min: 2, max: 3, fn: sliceArray},
}

// asInt32 converts a number that is an integer in int32's range exactly.
func asInt32(v bsonval.Value) (int, bool) {
	n, ok := v.AsInt64()
	return int(n), ok && n >= math.MinInt32 && n <= math.MaxInt32
}

func arrayElemAt(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	a, index := args[0], args[1]
	if a.IsNullish() || index.IsNullish() {
		return bsonval.Null, nil
	}
	if a.Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(28689, "$arrayElemAt's first argument must be an array, but is %s", a.Type())
	}
	if !index.IsNumber() {
		return bsonval.Missing, mongoerr.New(28690,
			"$arrayElemAt's second argument must be a numeric value, but is %s", index.Type())
	}
	n, ok := asInt32(index)
	if !ok {
		return bsonval.Missing, mongoerr.New(28691,
			"$arrayElemAt's second argument must be representable as a 32-bit integer: %s", bsonval.Format(index))
	}
	if n < 0 {
		if n += a.Doc().Len(); n < 0 {
			return bsonval.Missing, nil
		}
	}
	return a.Doc().Index(n), nil
}

func firstElement(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return endElement("$first", args[0], 0)
}

func lastElement(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return endElement("$last", args[0], -1)
}

func endElement(name string, a bsonval.Value, index int) (bsonval.Value, error) {
	if a.IsNullish() {
		return bsonval.Null, nil
	}
	if a.Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(28689, "%s's argument must be an array, but is %s", name, a.Type())
	}
	if index == 0 {
		return a.Doc().Index(0), nil
	}
	var last bsonval.Value
	it := a.Doc().Iter()
	for it.Next() {
		last = it.Value()
	}
	return last, nil
}

func concatArrays(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	for _, a := range args {
		if a.IsNullish() {
			return bsonval.Null, nil
		}
		if a.Type() != bsonval.TypeArray {
			return bsonval.Missing, mongoerr.New(28664, "$concatArrays only supports arrays, not %s", a.Type())
		}
	}
	b := bsonval.NewArrayBuilder()
	for _, a := range args {
		if err := checkSize(bsonval.TypeArray, b.Len()+len(a.Bytes())); err != nil {
			return bsonval.Missing, err
		}
		it := a.Doc().Iter()
		for it.Next() {
			b.Add(it.Value())
		}
	}
	return bsonval.Array(b.Build()), nil
}

func inArray(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[1].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(40081, "$in requires an array as a second argument, found: %s", args[1].Type())
	}
	it := args[1].Doc().Iter()
	for it.Next() {
		if bsonval.CompareCollated(args[0], it.Value(), c.Env.Collator) == 0 {
			return bsonval.True, nil
		}
	}
	return bsonval.False, nil
}

func indexOfArray(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].IsNullish() {
		return bsonval.Null, nil
	}
	if args[0].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(40090,
			"$indexOfArray requires an array as a first argument, found: %s", args[0].Type())
	}
	start, end := 0, math.MaxInt
	for i, bound := range []*int{&start, &end} {
		if len(args) < i+3 {
			break
		}
		n, err := indexBound(args[i+2], [2]string{"starting", "ending"}[i])
		if err != nil {
			return bsonval.Missing, err
		}
		*bound = n
	}
	it := args[0].Doc().Iter()
	for i := 0; i < end && it.Next(); i++ {
		if i >= start && bsonval.CompareCollated(args[1], it.Value(), c.Env.Collator) == 0 {
			return bsonval.Int32(int32(i)), nil
		}
	}
	return bsonval.Int32(-1), nil
}

func indexBound(v bsonval.Value, which string) (int, error) {
	n, ok := asInt32(v)
	if !ok {
		return 0, mongoerr.New(40096, "$indexOfArray requires an integral %s index, found a value of type: %s, with value: %s",
			which, v.Type(), bsonval.Format(v))
	}
	if n < 0 {
		return 0, mongoerr.New(40097, "$indexOfArray requires a nonnegative %s index, found: %d", which, n)
	}
	return n, nil
}

func isArray(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	return bsonval.Bool(args[0].Type() == bsonval.TypeArray), nil
}

// maxRangeBytes is how much memory $range may take, MongoDB's limit.
const maxRangeBytes = 100 << 20

// rangeElementBytes is what one element of a range counts towards maxRangeBytes.
const rangeElementBytes = 16

func rangeArray(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	bounds := [3]int{2: 1}
	for i, v := range args {
		what := [3]string{"starting", "ending", "step"}[i]
		if !v.IsNumber() {
			return bsonval.Missing, mongoerr.New(mongoerr.Code(34443+2*i),
				"$range requires a numeric %s value, found value of type: %s", what, v.Type())
		}
		n, ok := asInt32(v)
		if !ok {
			return bsonval.Missing, mongoerr.New(mongoerr.Code(34444+2*i),
				"$range requires a %s value that can be represented as a 32-bit integer, found value: %s",
				what, bsonval.Format(v))
		}
		bounds[i] = n
	}
	start, end, step := bounds[0], bounds[1], bounds[2]
	if step == 0 {
		return bsonval.Missing, mongoerr.New(34449, "$range requires a non-zero step value")
	}
	if n := (end - start) / step * rangeElementBytes; n > maxRangeBytes {
		return bsonval.Missing, mongoerr.New(mongoerr.ExceededMemoryLimit,
			"$range would use too much memory (%d bytes) and cannot spill to disk. Memory limit: %d bytes", n, maxRangeBytes)
	}
	b := bsonval.NewArrayBuilder()
	for i := start; step > 0 && i < end || step < 0 && i > end; i += step {
		b.Add(bsonval.Int32(int32(i)))
	}
	return bsonval.Array(b.Build()), nil
}

func reverseArray(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].IsNullish() {
		return bsonval.Null, nil
	}
	if args[0].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(34435,
			"The argument to $reverseArray must be an array, but was of type: %s", args[0].Type())
	}
	list := args[0].Doc().Values(nil)
	slices.Reverse(list)
	return bsonval.ArrayOf(list...), nil
}

func sizeOfArray(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(17124,
			"The argument to $size must be an array, but was of type: %s", args[0].Type())
	}
	return bsonval.Int32(int32(args[0].Doc().Len())), nil
}

func sliceArray(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].IsNullish() || args[1].IsNullish() {
		return bsonval.Null, nil
	}
	if args[0].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(28724, "First argument to $slice must be an array, but is of type: %s",
			args[0].Type())
	}
	n, err := sliceNumber(args[1], "Second", 28725, 28726)
	if err != nil {
		return bsonval.Missing, err
	}
	size := args[0].Doc().Len()
	start, end := 0, size
	switch {
	case len(args) == 3:
		if args[2].IsNullish() {
			return bsonval.Null, nil
		}
		count, err := sliceNumber(args[2], "Third", 28727, 28728)
		if err != nil {
			return bsonval.Missing, err
		}
		if count <= 0 {
			return bsonval.Missing, mongoerr.New(28729, "Third argument to $slice must be positive: %d", count)
		}
		if start = min(n, size); n < 0 {
			start = max(0, size+n)
		}
		end = min(size, start+count)
	case n < 0:
		start = max(0, size+n)
	default:
		end = min(size, n)
	}
	b := bsonval.NewArrayBuilder()
	it := args[0].Doc().Iter()
	for i := 0; i < end && it.Next(); i++ {
		if i >= start {
			b.Add(it.Value())
		}
	}
	return bsonval.Array(b.Build()), nil
}

func sliceNumber(v bsonval.Value, which string, notNumber, notInt mongoerr.Code) (int, error) {
	if !v.IsNumber() {
		return 0, mongoerr.New(notNumber, "%s argument to $slice must be numeric, but is of type: %s", which, v.Type())
	}
	n, ok := asInt32(v)
	if !ok {
		return 0, mongoerr.New(notInt, "%s argument to $slice can't be represented as a 32-bit integer: %s",
			which, bsonval.Format(v))
	}
	return n, nil
}
