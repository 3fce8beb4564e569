package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/wire"
)

// ErrClientGone is the cause of a connection's context when the client has closed the connection.
var ErrClientGone = errors.New("client closed the connection")

const (
	// headBufferSize is the read buffer every connection has. A message that fits needs no other memory and one read.
	headBufferSize = 1 << 10

	// internSlots and maxInterned bound the command and database names a connection remembers, so that a repeated name
	// costs no allocation.
	internSlots = 8
	maxInterned = 64
)

// States of a connection. A connection that waits for a message is idle; shutdown closes it by moving it from idle to
// closed, the connection itself moves from idle to busy when bytes arrive. Whoever wins the exchange decides.
const (
	stateIdle int32 = iota
	stateBusy
	stateClosed
)

// Conn is a client's connection.
type Conn struct {
	id     int64
	server *Server  // nil for local connections
	nc     net.Conn // plain or TLS; nil for local connections
	raw    net.Conn // under TLS; closing it never blocks
	log    connLog
	ctx    context.Context
	cancel context.CancelCauseFunc
	state  atomic.Int32
	user   atomic.Pointer[User]

	// All of the following belongs to the connection's goroutine.

	head       [headBufferSize]byte
	headStart  int // head[headStart:headEnd] has arrived and is not consumed
	headEnd    int
	idleUntil  time.Time // the read deadline set for idling
	writeUntil time.Time // the write deadline set
	watch      watcher

	req         Request
	reply       Reply
	lastReplyID int32
	names       [internSlots]string

	mu sync.Mutex // guards the fields below
	// values are what handlers attached.
	values map[any]any
	// onClose are the functions to run when the connection has ended.
	onClose []func()
	// shook is set by the first hello; metadata is the client document it brought, nil if none.
	shook    bool
	metadata Doc
	// compressors are those client and server agreed on.
	compressors []wire.CompressorID
}

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{id: s.nextID.Add(1), server: s, nc: nc, raw: nc, log: connLog{logger: s.log, remote: nc.RemoteAddr()}}
	if t, ok := nc.(*tls.Conn); ok {
		c.raw = t.NetConn()
	}
	// The context of a connection is the one its commands get. It does not derive from the one given to Serve: when
	// that ends, running commands still have the shutdown's grace.
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.log.id = c.id
	c.req.Conn = c
	c.reply = Reply{conn: c, req: &c.req}
	c.watch.init(c)
	return c
}

// NewLocalConn returns a connection without a network, for requests made within the process.
func NewLocalConn() *Conn {
	c := &Conn{}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// ID is the number of the connection, unique in its server; 0 for local ones.
func (c *Conn) ID() int64 { return c.id }

// Context ends when the connection does.
func (c *Conn) Context() context.Context { return c.ctx }

// RemoteAddr is the address of the client, nil for local connections.
func (c *Conn) RemoteAddr() net.Addr {
	if c.nc == nil {
		return nil
	}
	return c.nc.RemoteAddr()
}

// LocalAddr is the address the client reached, nil for local connections.
func (c *Conn) LocalAddr() net.Addr {
	if c.nc == nil {
		return nil
	}
	return c.nc.LocalAddr()
}

// TLS is the state of the connection's TLS, nil if it has none.
func (c *Conn) TLS() *tls.ConnectionState {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

// Server is the server of the connection, nil for local ones.
func (c *Conn) Server() *Server { return c.server }

// Draining is closed when the server begins to shut down; it is nil for local connections. Handlers that wait for long
// end then.
func (c *Conn) Draining() <-chan struct{} {
	if c.server == nil {
		return nil
	}
	return c.server.draining
}

// Value returns what SetValue stored under key, or nil.
func (c *Conn) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[key]
}

// SetValue attaches a value to the connection. Keys should be of a type of the package that sets them.
func (c *Conn) SetValue(key, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = map[any]any{}
	}
	c.values[key] = value
}

// OnClose runs f when the connection has ended, the last registered first. Local connections never end.
func (c *Conn) OnClose(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onClose = append(c.onClose, f)
}

// Metadata is what the client told about itself in its first hello, nil if nothing.
func (c *Conn) Metadata() Doc {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metadata
}

// Close ends the connection, after the reply of a command that runs.
func (c *Conn) Close() {
	if !c.networked() {
		return
	}
	c.closeIfIdle()
	c.state.Store(stateClosed)
}

// closeIfIdle closes the connection if it waits for a message.
func (c *Conn) closeIfIdle() {
	if c.state.CompareAndSwap(stateIdle, stateClosed) {
		c.raw.Close()
	}
}

// abort closes the connection at once and cancels what runs.
func (c *Conn) abort(cause error) {
	c.state.Store(stateClosed)
	c.cancel(cause)
	c.raw.Close()
}

// networked tells connections of a client from local ones.
func (c *Conn) networked() bool { return c.nc != nil }

// intern returns b as a string without allocating if the connection has seen it recently.
func (c *Conn) intern(b []byte) string {
	if len(b) == 0 || len(b) > maxInterned {
		return string(b)
	}
	slot := &c.names[(len(b)+int(b[0])+int(b[len(b)-1]))%internSlots]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}
