package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

const (
	// readBufferSize holds the replies to most commands, so that one read gets them.
	readBufferSize = 4 << 10

	// peekTime is how long Alive waits for the end of a connection that has been idle.
	peekTime = time.Millisecond
)

// Conn is a client's connection to a server: it has greeted the server and authenticated, and runs one command at a
// time. It is not safe for concurrent use, except for Close. After a failure of PhaseCommand it is broken and answers all
// further commands with that.
type Conn struct {
	host       Host
	nc         net.Conn
	in         *bufio.Reader
	hello      *Hello
	compressor wire.CompressorID
	lastID     int32
	deadline   bool // a deadline is set on nc
	broken     atomic.Bool
}

// Hello is what the server told when the connection was made.
func (c *Conn) Hello() *Hello { return c.hello }

// Host is the server.
func (c *Conn) Host() Host { return c.host }

// Compressor is the compressor agreed on, wire.CompressorNone if there is none.
func (c *Conn) Compressor() wire.CompressorID { return c.compressor }

// Close closes the connection; a command that runs fails.
func (c *Conn) Close() error {
	c.broken.Store(true)
	if t, ok := c.nc.(*tls.Conn); ok {
		return t.NetConn().Close() // a TLS close writes, which may block
	}
	return c.nc.Close()
}

// Broken tells whether the connection can run no more commands.
func (c *Conn) Broken() bool { return c.broken.Load() }

// Alive tells whether an idle connection is still open. It takes about a millisecond.
func (c *Conn) Alive() bool {
	if c.broken.Load() {
		return false
	}
	c.nc.SetReadDeadline(time.Now().Add(peekTime))
	c.deadline = true
	_, err := c.in.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Refresh proves that the server answers.
func (c *Conn) Refresh(ctx context.Context) error {
	cmd := HelloCommand(c.hello.HelloOK, nil, 0)
	r := c.Run(ctx, &cmd)
	return r.Err()
}

// Run runs a command. The connection survives errors that the server answers with.
func (c *Conn) Run(ctx context.Context, cmd *Command) Response {
	start := time.Now()
	body, err := c.exchange(ctx, cmd, nil)
	return Response{Body: body, Elapsed: time.Since(start), Status: err}
}

// exchange sends a command and reads its reply, into the memory of k if that is not nil.
func (c *Conn) exchange(ctx context.Context, cmd *Command, k *Caller) (Doc, error) {
	release, err := c.begin(ctx, cmd.Timeout, k)
	if err != nil {
		return nil, err
	}
	defer release()
	var flags wire.MsgFlags
	if cmd.FireAndForget {
		flags = wire.FlagMoreToCome
	}
	id, err := c.send(ctx, cmd, flags)
	if err != nil || cmd.FireAndForget {
		return nil, err
	}
	body, flags, _, err := c.receive(ctx, id, k)
	if err == nil && flags&wire.FlagMoreToCome != 0 {
		err = c.fail(ctx, "read reply", protocolError("unasked stream of replies"))
		body = nil
	}
	return body, err
}

// Stream runs a command whose replies come in a stream: each response but the last has MoreToCome set. The timeout of
// the command holds for each reply. A server that does not stream answers once. Whoever ends the loop early breaks the
// connection.
func (c *Conn) Stream(ctx context.Context, cmd *Command) iter.Seq[Response] {
	return func(yield func(Response) bool) {
		start := time.Now()
		fail := func(err error) { yield(Response{Elapsed: time.Since(start), Status: err}) }
		release, err := c.begin(ctx, cmd.Timeout, nil)
		if err != nil {
			fail(err)
			return
		}
		id, err := c.send(ctx, cmd, wire.FlagExhaustAllowed)
		for {
			var body Doc
			var flags wire.MsgFlags
			var h wire.Header
			if err == nil {
				body, flags, h, err = c.receive(ctx, id, nil)
			}
			release()
			if err != nil {
				fail(err)
				return
			}
			more := flags&wire.FlagMoreToCome != 0
			if more {
				c.broken.Store(true) // until the last reply has come
			}
			if !yield(Response{Body: body, MoreToCome: more, Elapsed: time.Since(start)}) || !more {
				return
			}
			c.broken.Store(false)
			id = h.RequestID
			if release, err = c.begin(ctx, cmd.Timeout, nil); err != nil {
				c.broken.Store(true)
				fail(err)
				return
			}
		}
	}
}

// begin makes the connection's I/O end with ctx and after the timeout; a caller watches its context itself. The function it
// returns undoes that.
func (c *Conn) begin(ctx context.Context, timeout time.Duration, k *Caller) (func(), error) {
	if c.broken.Load() {
		return nil, &StatusError{Code: mongoerr.HostUnreachable, Host: c.host, Phase: PhaseLocal, Message: "connection is broken"}
	}
	if ctx.Err() != nil {
		return nil, errorOf(ctx, c.host, PhaseLocal, "run command", ctx.Err())
	}
	end, limited := ctx.Deadline()
	if timeout > 0 {
		if t := time.Now().Add(timeout); !limited || t.Before(end) {
			end, limited = t, true
		}
	}
	if limited || c.deadline {
		if err := c.nc.SetDeadline(end); err != nil { // zero: none
			return nil, c.fail(ctx, "use connection", err)
		}
		c.deadline = limited
	}
	if ctx.Done() == nil {
		return func() {}, nil
	}
	if k != nil {
		return c.beginWatched(ctx, k)
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		if err := c.nc.SetDeadline(time.Unix(1, 0)); err != nil {
			c.Close()
		}
	})
	return func() {
		if !stop() {
			<-fired // so that it cannot hit the next command
			c.deadline = true
		}
	}, nil
}

