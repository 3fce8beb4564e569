package js

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/dop251/goja"
)

// world is one JavaScript realm with MongoDB's globals.
type world struct {
	vm     *goja.Runtime
	hidden *goja.Symbol // property of boxed BSON values
	protos map[bsonval.Type]*goja.Object

	natives map[string]Native // by global name

	// originals are the documents that objects of the call under way were made
	// of.
	originals map[*goja.Object]bsonval.Doc

	// Of plain worlds: the prototype of regular expressions that come from
	// documents, with the pattern and flags of each.
	documentRegex *goja.Object
	regexParts    map[*goja.Object][2]string

	// ending is why the call under way is to end; nil while it may go on.
	ending atomic.Pointer[error]
}

// boxed is a BSON value behind a JavaScript object.
type boxed struct{ v bsonval.Value }

func newWorld(depth int) *world {
	w := &world{vm: goja.New(), hidden: goja.NewSymbol("bson"), protos: map[bsonval.Type]*goja.Object{}}
	w.vm.SetMaxCallStackSize(depth)
	w.constructors()
	w.functions()
	w.arrays()
	return w
}

// define makes a global function of one of the natives.
func (w *world) define(name string) {
	w.global(name, func(c goja.FunctionCall) goja.Value {
		args := make([]bsonval.Value, len(c.Arguments))
		for i, a := range c.Arguments {
			v, err := w.toBSON(a, bsonval.Missing, 0)
			w.must(err)
			args[i] = v
		}
		v, err := w.natives[name](args)
		w.must(err)
		return w.toJS(v)
	})
}

