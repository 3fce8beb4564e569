package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

// Window is one compiled output field of $setWindowFields.
type Window struct {
	name string
	run  func(p *partition) ([]bsonval.Value, error)
}

// Name is the function's name, with the dollar.
func (w *Window) Name() string { return w.name }

// Run computes the function for each document of a partition, which is sorted.
// Missing results mean that the field is not set. The results do not share
// bytes with the documents.
func (w *Window) Run(c *expr.Context, docs []bsonval.Doc) ([]bsonval.Value, error) {
	root := c.Root
	defer func() { c.Root = root }()
	return w.run(&partition{c: c, docs: docs})
}

// windowSpec is what a window function compiles from.
type windowSpec struct {
	c      *expr.Compiler
	name   string
	arg    bsonval.Value
	sortBy *sortkey.Pattern // nil without sortBy
	window bsonval.Value    // missing without one
	extra  string           // a name in the specification that does not belong there
}

// windowOperator is a row of the table of functions that exist in windows only.
type windowOperator struct {
	name    string // with the dollar
	doc     string // one sentence for the manual
	compile func(s *windowSpec) (func(p *partition) ([]bsonval.Value, error), error)
}

// windowFamilies are the tables, one for each file.
func windowFamilies() [][]windowOperator {
	return [][]windowOperator{
		windowCalculusOperators,
		windowFillOperators,
		windowRankOperators,
		windowStatisticsOperators,
	}
}

var windowOperators = func() map[string]*windowOperator {
	all := map[string]*windowOperator{}
	for _, family := range windowFamilies() {
		for i := range family {
			if all[family[i].name] != nil || operators[family[i].name] != nil {
				panic("accumulator: bad table row " + family[i].name)
			}
			all[family[i].name] = &family[i]
		}
	}
	return all
}()

// WindowOperators lists the functions that exist in windows only.
func WindowOperators() []Operator {
	var list []Operator
	for _, family := range windowFamilies() {
		for _, op := range family {
			list = append(list, Operator{op.name, op.doc})
		}
	}
	return list
}

// notInWindows are the accumulators that $setWindowFields does not know.
var notInWindows = map[string]bool{"$accumulator": true, "$mergeObjects": true}

// slidingStarts are the accumulators that work differently in windows whose
// lower end moves.
var slidingStarts = map[string]func(*expr.Context, int) (collector, error){
	"$stdDevPop":  func(*expr.Context, int) (collector, error) { return &slidingDeviation{}, nil },
	"$stdDevSamp": func(*expr.Context, int) (collector, error) { return &slidingDeviation{sample: true}, nil },
}

// CompileWindow compiles the specification of one output field,
// {$op: arg, window: {…}}. sortBy is nil without one, and the zero Pattern if it
// is empty.
func CompileWindow(c *expr.Compiler, spec bsonval.Value, sortBy *sortkey.Pattern) (*Window, error) {
	if spec.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "The field 'output' must be an object of window functions, found %s",
			bsonval.Format(spec))
	}
	s := &windowSpec{c: c, sortBy: sortBy}
	it := spec.Doc().Iter()
	for it.Next() {
		switch name := string(it.Key()); {
		case name == "window":
			s.window = it.Value()
		case s.name == "" && name != "" && name[0] == '$':
			s.name, s.arg = name, it.Value()
		case s.extra == "":
			s.extra = name
			if name == "" {
				s.extra = "''"
			}
		}
	}
	if s.name == "" {
		return nil, mongoerr.New(mongoerr.FailedToParse, "Expected a $-prefixed window function in %s", bsonval.Format(spec))
	}
	w := &Window{name: s.name}
	var err error
	if op := windowOperators[s.name]; op != nil {
		w.run, err = op.compile(s)
		return w, err
	}
	op := operators[s.name]
	if op == nil || notInWindows[s.name] {
		return nil, mongoerr.New(mongoerr.FailedToParse, "Unrecognized window function, %s", s.name)
	}
	w.run, err = s.compileAccumulator(op)
	return w, err
}

// checkExtra refuses names that do not belong into the specification.
func (s *windowSpec) checkExtra() error {
	if s.extra == "" {
		return nil
	}
	return mongoerr.New(mongoerr.FailedToParse, "Window function found an unknown argument: %s", s.extra)
}

// checkNoWindow refuses a window where the function takes none.
func (s *windowSpec) checkNoWindow() error {
	if !s.window.IsMissing() {
		return mongoerr.New(mongoerr.FailedToParse, "'window' field is not allowed in %s", s.name)
	}
	return s.checkExtra()
}

// compileAccumulator runs an accumulator over the frame of each document.
func (s *windowSpec) compileAccumulator(op *operator) (func(*partition) ([]bsonval.Value, error), error) {
	if err := s.checkExtra(); err != nil {
		return nil, err
	}
	f, err := op.build(s.c, s.arg)
	if err != nil {
		return nil, err
	}
	b, err := s.compileBounds()
	if err != nil {
		return nil, err
	}
	if start := slidingStarts[s.name]; start != nil && !b.low.unbounded {
		f.start = start
	}
	return func(p *partition) ([]bsonval.Value, error) { return p.accumulate(f, b) }, nil
}

// partition is the documents of one partition while a function runs.
type partition struct {
	c    *expr.Context
	docs []bsonval.Doc
}

// values evaluates an expression on each document. The values share bytes with
// the documents.
func (p *partition) values(e expr.Expr) ([]bsonval.Value, error) {
	list := make([]bsonval.Value, len(p.docs))
	for i, d := range p.docs {
		p.c.Root = d
		v, err := e.Eval(p.c)
		if err == nil {
			err = p.c.Tick()
		}
		if err != nil {
			return nil, err
		}
		list[i] = v
	}
	return list, nil
}

// accumulate runs an accumulator over the frame of each document. A frame that
// only grew since the last document goes on with the same state; one that lost
// documents begins anew.
func (p *partition) accumulate(f *Factory, b *bounds) ([]bsonval.Value, error) {
	inputs, err := p.values(f.input)
	if err != nil {
		return nil, err
	}
	frames, err := b.frames(p)
	if err != nil {
		return nil, err
	}
	results := make([]bsonval.Value, len(p.docs))
	var state *State
	var at frame
	for i, next := range frames {
		if state != nil && next == at {
			results[i] = results[i-1]
			continue
		}
		if state == nil || next.low != at.low || next.high < at.high {
			if state, err = f.New(p.c, bsonval.Null); err != nil {
				return nil, err
			}
			at = frame{next.low, next.low}
		}
		for ; at.high < next.high; at.high++ {
			if err := state.col.add(p.c, inputs[at.high]); err != nil {
				return nil, err
			}
			if err := p.c.Tick(); err != nil {
				return nil, err
			}
		}
		at = next
		v, err := state.value()
		if err != nil {
			return nil, err
		}
		results[i] = v.Clone()
	}
	return results, nil
}
