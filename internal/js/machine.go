package js

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/dop251/goja"
)

// watchInterval is how often a running call is measured.
const watchInterval = 10 * time.Millisecond

// plainDepth is how many calls of a plain function may be under way inside each
// other: leaving them all at once takes time that nothing interrupts.
const plainDepth = 2000

// Native is a Go function that JavaScript may call.
type Native func(args []bsonval.Value) (bsonval.Value, error)

// machine runs functions in one world.
type machine struct {
	limits    Limits
	world     *world
	session   uint64 // whose functions it has
	functions map[*goja.Program]goja.Callable
	programs  map[string]*goja.Program // by source; of workers
}

// newMachine makes a machine; a plain one has what plain functions may use.
func newMachine(limits Limits, plain bool) *machine {
	w := newWorld(limits.Depth)
	if plain {
		w.harden()
		w.vm.SetMaxCallStackSize(min(limits.Depth, plainDepth))
	}
	return &machine{limits: limits, world: w, functions: map[*goja.Program]goja.Callable{}}
}

// adopt gives the machine to a session: its native functions are there, and the
// functions of the one before, which may have properties, are not.
func (m *machine) adopt(session uint64, natives map[string]Native) {
	if m.session == session {
		return
	}
	m.session = session
	clear(m.functions)
	for name := range m.world.natives {
		if natives[name] == nil {
			_ = m.world.vm.GlobalObject().Delete(name)
		}
	}
	m.world.natives = natives
	for name := range natives {
		m.world.define(name)
	}
}

// setGlobals makes variables of a document's fields.
func (m *machine) setGlobals(d bsonval.Doc) error {
	w := m.world
	ex := w.vm.Try(func() {
		it := d.Iter()
		for it.Next() {
			w.must(w.vm.Set(string(it.Key()), w.toJS(it.Value())))
		}
	})
	if ex != nil {
		return ex
	}
	return nil
}

// run calls a program's function within the limits. Errors are for failed.
func (m *machine) run(ctx context.Context, p *goja.Program, this bsonval.Value, args []bsonval.Value) (bsonval.Value, error) {
	stop := m.watch(ctx)
	v, err := m.call(p, this, args)
	stop()
	m.world.vm.ClearInterrupt()
	m.world.ending.Store(nil)
	m.world.originals, m.world.regexParts = nil, nil
	return v, err
}

func (m *machine) call(p *goja.Program, this bsonval.Value, args []bsonval.Value) (result bsonval.Value, err error) {
	w := m.world
	// An interruption outside a function, in a conversion, comes as a panic, and
	// so does whatever the interpreter did not expect.
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(error); ok {
				err = e
			} else {
				err = failure(fmt.Sprint(r))
			}
		}
	}()
	// Conversions may run JavaScript (getters), so they are guarded, too.
	ex := w.vm.Try(func() {
		var f goja.Callable
		if f, err = m.function(p); err != nil {
			return
		}
		var self goja.Value = goja.Undefined()
		if !this.IsMissing() {
			self = w.toJS(this)
		}
		values := make([]goja.Value, len(args))
		for i, a := range args {
			values[i] = w.toJS(a)
		}
		var v goja.Value
		if v, err = f(self, values...); err != nil {
			return
		}
		result, err = w.result(v)
	})
	if ex != nil {
		err = ex
	}
	return result, err
}

func (m *machine) function(p *goja.Program) (goja.Callable, error) {
	if f := m.functions[p]; f != nil {
		return f, nil
	}
	v, err := m.world.vm.RunProgram(p)
	if err != nil {
		return nil, err
	}
	f, ok := goja.AssertFunction(v)
	if !ok {
		return nil, failure("not a function")
	}
	m.functions[p] = f
	return f, nil
}

var (
	errTooLong = errors.New("JavaScript function ran too long")
	errTooBig  = errors.New("JavaScript function used too much memory")
)

// watch interrupts the call when a limit is reached; the function returned ends
// that, and no interruption comes after it has returned.
func (m *machine) watch(ctx context.Context) (stop func()) {
	limits, start := m.limits, time.Now()
	var mu sync.Mutex
	done := false
	var heap uint64 // at the first measurement, a moment after the start
	var timer *time.Timer
	measure := func() {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return
		}
		now := heapBytes()
		if heap == 0 {
			heap = now
		}
		switch {
		case ctx.Err() != nil:
			m.interrupt(ctx.Err())
		case time.Since(start) > limits.Time:
			m.interrupt(errTooLong)
		case now > heap && now-heap > limits.Heap:
			m.interrupt(errTooBig)
		default:
			timer.Reset(min(watchInterval, limits.Time))
		}
	}
	mu.Lock()
	timer = time.AfterFunc(min(watchInterval, limits.Time), measure)
	mu.Unlock()
	return func() {
		mu.Lock()
		done = true
		mu.Unlock()
		timer.Stop()
	}
}

func (m *machine) interrupt(err error) {
	m.world.ending.Store(&err)
	m.world.vm.Interrupt(err)
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// failed turns what the interpreter reports into the error a client sees.
func failed(ctx context.Context, err error) error {
	var interrupted *goja.InterruptedError
	if errors.As(err, &interrupted) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return mongoerr.New(mongoerr.JSInterpreterFailure, "%v", interrupted.Value())
	}
	var thrown *goja.Exception
	if errors.As(err, &thrown) {
		if e := mongoerr.As(thrown.Unwrap()); e != nil {
			return e
		}
		return failure(exceptionText(thrown))
	}
	if e := mongoerr.As(err); e != nil {
		return e
	}
	return failure(err.Error())
}

// exceptionText is "TypeError: x is not a function", without the stack.
func exceptionText(e *goja.Exception) (text string) {
	defer func() {
		if recover() != nil { // a toString of its own that throws
			text = "uncaught exception"
		}
	}()
	return e.Value().String()
}
