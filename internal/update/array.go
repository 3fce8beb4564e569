package update

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// addToSetOp is $addToSet.
type addToSetOp struct{ values []bsonval.Value }

func compileAddToSet(_ *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	o := &addToSetOp{values: []bsonval.Value{arg}}
	if arg.Type() != bsonval.TypeDocument {
		return o, nil
	}
	key, each, _ := arg.Doc().First()
	if key != "$each" {
		return o, nil
	}
	if each.Type() != bsonval.TypeArray {
		return nil, mongoerr.New(mongoerr.TypeMismatch,
			"The argument to $each in $addToSet must be an array but it was of type %s", each.Type())
	}
	if arg.Doc().Len() > 1 {
		return nil, mongoerr.New(mongoerr.BadValue, "Found unexpected fields after $each in $addToSet: %s", bsonval.Format(arg))
	}
	o.values = each.Doc().Values(nil)
	return o, nil
}

func (o *addToSetOp) apply(a *application, n *node, old bsonval.Value) (bsonval.Value, action, error) {
	var held []bsonval.Value
	switch old.Type() {
	case bsonval.TypeMissing:
	case bsonval.TypeArray:
		held = old.Doc().Values(nil)
	default:
		return old, keep, mongoerr.New(mongoerr.BadValue,
			"Cannot apply $addToSet to non-array field. Field named '%s' has non-array type %s", n.path, old.Type())
	}
	before := len(held)
	for _, v := range o.values {
		if !contains(held, v, a.p.collator) {
			held = append(held, v)
		}
	}
	if len(held) == before && !old.IsMissing() {
		return old, keep, nil
	}
	return bsonval.ArrayOf(held...), set, nil
}

func (o *addToSetOp) demand(*application) (create, viable bool) { return true, true }

func contains(list []bsonval.Value, v bsonval.Value, c bsonval.Collator) bool {
	for _, x := range list {
		if bsonval.CompareCollated(x, v, c) == 0 {
			return true
		}
	}
	return false
}

// popOp is $pop.
type popOp struct{ first bool }

func compilePop(_ *compilation, path string, arg bsonval.Value) (leafOp, error) {
	n, ok := arg.AsInt64()
	if !ok || n != 1 && n != -1 {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$pop expects 1 or -1, found: %s: %s", path, bsonval.Format(arg))
	}
	return &popOp{first: n < 0}, nil
}

func (o *popOp) apply(_ *application, n *node, old bsonval.Value) (bsonval.Value, action, error) {
	if old.IsMissing() {
		return old, keep, nil
	}
	if old.Type() != bsonval.TypeArray {
		return old, keep, mongoerr.New(mongoerr.TypeMismatch, "Path '%s' contains an element of non-array type '%s'",
			n.path, old.Type())
	}
	values := old.Doc().Values(nil)
	switch {
	case len(values) == 0:
		return old, keep, nil
	case o.first:
		values = values[1:]
	default:
		values = values[:len(values)-1]
	}
	return bsonval.ArrayOf(values...), set, nil
}

func (o *popOp) demand(*application) (create, viable bool) { return false, true }

// pullOp is $pull and $pullAll. One of matcher and values is set.
type pullOp struct {
	name    string
	values  []bsonval.Value
	matcher *match.Matcher
	wrapped bool // the matcher is for {"": element}
}

func compilePull(c *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	o := &pullOp{name: "$pull"}
	switch arg.Type() {
	case bsonval.TypeRegex:
		o.wrapped = true
	case bsonval.TypeDocument:
		key, _, _ := arg.Doc().First()
		o.wrapped = match.IsFieldOperator(key)
	default:
		o.values = []bsonval.Value{arg}
		return o, nil
	}
	filter := arg.Doc()
	if o.wrapped {
		filter = wrap("", arg)
	}
	var err error
	o.matcher, err = match.Compile(filter, match.Options{Compiler: c.o.Compiler, Ban: match.AllFeatures})
	return o, err
}

func compilePullAll(_ *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	if arg.Type() != bsonval.TypeArray {
		return nil, mongoerr.New(mongoerr.BadValue, "$pullAll requires an array argument but was given a %s", arg.Type())
	}
	return &pullOp{name: "$pullAll", values: arg.Doc().Values(nil)}, nil
}

func (o *pullOp) pulls(a *application, v bsonval.Value) (bool, error) {
	switch {
	case o.matcher == nil:
		return contains(o.values, v, a.p.collator), nil
	case o.wrapped:
		return o.matcher.Match(nil, wrap("", v))
	case v.Type() != bsonval.TypeDocument:
		return false, nil
	}
	return o.matcher.Match(nil, v.Doc())
}

func (o *pullOp) apply(a *application, _ *node, old bsonval.Value) (bsonval.Value, action, error) {
	if old.IsMissing() {
		return old, keep, nil
	}
	if old.Type() != bsonval.TypeArray {
		return old, keep, mongoerr.New(mongoerr.BadValue, "Cannot apply %s to a non-array value", o.name)
	}
	b := bsonval.NewArrayBuilder()
	pulled := false
	it := old.Doc().Iter()
	for it.Next() {
		ok, err := o.pulls(a, it.Value())
		if err != nil {
			return old, keep, err
		}
		if ok {
			pulled = true
		} else {
			b.Add(it.Value())
		}
	}
	if !pulled {
		return old, keep, nil
	}
	return bsonval.Array(b.Build()), set, nil
}

func (o *pullOp) demand(*application) (create, viable bool) { return false, true }
