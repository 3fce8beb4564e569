package pebblestore

import (
	"fmt"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/storage"
)

// retained is a view that is in use without a transaction.
type retained struct {
	s        *Store
	view     *view
	released atomic.Bool
}

var _ storage.Retained = (*retained)(nil)

// Retain pins the present state.
func (s *Store) Retain() (storage.Retained, error) {
	g, ok := s.enter(0)
	if !ok {
		return nil, storage.ErrClosed
	}
	defer g.RUnlock()
	v, err := s.views.acquire()
	if err != nil {
		return nil, err
	}
	return &retained{s: s, view: v}, nil
}

// Applied is the state's time.
func (r *retained) Applied() uint64 { return r.view.pos }

// Release lets go of the state.
func (r *retained) Release() {
	g := &r.s.gates[0]
	g.RLock()
	defer g.RUnlock()
	if r.released.Swap(true) || r.s.closed {
		return
	}
	r.s.views.release(r.view)
}

// viewAt returns the view of a retained state for one more user.
func (s *Store) viewAt(at storage.Retained) (*view, error) {
	r, ok := at.(*retained)
	if !ok || r.s != s {
		return nil, fmt.Errorf("storage: the retained state is another engine's: %T", at)
	}
	s.views.mu.Lock()
	defer s.views.mu.Unlock()
	if r.released.Load() {
		return nil, storage.ErrClosed
	}
	r.view.refs++
	return r.view, nil
}
