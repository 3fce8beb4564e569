package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var arrayOperators = []operator{
	{name: "$addToSet", doc: "Collects the different values.",
		start: func(*expr.Context, int) (collector, error) { return &set{name: "$addToSet"}, nil }},
	{name: "$concatArrays", doc: "Joins arrays into one.",
		start: func(*expr.Context, int) (collector, error) { return &list{name: "$concatArrays", elements: true}, nil }},
	{name: "$push", doc: "Collects values in an array.",
		start: func(*expr.Context, int) (collector, error) { return &list{name: "$push"}, nil }},
	{name: "$setUnion", doc: "Collects the different elements of arrays.",
		start: func(*expr.Context, int) (collector, error) { return &set{name: "$setUnion", elements: true}, nil }},
}

// maxArrayBytes is how large a collected array may grow, MongoDB's limit.
const maxArrayBytes = 100 << 20

func checkArrayBytes(name string, n int) error {
	if n <= maxArrayBytes {
		return nil
	}
	return mongoerr.New(mongoerr.ExceededMemoryLimit, "%s used too much memory and cannot spill to disk. Memory limit: %d bytes",
		name, maxArrayBytes)
}

// eachElement calls f with the elements of an array.
func eachElement(name string, v bsonval.Value, f func(bsonval.Value) error) error {
	if v.IsMissing() {
		return nil
	}
	if v.Type() != bsonval.TypeArray {
		return mongoerr.New(mongoerr.TypeMismatch, "%s requires array inputs, but input %s is of type %s",
			name, bsonval.Format(v), v.Type())
	}
	it := v.Doc().Iter()
	for it.Next() {
		if err := f(it.Value()); err != nil {
			return err
		}
	}
	return nil
}

// list is $push and, with elements, $concatArrays. Missing values are left out.
type list struct {
	name     string
	elements bool
	values   []byte // elements of the array, in BSON
	count    int
}

func (l *list) add(_ *expr.Context, v bsonval.Value) error {
	if l.elements {
		return eachElement(l.name, v, l.push)
	}
	return l.push(v)
}

func (l *list) push(v bsonval.Value) error {
	if v.IsMissing() {
		return nil
	}
	l.values = append(l.values, byte(v.Type()))
	l.values = append(bsonval.AppendIndexKey(l.values, l.count), 0)
	l.values = bsonval.AppendValue(l.values, v)
	l.count++
	return checkArrayBytes(l.name, len(l.values))
}

func (l *list) result(*expr.Context) (bsonval.Value, error) { return l.partial(), nil }

// size leaves out what append has set aside, so that a single array meets its own
// limit before the group is spilled for it.
func (l *list) size() int { return len(l.values) }

func (l *list) partial() bsonval.Value {
	dst, at := bsonval.BeginDoc(make([]byte, 0, len(l.values)+5))
	return bsonval.Array(bsonval.EndDoc(append(dst, l.values...), at))
}

func (l *list) merge(_ *expr.Context, partial bsonval.Value) error {
	return eachElement(l.name, partial, l.push)
}

// set is $addToSet and, with elements, $setUnion. Missing values are left out.
type set struct {
	name     string
	elements bool
	seen     map[string]bool
	list     list
	keyBytes int
	key      []byte
}

func (s *set) add(c *expr.Context, v bsonval.Value) error {
	if s.elements {
		return eachElement(s.name, v, func(e bsonval.Value) error { return s.put(c, e) })
	}
	return s.put(c, v)
}

func (s *set) put(c *expr.Context, v bsonval.Value) error {
	if v.IsMissing() {
		return nil
	}
	s.key = keystring.Append(s.key[:0], v, false, c.Env.Collator)
	if s.seen[string(s.key)] {
		return nil
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
		s.list.name = s.name
	}
	s.seen[string(s.key)] = true
	s.keyBytes += len(s.key) + 32
	return s.list.push(v)
}

func (s *set) result(*expr.Context) (bsonval.Value, error) { return s.list.partial(), nil }

func (s *set) size() int { return s.keyBytes + s.list.size() }

func (s *set) partial() bsonval.Value { return s.list.partial() }

func (s *set) merge(c *expr.Context, partial bsonval.Value) error {
	return eachElement(s.name, partial, func(e bsonval.Value) error { return s.put(c, e) })
}
