package accumulator

import (
	"bytes"
	"sort"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

var topOperators = []operator{
	{name: "$bottom", doc: "Returns the value of the document that sorts last.", compile: compileTop(true, true)},
	{name: "$bottomN", doc: "Returns the values of the n documents that sort last.", compile: compileTop(true, false)},
	{name: "$top", doc: "Returns the value of the document that sorts first.", compile: compileTop(false, true)},
	{name: "$topN", doc: "Returns the values of the n documents that sort first.", compile: compileTop(false, false)},
}

func compileTop(bottom, single bool) func(*expr.Compiler, *operator, bsonval.Value) (*Factory, error) {
	return func(c *expr.Compiler, op *operator, arg bsonval.Value) (*Factory, error) {
		args := []namedArgument{{"output", 5788004}, {"sortBy", 5788005}, {"n", 5788003}}
		if single {
			args = args[:2]
		}
		raw, err := splitArguments(op.name, arg, 5788001, 5788002, args...)
		if err != nil {
			return nil, err
		}
		if raw[1].Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(5788604, "expected 'sortBy' to already be an object in the arguments to %s", op.name)
		}
		in := &sortedInput{}
		if in.pattern, err = sortkey.Compile(raw[1].Doc()); err != nil {
			return nil, err
		}
		for _, field := range in.pattern.Fields() {
			c.Deps.Add(field)
		}
		if in.output, err = c.Compile(raw[0]); err != nil {
			return nil, err
		}
		f := &Factory{name: op.name, input: in, start: func(_ *expr.Context, n int) (collector, error) {
			return &top{name: op.name, n: n, bottom: bottom, single: single}, nil
		}}
		if single {
			return f, nil
		}
		if f.n, err = c.Compile(raw[2]); err != nil {
			return nil, err
		}
		if v, ok := expr.ConstantValue(f.n); ok {
			if _, err := expr.CheckN(v); err != nil {
				return nil, err
			}
		}
		return f, nil
	}
}

// sortedInput evaluates to {k: sort key, v: output}.
type sortedInput struct {
	pattern *sortkey.Pattern
	output  expr.Expr
}

func (in *sortedInput) Eval(c *expr.Context) (bsonval.Value, error) {
	key, err := in.pattern.AppendMeta(make([]byte, 0, 32), c.Root, c.Meta, c.Env.Collator)
	if err != nil {
		return bsonval.Missing, err
	}
	v, err := in.output.Eval(c)
	if err != nil {
		return bsonval.Missing, err
	}
	d, at := bsonval.BeginDoc(make([]byte, 0, len(key)+len(v.Bytes())+48))
	d = bsonval.AppendElement(d, "k", bsonval.Binary(0, key))
	return bsonval.Document(bsonval.EndDoc(bsonval.AppendElement(d, "v", v), at)), nil
}

// top is $top, $topN and, from the other end, $bottom and $bottomN: the
// documents in order, at most n. Of documents that sort alike, those seen first
// are kept.
type top struct {
	name           string
	n              int
	bottom, single bool
	list           []topEntry
	bytes          int
}

type topEntry struct {
	key []byte
	v   bsonval.Value
}

func (t *top) add(_ *expr.Context, v bsonval.Value) error {
	key, value := v.Doc().Lookup("k").Bytes(), v.Doc().Lookup("v")
	if len(t.list) == t.n {
		if t.bottom && bytes.Compare(key, t.list[0].key) <= 0 || !t.bottom && bytes.Compare(key, t.list[t.n-1].key) >= 0 {
			return nil
		}
		t.evict()
	}
	at := sort.Search(len(t.list), func(i int) bool { return bytes.Compare(t.list[i].key, key) > 0 })
	t.list = append(t.list, topEntry{})
	copy(t.list[at+1:], t.list[at:])
	t.list[at] = topEntry{key: append([]byte(nil), key...), v: value.Clone()}
	t.bytes += len(key) + valueBytes(value)
	return checkArrayBytes(t.name, t.bytes)
}

func (t *top) evict() {
	out := t.list[len(t.list)-1]
	if t.bottom {
		out = t.list[0]
		copy(t.list, t.list[1:])
	}
	t.list = t.list[:len(t.list)-1]
	t.bytes -= len(out.key) + valueBytes(out.v)
}

func (t *top) result(*expr.Context) (bsonval.Value, error) {
	if t.single {
		if len(t.list) == 0 {
			return bsonval.Missing, nil
		}
		return t.list[0].v, nil
	}
	b := bsonval.NewArrayBuilder()
	for _, e := range t.list {
		b.Add(e.v)
	}
	return bsonval.Array(b.Build()), nil
}

func (t *top) size() int { return t.bytes }

func (t *top) partial() bsonval.Value {
	b := bsonval.NewArrayBuilder()
	for _, e := range t.list {
		b.StartDoc("").Value("k", bsonval.Binary(0, e.key)).Value("v", e.v).End()
	}
	return bsonval.Array(b.Build())
}

func (t *top) merge(c *expr.Context, partial bsonval.Value) error {
	return mergeElements(c, t, partial)
}
