package command

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/server"
)

// operationShards spreads the running operations over locks, by connection.
const operationShards = 32

// operations are the commands that run now.
type operations struct {
	next   atomic.Int32
	shards [operationShards]operationShard
}

type operationShard struct {
	mu sync.Mutex // guards head and the links and contents of the operations in the list
	// head is a doubly linked list.
	head *operation
	_    [40]byte // keeps shards on cache lines of their own
}

// operation is one running command. The fields are set before it is listed and change no more.
type operation struct {
	prev, next *operation
	id         int32
	started    time.Time
	conn       *server.Conn
	command    *Command
	db, coll   string
	body       bsonval.Doc // the connection's: valid while the operation is listed
	lsid       bsonval.Doc
	ctx        *opContext
	by         any // who answers; nil for the database
	// transaction is the session of a statement of a transaction, else nil.
	transaction *session.Session
}

func (o *operations) shard(c *server.Conn) *operationShard {
	return &o.shards[uint64(c.ID())%operationShards]
}

// add lists an operation and gives it an id.
func (o *operations) add(op *operation) {
	op.id = o.next.Add(1)
	s := o.shard(op.conn)
	s.mu.Lock()
	op.prev, op.next = nil, s.head
	if s.head != nil {
		s.head.prev = op
	}
	s.head = op
	s.mu.Unlock()
}

func (o *operations) remove(op *operation) {
	s := o.shard(op.conn)
	s.mu.Lock()
	if op.prev != nil {
		op.prev.next = op.next
	} else {
		s.head = op.next
	}
	if op.next != nil {
		op.next.prev = op.prev
	}
	s.mu.Unlock()
}

// each calls f for every running operation while its shard is locked: f must not block.
func (o *operations) each(f func(*operation)) {
	for i := range o.shards {
		s := &o.shards[i]
		s.mu.Lock()
		for op := s.head; op != nil; op = op.next {
			f(op)
		}
		s.mu.Unlock()
	}
}

// kill interrupts the operations that match.
func (o *operations) kill(match func(*operation) bool) {
	o.interrupt(errInterrupted, match)
}

func (o *operations) interrupt(e *mongoerr.Error, match func(*operation) bool) {
	o.each(func(op *operation) {
		if match(op) {
			op.ctx.kill(e)
		}
	})
}
