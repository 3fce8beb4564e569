package service

import (
	"cmp"
	"container/list"
	"context"
	"encoding/hex"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Defaults of NewMemoryResults.
const (
	// DefaultResultAge is how long sessions live without being used.
	DefaultResultAge = 30 * time.Minute
	// DefaultMaxResults bounds the memory: with results of 1 KiB, about 100 MiB.
	DefaultMaxResults = 100_000
)

// memoryResults is a ResultStore of one process. It keeps the latest result of each session, as a session runs one call
// at a time.
type memoryResults struct {
	age time.Duration
	max int
	now func() time.Time

	mu sync.Mutex // guards the fields below
	// sessions have an element in used, the least recently used first.
	sessions map[string]*list.Element
	used     *list.List // of *memoryResult
}

type memoryResult struct {
	key  OnceKey
	used time.Time
	// done is closed when the call has ended; result is set then, nil if the claim was given back.
	done    chan struct{}
	running bool
	result  bson.Raw
}

var _ ResultStore = (*memoryResults)(nil)

// NewMemoryResults returns a ResultStore for one instance: it keeps the latest result of each session until the session
// has not been used for age (0 means DefaultResultAge), at most for max sessions (0 means DefaultMaxResults).
func NewMemoryResults(age time.Duration, max int) ResultStore {
	age = cmp.Or(age, DefaultResultAge)
	max = cmp.Or(max, DefaultMaxResults)
	return &memoryResults{age: age, max: max, now: time.Now, sessions: map[string]*list.Element{}, used: list.New()}
}

// Claim implements ResultStore.
func (m *memoryResults) Claim(ctx context.Context, key OnceKey) (bson.Raw, error) {
	for {
		r, mine, err := m.claim(key)
		if err != nil || mine {
			return nil, err
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if r.result != nil {
			return r.result, nil
		}
	}
}

// claim returns the call that has the key, and whether it is the caller's.
func (m *memoryResults) claim(key OnceKey) (r *memoryResult, mine bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	if e := m.sessions[key.Session]; e != nil {
		r = e.Value.(*memoryResult)
		switch {
		case key.TxnNumber < r.key.TxnNumber:
			return nil, false, errTooOld(key, r.key.TxnNumber)
		case key.TxnNumber == r.key.TxnNumber && (r.running || r.result != nil):
			r.used = m.now()
			m.used.MoveToBack(e)
			return r, false, nil
		}
		m.used.Remove(e)
	}
	r = &memoryResult{key: key, used: m.now(), done: make(chan struct{}), running: true}
	m.sessions[key.Session] = m.used.PushBack(r)
	return r, true, nil
}

func errTooOld(key OnceKey, latest int64) error {
	return mongoerr.New(mongoerr.TransactionTooOld, "Retryable write with txnNumber %d is prohibited on session %s because "+
		"a newer retryable write with txnNumber %d has already started on this session.", key.TxnNumber, hex.EncodeToString([]byte(key.Session)), latest)
}

// expire forgets old results, and the oldest beyond the bound; not those of calls that run.
func (m *memoryResults) expire() {
	oldest := m.now().Add(-m.age)
	for e := m.used.Front(); e != nil; {
		r, next := e.Value.(*memoryResult), e.Next()
		if m.used.Len() <= m.max && r.used.After(oldest) {
			return
		}
		if !r.running {
			m.used.Remove(e)
			delete(m.sessions, r.key.Session)
		}
		e = next
	}
}

// Finish implements ResultStore.
func (m *memoryResults) Finish(_ context.Context, key OnceKey, result bson.Raw) error {
	m.end(key, result)
	return nil
}

// Release implements ResultStore.
func (m *memoryResults) Release(_ context.Context, key OnceKey) error {
	m.end(key, nil)
	return nil
}

func (m *memoryResults) end(key OnceKey, result bson.Raw) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.sessions[key.Session]
	if e == nil {
		return
	}
	if r := e.Value.(*memoryResult); r.key == key && r.running {
		r.running, r.result, r.used = false, result, m.now()
		close(r.done)
	}
}
