package update

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

// pushOp is $push.
type pushOp struct {
	values      []bsonval.Value
	position    int64
	hasPosition bool
	slice       int64
	hasSlice    bool
	order       *sortkey.ElementOrder
}

func compilePush(_ *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	if arg.Type() != bsonval.TypeDocument || arg.Doc().Lookup("$each").IsMissing() {
		return &pushOp{values: []bsonval.Value{arg}}, nil
	}
	o := &pushOp{}
	it := arg.Doc().Iter()
	for it.Next() {
		if err := o.modifier(it.KeyStr(), it.Value()); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *pushOp) modifier(name string, v bsonval.Value) (err error) {
	n, integral := v.AsInt64()
	switch name {
	case "$each":
		if v.Type() != bsonval.TypeArray {
			return mongoerr.New(mongoerr.BadValue, "The argument to $each in $push must be an array but it was of type: %s", v.Type())
		}
		o.values = v.Doc().Values(nil)
	case "$slice":
		if !integral {
			return mongoerr.New(mongoerr.BadValue, "The value for $slice must be an integer value but was given type: %s", v.Type())
		}
		o.slice, o.hasSlice = n, true
	case "$position":
		if !integral {
			return mongoerr.New(mongoerr.BadValue, "The value for $position must be an integer value, not of type: %s", v.Type())
		}
		o.position, o.hasPosition = n, true
	case "$sort":
		o.order, err = sortkey.CompileElementOrder(v)
	default:
		return mongoerr.New(mongoerr.BadValue, "Unrecognized clause in $push: %s", name)
	}
	return err
}

func (o *pushOp) apply(a *application, n *node, old bsonval.Value) (bsonval.Value, action, error) {
	var values []bsonval.Value
	switch old.Type() {
	case bsonval.TypeMissing:
	case bsonval.TypeArray:
		if !o.hasPosition && !o.hasSlice && o.order == nil {
			return o.append(old)
		}
		values = old.Doc().Values(nil)
	default:
		return old, keep, mongoerr.New(mongoerr.BadValue, "The field '%s' must be an array but is of type %s in document %s",
			n.path, old.Type(), a.describe())
	}
	changed := len(o.values) > 0 || old.IsMissing()
	values = slices.Insert(values, o.at(len(values)), o.values...)
	if o.order != nil {
		changed = true
		slices.SortStableFunc(values, func(x, y bsonval.Value) int { return o.order.Compare(x, y, a.p.collator) })
	}
	if size := int64(len(values)); o.hasSlice {
		switch {
		case o.slice >= 0 && o.slice < size:
			values, changed = values[:o.slice], true
		case o.slice < 0 && o.slice > -size:
			values, changed = values[size+o.slice:], true
		}
	}
	if !changed {
		return old, keep, nil
	}
	return bsonval.ArrayOf(values...), set, nil
}

// append pushes without modifiers: the old elements are copied as they are.
func (o *pushOp) append(old bsonval.Value) (bsonval.Value, action, error) {
	if len(o.values) == 0 {
		return old, keep, nil
	}
	d := old.Doc()
	i := d.Len()
	dst := append(make([]byte, 0, len(d)+32), d[:len(d)-1]...)
	for _, v := range o.values {
		dst = append(dst, byte(v.Type()))
		dst = append(bsonval.AppendIndexKey(dst, i), 0)
		dst = bsonval.AppendValue(dst, v)
		i++
	}
	return bsonval.Array(bsonval.EndDoc(dst, 0)), set, nil
}

// at is where values go into an array of a size.
func (o *pushOp) at(size int) int {
	switch n := int64(size); {
	case !o.hasPosition || o.position >= n:
		return size
	case o.position >= 0:
		return int(o.position)
	default:
		return int(max(0, n+o.position))
	}
}

func (o *pushOp) demand(*application) (create, viable bool) { return true, true }
