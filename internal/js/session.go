package js

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/dop251/goja"
)

// Session is the JavaScript world of one command. Calls exclude each other.
type Session struct {
	engine *Engine
	id     uint64 // tells it from all others of the engine

	mu      sync.Mutex // held during a call
	lease   *lease     // of a worker, for all others; nil before the first
	natives map[string]Native
	globals bsonval.Doc
}

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
	f, err := s.engine.function(source)
	if err != nil {
		return bsonval.Missing, err
	}
	if !s.suits(f, this) {
		return s.remote(ctx, source, this, args)
	}
	v, err := s.here(ctx, f.plain, this, args)
	var deep *goja.StackOverflowError
	switch {
	case err == nil:
		return v, nil
	case len(f.free) == 0 && errors.As(err, &deep):
		return s.remote(ctx, source, this, args) // a worker goes deeper
	}
	return bsonval.Missing, failed(ctx, err)
}

// here makes a call in this process, in whatever plain world is free: they keep
// nothing between calls but the functions themselves, which a session does not
// share.
func (s *Session) here(ctx context.Context, p *goja.Program, this bsonval.Value, args []bsonval.Value) (bsonval.Value, error) {
	m, ok := s.engine.plain.Get().(*machine)
	if !ok {
		m = newMachine(s.engine.limits, true)
	}
	m.adopt(s.id, s.natives)
	v, err := m.run(ctx, p, this, args)
	var thrown *goja.Exception
	if err == nil || errors.As(err, &thrown) {
		s.engine.plain.Put(m)
	}
	return v, err
}

// suits says whether a call can be made in this process.
func (s *Session) suits(f *function, this bsonval.Value) bool {
	if f.plain == nil || f.this && this.IsMissing() {
		return false
	}
	for name := range f.free {
		if s.natives[name] == nil {
			return false
		}
	}
	return true
}

// remote makes a call in a worker process, which the session then keeps until
// its context ends.
func (s *Session) remote(ctx context.Context, source string, this bsonval.Value, args []bsonval.Value) (bsonval.Value, error) {
	if s.lease == nil {
		s.lease = &lease{pool: &s.engine.pool, limits: s.engine.limits}
		runtime.AddCleanup(s, (*lease).end, s.lease)
	}
	return s.lease.call(ctx, &request{
		source: source, this: this, args: args, natives: s.natives, globals: s.globals,
	})
}
