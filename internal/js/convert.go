package js

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/dop251/goja"
)

// maxDepth is how deep a result may be nested: what BSON may be.
const maxDepth = bsonval.MaxDepth

// toJS converts a BSON value. It may panic with a goja exception.
func (w *world) toJS(v bsonval.Value) goja.Value {
	switch v.Type() {
	case bsonval.TypeMissing, bsonval.TypeUndefined:
		return goja.Undefined()
	case bsonval.TypeNull:
		return goja.Null()
	case bsonval.TypeBool:
		return w.vm.ToValue(v.Bool())
	case bsonval.TypeInt32:
		return w.vm.ToValue(v.Int32())
	case bsonval.TypeDouble:
		return w.vm.ToValue(v.Double())
	case bsonval.TypeString, bsonval.TypeSymbol:
		return w.vm.ToValue(string(v.Bytes()))
	case bsonval.TypeDate:
		return w.construct("Date", w.vm.ToValue(v.Int64()))
	case bsonval.TypeRegex:
		pattern, options := v.RegexParts()
		return w.regexp(pattern, options, v)
	case bsonval.TypeDocument:
		return w.object(v.Doc())
	case bsonval.TypeArray:
		elements := v.Doc().Values(nil)
		items := make([]any, len(elements))
		for i, e := range elements {
			items[i] = w.toJS(e)
		}
		return w.vm.NewArray(items...)
	}
	return w.box(v.Clone())
}

func (w *world) object(d bsonval.Doc) goja.Value {
	o := w.vm.NewObject()
	it := d.Iter()
	for it.Next() {
		w.must(o.DefineDataProperty(string(it.Key()), w.toJS(it.Value()), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
	}
	if w.originals == nil {
		w.originals = map[*goja.Object]bsonval.Doc{}
	}
	w.originals[o] = d
	return o
}

// regexp makes a RegExp; a pattern or flag that JavaScript lacks stays a boxed
// BSON value.
func (w *world) regexp(pattern, options string, v bsonval.Value) goja.Value {
	flags := ""
	for _, c := range options {
		if c == 'i' || c == 'm' || c == 's' {
			flags += string(c)
		}
	}
	var r *goja.Object
	var err error
	if ex := w.vm.Try(func() {
		r, err = w.vm.New(w.vm.Get("RegExp"), w.vm.ToValue(pattern), w.vm.ToValue(flags))
	}); ex != nil || err != nil {
		return w.box(v.Clone())
	}
	if w.documentRegex != nil {
		w.must(r.SetPrototype(w.documentRegex))
		if w.regexParts == nil {
			w.regexParts = map[*goja.Object][2]string{}
		}
		w.regexParts[r] = [2]string{pattern, flags}
	}
	return r
}

func (w *world) construct(class string, args ...goja.Value) *goja.Object {
	o, err := w.vm.New(w.vm.Get(class), args...)
	w.must(err)
	return o
}

// must throws a Go error as a JavaScript exception.
func (w *world) must(err error) {
	if err != nil {
		panic(w.vm.NewGoError(err))
	}
}

// result converts what a function returned: undefined is null.
func (w *world) result(v goja.Value) (bsonval.Value, error) {
	if v == nil || goja.IsUndefined(v) {
		return bsonval.Null, nil
	}
	return w.toBSON(v, bsonval.Missing, 0)
}

// toBSON converts a JavaScript value. original is what the value's place held in
// the document it came from: an int32 there keeps integers int32.
func (w *world) toBSON(v goja.Value, original bsonval.Value, depth int) (bsonval.Value, error) {
	if depth > maxDepth {
		return bsonval.Missing, mongoerr.New(mongoerr.Overflow, "nested JavaScript object is too deep, or holds itself")
	}
	switch {
	case v == nil || goja.IsUndefined(v):
		return bsonval.Undefined, nil
	case goja.IsNull(v):
		return bsonval.Null, nil
	}
	if o, ok := v.(*goja.Object); ok {
		return w.objectToBSON(o, depth)
	}
	switch x := v.Export().(type) {
	case bool:
		return bsonval.Bool(x), nil
	case string:
		return stringToBSON(x), nil
	case int64:
		return number(float64(x), original), nil
	case float64:
		return number(x, original), nil
	}
	return bsonval.Missing, failure("cannot convert " + v.String() + " to BSON")
}

// stringToBSON replaces what is not Unicode: lone surrogates.
func stringToBSON(s string) bsonval.Value {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	return bsonval.String(s)
}

func number(f float64, original bsonval.Value) bsonval.Value {
	if original.Type() == bsonval.TypeInt32 && f == math.Trunc(f) && math.Abs(f) <= math.MaxInt32 {
		return bsonval.Int32(int32(f))
	}
	return bsonval.Double(f)
}

func (w *world) objectToBSON(o *goja.Object, depth int) (bsonval.Value, error) {
	if v, ok := w.unbox(o); ok {
		return v, nil
	}
	switch o.ClassName() {
	case "Array":
		return w.arrayToBSON(o, depth)
	case "Date":
		ms := o.ToFloat()
		if math.IsNaN(ms) {
			return bsonval.Missing, failure("Invalid Date")
		}
		return bsonval.Date(int64(ms)), nil
	case "RegExp":
		return bsonval.Regex(o.Get("source").String(), o.Get("flags").String()), nil
	case "Function":
		return bsonval.Code(o.String()), nil
	case "Number":
		return bsonval.Double(o.ToFloat()), nil
	case "String":
		return stringToBSON(o.String()), nil
	case "Boolean":
		return bsonval.Bool(o.Get("valueOf") != nil && o.String() == "true"), nil
	}
	original := w.originals[o]
	b := bsonval.NewBuilder()
	for _, key := range o.Keys() {
		var before bsonval.Value
		if original != nil {
			before = original.Lookup(key)
		}
		v, err := w.toBSON(o.Get(key), before, depth+1)
		if err != nil {
			return v, err
		}
		if containsNUL(key) {
			return v, failure("field names may not hold NUL")
		}
		if b.Value(key, v); b.Len() > bsonval.MaxDocumentBytes {
			return v, tooLarge()
		}
	}
	return bsonval.Document(b.Build()), nil
}

func (w *world) arrayToBSON(o *goja.Object, depth int) (bsonval.Value, error) {
	b := bsonval.NewArrayBuilder()
	n := o.Get("length").ToInteger()
	for i := range n {
		v, err := w.toBSON(o.Get(intKey(i)), bsonval.Missing, depth+1)
		if err != nil {
			return v, err
		}
		if b.Add(v); b.Len() > bsonval.MaxDocumentBytes {
			return v, tooLarge()
		}
	}
	return bsonval.Array(b.Build()), nil
}

func intKey(i int64) string { return strconv.FormatInt(i, 10) }

func containsNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

func tooLarge() error {
	return mongoerr.New(mongoerr.BSONObjectTooLarge, "the result of a JavaScript function is larger than %d bytes",
		bsonval.MaxDocumentBytes)
}

// Truthy is a result as a JavaScript condition: false, null, undefined, 0, NaN
// and the empty string are false.
func Truthy(v bsonval.Value) bool {
	switch v.Type() {
	case bsonval.TypeString:
		return len(v.Bytes()) > 0
	case bsonval.TypeDouble:
		return v.Double() != 0 && !math.IsNaN(v.Double())
	case bsonval.TypeInt64, bsonval.TypeDecimal128:
		return true // objects
	}
	return v.Truthy()
}
