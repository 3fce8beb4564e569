package running

import (
	"sync"
	"sync/atomic"
)

// shards spreads the running operations over locks, by connection.
const shards = 32

// List lists the operations that run now, each by a pointer T to what the server keeps of it. The zero List is empty.
type List[T any] struct {
	last   atomic.Int32 // id given
	shards [shards]shard[T]
}

type shard[T any] struct {
	mu sync.Mutex // guards head and the links and contents of the operations in the list
	// head is a doubly linked list.
	head *Entry[T]
	_    [40]byte // keeps shards on cache lines of their own
}

// Entry is the place of an operation in a List.
type Entry[T any] struct {
	// ID is the number that currentOp shows and killOp takes; Add gives it.
	ID         int32
	of         T
	in         *shard[T]
	prev, next *Entry[T]
}

// Add lists an operation of a connection and gives it an id. Until Remove its contents must not change but under the lock
// of Each.
func (l *List[T]) Add(e *Entry[T], of T, connection uint64) {
	s := &l.shards[connection%shards]
	e.ID, e.of, e.in = l.last.Add(1), of, s
	s.mu.Lock()
	defer s.mu.Unlock()
	e.prev, e.next = nil, s.head
	if s.head != nil {
		s.head.prev = e
	}
	s.head = e
}

// Remove takes an operation from the list, whose contents may change then.
func (l *List[T]) Remove(e *Entry[T]) {
	s := e.in
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		s.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

// Each calls f for every running operation while its shard is locked: f must not block.
func (l *List[T]) Each(f func(T)) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for e := s.head; e != nil; e = e.next {
			f(e.of)
		}
		s.mu.Unlock()
	}
}
