package conformance

import (
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// predicate is one kind of property check: the number of its arguments and whether it holds of the value at the path.
type predicate struct {
	args  int
	holds func(v any, present bool, args bson.A) bool
}

// predicates is the table of property checks.
var predicates = map[string]predicate{
	"exists":    {0, func(_ any, present bool, _ bson.A) bool { return present }},
	"notExists": {0, func(_ any, present bool, _ bson.A) bool { return !present }},
	"type":      {1, func(v any, present bool, a bson.A) bool { return present && typeName(v) == a[0] }},
	"eq":        {1, func(v any, present bool, a bson.A) bool { return present && equal(a[0], v) }},
	"ne":        {1, differs},
	"gt":        {1, ordered(func(c int) bool { return c > 0 })},
	"gte":       {1, ordered(func(c int) bool { return c >= 0 })},
	"lte":       {1, ordered(func(c int) bool { return c <= 0 })},
	"len":       {1, length(func(c int) bool { return c == 0 })},
	"lenGt":     {1, length(func(c int) bool { return c > 0 })},
	"lenLte":    {1, length(func(c int) bool { return c <= 0 })},
	"contains": {2, func(v any, _ bool, a bson.A) bool {
		array, ok := v.(bson.A)
		return ok && containsDocument(array, a)
	}},
	"notContains": {2, func(v any, present bool, a bson.A) bool {
		array, ok := v.(bson.A)
		return !present || ok && !containsDocument(array, a)
	}},
	"containsElement": {1, func(v any, _ bool, a bson.A) bool {
		array, ok := v.(bson.A)
		return ok && slices.ContainsFunc(array, func(e any) bool { return equal(a[0], e) })
	}},
	"hasKey": {1, func(v any, _ bool, a bson.A) bool {
		d, ok := v.(bson.D)
		key, isString := a[0].(string)
		if !ok || !isString {
			return false
		}
		_, has := field(d, key)
		return has
	}},
	"orderedKeys": {1, orderedKeys},
	"nonEmptyStr": {0, func(v any, _ bool, _ bson.A) bool {
		s, ok := v.(string)
		return ok && s != ""
	}},
	"byteLen": {1, func(v any, _ bool, a bson.A) bool {
		b, ok := v.(bson.Binary)
		if !ok {
			return false
		}
		c, ok := compareOrdered(int64(len(b.Data)), a[0])
		return ok && c == 0
	}},
}

// holds says whether the check holds of the value at its path in root; the error is about the check itself.
func (c *Check) holds(root any, args bson.A) (bool, error) {
	p, ok := predicates[c.Check]
	if !ok {
		return false, fmt.Errorf("unknown check %q", c.Check)
	}
	if len(args) != p.args {
		return false, fmt.Errorf("check %s takes %d arguments, got %d", c.Check, p.args, len(args))
	}
	v, present := at(root, c.Path)
	return p.holds(v, present, args), nil
}

func equal(want, got any) bool { return rules{}.compare(want, got) == nil }

// differs holds of an absent value and of every value that is not equal, but not of a number whose type is another
// numeric type than the argument's: that is a wrong type, which must not pass as a difference.
func differs(v any, present bool, a bson.A) bool {
	if !present {
		return true
	}
	if isNumber(v) && isNumber(a[0]) && typeName(v) != typeName(a[0]) {
		return false
	}
	return !equal(a[0], v)
}

func ordered(accept func(int) bool) func(any, bool, bson.A) bool {
	return func(v any, present bool, a bson.A) bool {
		c, ok := compareOrdered(v, a[0])
		return present && ok && accept(c)
	}
}

func length(accept func(int) bool) func(any, bool, bson.A) bool {
	return func(v any, _ bool, a bson.A) bool {
		array, isArray := v.(bson.A)
		c, ok := compareOrdered(int64(len(array)), a[0])
		return isArray && ok && accept(c)
	}
}

func containsDocument(array, keyAndValue bson.A) bool {
	key, ok := keyAndValue[0].(string)
	return ok && slices.ContainsFunc(array, func(e any) bool {
		d, ok := e.(bson.D)
		if !ok {
			return false
		}
		v, has := field(d, key)
		return has && equal(keyAndValue[1], v)
	})
}

func orderedKeys(v any, _ bool, a bson.A) bool {
	d, ok := v.(bson.D)
	keys, isArray := a[0].(bson.A)
	if !ok || !isArray || len(d) != len(keys) {
		return false
	}
	for i := range d {
		if d[i].Key != keys[i] {
			return false
		}
	}
	return true
}
