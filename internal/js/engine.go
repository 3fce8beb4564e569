package js

import (
	"sync"
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

	// Heap is by how many bytes the process's heap may grow during a call; 0
	// means 256 MiB. That is less than MongoDB's jsHeapLimitMB (1100): here the
	// heap is that of everybody, and one string operation may double what has been
	// measured before it can be stopped.
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

	// maxSource bounds what is cached, in bytes.
	maxSource = 64 << 10
)

// Engine caches compiled programs. It may be used by several goroutines.
type Engine struct {
	limits Limits

	mu       sync.Mutex
	programs map[string]*goja.Program // by source; guarded by mu
}

// New makes an engine.
func New(limits Limits) *Engine {
	if limits.Time == 0 {
		limits.Time = defaultTime
	}
	if limits.Heap == 0 {
		limits.Heap = defaultHeap
	}
	if limits.Depth == 0 {
		limits.Depth = defaultDepth
	}
	return &Engine{limits: limits, programs: map[string]*goja.Program{}}
}

// NewSession makes the JavaScript world of one command. It costs nothing until
// the first call.
func (e *Engine) NewSession() *Session { return &Session{engine: e} }

// program compiles a function's source, or takes it from the cache.
func (e *Engine) program(source string) (*goja.Program, error) {
	e.mu.Lock()
	p := e.programs[source]
	e.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := compile(source)
	if err != nil || len(source) > maxSource {
		return p, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.programs) >= maxPrograms {
		clear(e.programs)
	}
	e.programs[source] = p
	return p, nil
}

// Compile checks a function's source.
func (e *Engine) Compile(source string) error {
	_, err := e.program(source)
	return err
}

// compile makes a program whose value is the function. Like MongoDB, it takes a
// function expression, an expression to be returned, or a function's body.
func compile(source string) (*goja.Program, error) {
	text := "(" + source + "\n)"
	tree, err := parse(text)
	switch {
	case err != nil:
		text = "(function(){" + source + "\n})"
		var bodyErr error
		if tree, bodyErr = parse(text); bodyErr != nil {
			return nil, failure(err.Error())
		}
	case !isFunction(tree):
		text = "(function(){return (" + source + "\n)})"
		if tree, err = parse(text); err != nil {
			return nil, failure(err.Error())
		}
	}
	p, err := goja.CompileAST(tree, false)
	if err != nil {
		return nil, failure(err.Error())
	}
	return p, nil
}

func parse(text string) (*ast.Program, error) {
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