// global sets a global that loops over the global object do not see.
func (w *world) global(name string, f any) {
	w.must(w.vm.GlobalObject().DefineDataProperty(name, w.vm.ToValue(f), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

// box makes an object of a BSON value that JavaScript has no type for.
func (w *world) box(v bsonval.Value) *goja.Object {
	o := w.vm.CreateObject(w.protos[v.Type()])
	w.must(o.DefineDataPropertySymbol(w.hidden, w.vm.ToValue(&boxed{v}), goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE))
	return o
}

func (w *world) unbox(o *goja.Object) (bsonval.Value, bool) {
	p := o.GetSymbol(w.hidden)
	if p == nil {
		return bsonval.Missing, false
	}
	b, ok := p.Export().(*boxed)
	if !ok {
		return bsonval.Missing, false
	}
	return b.v, true
}

// constructor is a global that makes boxed values of one type.
type constructor struct {
	name string
	typ  bsonval.Type
	make func(w *world, args []goja.Value) bsonval.Value // may throw
}

var constructors = []constructor{
	{"NumberLong", bsonval.TypeInt64, func(w *world, args []goja.Value) bsonval.Value {
		if len(args) == 0 {
			return bsonval.Int64(0)
		}
		if s, ok := args[0].(goja.String); ok {
			n, err := strconv.ParseInt(s.String(), 10, 64)
			w.check(err == nil, "NumberLong: not an integer of 64 bits")
			return bsonval.Int64(n)
		}
		return bsonval.Int64(bsonval.Double(args[0].ToFloat()).TruncInt64())
	}},
	{"NumberDecimal", bsonval.TypeDecimal128, func(w *world, args []goja.Value) bsonval.Value {
		if len(args) == 0 {
			return bsonval.DecimalValue(bsonval.DecimalFromInt64(0))
		}
		d, _, err := bsonval.ParseDecimal(args[0].String())
		w.check(err == nil, "NumberDecimal: not a decimal number")
		return bsonval.DecimalValue(d)
	}},
	{"ObjectId", bsonval.TypeObjectID, func(w *world, args []goja.Value) bsonval.Value {
		if len(args) == 0 {
			id := make([]byte, 12)
			binary.BigEndian.PutUint32(id, uint32(time.Now().Unix()))
			_, _ = rand.Read(id[4:])
			return bsonval.ObjectID(id)
		}
		id, err := hex.DecodeString(args[0].String())
		w.check(err == nil && len(id) == 12, "invalid object id: length")
		return bsonval.ObjectID(id)
	}},
	{"Timestamp", bsonval.TypeTimestamp, func(w *world, args []goja.Value) bsonval.Value {
		var parts [2]uint32
		for i := range min(len(args), 2) {
			parts[i] = uint32(args[i].ToInteger())
		}
		return bsonval.Timestamp(parts[0], parts[1])
	}},
	{"BinData", bsonval.TypeBinary, func(w *world, args []goja.Value) bsonval.Value {
		w.check(len(args) == 2, "BinData takes 2 arguments -- BinData(subtype,data)")
		b, err := base64.StdEncoding.DecodeString(args[1].String())
		w.check(err == nil, "BinData: invalid base64")
		return bsonval.Binary(byte(args[0].ToInteger()), b)
	}},
	{"MinKey", bsonval.TypeMinKey, func(*world, []goja.Value) bsonval.Value { return bsonval.MinKey }},
	{"MaxKey", bsonval.TypeMaxKey, func(*world, []goja.Value) bsonval.Value { return bsonval.MaxKey }},
}

// check throws a TypeError unless a condition holds.
func (w *world) check(ok bool, message string) {
	if !ok {
		panic(w.vm.NewTypeError(message))
	}
}

// constructors defines the globals and the prototypes of boxed values.
func (w *world) constructors() {
	for _, t := range []bsonval.Type{bsonval.TypeCode, bsonval.TypeCodeScope, bsonval.TypeDBPointer, bsonval.TypeRegex} {
		w.protos[t] = w.prototype(w.vm.NewObject())
	}
	for _, c := range constructors {
		w.global(c.name, func(call goja.ConstructorCall) *goja.Object { return w.box(c.make(w, call.Arguments)) })
		proto := w.vm.Get(c.name).ToObject(w.vm).Get("prototype").ToObject(w.vm)
		w.protos[c.typ] = w.prototype(proto)
	}
	numbers := []bsonval.Type{bsonval.TypeInt64, bsonval.TypeDecimal128}
	for _, t := range numbers {
		w.method(w.protos[t], "toNumber", func(v bsonval.Value) any { return v.AsDouble() })
		w.method(w.protos[t], "valueOf", func(v bsonval.Value) any { return v.AsDouble() })
	}
	id := w.protos[bsonval.TypeObjectID]
	w.getter(id, "str", func(v bsonval.Value) any { return hex.EncodeToString(v.Bytes()) })
	w.method(id, "valueOf", func(v bsonval.Value) any { return hex.EncodeToString(v.Bytes()) })
	w.method(id, "getTimestamp", func(v bsonval.Value) any {
		return w.construct("Date", w.vm.ToValue(int64(binary.BigEndian.Uint32(v.Bytes()))*1000))
	})
	ts := w.protos[bsonval.TypeTimestamp]
	w.getter(ts, "t", func(v bsonval.Value) any { t, _ := v.TimestampParts(); return t })
	w.getter(ts, "i", func(v bsonval.Value) any { _, i := v.TimestampParts(); return i })
	bin := w.protos[bsonval.TypeBinary]
	w.getter(bin, "type", func(v bsonval.Value) any { return int64(v.BinarySubtype()) })
	w.method(bin, "length", func(v bsonval.Value) any { return len(v.Bytes()) })
	w.method(bin, "base64", func(v bsonval.Value) any { return base64.StdEncoding.EncodeToString(v.Bytes()) })
	w.method(bin, "hex", func(v bsonval.Value) any { return hex.EncodeToString(v.Bytes()) })
}

// prototype gives a prototype what all boxed values have.
func (w *world) prototype(p *goja.Object) *goja.Object {
	w.method(p, "toString", func(v bsonval.Value) any { return text(v) })
	w.method(p, "tojson", func(v bsonval.Value) any { return text(v) })
	w.method(p, "toJSON", func(v bsonval.Value) any { return text(v) })
	return p
}

func (w *world) method(p *goja.Object, name string, f func(v bsonval.Value) any) {
	w.must(p.DefineDataProperty(name, w.vm.ToValue(w.onBoxed(name, f)), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

func (w *world) getter(p *goja.Object, name string, f func(v bsonval.Value) any) {
	w.must(p.DefineAccessorProperty(name, w.vm.ToValue(w.onBoxed(name, f)), nil, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

func (w *world) onBoxed(name string, f func(v bsonval.Value) any) func(goja.FunctionCall) goja.Value {
	return func(c goja.FunctionCall) goja.Value {
		o, ok := c.This.(*goja.Object)
		if ok {
			if v, ok := w.unbox(o); ok {
				return w.vm.ToValue(f(v))
			}
		}
		panic(w.vm.NewTypeError("%s: not a BSON value", name))
	}
}

// text is a boxed value as the shell prints it.
func text(v bsonval.Value) string {
	switch v.Type() {
	case bsonval.TypeInt64:
		n := strconv.FormatInt(v.Int64(), 10)
		if v.Int64() != int64(int32(v.Int64())) {
			n = `"` + n + `"`
		}
		return "NumberLong(" + n + ")"
	case bsonval.TypeDecimal128:
		return `NumberDecimal("` + v.Decimal().String() + `")`
	case bsonval.TypeObjectID:
		return `ObjectId("` + hex.EncodeToString(v.Bytes()) + `")`
	case bsonval.TypeBinary:
		return "BinData(" + strconv.Itoa(int(v.BinarySubtype())) + `,"` + base64.StdEncoding.EncodeToString(v.Bytes()) + `")`
	}
	return bsonval.Format(v)
}

// functions defines MongoDB's global functions.
func (w *world) functions() {
	w.global("NumberInt", func(c goja.FunctionCall) goja.Value {
		return w.vm.ToValue(int32(c.Argument(0).ToInteger()))
	})
	w.global("ISODate", func(c goja.FunctionCall) goja.Value {
		if len(c.Arguments) == 0 {
			return w.construct("Date")
		}
		return w.construct("Date", c.Argument(0))
	})
	w.global("UUID", func(c goja.FunctionCall) goja.Value {
		b, err := hex.DecodeString(strings.ReplaceAll(c.Argument(0).String(), "-", ""))
		w.check(err == nil && len(b) == 16, "UUID: 32 hexadecimal digits expected")
		return w.box(bsonval.Binary(4, b))
	})
	w.global("HexData", func(c goja.FunctionCall) goja.Value {
		b, err := hex.DecodeString(c.Argument(1).String())
		w.check(err == nil, "HexData: hexadecimal digits expected")
		return w.box(bsonval.Binary(byte(c.Argument(0).ToInteger()), b))
	})
	w.global("hex_md5", func(c goja.FunctionCall) goja.Value {
		sum := md5.Sum([]byte(c.Argument(0).String()))
		return w.vm.ToValue(hex.EncodeToString(sum[:]))
	})
	w.global("isNumber", func(c goja.FunctionCall) goja.Value {
		v := c.Argument(0)
		return w.vm.ToValue(v.ExportType() != nil && (v.ExportType().Kind() == reflect.Int64 || v.ExportType().Kind() == reflect.Float64))
	})
	w.global("isString", func(c goja.FunctionCall) goja.Value {
		_, ok := c.Argument(0).(goja.String)
		return w.vm.ToValue(ok)
	})
	w.global("isObject", func(c goja.FunctionCall) goja.Value {
		_, ok := c.Argument(0).(*goja.Object)
		return w.vm.ToValue(ok)
	})
	w.global("tojson", func(c goja.FunctionCall) goja.Value {
		v, err := w.toBSON(c.Argument(0), bsonval.Missing, 0)
		w.must(err)
		return w.vm.ToValue(bsonval.Format(v))
	})
	w.global("print", func(goja.FunctionCall) goja.Value { return goja.Undefined() })
}
