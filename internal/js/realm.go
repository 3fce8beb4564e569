package js

import (
	"errors"
	"strings"
	"sync"

	"github.com/dop251/goja"
)

const (
	// maxPlainString bounds a string that a plain function makes, in UTF-16 units:
	// the largest string BSON holds.
	maxPlainString = 16 << 20

	// maxPlainArray bounds the array that a plain function gives a native method,
	// in elements.
	maxPlainArray = 2 << 20

	// maxJoinDepth bounds the arrays in arrays that become one string.
	maxJoinDepth = 200
)

var errLongValue = errors.New("JavaScript function made a string or an array that is too long")

// plainRealm lists what of the language's library plain functions have: for each
// object its properties of which one is a function. Each takes time and memory
// in proportion to its operands at most, or is replaced by bind.
var plainRealm = map[string]string{
	"":                 strings.Join(plainGlobalNames(), " ") + " Array Object Math RegExp",
	"Array":            "isArray sum avg contains unique stdDev",
	"Object":           "keys values",
	"Number":           "isInteger isFinite isNaN isSafeInteger parseFloat parseInt",
	"Date":             "now UTC parse",
	"String":           "",
	"RegExp":           "",
	"Object.prototype": "hasOwnProperty toString valueOf isPrototypeOf propertyIsEnumerable",
	"Array.prototype": "push pop shift unshift indexOf lastIndexOf includes slice concat join toString reverse sort forEach map" +
		" filter some every reduce reduceRight find findIndex",
	"String.prototype": "charAt charCodeAt codePointAt indexOf lastIndexOf includes startsWith endsWith slice substring substr concat" +
		" toLowerCase toUpperCase trim trimStart trimEnd toString valueOf split match search",
	"Function.prototype": "toString",
	"RegExp.prototype":   "exec test toString flags global hasIndices ignoreCase multiline dotAll source sticky unicode",
	"Number.prototype":   "toFixed toString valueOf toPrecision toExponential",
	"Boolean.prototype":  "toString valueOf",
	"Date.prototype": "getDate getDay getFullYear getHours getMilliseconds getMinutes getMonth getSeconds getTime" +
		" getTimezoneOffset getUTCDate getUTCDay getUTCFullYear getUTCHours getUTCMilliseconds getUTCMinutes getUTCMonth" +
		" getUTCSeconds getYear setDate setFullYear setHours setMilliseconds setMinutes setMonth setSeconds setTime" +
		" setUTCDate setUTCFullYear setUTCHours setUTCMilliseconds setUTCMinutes setUTCMonth setUTCSeconds" +
		" toDateString toISOString toJSON toString toTimeString toUTCString valueOf",
	"Error.prototype": "toString",
}

// boxedMethods are those of BSON values, which constructors define.
const boxedMethods = "toNumber valueOf toString tojson toJSON getTimestamp length base64 hex"

func plainGlobalNames() []string {
	var names []string
	for n := range plainGlobals {
		names = append(names, n)
	}
	return names
}

// plainMethods are the names that plain functions may call on values.
var plainMethods = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	for path, names := range plainRealm {
		if strings.HasSuffix(path, ".prototype") {
			for _, n := range strings.Fields(names) {
				all[n] = true
			}
		}
	}
	for _, n := range strings.Fields(boxedMethods) {
		all[n] = true
	}
	return all
})

// harden takes from a world what plain functions do not have and returns the
// names of the properties removed. What remains can be reached in any way
// without harm.
func (w *world) harden() map[string]bool {
	removed := map[string]bool{}
	global := w.vm.GlobalObject()
	objects := map[string]*goja.Object{"": global}
	for path := range plainRealm {
		if path != "" {
			class, proto, _ := strings.Cut(path, ".")
			objects[path] = global.Get(class).ToObject(w.vm)
			if proto != "" {
				objects[path] = objects[path].Get(proto).ToObject(w.vm)
			}
		}
	}
	w.regexProto()
	w.bind(objects["Array.prototype"], objects["String.prototype"], objects["Object"])
	freeze, _ := goja.AssertFunction(objects["Object"].Get("freeze"))
	for path, o := range objects {
		keep := map[string]bool{}
		for _, n := range strings.Fields(plainRealm[path]) {
			keep[n] = true
		}
		for _, n := range o.GetOwnPropertyNames() {
			if keep[n] || path == "" && plainConstants[n] {
				continue
			}
			if path != "" && datum(n) {
				continue
			}
			if w.vm.Try(func() { _ = o.Delete(n) }) == nil && path != "" {
				removed[n] = true
			}
		}
	}
	for _, class := range []string{"Error", "TypeError", "RangeError"} {
		proto := global.Get(class).ToObject(w.vm).Get("prototype").ToObject(w.vm)
		w.must(proto.Delete("constructor"))
	}
	for _, p := range w.protos {
		_ = p.Delete("constructor")
	}
	for path, o := range objects {
		if strings.HasSuffix(path, ".prototype") {
			w.freezeMethods(o, freeze)
		}
	}
	for _, p := range w.protos {
		w.freezeMethods(p, freeze)
	}
	w.global(guardName, w.guard)
	for n := range plainMethods() {
		delete(removed, n)
	}
	for _, n := range []string{"constructor", "prototype", "__proto__", "caller", "callee", "arguments"} {
		removed[n] = true
	}
	return removed
}

