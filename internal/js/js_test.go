package js

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func call(t *testing.T, source string, this bsonval.Value, args ...bsonval.Value) (bsonval.Value, error) {
	t.Helper()
	return New(Limits{}).NewSession().Call(t.Context(), source, this, args)
}

func TestCallResults(t *testing.T) {
	doc := bsonval.Document(bsonval.NewBuilder().Int32("a", 1).Value("n", bsonval.Int64(1<<60)).Str("s", "x").Build())
	id := bsonval.ObjectID([]byte("abcdefghijkl"))
	for _, test := range []struct {
		source string
		this   bsonval.Value
		args   []bsonval.Value
		want   bsonval.Value
	}{
		{source: "function(x) { return x * 2 }", args: []bsonval.Value{bsonval.Int32(21)}, want: bsonval.Double(42)},
		{source: "x => x + 1", args: []bsonval.Value{bsonval.Double(0.5)}, want: bsonval.Double(1.5)},
		{source: "this.a == 1", this: doc, want: bsonval.True},
		{source: "return this.s", this: doc, want: bsonval.String("x")},
		{source: "var y = 3; return y", want: bsonval.Double(3)},
		{source: "function() {}", want: bsonval.Null},
		{source: "function() { return null }", want: bsonval.Null},
		{source: "function(d) { return d }", args: []bsonval.Value{doc}, want: doc},
		{source: "function(d) { d.a = 1.5; return d.a }", args: []bsonval.Value{doc}, want: bsonval.Double(1.5)},
		{source: "function(d) { return d.n + 1 }", args: []bsonval.Value{bsonval.Document(
			bsonval.NewBuilder().Value("n", bsonval.Int64(41)).Build())}, want: bsonval.Double(42)},
		{source: "function() { return NumberLong('9223372036854775807') }", want: bsonval.Int64(1<<63 - 1)},
		{source: "function() { return new NumberLong(5) }", want: bsonval.Int64(5)},
		{source: "function() { return NumberInt(5) }", want: bsonval.Double(5)},
		{source: "function() { return NumberDecimal('1.50').toString() }", want: bsonval.String(`NumberDecimal("1.50")`)},
		{source: "function(i) { return i.str }", args: []bsonval.Value{id}, want: bsonval.String("6162636465666768696a6b6c")},
		{source: "function(i) { return i }", args: []bsonval.Value{id}, want: id},
		{source: "function() { return ObjectId('6162636465666768696a6b6c') }", want: id},
		{source: "function() { return ISODate('1970-01-01T00:00:01Z') }", want: bsonval.Date(1000)},
		{source: "function(d) { return d.getTime() }", args: []bsonval.Value{bsonval.Date(1234)}, want: bsonval.Double(1234)},
		{source: "function() { return [1, 'a', undefined] }",
			want: bsonval.ArrayOf(bsonval.Double(1), bsonval.String("a"), bsonval.Undefined)},
		{source: "function() { return /a+b/im }", want: bsonval.Regex("a+b", "im")},
		{source: "function() { return BinData(0, 'AAEC') }", want: bsonval.Binary(0, []byte{0, 1, 2})},
		{source: "function(t) { return t.t + t.i }", args: []bsonval.Value{bsonval.Timestamp(3, 4)}, want: bsonval.Double(7)},
		{source: "function() { return hex_md5('hello') }", want: bsonval.String("5d41402abc4b2a76b9719d911017c592")},
		{source: "function() { return {a: {b: [true]}} }", want: bsonval.Document(
			bsonval.NewBuilder().StartDoc("a").StartArray("b").Bool("", true).Build())},
	} {
		got, err := call(t, test.source, test.this, test.args...)
		if err != nil {
			t.Errorf("%s: %v", test.source, err)
		} else if !bsonval.Identical(got, test.want) {
			t.Errorf("%s = %s (%s), want %s (%s)", test.source, bsonval.Format(got), got.Type(),
				bsonval.Format(test.want), test.want.Type())
		}
	}
}

