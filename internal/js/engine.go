package js

import (
	"cmp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/parser"
)

// Limits bound one call of a function.
type Limits struct {
	// Time is how long a call may run; 0 means a minute, as MongoDB's
	// internalQueryJavaScriptFnTimeoutMillis.
	Time time.Duration

	// Heap is by how many bytes the heap may grow during a call; 0 means 256 MiB,
	// less than MongoDB's jsHeapLimitMB (1100). For plain functions that is the
	// heap of everybody.
	Heap uint64

	// Depth is how many calls may be under way inside each other; 0 means 10000.
	Depth int
}

const (
	defaultTime  = time.Minute
	defaultHeap  = 256 << 20
	defaultDepth = 10000

	// maxPrograms bounds the cache; beyond, it is emptied. A program is as large
	// as a few times its source.
	maxPrograms = 1000
)

// Engine caches compiled functions and keeps the worker processes. It may be
// used by several goroutines.
type Engine struct {
	limits   Limits
	pool     pool
	plain    sync.Pool // of *machine: plain worlds
	sessions atomic.Uint64

	mu        sync.Mutex
	functions map[string]*function // by source; guarded by mu
}

// New makes an engine.
func New(limits Limits) *Engine {
	e := &Engine{limits: limits.withDefaults(), functions: map[string]*function{}}
	e.pool.idle = make(chan *worker, idleWorkers)
	e.pool.places = make(chan struct{}, maxWorkers)
	return e
}

func (l Limits) withDefaults() Limits {
	l.Time = cmp.Or(l.Time, defaultTime)
	l.Heap = cmp.Or(l.Heap, defaultHeap)
	l.Depth = cmp.Or(l.Depth, defaultDepth)
	return l
}

// NewSession makes the JavaScript world of one command. It costs nothing until
// the first call.
func (e *Engine) NewSession() *Session {
	s := &Session{}
	e.Begin(s)
	return s
}

// Begin is NewSession in a zero Session.
func (e *Engine) Begin(s *Session) { s.engine, s.id = e, e.sessions.Add(1) }

// function is what is known of a function's source.
type function struct {
	// plain is the program whose value is the function, if it is a plain one; nil
	// otherwise.
	plain *goja.Program
	free  map[string]bool // natives that a plain function calls
	this  bool            // a plain function reads this
}

// function reads a function's source, or takes it from the cache.
func (e *Engine) function(source string) (*function, error) {
	if len(source) > maxPlainSource {
		return &function{}, nil
	}
	e.mu.Lock()
	f := e.functions[source]
	e.mu.Unlock()
	if f != nil {
		return f, nil
	}
	tree, err := parse(source)
	if err != nil {
		return nil, err
	}
	f = &function{}
	if ok, a := analyse(tree); ok {
		// What strict mode refuses is not plain.
		if p, err := goja.CompileAST(tree, true); err == nil {
			f = &function{plain: p, free: a.free, this: a.this}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.functions) >= maxPrograms {
		clear(e.functions)
	}
	e.functions[strings.Clone(source)] = f
	return f, nil
}

// compile makes a program whose value is the function.
func compile(source string) (*goja.Program, error) {
	tree, err := parse(source)
	if err != nil {
		return nil, err
	}
	p, err := goja.CompileAST(tree, false)
	if err != nil {
		return nil, failure(err.Error())
	}
	return p, nil
}

// parse reads a function. Like MongoDB, it takes a function expression, an
// expression to be returned, or a function's body.
func parse(source string) (*ast.Program, error) {
	tree, err := parseText("(" + source + "\n)")
	switch {
	case err != nil:
		var bodyErr error
		if tree, bodyErr = parseText("(function(){" + source + "\n})"); bodyErr != nil {
			return nil, failure(err.Error())
		}
	case !isFunction(tree):
		if tree, err = parseText("(function(){return (" + source + "\n)})"); err != nil {
			return nil, failure(err.Error())
		}
	}
	return tree, nil
}

func parseText(text string) (*ast.Program, error) {
	return goja.Parse("", text, parser.WithDisableSourceMaps)
}

// isFunction says whether a program is a single function expression.
func isFunction(p *ast.Program) bool {
	if len(p.Body) != 1 {
		return false
	}
	s, ok := p.Body[0].(*ast.ExpressionStatement)
	if !ok {
		return false
	}
	switch s.Expression.(type) {
	case *ast.FunctionLiteral, *ast.ArrowFunctionLiteral:
		return true
	}
	return false
}

func failure(message string) error {
	return mongoerr.New(mongoerr.JSInterpreterFailure, "%s", message)
}