// freezeMethods makes the functions of a prototype keep nothing.
func (w *world) freezeMethods(proto *goja.Object, freeze goja.Callable) {
	for _, n := range proto.GetOwnPropertyNames() {
		if !plainMethods()[n] {
			continue
		}
		if f, ok := proto.Get(n).(*goja.Object); ok {
			_, err := freeze(goja.Undefined(), f)
			w.must(err)
		}
	}
}

// datum says whether a property of the library is no function: a constant, or
// one of those that describe a function or an error.
func datum(name string) bool {
	return name == "prototype" || name == "length" || name == "name" || name == "message" || name == strings.ToUpper(name)
}

// regexProto makes the prototype of regular expressions that come from
// documents: their patterns are not known to be quick, so they match nothing.
func (w *world) regexProto() {
	w.documentRegex = w.vm.NewObject()
	for _, n := range []string{"source", "flags", "global", "ignoreCase", "multiline", "dotAll"} {
		getter := func(c goja.FunctionCall) goja.Value {
			if o, ok := c.This.(*goja.Object); ok && o.ClassName() == "RegExp" {
				v := w.regexParts[o]
				if n == "source" {
					return w.vm.ToValue(v[0])
				}
				if n == "flags" {
					return w.vm.ToValue(v[1])
				}
				return w.vm.ToValue(strings.Contains(v[1], map[string]string{"ignoreCase": "i", "multiline": "m", "dotAll": "s"}[n]) &&
					n != "global")
			}
			return goja.Undefined()
		}
		w.must(w.documentRegex.DefineAccessorProperty(n, w.vm.ToValue(getter), nil, goja.FLAG_TRUE, goja.FLAG_FALSE))
	}
}

// guard returns a value unless it is a string that is too long.
func (w *world) guard(c goja.FunctionCall) goja.Value {
	v := c.Argument(0)
	if s, ok := v.(goja.String); ok && s.Length() > maxPlainString {
		w.end(errLongValue)
	}
	return v
}

// end ends the call under way; JavaScript cannot catch it.
func (w *world) end(err error) {
	w.vm.Interrupt(err)
	panic(w.vm.NewGoError(err))
}

// native is a function of the library.
type native func(this goja.Value, args ...goja.Value) (goja.Value, error)

// bind replaces the methods that need bounds of their own.
func (w *world) bind(array, text, object *goja.Object) {
	for _, name := range strings.Fields("shift unshift indexOf lastIndexOf includes slice concat reverse sort forEach map filter" +
		" some every reduce reduceRight find findIndex") {
		w.replace(array, name, func(original native, c goja.FunctionCall) (goja.Value, error) {
			w.checkArray(c.This)
			switch name {
			case "concat":
				w.checkConcat(c)
			case "indexOf", "lastIndexOf", "includes":
				if s, ok := c.Argument(0).(goja.String); ok && s.Length() > 1000 {
					return w.search(name, c)
				}
			case "sort":
				if goja.IsUndefined(c.Argument(0)) {
					return original(c.This, w.defaultOrder())
				}
			}
			return original(c.This, c.Arguments...)
		})
	}
	for _, name := range []string{"join", "toString"} {
		w.replace(array, name, func(_ native, c goja.FunctionCall) (goja.Value, error) {
			w.checkArray(c.This)
			separator := ","
			if v := c.Argument(0); name == "join" && !goja.IsUndefined(v) {
				separator = v.String()
			}
			j := joiner{world: w}
			j.array(c.This.(*goja.Object), separator)
			return w.vm.ToValue(j.text.String()), nil
		})
	}
	for _, name := range []string{"match", "search"} {
		w.replace(text, name, func(original native, c goja.FunctionCall) (goja.Value, error) {
			o, ok := c.Argument(0).(*goja.Object)
			w.check(ok && o.ClassName() == "RegExp" && w.regexParts[o] == [2]string{}, "a regular expression is expected")
			return original(c.This, o)
		})
	}
	w.replace(text, "concat", func(original native, c goja.FunctionCall) (goja.Value, error) {
		total := len(c.This.String())
		for _, a := range c.Arguments {
			if total += len(a.String()); total > maxPlainString {
				w.end(errLongValue)
			}
		}
		return original(c.This, c.Arguments...)
	})
	w.replace(text, "split", func(original native, c goja.FunctionCall) (goja.Value, error) {
		_, ok := c.Argument(0).(goja.String)
		w.check(ok, "a string is expected")
		return original(c.This, c.Arguments...)
	})
	for _, name := range []string{"keys", "values"} {
		w.replace(object, name, func(original native, c goja.FunctionCall) (goja.Value, error) {
			if s, ok := c.Argument(0).(goja.String); ok && s.Length() > maxPlainArray {
				w.end(errLongValue)
			}
			if o, ok := c.Argument(0).(*goja.Object); ok && o.ClassName() == "Array" {
				w.checkArray(o)
			}
			return original(c.This, c.Arguments...)
		})
	}
}

