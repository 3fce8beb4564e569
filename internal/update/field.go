package update

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// setOp is $set, and $setOnInsert with onInsert.
type setOp struct {
	v        bsonval.Value
	onInsert bool
}

func compileSet(_ *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	return &setOp{v: arg}, nil
}

func compileSetOnInsert(_ *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	return &setOp{v: arg, onInsert: true}, nil
}

func (o *setOp) active(a *application) bool { return !o.onInsert || a.in.Insert }

func (o *setOp) apply(a *application, _ *node, old bsonval.Value) (bsonval.Value, action, error) {
	if !o.active(a) || bsonval.Identical(o.v, old) {
		return old, keep, nil
	}
	return o.v, set, nil
}

func (o *setOp) demand(a *application) (create, viable bool) { return o.active(a), o.active(a) }

// unsetOp is $unset.
type unsetOp struct{}

func compileUnset(*compilation, string, bsonval.Value) (leafOp, error) { return unsetOp{}, nil }

func (unsetOp) apply(_ *application, _ *node, old bsonval.Value) (bsonval.Value, action, error) {
	return old, remove, nil
}

func (unsetOp) demand(*application) (create, viable bool) { return false, false }

// boundOp is $min and $max.
type boundOp struct {
	v    bsonval.Value
	sign int // of the comparison of the new value with the old one
}

func compileMin(_ *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	return &boundOp{arg, -1}, nil
}

func compileMax(_ *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	return &boundOp{arg, 1}, nil
}

func (o *boundOp) apply(a *application, _ *node, old bsonval.Value) (bsonval.Value, action, error) {
	if !old.IsMissing() && bsonval.CompareCollated(o.v, old, a.p.collator)*o.sign <= 0 {
		return old, keep, nil
	}
	return o.v, set, nil
}

func (o *boundOp) demand(*application) (create, viable bool) { return true, true }

// currentDateOp is $currentDate.
type currentDateOp struct{ timestamp bool }

func compileCurrentDate(_ *compilation, _ string, arg bsonval.Value) (leafOp, error) {
	if arg.Type() == bsonval.TypeBool {
		return &currentDateOp{}, nil
	}
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.BadValue, "%s is not valid type for $currentDate. Please use a boolean ('true')"+
			" or a $type expression ({$type: 'timestamp/date'}).", arg.Type())
	}
	o := (*currentDateOp)(nil)
	it := arg.Doc().Iter()
	for it.Next() {
		if it.KeyStr() != "$type" {
			return nil, mongoerr.New(mongoerr.BadValue, "Unrecognized $currentDate option: %s", it.Key())
		}
		v := it.Value()
		if v.Type() != bsonval.TypeString || v.Str() != "date" && v.Str() != "timestamp" {
			return nil, mongoerr.New(mongoerr.BadValue, "The '$type' string field is required to be 'date' or 'timestamp':"+
				" {$currentDate: {field : {$type: 'date'}}}")
		}
		o = &currentDateOp{timestamp: v.Str() == "timestamp"}
	}
	if o == nil {
		return nil, mongoerr.New(mongoerr.BadValue, "The '$type' string field is required to be 'date' or 'timestamp':"+
			" {$currentDate: {field : {$type: 'date'}}}")
	}
	return o, nil
}

func (o *currentDateOp) apply(a *application, _ *node, _ bsonval.Value) (bsonval.Value, action, error) {
	if o.timestamp {
		return a.p.timestamp(), set, nil
	}
	return bsonval.Date(a.p.env.NowMS), set, nil
}

func (o *currentDateOp) demand(*application) (create, viable bool) { return true, true }
