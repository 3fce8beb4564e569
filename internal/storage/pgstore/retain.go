package pgstore

import (
	"context"
	"sync"

	"github.com/archelon-db/archelon/internal/storage"
)

// retainedSet are the states that are kept. States that are retained while
// nothing is committed share one.
type retainedSet struct {
	mu   sync.Mutex
	open map[*state]struct{}
}

// state is an exported snapshot, held by a transaction on a connection of its own.
type state struct {
	c        *conn
	name     string // PostgreSQL's name of the snapshot
	position uint64
	seq      uint64
	users    int // guarded by retainedSet.mu
}

// retained is one user's hold of a state.
type retained struct {
	s        *Store
	state    *state
	released bool // guarded by retainedSet.mu
}

// Retain pins the present state.
func (s *Store) Retain() (storage.Retained, error) {
	if !s.enter() {
		return nil, storage.ErrClosed
	}
	defer s.gate.RUnlock()
	s.retained.mu.Lock()
	defer s.retained.mu.Unlock()
	if len(s.retained.open) >= max(1, s.config.max/2) { // the others are for those who go on
		return nil, errOverloaded("too many snapshots are open")
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.config.AcquireTimeout)
	defer cancel()
	c, err := s.pool.acquire(ctx)
	if err != nil {
		return nil, translate(ctx, err)
	}
	st := &state{c: c, users: 1, seq: s.claims.open(storage.Position(s.syncer.newest()))}
	c.end()
	c.add(beginReadOnly, nil)
	c.add(s.sql.position, func(v [][]byte) { st.position = uint64(int64Of(v[0])) })
	c.add("SELECT pg_export_snapshot()", func(v [][]byte) { st.name = string(v[0]) })
	if err := c.run(ctx); err != nil {
		s.claims.close(st.seq)
		s.pool.release(c)
		return nil, translate(ctx, err)
	}
	for old := range s.retained.open {
		if old.position == st.position && old.c.alive() {
			s.claims.close(st.seq)
			c.ending = true
			s.pool.release(c)
			old.users++
			return &retained{s: s, state: old}, nil
		}
	}
	if s.retained.open == nil {
		s.retained.open = map[*state]struct{}{}
	}
	s.retained.open[st] = struct{}{}
	return &retained{s: s, state: st}, nil
}

// Applied is the time of the state.
func (r *retained) Applied() uint64 { return r.state.position }

// Release lets go of the state.
func (r *retained) Release() {
	set := &r.s.retained
	set.mu.Lock()
	defer set.mu.Unlock()
	if !r.released {
		r.released = true
		set.leave(r.s, r.state)
	}
}

// leave takes one user off a state.
func (set *retainedSet) leave(s *Store, st *state) {
	if st.users--; st.users > 0 {
		return
	}
	if _, open := set.open[st]; open {
		set.drop(s, st)
	}
}

func (set *retainedSet) drop(s *Store, st *state) {
	delete(set.open, st)
	s.claims.close(st.seq)
	st.c.ending = true
	s.pool.release(st.c)
}

func (set *retainedSet) closeAll(s *Store) {
	set.mu.Lock()
	defer set.mu.Unlock()
	for st := range set.open {
		set.drop(s, st)
	}
}

// use registers a transaction that is about to read a state; false if it has
// been released. The state is kept until the transaction calls unuse.
func (r *retained) use() bool {
	r.s.retained.mu.Lock()
	defer r.s.retained.mu.Unlock()
	if _, open := r.s.retained.open[r.state]; !open || r.released {
		return false
	}
	r.state.users++
	r.s.claims.openAt(r.state.seq, storage.Position(r.state.position))
	return true
}

func (r *retained) unuse() {
	r.s.retained.mu.Lock()
	defer r.s.retained.mu.Unlock()
	r.s.retained.leave(r.s, r.state)
}

// RetainLimit is how many states should be kept for later at most: each holds a
// connection.
func (s *Store) RetainLimit() int { return max(s.config.max/8, 1) }
