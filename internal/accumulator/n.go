package accumulator

import (
	"sort"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

var nOperators = []operator{
	{name: "$firstN", doc: "Returns the values of the first n documents.",
		compile: compileN(func(n int) collector { return &firstN{n: n} })},
	{name: "$lastN", doc: "Returns the values of the last n documents.",
		compile: compileN(func(n int) collector { return &lastN{n: n} })},
	{name: "$maxN", doc: "Returns the n largest values.",
		compile: compileN(func(n int) collector { return &extremeN{n: n, sign: -1} })},
	{name: "$minN", doc: "Returns the n smallest values.",
		compile: compileN(func(n int) collector { return &extremeN{n: n, sign: 1} })},
}

func compileN(start func(n int) collector) func(*expr.Compiler, *operator, bsonval.Value) (*Factory, error) {
	return func(c *expr.Compiler, op *operator, arg bsonval.Value) (*Factory, error) {
		raw, err := splitArguments(op.name, arg, 5787801, 5787901,
			namedArgument{"n", 5787906}, namedArgument{"input", 5787907})
		if err != nil {
			return nil, err
		}
		f := &Factory{name: op.name, start: func(_ *expr.Context, n int) (collector, error) { return start(n), nil }}
		if f.n, err = c.Compile(raw[0]); err != nil {
			return nil, err
		}
		if v, ok := expr.ConstantValue(f.n); ok {
			if _, err := expr.CheckN(v); err != nil {
				return nil, err
			}
		}
		f.input, err = c.Compile(raw[1])
		return f, err
	}
}

// values are the values that a collector of n keeps.
type values struct {
	list  []bsonval.Value
	bytes int
}

func (l *values) result(*expr.Context) (bsonval.Value, error) { return bsonval.ArrayOf(l.list...), nil }

func (l *values) size() int { return l.bytes }

func (l *values) partial() bsonval.Value { return bsonval.ArrayOf(l.list...) }

func mergeElements(c *expr.Context, col collector, partial bsonval.Value) error {
	it := partial.Doc().Iter()
	for it.Next() {
		if err := col.add(c, it.Value()); err != nil {
			return err
		}
	}
	return nil
}

// firstN is $firstN.
type firstN struct {
	values
	n int
}

func (f *firstN) add(_ *expr.Context, v bsonval.Value) error {
	if len(f.list) == f.n {
		return nil
	}
	f.list = append(f.list, v.Clone())
	f.bytes += valueBytes(v)
	return checkArrayBytes("$firstN", f.bytes)
}

func (f *firstN) merge(c *expr.Context, partial bsonval.Value) error {
	return mergeElements(c, f, partial)
}

// lastN is $lastN. The list may run up to twice n before it is cut.
type lastN struct {
	values
	n int
}

func (l *lastN) add(_ *expr.Context, v bsonval.Value) error {
	if len(l.list) >= 2*l.n {
		l.cut()
	}
	l.list = append(l.list, v.Clone())
	l.bytes += valueBytes(v)
	if l.bytes > maxArrayBytes {
		l.cut()
	}
	return checkArrayBytes("$lastN", l.bytes)
}

func (l *lastN) cut() {
	extra := len(l.list) - l.n
	if extra <= 0 {
		return
	}
	for _, v := range l.list[:extra] {
		l.bytes -= valueBytes(v)
	}
	l.list = l.list[:copy(l.list, l.list[extra:])]
}

func (l *lastN) result(c *expr.Context) (bsonval.Value, error) {
	l.cut()
	return l.values.result(c)
}

func (l *lastN) partial() bsonval.Value {
	l.cut()
	return l.values.partial()
}

func (l *lastN) merge(c *expr.Context, partial bsonval.Value) error {
	return mergeElements(c, l, partial)
}

// extremeN is $minN (sign 1) and $maxN (-1): the values in order, at most n.
// Null does not count.
type extremeN struct {
	values
	n, sign int
}

func (e *extremeN) add(c *expr.Context, v bsonval.Value) error {
	if v.IsNullish() {
		return nil
	}
	// The first place whose value must come after v.
	at := sort.Search(len(e.list), func(i int) bool {
		return e.sign*bsonval.CompareCollated(e.list[i], v, c.Env.Collator) > 0
	})
	if at == e.n {
		return nil
	}
	if len(e.list) == e.n {
		e.bytes -= valueBytes(e.list[e.n-1])
		e.list = e.list[:e.n-1]
	}
	e.list = append(e.list, bsonval.Missing)
	copy(e.list[at+1:], e.list[at:])
	e.list[at] = v.Clone()
	e.bytes += valueBytes(v)
	return checkArrayBytes("$minN", e.bytes)
}

func (e *extremeN) merge(c *expr.Context, partial bsonval.Value) error {
	return mergeElements(c, e, partial)
}
