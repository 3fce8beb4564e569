package match_test

import (
	"cmp"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// naive is a second implementation of filters, as simple as can be, on decoded
// values. It knows null, bool, int32, float64, string, bson.D and bson.A.
type naive struct {
	// fold makes strings compare without regard to case.
	fold bool
}

// missing is the value of a field that a document does not have.
type missing struct{}

func (n naive) filter(f, d bson.D) bool {
	for _, e := range f {
		switch e.Key {
		case "$and":
			for _, sub := range e.Value.(bson.A) {
				if !n.filter(sub.(bson.D), d) {
					return false
				}
			}
		case "$or", "$nor":
			any := false
			for _, sub := range e.Value.(bson.A) {
				any = any || n.filter(sub.(bson.D), d)
			}
			if any == (e.Key == "$nor") {
				return false
			}
		default:
			if !n.field(d, e.Key, e.Value) {
				return false
			}
		}
	}
	return true
}

// field applies a condition to the values at a path.
func (n naive) field(d bson.D, path string, cond any) bool {
	names := strings.Split(path, ".")
	return n.cond(cond, leaves(d, names, true), leaves(d, names, false))
}

// cond applies a condition to values: each arrays' elements are among each, but
// not among whole.
func (n naive) cond(cond any, each, whole []any) bool {
	ops, ok := cond.(bson.D)
	if !ok || len(ops) == 0 || ops[0].Key[0] != '$' {
		return n.any(each, func(v any) bool { return n.equal(v, cond) })
	}
	for i, op := range ops {
		if op.Key != "$options" && !n.op(ops, i, each, whole) {
			return false
		}
	}
	return true
}

func (n naive) any(values []any, f func(any) bool) bool {
	for _, v := range values {
		if f(v) {
			return true
		}
	}
	return false
}

func (n naive) op(ops bson.D, i int, each, whole []any) bool {
	arg := ops[i].Value
	switch name := ops[i].Key; name {
	case "$eq":
		return n.any(each, func(v any) bool { return n.equal(v, arg) })
	case "$ne":
		return !n.any(each, func(v any) bool { return n.equal(v, arg) })
	case "$gt", "$gte", "$lt", "$lte":
		return n.any(each, func(v any) bool { return n.ordered(name, v, arg) })
	case "$in", "$nin":
		found := n.any(each, func(v any) bool {
			return n.any(arg.(bson.A), func(x any) bool { return n.equal(v, x) })
		})
		return found == (name == "$in")
	case "$all":
		for _, x := range arg.(bson.A) {
			if !n.any(each, func(v any) bool { return n.equal(v, x) }) {
				return false
			}
		}
		return len(arg.(bson.A)) > 0
	case "$exists":
		there := n.any(whole, func(v any) bool { return v != missing{} })
		return there == arg.(bool)
	case "$size":
		return n.any(whole, func(v any) bool { a, ok := v.(bson.A); return ok && len(a) == int(arg.(int32)) })
	case "$type":
		return n.any(each, func(v any) bool { return typeName(v) == arg })
	case "$mod":
		return n.any(each, func(v any) bool { return modulo(v, arg.(bson.A)) })
	case "$regex":
		pattern := arg.(string)
		if ops[len(ops)-1].Key == "$options" {
			pattern = "(?i)" + pattern
		}
		re := regexp.MustCompile(pattern)
		return n.any(each, func(v any) bool { s, ok := v.(string); return ok && re.MatchString(s) })
	case "$not":
		return !n.cond(arg, each, whole)
	case "$elemMatch":
		return n.any(whole, func(v any) bool {
			a, ok := v.(bson.A)
			return ok && n.any(a, func(x any) bool { return n.element(arg.(bson.D), x) })
		})
	}
	panic("unknown operator " + ops[i].Key)
}

// element says whether one element meets the argument of $elemMatch.
func (n naive) element(arg bson.D, x any) bool {
	if len(arg) > 0 && arg[0].Key[0] == '$' && arg[0].Key != "$and" && arg[0].Key != "$or" && arg[0].Key != "$nor" {
		return n.cond(arg, []any{x}, []any{x})
	}
	switch x := x.(type) {
	case bson.D:
		return n.filter(arg, x)
	case bson.A: // a document whose names are positions
		d := bson.D{}
		for i, v := range x {
			d = append(d, bson.E{Key: strconv.Itoa(i), Value: v})
		}
		return n.filter(arg, d)
	}
	return false
}

// leaves lists the values at a path; with expand, the elements of an array that
// it ends at, too.
func leaves(v any, names []string, expand bool) []any {
	a, isArray := v.(bson.A)
	if len(names) == 0 {
		if isArray && expand {
			return append(append([]any{}, a...), v)
		}
		return []any{v}
	}
	if d, ok := v.(bson.D); ok {
		var child any = missing{}
		for _, e := range d {
			if e.Key == names[0] {
				child = e.Value
			}
		}
		return leaves(child, names[1:], expand)
	}
	if !isArray {
		return []any{missing{}}
	}
	var out []any
	for i, e := range a {
		_, isDoc := e.(bson.D)
		_, isArray := e.(bson.A)
		if isDoc {
			out = append(out, leaves(e, names, expand)...)
		}
		switch {
		case strconv.Itoa(i) != names[0]:
		case len(names) == 1:
			out = append(out, e)
		case isDoc || isArray:
			out = append(out, leaves(e, names[1:], expand)...)
		}
	}
	return out
}

// equal is $eq: null is equal to a field that is not there.
func (n naive) equal(v, arg any) bool {
	if v == (missing{}) {
		return arg == nil
	}
	return n.compare(v, arg) == 0
}

// ordered is $gt and its kin: values of one kind only, and NaN only with itself.
func (n naive) ordered(op string, v, arg any) bool {
	if v == (missing{}) {
		v = nil
	}
	if kind(v) != kind(arg) {
		return false
	}
	if isNaN(v) || isNaN(arg) {
		return isNaN(v) && isNaN(arg) && len(op) == 4
	}
	c := n.compare(v, arg)
	switch op {
	case "$gt":
		return c > 0
	case "$gte":
		return c >= 0
	case "$lt":
		return c < 0
	}
	return c <= 0
}

// kind is the place of a type in the order of types.
func kind(v any) int {
	switch v.(type) {
	case missing, nil:
		return 1
	case int32, float64:
		return 2
	case string:
		return 3
	case bson.D:
		return 4
	case bson.A:
		return 5
	}
	return 8 // bool
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int32:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func isNaN(v any) bool {
	f, ok := v.(float64)
	return ok && math.IsNaN(f)
}

// compare is the order of all values.
func (n naive) compare(a, b any) int {
	if c := cmp.Compare(kind(a), kind(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case int32, float64:
		x, _ := number(a)
		y, _ := number(b)
		return cmp.Compare(x, y) // NaN is the least
	case string:
		if n.fold {
			return cmp.Compare(strings.ToLower(a), strings.ToLower(b.(string)))
		}
		return cmp.Compare(a, b.(string))
	case bool:
		switch {
		case a == b.(bool):
			return 0
		case a:
			return 1
		}
		return -1
	case bson.A:
		for i, x := range a {
			if i == len(b.(bson.A)) {
				return 1
			}
			if c := n.compare(x, b.(bson.A)[i]); c != 0 {
				return c
			}
		}
		return cmp.Compare(len(a), len(b.(bson.A)))
	case bson.D:
		for i, x := range a {
			if i == len(b.(bson.D)) {
				return 1
			}
			y := b.(bson.D)[i]
			if c := cmp.Or(cmp.Compare(kind(x.Value), kind(y.Value)), cmp.Compare(x.Key, y.Key), n.compare(x.Value, y.Value)); c != 0 {
				return c
			}
		}
		return cmp.Compare(len(a), len(b.(bson.D)))
	}
	return 0
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case int32:
		return "int"
	case float64:
		return "double"
	case string:
		return "string"
	case bson.D:
		return "object"
	case bson.A:
		return "array"
	case bool:
		return "bool"
	}
	return ""
}

func modulo(v any, arg bson.A) bool {
	f, ok := number(v)
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return false
	}
	return int32(f)%arg[0].(int32) == arg[1].(int32)
}
