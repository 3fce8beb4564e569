package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var setOperators = []operator{
	{name: "$allElementsTrue", doc: "Says whether no element of an array is false.", min: 1, max: 1, fn: allElementsTrue},
	{name: "$anyElementTrue", doc: "Says whether some element of an array is true.", min: 1, max: 1, fn: anyElementTrue},
	{name: "$setDifference", doc: "Returns the elements of the first array that are not in the second.",
		min: 2, max: 2, fn: setDifference},
	{name: "$setEquals", doc: "Says whether arrays have the same elements.", compile: compileSetEquals},
	{name: "$setIntersection", doc: "Returns the elements that all arrays have.", max: -1, fn: setIntersection},
	{name: "$setIsSubset", doc: "Says whether all elements of the first array are in the second.",
		min: 2, max: 2, fn: setIsSubset},
	{name: "$setUnion", doc: "Returns the elements that any of the arrays has.", max: -1, fn: setUnion},
}

// valueSet is a set of values by equality under a collation.
type valueSet struct {
	seen     map[string]bool
	collator bsonval.Collator
	key      []byte
}

func newValueSet(c *Context) *valueSet {
	return &valueSet{seen: map[string]bool{}, collator: c.Env.Collator}
}

// add puts a value in and says whether it is new.
func (s *valueSet) add(v bsonval.Value) bool {
	s.key = keystring.Append(s.key[:0], v, false, s.collator)
	if s.seen[string(s.key)] {
		return false
	}
	s.seen[string(s.key)] = true
	return true
}

func (s *valueSet) has(v bsonval.Value) bool {
	s.key = keystring.Append(s.key[:0], v, false, s.collator)
	return s.seen[string(s.key)]
}

func (s *valueSet) addAll(a bsonval.Value) *valueSet {
	it := a.Doc().Iter()
	for it.Next() {
		s.add(it.Value())
	}
	return s
}

func allElementsTrue(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(17040, "$allElementsTrue's argument must be an array, but is %s", args[0].Type())
	}
	it := args[0].Doc().Iter()
	for it.Next() {
		if !it.Value().Truthy() {
			return bsonval.False, nil
		}
	}
	return bsonval.True, nil
}

func anyElementTrue(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(17041, "$anyElementTrue's argument must be an array, but is %s", args[0].Type())
	}
	it := args[0].Doc().Iter()
	for it.Next() {
		if it.Value().Truthy() {
			return bsonval.True, nil
		}
	}
	return bsonval.False, nil
}

func setDifference(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].IsNullish() || args[1].IsNullish() {
		return bsonval.Null, nil
	}
	if args[0].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(17048,
			"both operands of $setDifference must be arrays. First argument is of type: %s", args[0].Type())
	}
	if args[1].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(17049,
			"both operands of $setDifference must be arrays. Second argument is of type: %s", args[1].Type())
	}
	seen := newValueSet(c).addAll(args[1])
	b := bsonval.NewArrayBuilder()
	it := args[0].Doc().Iter()
	for it.Next() {
		if seen.add(it.Value()) {
			b.Add(it.Value())
		}
	}
	return bsonval.Array(b.Build()), nil
}

// compileSetEquals has its own code for too few arguments.
func compileSetEquals(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	equals := operator{name: op.name, max: -1, fn: setEquals}
	args, err := c.compileArgs(&equals, arg)
	if err != nil {
		return nil, err
	}
	if len(args) < 2 {
		return nil, mongoerr.New(17045, "$setEquals needs at least two arguments had: %d", len(args))
	}
	return c.newCall(&equals, args)
}

func setEquals(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	var first *valueSet
	equal := true
	for i, a := range args {
		if a.Type() != bsonval.TypeArray {
			return bsonval.Missing, mongoerr.New(17044,
				"All operands of $setEquals must be arrays. %d-th argument is of type: %s", i+1, a.Type())
		}
		set := newValueSet(c).addAll(a)
		if first == nil {
			first = set
			continue
		}
		equal = equal && len(set.seen) == len(first.seen)
		for k := range set.seen {
			equal = equal && first.seen[k]
		}
		if !equal {
			return bsonval.False, nil
		}
	}
	return bsonval.True, nil
}

func setIntersection(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	var common []bsonval.Value
	for i, a := range args {
		if a.IsNullish() {
			return bsonval.Null, nil
		}
		if a.Type() != bsonval.TypeArray {
			return bsonval.Missing, mongoerr.New(17047,
				"All operands of $setIntersection must be arrays. One argument is of type: %s", a.Type())
		}
		set := newValueSet(c)
		if i == 0 {
			it := a.Doc().Iter()
			for it.Next() {
				if set.add(it.Value()) {
					common = append(common, it.Value())
				}
			}
			continue
		}
		set.addAll(a)
		kept := common[:0]
		for _, v := range common {
			if set.has(v) {
				kept = append(kept, v)
			}
		}
		if common = kept; len(common) == 0 {
			break
		}
	}
	return bsonval.ArrayOf(common...), nil
}

func setIsSubset(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(17046,
			"both operands of $setIsSubset must be arrays. First argument is of type: %s", args[0].Type())
	}
	if args[1].Type() != bsonval.TypeArray {
		return bsonval.Missing, mongoerr.New(17042,
			"both operands of $setIsSubset must be arrays. Second argument is of type: %s", args[1].Type())
	}
	set := newValueSet(c).addAll(args[1])
	it := args[0].Doc().Iter()
	for it.Next() {
		if !set.has(it.Value()) {
			return bsonval.False, nil
		}
	}
	return bsonval.True, nil
}

func setUnion(c *Context, args []bsonval.Value) (bsonval.Value, error) {
	set := newValueSet(c)
	b := bsonval.NewArrayBuilder()
	for _, a := range args {
		if a.IsNullish() {
			return bsonval.Null, nil
		}
		if a.Type() != bsonval.TypeArray {
			return bsonval.Missing, mongoerr.New(17043,
				"All operands of $setUnion must be arrays. One argument is of type: %s", a.Type())
		}
		it := a.Doc().Iter()
		for it.Next() {
			if set.add(it.Value()) {
				b.Add(it.Value())
			}
		}
	}
	return bsonval.Array(b.Build()), nil
}
