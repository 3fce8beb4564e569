package js

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// plainBombs are plain functions that would run forever or take all memory.
var plainBombs = map[string]string{
	"string":            "var s = 'x'; while (true) { s += s; }",
	"string of a sum":   "var s = 'x'; while (true) { s = s + s; }",
	"string of fields":  "var o = {s: 'x'}; for (;;) o.s += o.s;",
	"string of parts":   "var s = 'x'; for (;;) s = `${s}${s}`;",
	"string by concat":  "var s = 'x'; for (;;) s = s.concat(s, s);",
	"string by join":    "var s = 'x'; for (;;) s = [s, s, s].join(s);",
	"string of arrays":  "var s = 'x'; for (;;) s = '' + [s, s, s];",
	"nested join":       "var a = [1]; for (;;) { a = [a]; if (('' + a) == 2) return 1; }",
	"array":             "var a = [1]; for (;;) a = a.concat(a);",
	"array in itself":   "var a = []; for (;;) a.push(a.concat(a));",
	"array of arrays":   "var a = []; for (;;) { a.push(a.slice()); }",
	"objects":           "var o = {}, i = 0; for (;;) o['k' + i++] = {a: [i]};",
	"huge index":        "var a = []; a[4294967290] = 1; return a.indexOf(2);",
	"huge length":       "var a = []; a.length = 4294967290; a.forEach(function(x) {}); a.reverse(); return a.join();",
	"comparing":         "var s = 'x'; for (var i = 0; i < 23; i++) s += s; var t = s + 'b', u = s + 'c', a = []; for (i = 0; i < 100000; i++) a.push(t); return a.indexOf(u) + a.sort().length + a.lastIndexOf(u);",
	"recursion":         "function f() { return f() } return f();",
	"callbacks":         "var f = function() { return [1].map(function() { return f() }) }; return f();",
	"toString":          "var o = {toString: function() { return '' + o }}; return '' + o;",
	"toString growing":  "var s = 'x', o = {toString: () => s}; for (;;) s = o + o;",
	"valueOf":           "var o = {valueOf: function() { for (;;); }}; return o * 2;",
	"catching":          "for (;;) { try { var s = 'x'; for (;;) s += s; } catch (e) { } }",
	"catching finally":  "for (;;) { try { for (;;) { var s = 'x'; for (;;) s += s; } } finally { continue } }",
	"catching overflow": "function f() { try { return f() } catch (e) { return f() } finally { f() } } return f();",
	"dynamic names":     "var k = 'repeat', s = 'x'; var f = s[k]; for (;;) { s = s + s + f; }",
	"dynamic Function":  "var c = 'constructor', f = (function() {})[c]; for (;;) { if (f) return 'escaped'; }",
	"sorting":           "var a = []; for (var i = 0; i < 1e6; i++) a.push(i * 7919 % 1e6); for (;;) a.sort();",
}

// wildBombs are functions that run in a worker.
var wildBombs = map[string]string{
	"array of a length":   "return new Array(1e9).fill(0).length",
	"arrays":              "var a = []; while (true) { a.push(new Array(100000).fill(1)); }",
	"repeat":              "return 'x'.repeat(2 ** 28) + 'y'.repeat(2 ** 30)",
	"padding":             "return 'x'.padStart(2 ** 30).padEnd(2 ** 31 - 10)",
	"replacing":           "var s = 'xxxxxxxx'; for (;;) s = s.replace(/x/g, s);",
	"nested JSON":         "var s = '['; while (s.length < 1e8) s += s; return JSON.parse(s)",
	"JSON of much":        "var a = ['x']; for (var i = 0; i < 60; i++) a = [a, a]; return JSON.stringify(a)",
	"deep JSON":           "var a = []; for (var i = 0; i < 3e6; i++) a = [a]; return JSON.stringify(a)",
	"regular expression":  "return /^(?=(a+)+$)(a+)+\\1$/.test('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!')",
	"pattern of a string": "return new RegExp('^(a+)+\\\\1$').test('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!')",
	"getter":              "var o = {get a() { return this.a + 1 }}; return o.a",
	"Proxy":               "var p = new Proxy([], {get: (t, k) => k == 'length' ? 2 ** 53 : 1}); return Array.prototype.indexOf.call(p, 2)",
	"long array-like":     "return Array.prototype.indexOf.call({length: 2 ** 53}, 1)",
	"eval":                "return eval('var s = \"x\"; while (true) { s += s; }')",
	"Function":            "return new Function('var s = \"x\"; while (true) { s += s; }')()",
	"constructor":         "return (function() {}).constructor('for (;;);')()",
	"generator":           "function* g() { for (;;) yield 'xxxxxxxxxxxxxxxxxxxx' } return [...g()]",
	"toPrimitive":         "var s = 'x', o = {[Symbol.toPrimitive]() { return s }}; for (;;) s = o + o",
	"BigInt":              "var n = 3n; for (;;) n *= n",
	"typed array":         "var a = []; for (;;) a.push(new Float64Array(1e7).fill(1))",
	"bound functions":     "var f = function() {}; for (var i = 0; i < 1e7; i++) f = f.bind(null); return f()",
	"spread":              "return Math.max(...new Array(4294967295))",
	"catching":            "for (;;) { try { for (;;) 'x'.repeat(1e9).split('') } catch (e) { } finally { continue } }",
	"deep source":         strings.Repeat("(", 3<<20),
}

// TestPlainBombs runs bombs in this process: each ends, soon, and the heap stays
// small.
func TestPlainBombs(t *testing.T) {
	e := New(Limits{Time: 400 * time.Millisecond})
	for name, source := range plainBombs {
		t.Run(name, func(t *testing.T) {
			f, err := e.function(source)
			if err != nil || f.plain == nil {
				t.Fatalf("not plain: %v", err)
			}
			runtime.GC()
			began, before := time.Now(), heapBytes()
			v, err := e.NewSession().Call(t.Context(), source, bsonval.Missing, nil)
			if err == nil && v.Type() != bsonval.TypeDouble {
				t.Errorf("it returned %s", bsonval.Format(v))
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			if now := heapBytes(); now > before+(512<<20) {
				t.Errorf("the heap grew by %d MiB", (now-before)>>20)
			}
		})
	}
}

// TestWildBombs runs bombs that need a worker.
func TestWildBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds of processor time")
	}
	e := New(Limits{Time: 10 * time.Second})
	runtime.GC()
	before := heapBytes()
	for name, source := range wildBombs {
		t.Run(name, func(t *testing.T) {
			s := e.NewSession()
			if f, err := e.function(source); err != nil || s.suits(f, bsonval.Missing) {
				t.Fatalf("plain, or %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			defer cancel()
			began := time.Now()
			if v, err := s.Call(ctx, source, bsonval.Missing, nil); err == nil {
				t.Errorf("it returned %s", bsonval.Format(v))
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if now := heapBytes(); now > before+(64<<20) {
		t.Errorf("the heap grew by %d MiB", (now-before)>>20)
	}
}
