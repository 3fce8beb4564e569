package failpoint

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Set holds the fail points of a server by name. It is safe for concurrent use.
type Set struct{ points map[string]*Point }

// NewSet makes a set of points, all of them off.
func NewSet(names ...string) *Set {
	s := &Set{points: make(map[string]*Point, len(names))}
	for _, name := range names {
		s.points[name] = &Point{name: name, changed: make(chan struct{})}
	}
	return s
}

// Point returns the point with a name. It is nil for a name that is not in the set.
func (s *Set) Point(name string) *Point { return s.points[name] }

// Find is Point with the error a client gets for a name that is not in the set.
func (s *Set) Find(name string) (*Point, error) {
	if p := s.points[name]; p != nil {
		return p, nil
	}
	return nil, mongoerr.New(mongoerr.FailPointSetFailed, "%s not found", name)
}

// Point is a fail point. It is safe for concurrent use.
type Point struct {
	name string
	on   atomic.Bool // mode is not off

	mu      sync.Mutex // guards all below
	mode    Mode
	data    bsonval.Doc
	entered int64
	changed chan struct{} // closed, and replaced, when entered grows
}

// Configure sets the mode and the data of the point, which it copies, and returns how often the point has fired so far.
func (p *Point) Configure(m Mode, data bsonval.Doc) (fired int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.data = m, data.Clone()
	p.on.Store(m.kind != off)
	return p.entered
}

// On says that the point is not off.
func (p *Point) On() bool { return p.on.Load() }

// Enter is a visit of the point. If the point fires it returns the data it was configured with, which nobody may change.
// A visit whose data does not match is none; a nil match takes every visit.
func (p *Point) Enter(match func(data bsonval.Doc) bool) (data bsonval.Doc, fires bool) {
	if !p.on.Load() {
		return nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode.kind == off || match != nil && !match(p.data) || !p.mode.next(rand.Float64) {
		return nil, false
	}
	p.on.Store(p.mode.kind != off)
	p.entered++
	close(p.changed)
	p.changed = make(chan struct{})
	return p.data, true
}

// Wait waits until the point has fired so many times in all.
func (p *Point) Wait(ctx context.Context, times int64) error {
	for {
		p.mu.Lock()
		entered, changed := p.entered, p.changed
		p.mu.Unlock()
		if entered >= times {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
