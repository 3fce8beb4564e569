package pgstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// maxPrepared is how many statements a connection keeps prepared: each takes
	// some ten kilobytes in the server.
	maxPrepared = 200

	// cancelGrace is how long a canceled statement may take to end before its
	// connection is cut.
	cancelGrace = 5 * time.Second
)

// binaryFormat asks for, and announces, binary values.
var binaryFormat = []int16{1}

// conn is a connection that sends batches of statements. It belongs to one
// goroutine at a time.
type conn struct {
	pg *pgconn.PgConn
	fe *pgproto3.Frontend

	prepared map[string]*prepared
	nextName uint64
	tick     uint64

	batch  []*item
	spare  []*item
	arg    []byte // integers of the statement being built
	status byte   // of the last ReadyForQuery
	broken bool   // must not be used again
	lost   bool   // … because the server or the network has cut it
	notice string // the last warning that came with the batch; "" for none
	ending bool   // a transaction is over for us, but ROLLBACK was not sent yet
	idle   time.Time
	cuts   int64 // the pool's when the server was last known to be there
	portal uint64

	bind pgproto3.Bind
	exec pgproto3.Execute
}

type prepared struct {
	name string
	used uint64
}

// item is a statement of a batch and its outcome.
type item struct {
	sql       string
	parsed    bool // its Parse was confirmed, or there was none
	named     bool // it is to be kept prepared
	row       func(values [][]byte)
	rows      int64 // affected or returned
	suspended bool  // a portal with more rows
	closing   bool  // a Close, not a statement
	done      bool  // it was executed
}

func newConn(pg *pgconn.PgConn) *conn {
	return &conn{pg: pg, fe: pg.Frontend(), prepared: map[string]*prepared{}, status: 'I', idle: time.Now()}
}

// i8 is a bigint argument, valid until the batch is run.
func (c *conn) i8(v int64) []byte {
	at := len(c.arg)
	c.arg = binary.BigEndian.AppendUint64(c.arg, uint64(v))
	return c.arg[at : at+8 : at+8]
}

// add queues a statement.
func (c *conn) add(sql string, row func([][]byte), args ...[]byte) *item {
	return c.start("", sql, 0, row, args...)
}

// start queues a statement that returns at most max rows, 0 meaning all, in a
// named portal that can be resumed.
func (c *conn) start(portal, sql string, max uint32, row func([][]byte), args ...[]byte) *item {
	p := c.prepared[sql]
	if p == nil {
		c.evict()
	}
	it := c.item(row)
	it.sql = sql
	it.parsed = p != nil
	if p == nil {
		it.named = true
		c.nextName++
		p = &prepared{name: fmt.Sprintf("s%d", c.nextName)}
		c.prepared[sql] = p
		c.fe.SendParse(&pgproto3.Parse{Name: p.name, Query: sql})
	}
	c.tick++
	p.used = c.tick
	c.bindAndExecute(portal, p.name, max, args)
	return it
}

// once queues a statement that will not come again.
func (c *conn) once(sql string, args ...[]byte) *item {
	it := c.item(nil)
	it.sql = sql
	c.fe.SendParse(&pgproto3.Parse{Query: sql})
	c.bindAndExecute("", "", 0, args)
	return it
}

func (c *conn) bindAndExecute(portal, name string, max uint32, args [][]byte) {
	c.bind = pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name, ParameterFormatCodes: binaryFormat,
		Parameters: args, ResultFormatCodes: binaryFormat}
	c.fe.SendBind(&c.bind)
	c.exec = pgproto3.Execute{Portal: portal, MaxRows: max}
	c.fe.SendExecute(&c.exec)
}

// resume queues the next rows of a portal.
func (c *conn) resume(portal string, max uint32, row func([][]byte)) *item {
	it := c.item(row)
	it.parsed = true
	it.sql = portal
	c.exec = pgproto3.Execute{Portal: portal, MaxRows: max}
	c.fe.SendExecute(&c.exec)
	return it
}

func (c *conn) closePortal(portal string) {
	c.item(nil).closing = true
	c.fe.SendClose(&pgproto3.Close{ObjectType: 'P', Name: portal})
}

func (c *conn) item(row func([][]byte)) *item {
	var it *item
	if n := len(c.spare); n > 0 {
		it = c.spare[n-1]
		c.spare = c.spare[:n-1]
		*it = item{row: row}
	} else {
		it = &item{row: row}
	}
	c.batch = append(c.batch, it)
	return it
}

// evict makes room for a prepared statement.
func (c *conn) evict() {
	if len(c.prepared) < maxPrepared {
		return
	}
	var oldest string
	least := ^uint64(0)
	for sql, p := range c.prepared {
		if p.used < least {
			oldest, least = sql, p.used
		}
	}
	c.item(nil).closing = true
	c.fe.SendClose(&pgproto3.Close{ObjectType: 'S', Name: c.prepared[oldest].name})
	delete(c.prepared, oldest)
}

