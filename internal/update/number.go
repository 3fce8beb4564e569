package update

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// arithmeticOp is $inc and $mul.
type arithmeticOp struct {
	name string
	v    bsonval.Value
}

func compileInc(_ *compilation, path string, arg bsonval.Value) (leafOp, error) {
	if !arg.IsNumber() {
		return nil, mongoerr.New(mongoerr.TypeMismatch, "Cannot increment with non-numeric argument: {%s: %s}",
			path, bsonval.Format(arg))
	}
	return &arithmeticOp{"$inc", arg}, nil
}

func compileMul(_ *compilation, path string, arg bsonval.Value) (leafOp, error) {
	if !arg.IsNumber() {
		return nil, mongoerr.New(mongoerr.TypeMismatch, "Cannot multiply with non-numeric argument: {%s: %s}",
			path, bsonval.Format(arg))
	}
	return &arithmeticOp{"$mul", arg}, nil
}

func (o *arithmeticOp) apply(a *application, n *node, old bsonval.Value) (bsonval.Value, action, error) {
	if old.IsMissing() {
		if o.name == "$inc" {
			return o.v, set, nil
		}
		zero, _ := bsonval.Mul(bsonval.Int32(0), zeroLike(o.v))
		return zero, set, nil
	}
	if !old.IsNumber() {
		return old, keep, mongoerr.New(mongoerr.TypeMismatch,
			"Cannot apply %s to a value of non-numeric type. %s has the field '%s' of non-numeric type %s",
			o.name, a.describe(), n.path, old.Type())
	}
	op := bsonval.Add
	if o.name == "$mul" {
		op = bsonval.Mul
	}
	r, overflow := op(old, o.v)
	switch {
	case overflow:
		return old, keep, mongoerr.New(mongoerr.BadValue, "Failed to apply %s operations to current value (%s) for document %s",
			o.name, bsonval.Format(old), a.describe())
	case r.Type() == old.Type() && bsonval.CompareNumbers(r, old) == 0:
		return old, keep, nil // a zero keeps its sign
	}
	return r, set, nil
}

func (o *arithmeticOp) demand(*application) (create, viable bool) { return true, true }

// zeroLike is a zero of a number's type.
func zeroLike(v bsonval.Value) bsonval.Value {
	switch v.Type() {
	case bsonval.TypeInt64:
		return bsonval.Int64(0)
	case bsonval.TypeDouble:
		return bsonval.Double(0)
	case bsonval.TypeDecimal128:
		return bsonval.DecimalValue(bsonval.DecimalZero)
	}
	return bsonval.Int32(0)
}

// bitStep is one operation of $bit.
type bitStep struct {
	op byte // 'a', 'o' or 'x'
	v  bsonval.Value
}

// bitOp is $bit.
type bitOp struct{ steps []bitStep }

func compileBit(_ *compilation, path string, arg bsonval.Value) (leafOp, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.BadValue, "The $bit modifier is not compatible with a %s. You must pass in an"+
			" embedded document: {$bit: {field: {and/or/xor: #}}", arg.Type())
	}
	o := &bitOp{}
	it := arg.Doc().Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "and", "or", "xor":
		default:
			return nil, mongoerr.New(mongoerr.BadValue, "The $bit modifier only supports 'and', 'or', and 'xor', not '%s'"+
				" which is an unknown operator: {%s: %s}", it.Key(), it.Key(), bsonval.Format(it.Value()))
		}
		if t := it.Value().Type(); t != bsonval.TypeInt32 && t != bsonval.TypeInt64 {
			return nil, mongoerr.New(mongoerr.BadValue, "The $bit modifier field must be an Integer(32/64 bit);"+
				" a '%s' is not supported here: {%s: %s}", t, it.Key(), bsonval.Format(it.Value()))
		}
		o.steps = append(o.steps, bitStep{it.Key()[0], it.Value()})
	}
	if len(o.steps) == 0 {
		return nil, mongoerr.New(mongoerr.BadValue, "You must pass in at least one bitwise operation."+
			" The format is: {$bit: {field: {and/or/xor: #}}: %s", path)
	}
	return o, nil
}

func (o *bitOp) apply(a *application, n *node, old bsonval.Value) (bsonval.Value, action, error) {
	switch old.Type() {
	case bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeMissing:
	default:
		return old, keep, mongoerr.New(mongoerr.BadValue, "Cannot apply $bit to a value of non-integral type."+
			"%s has the field %s of non-integer type %s", a.describe(), n.path, old.Type())
	}
	r, wide := old.Int64(), old.Type() == bsonval.TypeInt64
	for _, s := range o.steps {
		wide = wide || s.v.Type() == bsonval.TypeInt64
		switch s.op {
		case 'a':
			r &= s.v.Int64()
		case 'o':
			r |= s.v.Int64()
		default:
			r ^= s.v.Int64()
		}
	}
	v := bsonval.Int64(r)
	if !wide {
		v = bsonval.Int32(int32(r))
	}
	if bsonval.Identical(v, old) {
		return old, keep, nil
	}
	return v, set, nil
}

func (o *bitOp) demand(*application) (create, viable bool) { return true, true }