func TestCallErrors(t *testing.T) {
	for source, text := range map[string]string{
		"function( {":                                              "Unexpected token",
		"function() { throw new Error('boom') }":                   "boom",
		"function() { return nothing.at.all }":                     "nothing is not defined",
		"function() { return ObjectId('zz') }":                     "invalid object id",
		"function f() { return f() }":                              "",
		"function() { var a = []; a[0] = a; return a }":            "too deep",
		"function() { return 'x'.repeat(1e9) }":                    "too much memory",
		"function() { throw {toString: function() { throw 1 }} }":  "",
		"function() { return {get a() { throw new Error('g') }} }": "g",
	} {
		_, err := call(t, source, bsonval.Missing)
		if e := mongoerr.As(err); e == nil || !strings.Contains(e.Message, text) {
			t.Errorf("%s: %v, want an error with %q", source, err, text)
		}
	}
}

func TestSessionKeepsGlobalsAndOthersDoNot(t *testing.T) {
	e := New(Limits{})
	a, b := e.NewSession(), e.NewSession()
	count := "function() { n = (typeof n == 'undefined' ? 0 : n) + 1; return n }"
	for i, s := range []*Session{a, a, b} {
		v, err := s.Call(t.Context(), count, bsonval.Missing, nil)
		if want := [...]float64{1, 2, 1}[i]; err != nil || v.Double() != want {
			t.Errorf("call %d: %v, %v, want %v", i, v.Double(), err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	loop := "function() { for (;;) {} }"
	s := New(Limits{Time: 30 * time.Millisecond}).NewSession()
	if _, err := s.Call(t.Context(), loop, bsonval.Missing, nil); !mongoerr.Is(err, mongoerr.JSInterpreterFailure) {
		t.Errorf("endless loop: %v", err)
	}
	if v, err := s.Call(t.Context(), "1 + 1", bsonval.Missing, nil); err != nil || v.Double() != 2 {
		t.Errorf("call after an interrupted one: %v, %v", v.Double(), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.engine.NewSession().Call(ctx, loop, bsonval.Missing, nil); err == nil {
		t.Error("endless loop outlived its context")
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := s.Call(ctx, "1", bsonval.Missing, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: %v", err)
	}
	s = New(Limits{Heap: 16 << 20}).NewSession()
	grow := "function() { var a = []; for (;;) a.push({x: a.length, s: 'abc' + a.length}) }"
	if _, err := s.Call(t.Context(), grow, bsonval.Missing, nil); !mongoerr.Is(err, mongoerr.JSInterpreterFailure) {
		t.Errorf("endless growth: %v", err)
	}
}

func TestDefine(t *testing.T) {
	s := New(Limits{}).NewSession()
	var got []string
	s.Define("emit", func(args []bsonval.Value) (bsonval.Value, error) {
		if len(args) != 2 {
			return bsonval.Missing, mongoerr.New(9, "emit takes 2 args")
		}
		got = append(got, bsonval.Format(args[0]))
		return bsonval.Missing, nil
	})
	doc := bsonval.Document(bsonval.NewBuilder().Str("k", "v").Build())
	if _, err := s.Call(t.Context(), "function() { emit(this.k, 1); emit('z', 2) }", doc, nil); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, ",") != `"v","z"` {
		t.Errorf("emitted %v", got)
	}
	if _, err := s.Call(t.Context(), "function() { emit() }", doc, nil); !mongoerr.Is(err, 9) {
		t.Errorf("a native function's error came out as %v", err)
	}
}

func TestTruthy(t *testing.T) {
	for _, v := range []bsonval.Value{bsonval.Missing, bsonval.Null, bsonval.False, bsonval.String(""), bsonval.Double(0)} {
		if Truthy(v) {
			t.Errorf("%s is truthy", bsonval.Format(v))
		}
	}
	for _, v := range []bsonval.Value{bsonval.True, bsonval.String("0"), bsonval.ArrayOf(), bsonval.Double(-1)} {
		if !Truthy(v) {
			t.Errorf("%s is not truthy", bsonval.Format(v))
		}
	}
}

func FuzzCall(f *testing.F) {
	f.Add("function(x) { return x }", "abc")
	f.Add("this.a ==", "")
	f.Add("})(", "x")
	e := New(Limits{Time: 50 * time.Millisecond, Heap: 64 << 20})
	f.Fuzz(func(t *testing.T, source, arg string) {
		v, err := e.NewSession().Call(context.Background(), source, bsonval.Missing, []bsonval.Value{bsonval.String(arg)})
		if err == nil && (v.Type() == bsonval.TypeDocument || v.Type() == bsonval.TypeArray) {
			if err := bsonval.Validate(v.Doc()); err != nil {
				t.Errorf("%q: %v", source, err)
			}
		}
	})
}

func BenchmarkCall(b *testing.B) {
	s := New(Limits{}).NewSession()
	doc := bsonval.Document(bsonval.NewBuilder().Int32("a", 1).Str("s", "x").Build())
	for b.Loop() {
		if _, err := s.Call(context.Background(), "function(d) { return d.a + 1 }", bsonval.Missing, []bsonval.Value{doc}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestManySessions makes more sessions than there are workers, under a context
// that never ends and under ones that do.
func TestManySessions(t *testing.T) {
	e := New(Limits{})
	for i := range maxWorkers + 8 {
		ctx, cancel := context.Background(), func() {}
		if i%8 == 0 {
			ctx, cancel = context.WithCancel(ctx)
		}
		if _, err := e.NewSession().Call(ctx, "x = 1; return x", bsonval.Missing, nil); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

// TestPlain says which functions run in this process.
func TestPlain(t *testing.T) {
	for source, want := range map[string]bool{
		"this.a == 1": true, "function(a, b) { return a + b }": true, "x => x * 2": true, "emit(this.k, 1)": true,
		"return this.name.toLowerCase().indexOf('x') >= 0":                                 true,
		"for (var k in this.counts) { emit(k, this.counts[k]) }":                           true,
		"return /^a[bc]*$/i.test(this.s)":                                                  true,
		"return values.reduce(function(a, b) { return a + b }, 0)":                         false, // values is unknown
		"function(k, values) { var s = 0; values.forEach(v => { s += v }); return s }":     true,
		"function(k, values) { return Array.sum(values) }":                                 true,
		"return Math.max(this.a, this.b) > Math.floor(this.c)":                             true,
		"try { throw new Error('x') } catch (e) { return e.message } finally { return 1 }": true,
		"switch (this.a) { case 1: return 'x'; default: return `${this.a}` }":              true,
		"n = 1": false, "function() { return this.replace }": false, "return this.s.replace('a', 'b')": false,
		"return {get a() { return 1 }}": false, "var [a] = this.list; return a": false, "return f(...this.list)": false,
		"return /(a)\\1/.test(this.s)": false, "return this.s.match(this.r)": false, "return this['constructor']": false,
		"class A {}": false, "async () => 1": false, "return 10n": false, "return new Array(9)": false, "return globalThis": false,
		"return this[this.k]()": false, "return [1].map(parseInt)": false, "function() { return arguments }": false,
		"return {__proto__: this}": false, "with (this) { return a }": false, "return (() => this)()": true,
		"function f() { function g() { return this } return g() }": false, "return typeof unknown": false,
	} {
		f, err := New(Limits{}).function(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
		} else if got := f.plain != nil; got != want {
			t.Errorf("%s: plain is %v, want %v", source, got, want)
		}
	}
}

// TestRealm compares the plain realm with the full one: a method that is in one
// prototype of the plain realm is in all that have it in the full one, so that
// functions which call it mean the same in both; and nothing else is left.
func TestRealm(t *testing.T) {
	full, plain := newWorld(100), newWorld(100)
	plain.harden()
	global := plain.vm.GlobalObject()
	for _, name := range global.GetOwnPropertyNames() {
		if _, ok := plainGlobals[name]; !ok && !plainConstants[name] && !strings.Contains(" Array Object Math RegExp + ", " "+name+" ") {
			t.Errorf("global %s is left", name)
		}
	}
	for _, path := range []string{"[]", "''", "1", "true", "/a/", "new Date(0)", "({})", "(function() {})", "new Error('x')"} {
		names, err := full.vm.RunString("(function(x) { var l = []; for (var p = Object(x); p; p = Object.getPrototypeOf(p)) " +
			"l.push(...Object.getOwnPropertyNames(p)); return l.join() })(" + path + ")")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Split(names.String(), ",") {
			if name == "caller" || name == "arguments" || name == "" {
				continue
			}
			v, err := plain.vm.RunString("typeof (" + path + ")['" + name + "']")
			if err != nil {
				t.Fatalf("%s.%s: %v", path, name, err)
			}
			inFull, _ := full.vm.RunString("typeof (" + path + ")['" + name + "']")
			if removedNames()[name] && v.String() == "function" {
				t.Errorf("%s.%s is left", path, name)
			} else if !removedNames()[name] && !v.StrictEquals(inFull) && v.String() != inFull.String() {
				t.Errorf("%s.%s is a %v, in full a %v", path, name, v, inFull)
			}
		}
	}
}

// BenchmarkScripts runs what scripts usually do, again and again.
func BenchmarkScripts(b *testing.B) {
	numbers := make([]bsonval.Value, 100)
	for i := range numbers {
		numbers[i] = bsonval.Double(float64(i))
	}
	doc := bsonval.Document(bsonval.NewBuilder().Int32("a", 1).Str("s", "some text").Array("n", bsonval.ArrayOf(numbers...).Doc()).Build())
	for name, source := range map[string]string{
		"where":     "this.a == 1 && this.s.indexOf('text') > 0",
		"regexp":    "/te.t$/.test(this.s)",
		"sum":       "var s = 0; for (var i = 0; i < this.n.length; i++) s += this.n[i]; return s",
		"reduce":    "return this.n.map(function(x) { return x * 2 }).filter(function(x) { return x > 9 }).reduce(function(a, b) { return a + b }, 0)",
		"text":      "var out = []; for (var i = 0; i < 50; i++) out.push(this.s + ':' + i); return out.join(',').length",
		"Array.sum": "return Array.sum(this.n)",
		"worker":    "return this.s.replace('a', 'b')",
	} {
		b.Run(name, func(b *testing.B) {
			s := New(Limits{}).NewSession()
			for b.Loop() {
				if _, err := s.Call(b.Context(), source, doc, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSession makes a world for one call.
func BenchmarkSession(b *testing.B) {
	e := New(Limits{})
	for b.Loop() {
		if _, err := e.NewSession().Call(context.Background(), "1 + 1", bsonval.Missing, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestArrayHelpers(t *testing.T) {
	s := New(Limits{}).NewSession()
	for source, want := range map[string]float64{
		"Array.sum([1, 2, 3.5])": 6.5, "Array.avg([1, 2, 3])": 2, "Array.stdDev([2, 4, 4, 4, 5, 5, 7, 9])": 2,
		"Array.contains([1, 2], 2) ? 1 : 0": 1, "Array.contains([1, 2], 3) ? 1 : 0": 0, "Array.unique([1, 2, 1, 3, 2]).length": 3,
		"Array.sum([]) === null ? 1 : 0": 1, "Array.avg([]) === null ? 1 : 0": 1,
	} {
		v, err := s.Call(t.Context(), "function() { return "+source+" }", bsonval.Missing, nil)
		if err != nil || v.AsDouble() != want {
			t.Errorf("%s = %v, %v; want %v", source, v.AsDouble(), err, want)
		}
	}
	if _, err := s.Call(t.Context(), "function() { return Array.sum(1) }", bsonval.Missing, nil); !mongoerr.Is(err, mongoerr.JSInterpreterFailure) {
		t.Errorf("sum of a number: %v", err)
	}
}
