package js

import (
	"context"
	"errors"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/dop251/goja"
)

// watchInterval is how often a running call is measured.
const watchInterval = 10 * time.Millisecond

// Session is the JavaScript world of one command. Calls exclude each other.
type Session struct {
	engine *Engine

	mu        sync.Mutex // held during a call
	world     *world     // nil before the first call; guarded by mu
	functions map[string]goja.Callable
	natives   map[string]Native
	globals   bsonval.Doc
}

// Native is a Go function that JavaScript may call.
type Native func(args []bsonval.Value) (bsonval.Value, error)

// Define gives the session's JavaScript a global function (emit of mapReduce).
// It must be called before the first call.
func (s *Session) Define(name string, f Native) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.natives == nil {
		s.natives = map[string]Native{}
	}
	s.natives[name] = f
}

// SetGlobals gives the session's JavaScript global variables, the fields of a
// document (scope of mapReduce). It must be called before the first call.
func (s *Session) SetGlobals(d bsonval.Doc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.globals = d.Clone()
}

// Call runs the function with this source, `this` bound to this unless it is
// missing. The result shares no bytes with the arguments. Errors are
// *mongoerr.Error with code JSInterpreterFailure, or the context's error.
func (s *Session) Call(ctx context.Context, source string, this bsonval.Value, args []bsonval.Value) (bsonval.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		return bsonval.Missing, err
	}
	if s.world == nil {
		if err := s.begin(); err != nil {
			return bsonval.Missing, s.failed(ctx, err)
		}
	}
	stop := s.watch(ctx)
	v, err := s.call(source, this, args)
	stop()
	s.world.vm.ClearInterrupt()
	s.world.originals = nil
	if err != nil {
		return bsonval.Missing, s.failed(ctx, err)
	}
	return v, nil
}

// begin makes the world with the session's own globals.
func (s *Session) begin() error {
	w := newWorld(s.engine.limits.Depth)
	for name, f := range s.natives {
		w.define(name, f)
	}
	// Conversions may throw JavaScript exceptions.
	ex := w.vm.Try(func() {
		it := s.globals.Iter()
		for it.Next() {
			w.must(w.vm.Set(string(it.Key()), w.toJS(it.Value())))
		}
	})
	if ex != nil {
		return ex
	}
	s.world, s.functions = w, map[string]goja.Callable{}
	return nil
}

func (s *Session) call(source string, this bsonval.Value, args []bsonval.Value) (bsonval.Value, error) {
	f, err := s.function(source)
	if err != nil {
		return bsonval.Missing, err
	}
	w := s.world
	var self goja.Value = goja.Undefined()
	values := make([]goja.Value, len(args))
	var result bsonval.Value
	// Conversions may run JavaScript (getters), so they are guarded, too.
	ex := w.vm.Try(func() {
		if !this.IsMissing() {
			self = w.toJS(this)
		}
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

func (s *Session) function(source string) (goja.Callable, error) {
	if f := s.functions[source]; f != nil {
		return f, nil
	}
	p, err := s.engine.program(source)
	if err != nil {
		return nil, err
	}
	v, err := s.world.vm.RunProgram(p)
	if err != nil {
		return nil, err
	}
	f, ok := goja.AssertFunction(v)
	if !ok {
		return nil, failure("not a function")
	}
	s.functions[string(append([]byte(nil), source...))] = f
	return f, nil
}

var (
	errTooLong = errors.New("JavaScript function ran too long")
	errTooBig  = errors.New("JavaScript function used too much memory")
)

// watch interrupts the call when a limit is reached; the function returned ends
// that, and no interruption comes after it has returned.
func (s *Session) watch(ctx context.Context) (stop func()) {
	vm, limits, start := s.world.vm, s.engine.limits, time.Now()
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
			vm.Interrupt(ctx.Err())
		case time.Since(start) > limits.Time:
			vm.Interrupt(errTooLong)
		case now > heap && now-heap > limits.Heap:
			vm.Interrupt(errTooBig)
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

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// failed turns what goja reports into the error a client sees.
func (s *Session) failed(ctx context.Context, err error) error {
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
