package database

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/changestream"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// DefaultCursorTimeout is how long an idle cursor lives, as in MongoDB.
const DefaultCursorTimeout = 10 * time.Minute

// stream writes documents one after the other to the end of a buffer.
type stream interface {
	// Append appends the next document to dst, or returns io.EOF.
	Append(ctx context.Context, dst []byte) ([]byte, error)
	Close() error
}

// Cursor is a stream of documents read batch by batch. It belongs to one caller
// at a time: who got it from Find, Aggregate or CheckOut, until Park or Close.
type Cursor struct {
	id        int64
	ns        Namespace
	owner     string
	user      string
	db        *DB
	out       stream
	view      exec.View
	op        *Op       // that opened it, in a shared store
	env       *expr.Env // its Ctx is the present batch's
	noTimeout bool
	tx        *Transaction // that the cursor belongs to and dies with; nil for none
	at        *Snapshot    // that it reads and holds; nil for the state at each batch

	tail    tail          // of a cursor that goes on at its end; nil for others
	killing chan struct{} // closed when a cursor with a tail is killed while in use
	durable bool          // see Op.Durable
	waited  time.Duration // by the last AwaitBatch
	pending []byte        // a document that did not fit into the last batch
	done    bool

	changes *changeStream      // that the cursor reads; nil for none
	splits  bool               // it splits large events
	resume  changestream.Token // behind the last batch of changes

	// Guarded by cursors.mu.
	idleSince time.Time
	inUse     bool
	killed    bool
}

// Durable is what Op.Durable was for the operation that opened the cursor.
func (c *Cursor) Durable() bool { return c.durable }

// Namespace is the collection that the cursor reads.
func (c *Cursor) Namespace() Namespace { return c.ns }

// attach begins a read transaction for a batch, or goes on with that of the cursor.
func (c *Cursor) attach() {
	if c.tx != nil {
		c.view.Attach(c.tx.txn)
		return
	}
	if c.op != nil {
		c.op.forgetDefinitions() // later batches go by what is known then
	}
	c.view.GoOn(c.db.engine.Begin(c.at.options()))
}

// attachFirst begins the read transaction for an operation's first batch. In a shared
// store it expects the definitions that the operation goes by.
func (c *Cursor) attachFirst(op *Op) {
	if c.tx != nil || !c.db.shared {
		c.attach()
		return
	}
	if c.at == nil {
		c.db.definitions(op)
	}
	c.op = op
	c.view.Attach(c.db.engine.Begin(c.db.expect(op, c.at.options())))
}

// settle takes the snapshot of the first batch, in a shared store, for an operation that
// will change definitions itself before it reads.
func (c *Cursor) settle(ctx context.Context, op *Op) error {
	if c.op == nil || op.defs == nil || c.at != nil {
		return nil
	}
	_, err := c.view.Txn().GetMeta(ctx, op.defs.Version()[0].Key)
	return err
}

// detach ends it; scans remember where they are.
func (c *Cursor) detach() {
	if txn := c.view.Txn(); txn != nil {
		c.view.Detach()
		if c.tx == nil {
			txn.Rollback()
		}
	}
}

// maxBatchBytes is how large a batch may become; a single document may be as
// large in any case.
const maxBatchBytes = bsonval.MaxDocumentBytes

// AppendBatch appends the elements of a BSON array of documents to dst: at most
// n (all, if n is negative) and at most 16 MiB. more says whether there is
// anything left. After an error the cursor must be closed.
func (c *Cursor) AppendBatch(ctx context.Context, dst []byte, n int) (out []byte, count int, more bool, err error) {
	if c.tail != nil {
		if err := c.tail.begin(c); err != nil {
			return dst, 0, false, err
		}
	}
	if c.view.Txn() == nil {
		c.attach()
	}
	defer c.detach()
	if c.env != nil {
		c.env.Ctx = ctx
	}
	start := len(dst)
	for count != n && !c.done {
		at := len(dst)
		dst = append(dst, byte(bsonval.TypeDocument))
		dst = append(bsonval.AppendIndexKey(dst, count), 0)
		body := len(dst)
		if c.pending != nil {
			dst = append(dst, c.pending...)
			c.pending = nil
		} else {
			dst, err = c.out.Append(ctx, dst)
		}
		if err == io.EOF {
			dst, err = dst[:at], nil
			c.done = c.tail == nil || !c.tail.alive()
			c.passed()
			break
		}
		if err != nil {
			return dst[:start], 0, false, clientError(ctx, err)
		}
		if len(dst)-start > maxBatchBytes && count > 0 {
			c.pending = append([]byte(nil), dst[body:]...)
			dst = dst[:at]
			break
		}
		c.passed()
		count++
	}
	if s, ok := c.out.(interface{ exhausted() bool }); ok && s.exhausted() {
		c.done = true
	}
	c.db.Metrics.Returned.Add(int64(count))
	return dst, count, !c.done || c.pending != nil, nil
}

// passed notes that everything read from the stream is in the batch.
func (c *Cursor) passed() {
	if c.changes != nil {
		c.resume = c.changes.place.Token()
	}
}

// Close ends the cursor.
func (c *Cursor) Close() {
	c.done = true
	if c.out != nil {
		c.out.Close()
	}
	c.detach()
	c.at.Release()
	c.db.cursors.remove(c)
}

// Park lets go of the cursor until CheckOut, and returns its id.
func (c *Cursor) Park() int64 {
	c.detach()
	if !c.db.cursors.park(c) {
		c.Close()
	}
	return c.id
}