// run sends the batch and reads its outcome. The first error ends the batch and is
// returned: a *pgconn.PgError, or a *cutError after which the connection is broken.
func (c *conn) run(ctx context.Context) error {
	c.fe.SendSync(&pgproto3.Sync{})
	if err := c.fe.Flush(); err != nil {
		return c.cut(err)
	}
	stop := c.watch(ctx)
	c.notice = ""
	err := c.receive()
	canceled := stop()
	if canceled && !c.broken && stateOf(err) != stateCanceled {
		c.broken = true // the cancellation may hit a later statement
	}
	return err
}

// push sends the batch so far. What becomes of it is told when it is run, with what is added
// by then.
func (c *conn) push() error {
	if err := c.fe.Flush(); err != nil {
		return c.cut(err)
	}
	return nil
}

// receive reads up to ReadyForQuery.
func (c *conn) receive() error {
	var failed error
	batch := c.batch
	next := 0
	for {
		msg, err := c.fe.Receive()
		if err != nil {
			return c.cut(err)
		}
		switch msg := msg.(type) {
		case *pgproto3.ParseComplete:
			batch[next].parsed = true
		case *pgproto3.DataRow:
			it := batch[next]
			it.rows++
			if it.row != nil {
				it.row(msg.Values)
			}
		case *pgproto3.CommandComplete:
			it := batch[next]
			if it.row == nil {
				it.rows = affected(msg.CommandTag)
			}
			it.done = true
			next++
		case *pgproto3.PortalSuspended:
			batch[next].suspended = true
			next++
		case *pgproto3.CloseComplete, *pgproto3.EmptyQueryResponse:
			next++
		case *pgproto3.ErrorResponse:
			pe := pgconn.ErrorResponseToPgError(msg)
			if failed == nil {
				failed = fmt.Errorf("%w (in %s)", pe, c.sqlOf(next))
			}
			if pe.Severity == "FATAL" || pe.Severity == "PANIC" {
				c.broken, c.lost = true, true
				c.reset()
				return failed
			}
		case *pgproto3.NoticeResponse:
			if msg.SeverityUnlocalized == "WARNING" {
				c.notice = msg.Message
			}
		case *pgproto3.ReadyForQuery:
			c.status = msg.TxStatus
			c.reset()
			return failed
		}
	}
}

func (c *conn) sqlOf(n int) string {
	if n >= len(c.batch) {
		return "sync"
	}
	if s := c.batch[n].sql; len(s) <= 120 {
		return s
	}
	return c.batch[n].sql[:120] + "…"
}

// reset makes the connection ready for the next batch. The items stay readable
// until then.
func (c *conn) reset() {
	for _, it := range c.batch {
		if it.named && !it.parsed {
			delete(c.prepared, it.sql)
		}
	}
	c.spare = append(c.spare[:0], c.batch...)
	c.batch = c.batch[:0]
	c.arg = c.arg[:0]
}

func (c *conn) cut(err error) error {
	c.broken, c.lost = true, true
	c.reset()
	return &cutError{err}
}

// affected is the number at the end of a command tag.
func affected(tag []byte) int64 {
	n, scale := int64(0), int64(1)
	for i := len(tag) - 1; i >= 0 && tag[i] >= '0' && tag[i] <= '9'; i-- {
		n += int64(tag[i]-'0') * scale
		scale *= 10
	}
	return n
}

// watch cancels the running batch when ctx ends. The function it returns ends
// that, and says whether it happened.
func (c *conn) watch(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return false }
	}
	done := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(done)
		late, cancel := context.WithTimeout(context.Background(), cancelGrace)
		defer cancel()
		if err := c.pg.CancelRequest(late); err != nil {
			c.pg.Conn().SetReadDeadline(time.Now())
			return
		}
		c.pg.Conn().SetReadDeadline(time.Now().Add(cancelGrace))
	})
	return func() bool {
		if unregister() {
			return false
		}
		<-done
		c.pg.Conn().SetReadDeadline(time.Time{})
		return true
	}
}

// alive asks the server whether it is still there.
func (c *conn) alive() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.pg.Ping(ctx) == nil
}

// close ends the connection, waiting for nothing.
func (c *conn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.pg.Conn().SetDeadline(time.Now().Add(time.Second))
	_ = c.pg.Close(ctx)
}

// query runs one statement outside of the pool's books and returns its first
// row's integers.
func (c *conn) query(ctx context.Context, sql string, args ...[]byte) ([]int64, error) {
	var out []int64
	c.add(sql, func(values [][]byte) {
		if out != nil {
			return
		}
		out = []int64{}
		for _, v := range values {
			out = append(out, int64Of(v))
		}
	}, args...)
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, errNoRow
	}
	return out, nil
}

var errNoRow = errors.New("no row")

func int64Of(v []byte) int64 {
	if len(v) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}