// beginWatched is begin for a caller.
func (c *Conn) beginWatched(ctx context.Context, k *Caller) (func(), error) {
	if k.leave == nil {
		k.leave = k.watch.leave
	}
	k.watch.enter(ctx, c)
	if ctx.Err() != nil {
		k.watch.leave()
		return nil, errorOf(ctx, c.host, PhaseLocal, "run command", ctx.Err())
	}
	return k.leave, nil
}

// fail marks the connection broken and says why.
func (c *Conn) fail(ctx context.Context, what string, err error) error {
	c.broken.Store(true)
	return errorOf(ctx, c.host, PhaseCommand, what, err)
}

// send writes the message and returns its id.
func (c *Conn) send(ctx context.Context, cmd *Command, flags wire.MsgFlags) (int32, error) {
	c.lastID++
	buf := wire.NewBuffer(len(cmd.Body) + len(cmd.Metadata) + 128)
	defer func() { buf.Release() }()
	frame, err := appendCommand(buf.B, c.lastID, flags, cmd)
	if err != nil {
		return 0, err
	}
	buf.B = frame
	if c.compressor != wire.CompressorNone && !cmd.Plain && !neverCompressed[cmd.Name()] {
		packed := wire.NewBuffer(len(frame))
		packed.B, err = wire.AppendCompressed(packed.B, frame, c.compressor)
		buf.Release()
		buf = packed
		if err != nil {
			return 0, localError(mongoerr.InternalError, c.host, "compress message: %v", err)
		}
	}
	if _, err := c.nc.Write(buf.B); err != nil {
		return 0, c.fail(ctx, "send command", err)
	}
	return c.lastID, nil
}

// receive reads the reply to the message id. The document it returns has bytes of its own, or those of k.
func (c *Conn) receive(ctx context.Context, id int32, k *Caller) (Doc, wire.MsgFlags, wire.Header, error) {
	buf, h, err := wire.ReadMessage(c.in)
	if err != nil {
		return nil, 0, h, c.fail(ctx, "read reply", err)
	}
	defer func() {
		if buf != nil {
			buf.Release()
		}
	}()
	if h.OpCode == wire.OpCompressed {
		var z wire.Compressed
		if err = z.Parse(buf.B); err == nil {
			plain := wire.NewBuffer(wire.HeaderLen + z.Size)
			plain.B, err = z.Decompress(plain.B)
			buf.Release()
			buf = plain
		}
		if err != nil {
			return nil, 0, h, c.fail(ctx, "decompress reply", err)
		}
	}
	body, flags, h, err := parseReply(buf.B)
	if err == nil && h.ResponseTo != id {
		err = protocolError("reply to another request")
	}
	if err != nil {
		return nil, 0, h, c.fail(ctx, "read reply", err)
	}
	if k == nil {
		return body.Clone(), flags, h, nil
	}
	k.Release()
	k.reply, buf = buf, nil
	return body, flags, h, nil
}

// agree picks the compressor: the first of ours that the server offers.
func (c *Conn) agree(ours []wire.CompressorID) {
	for _, id := range ours {
		if slices.Contains(c.hello.Compression, id.String()) {
			c.compressor = id
			return
		}
	}
}
