package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

var firstLastOperators = []operator{
	{name: "$first", doc: "Returns the first document's value.",
		start: func(*expr.Context, int) (collector, error) { return &first{}, nil }},
	{name: "$last", doc: "Returns the last document's value.",
		start: func(*expr.Context, int) (collector, error) { return &last{}, nil }},
	{name: "$max", doc: "Returns the largest value.",
		start: func(*expr.Context, int) (collector, error) { return &extreme{sign: 1}, nil }},
	{name: "$min", doc: "Returns the smallest value.",
		start: func(*expr.Context, int) (collector, error) { return &extreme{sign: -1}, nil }},
}

// kept is a collector's single value. Its bytes are in buf, {v: value}, which is
// used again for the next value.
type kept struct {
	v   bsonval.Value
	buf []byte
}

func (k *kept) set(v bsonval.Value) {
	if v.Bytes() == nil {
		k.v = v
		return
	}
	dst, at := bsonval.BeginDoc(k.buf[:0])
	k.buf = bsonval.EndDoc(bsonval.AppendElement(dst, "v", v), at)
	_, k.v, _ = bsonval.Doc(k.buf).First()
}

func (k *kept) result(*expr.Context) (bsonval.Value, error) { return k.v, nil }

func (k *kept) size() int { return cap(k.buf) }

// partial wraps the value so that missing survives.
func (k *kept) partial() bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Value("v", k.v).Build())
}

// first is $first.
type first struct {
	kept
	seen bool
}

func (f *first) add(_ *expr.Context, v bsonval.Value) error {
	if !f.seen {
		f.seen = true
		f.set(v)
	}
	return nil
}

func (f *first) partial() bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Bool("seen", f.seen).Value("v", f.v).Build())
}

func (f *first) merge(c *expr.Context, partial bsonval.Value) error {
	if !partial.Doc().Lookup("seen").Bool() {
		return nil
	}
	return f.add(c, partial.Doc().Lookup("v"))
}

// last is $last.
type last struct {
	kept
	seen bool
}

func (l *last) add(_ *expr.Context, v bsonval.Value) error {
	l.seen = true
	l.set(v)
	return nil
}

func (l *last) partial() bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Bool("seen", l.seen).Value("v", l.v).Build())
}

func (l *last) merge(c *expr.Context, partial bsonval.Value) error {
	if !partial.Doc().Lookup("seen").Bool() {
		return nil
	}
	return l.add(c, partial.Doc().Lookup("v"))
}

// extreme is $min (sign -1) and $max (1); null does not count.
type extreme struct {
	kept
	sign int
}

func (e *extreme) add(c *expr.Context, v bsonval.Value) error {
	if v.IsNullish() {
		return nil
	}
	if e.v.IsMissing() || bsonval.CompareCollated(v, e.v, c.Env.Collator) == e.sign {
		e.set(v)
	}
	return nil
}

func (e *extreme) merge(c *expr.Context, partial bsonval.Value) error {
	return e.add(c, partial.Doc().Lookup("v"))
}
