package js

import (
	"sync"

	"github.com/dop251/goja"
)

// arrayHelpers are the functions that MongoDB's server-side JavaScript has on
// Array, which map-reduce functions use.
const arrayHelpers = `(function() {
	function check(a) {
		if (!Array.isArray(a)) throw new TypeError("The first argument must be an array");
		return a;
	}
	function sum(a) { return check(a).length === 0 ? null : a.slice(1).reduce((s, x) => s + x, a[0]); }
	function avg(a) { return check(a).length === 0 ? null : sum(a) / a.length; }
	var helpers = {
		sum, avg,
		contains: (a, x) => check(a).some(y => y == x),
		unique: a => check(a).filter((x, i) => a.findIndex(y => y == x) === i),
		stdDev(a) {
			var mean = avg(a);
			return Math.sqrt(sum(a.map(x => (x - mean) * (x - mean))) / a.length);
		},
	};
	for (var name in helpers)
		Object.defineProperty(Array, name, {value: helpers[name], writable: true, configurable: true, enumerable: false});
})()`

var arrayProgram = sync.OnceValue(func() *goja.Program { return goja.MustCompile("array", arrayHelpers, true) })

// arrays defines the helpers.
func (w *world) arrays() {
	_, err := w.vm.RunProgram(arrayProgram())
	w.must(err)
}
