package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

// collector gathers the values of one accumulator's argument.
type collector interface {
	// add takes one value, which is valid during the call only. Missing is a
	// legitimate value.
	add(c *expr.Context, v bsonval.Value) error
	// result is the accumulated value so far; missing counts as null.
	result(c *expr.Context) (bsonval.Value, error)
	// size is the number of bytes kept, roughly.
	size() int
	// partial is the state as a value; merge adds one that another collector of
	// the same factory gave.
	partial() bsonval.Value
	merge(c *expr.Context, partial bsonval.Value) error
}

// Factory makes the states of one compiled accumulator.
type Factory struct {
	name  string
	input expr.Expr
	// n is the count of $topN and its like; nil for others.
	n expr.Expr
	// start makes an empty collector. init is evaluated on the group's key; n is
	// 1 where there is none.
	start func(c *expr.Context, n int) (collector, error)
}

// Name is the operator's name, with the dollar.
func (f *Factory) Name() string { return f.name }

// New makes an empty state. group is the group's _id: n of $topN and the like,
// and $accumulator's initArgs, may refer to its fields.
func (f *Factory) New(c *expr.Context, group bsonval.Value) (*State, error) {
	root := c.Root
	defer func() { c.Root = root }()
	c.Root = bsonval.EmptyDoc
	if group.Type() == bsonval.TypeDocument {
		c.Root = group.Doc()
	}
	n := int64(1)
	if f.n != nil {
		v, err := f.n.Eval(c)
		if err != nil {
			return nil, err
		}
		if n, err = expr.CheckN(v); err != nil {
			return nil, err
		}
	}
	const most = 1 << 30
	col, err := f.start(c, int(min(n, most)))
	if err != nil {
		return nil, err
	}
	return &State{input: f.input, ctx: c, col: col}, nil
}

// Counts says whether the result tells no more than how many documents there were: a sum of the same small integer each.
func (f *Factory) Counts() bool {
	v, ok := expr.ConstantValue(f.input)
	return ok && v.Type() == bsonval.TypeInt32 && (f.name == "$sum" || f.name == "$count")
}

// State accumulates the documents of one group.
type State struct {
	input expr.Expr
	ctx   *expr.Context
	col   collector
}

// Add evaluates the argument on the context's document and takes the value in.
func (s *State) Add(c *expr.Context) error {
	v, err := s.input.Eval(c)
	if err != nil {
		return expr.GroupError(err)
	}
	return s.col.add(c, v)
}

// AddTimes takes in so many documents, whatever they are. The state is of a factory that Counts.
func (s *State) AddTimes(n int64) {
	v, _ := expr.ConstantValue(s.input)
	s.col.(*total).addTimes(v, n)
}

// Result is the accumulated value as $group gives it out, never missing.
func (s *State) Result() (bsonval.Value, error) {
	v, err := s.value()
	return GroupOutput(v), err
}

func (s *State) value() (bsonval.Value, error) {
	v, err := s.col.result(s.ctx)
	if v.IsMissing() {
		v = bsonval.Null
	}
	return v, err
}

// GroupOutput is the form in which $group gives out a value, be it a group's
// _id or an accumulator's result: MongoDB wraps MinKey and MaxKey in a document
// with an empty field name, and code becomes a string.
func GroupOutput(v bsonval.Value) bsonval.Value {
	switch v.Type() {
	case bsonval.TypeMinKey, bsonval.TypeMaxKey:
		return bsonval.Document(bsonval.NewBuilder().Value("", v).Build())
	case bsonval.TypeCode:
		return bsonval.StringBytes(v.Bytes())
	}
	return v
}

// stateBytes is what a state costs beyond its collector's values.
const stateBytes = 96

// SizeBytes is the memory the state takes, roughly.
func (s *State) SizeBytes() int { return stateBytes + s.col.size() }

// Partial is the state as a value, to be kept elsewhere and merged again.
func (s *State) Partial() bsonval.Value { return s.col.partial() }

// Merge adds the documents behind another state's Partial, as if they came
// after this state's own.
func (s *State) Merge(partial bsonval.Value) error { return s.col.merge(s.ctx, partial) }

// valueBytes is the memory that a kept value takes.
func valueBytes(v bsonval.Value) int { return 40 + len(v.Bytes()) }