// cursors are the open cursors of a database.
type cursors struct {
	timeout time.Duration

	mu       sync.Mutex // guards all below
	open     map[int64]*Cursor
	TimedOut int64 // cursors closed for idleness since the start
}

func newCursors(timeout time.Duration) *cursors {
	if timeout == 0 {
		timeout = DefaultCursorTimeout
	}
	return &cursors{timeout: timeout, open: map[int64]*Cursor{}}
}

// park registers a cursor or marks it idle; false means it was killed meanwhile.
func (cs *cursors) park(c *Cursor) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.killed {
		return false
	}
	for c.id == 0 {
		// Old drivers cut small ids to 32 bits.
		id := rand.Int64N(1<<62) + 1<<33
		if cs.open[id] == nil {
			c.id = id
			cs.open[id] = c
		}
	}
	c.inUse, c.idleSince = false, time.Now()
	return true
}

func (cs *cursors) remove(c *Cursor) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.id != 0 {
		delete(cs.open, c.id)
	}
}

// reap closes idle cursors until ctx ends.
func (cs *cursors) reap(ctx context.Context) {
	tick := time.NewTicker(max(min(cs.timeout/4, 30*time.Second), 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			cs.kill(func(c *Cursor) bool { return !c.inUse && !c.noTimeout && now.Sub(c.idleSince) > cs.timeout }, true)
		}
	}
}

// kill closes the cursors that are to be: at once if they are idle, else when
// their user parks them. It returns how many.
func (cs *cursors) kill(which func(*Cursor) bool, timedOut bool) int {
	cs.mu.Lock()
	var idle []*Cursor
	n := 0
	for _, c := range cs.open {
		if !which(c) {
			continue
		}
		n++
		c.killed = true
		delete(cs.open, c.id)
		if !c.inUse {
			c.inUse = true
			idle = append(idle, c)
		} else if c.tail != nil {
			close(c.killing)
		}
	}
	if timedOut {
		cs.TimedOut += int64(n)
	}
	cs.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
	return n
}

func (cs *cursors) closeAll() { cs.kill(func(*Cursor) bool { return true }, false) }

// CheckOut takes a parked cursor for one batch, in the transaction it was opened in.
func (d *DB) CheckOut(id int64, ns Namespace, owner string, tx *Transaction) (*Cursor, error) {
	cs := d.cursors
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.open[id]
	switch {
	case c == nil:
		return nil, mongoerr.New(mongoerr.CursorNotFound, "cursor id %d not found", id)
	case c.ns != ns:
		return nil, mongoerr.New(mongoerr.Unauthorized,
			"Requested getMore on namespace '%s', but cursor belongs to a different namespace %s", ns, c.ns)
	case c.owner != "" && owner == "":
		return nil, mongoerr.New(50737, "Cannot run getMore on cursor %d, which was created in session, without an lsid", id)
	case c.owner != owner && owner != "":
		if c.owner == "" {
			return nil, mongoerr.New(50736, "Cannot run getMore on cursor %d, which was not created in a session, in session", id)
		}
		return nil, mongoerr.New(50738, "Cannot run getMore on cursor %d, which was created in another session", id)
	case tx != nil && c.tx == nil:
		return nil, mongoerr.New(50739, "Cannot run getMore on cursor %d, which was not created in a transaction, in transaction", id)
	case tx == nil && c.tx != nil:
		return nil, mongoerr.New(50740, "Cannot run getMore on cursor %d, which was created in transaction, without a txnNumber", id)
	case tx != c.tx:
		return nil, mongoerr.New(50741, "Cannot run getMore on cursor %d, which was created in another transaction", id)
	case c.inUse:
		return nil, mongoerr.New(mongoerr.CursorInUse, "cursor id %d is already in use", id)
	}
	c.inUse = true
	return c, nil
}

// CursorUser is who a cursor belongs to, "" for nobody; ok is false if there is no such cursor.
func (d *DB) CursorUser(id int64) (user string, ok bool) {
	d.cursors.mu.Lock()
	defer d.cursors.mu.Unlock()
	c := d.cursors.open[id]
	if c == nil {
		return "", false
	}
	return c.user, true
}

// KillCursor closes a cursor on a namespace and says whether there was one.
func (d *DB) KillCursor(id int64, ns Namespace) bool {
	return d.cursors.kill(func(c *Cursor) bool { return c.id == id && c.ns == ns }, false) > 0
}

// KillCursorsOf closes the cursors of a session.
func (d *DB) KillCursorsOf(owner string) {
	d.cursors.kill(func(c *Cursor) bool { return c.owner == owner }, false)
}

// CursorInfo describes an open cursor.
type CursorInfo struct {
	ID        int64
	NS        Namespace
	Owner     string
	IdleSince time.Time
	NoTimeout bool

	Tailable, AwaitData bool
}

// IdleCursors lists the cursors that nobody uses right now.
func (d *DB) IdleCursors() []CursorInfo {
	d.cursors.mu.Lock()
	defer d.cursors.mu.Unlock()
	var list []CursorInfo
	for _, c := range d.cursors.open {
		if !c.inUse {
			list = append(list, CursorInfo{c.id, c.ns, c.owner, c.idleSince, c.noTimeout, c.tail != nil, c.AwaitsData()})
		}
	}
	return list
}

// CursorCounts are the cursors open, those without timeout, and those closed for
// idleness since the start.
func (d *DB) CursorCounts() (open, noTimeout, timedOut int64) {
	d.cursors.mu.Lock()
	defer d.cursors.mu.Unlock()
	for _, c := range d.cursors.open {
		open++
		if c.noTimeout {
			noTimeout++
		}
	}
	return open, noTimeout, d.cursors.TimedOut
}