// replace puts a function in the place of a native one, which it may call.
func (w *world) replace(o *goja.Object, name string, f func(original native, c goja.FunctionCall) (goja.Value, error)) {
	callable, _ := goja.AssertFunction(o.Get(name))
	bounded := func(c goja.FunctionCall) goja.Value {
		v, err := f(native(callable), c)
		if err != nil {
			w.rethrow(err)
		}
		return v
	}
	w.must(o.DefineDataProperty(name, w.vm.ToValue(bounded), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

// rethrow throws what a nested call ended with.
func (w *world) rethrow(err error) {
	var thrown *goja.Exception
	if errors.As(err, &thrown) {
		panic(thrown.Value())
	}
	panic(err)
}

// checkArray accepts true arrays of a bounded length only.
func (w *world) checkArray(v goja.Value) {
	o, ok := v.(*goja.Object)
	w.check(ok && o.ClassName() == "Array", "an array is expected")
	if o.Get("length").ToInteger() > maxPlainArray {
		w.end(errLongValue)
	}
}

func (w *world) checkConcat(c goja.FunctionCall) {
	total := c.This.(*goja.Object).Get("length").ToInteger()
	for _, a := range c.Arguments {
		total++
		if o, ok := a.(*goja.Object); ok && o.ClassName() == "Array" {
			total += o.Get("length").ToInteger()
		}
	}
	if total > maxPlainArray {
		w.end(errLongValue)
	}
}

// search is indexOf and its like for long strings, each comparison of which may
// take a while.
func (w *world) search(name string, c goja.FunctionCall) (goja.Value, error) {
	o, want := c.This.(*goja.Object), c.Argument(0)
	found := int64(-1)
	n := o.Get("length").ToInteger()
	for i := max(0, c.Argument(1).ToInteger()); i < n; i++ {
		w.pause()
		if v := o.Get(intKey(i)); v != nil && v.StrictEquals(want) {
			found = i
			if name != "lastIndexOf" {
				break
			}
		}
	}
	if name == "includes" {
		return w.vm.ToValue(found >= 0), nil
	}
	return w.vm.ToValue(found), nil
}

const orderSource = `(function(x, y) {
	if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
	x = String(x); y = String(y);
	return x < y ? -1 : x > y ? 1 : 0;
})`

var orderProgram = sync.OnceValue(func() *goja.Program { return goja.MustCompile("order", orderSource, true) })

// defaultOrder is the order of sort without a function, as JavaScript: it can be
// ended between two comparisons.
func (w *world) defaultOrder() goja.Value {
	v, err := w.vm.RunProgram(orderProgram())
	w.must(err)
	return v
}

// pause ends the call if it is to end.
func (w *world) pause() {
	if err := w.ending.Load(); err != nil {
		w.end(*err)
	}
}

// joiner makes a string of an array.
type joiner struct {
	*world
	text  strings.Builder
	stack []*goja.Object // the arrays under way
}

func (j *joiner) array(o *goja.Object, separator string) {
	for _, outer := range j.stack {
		if outer == o {
			return
		}
	}
	if j.stack = append(j.stack, o); len(j.stack) > maxJoinDepth {
		j.end(errLongValue)
	}
	j.checkArray(o)
	for i := range o.Get("length").ToInteger() {
		if j.pause(); i > 0 {
			j.add(separator)
		}
		v := o.Get(intKey(i))
		switch inner, ok := v.(*goja.Object); {
		case v == nil || goja.IsUndefined(v) || goja.IsNull(v):
		case ok && inner.ClassName() == "Array":
			j.array(inner, ",")
		default:
			j.add(v.String())
		}
	}
	j.stack = j.stack[:len(j.stack)-1]
}

func (j *joiner) add(s string) {
	if j.text.Len()+len(s) > maxPlainString {
		j.end(errLongValue)
	}
	j.text.WriteString(s)
}
