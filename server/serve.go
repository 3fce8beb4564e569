package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

// serve is the connection's goroutine: read a message, answer it, until either side ends.
func (c *Conn) serve() {
	defer c.finish()
	if err := c.handshake(); err != nil {
		c.log.warn("TLS handshake failed", "error", err)
		return
	}
	for {
		f, err := c.readFrame()
		if err == nil {
			err = c.serveFrame(&f)
			c.release(&f)
		} else if err == errNotAdmitted {
			err = c.refuse(f.b)
		}
		if err != nil {
			c.logEnd(err)
			return
		}
		if !c.state.CompareAndSwap(stateBusy, stateIdle) {
			return
		}
		select {
		case <-c.server.draining:
			return
		default:
		}
	}
}

// finish releases what the connection holds.
func (c *Conn) finish() {
	c.cancel(ErrClientGone)
	c.state.Store(stateClosed)
	c.nc.Close()
	c.mu.Lock()
	hooks := c.onClose
	c.onClose = nil
	c.mu.Unlock()
	for i := len(hooks) - 1; i >= 0; i-- {
		hooks[i]()
	}
}

// logEnd logs why the connection ended, if that is worth telling: malformed messages are, clients that go are not.
func (c *Conn) logEnd(err error) {
	var we *wire.Error
	switch {
	case errors.As(err, &we):
		c.server.metrics.MalformedMessages.Add(1)
		c.log.warn("connection closed because of a malformed message", "error", err)
	case errors.Is(err, errUnsupportedOpCode):
		c.log.warn("connection closed", "error", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.log.warn("connection closed because the client took too long")
	}
}

// errUnsupportedOpCode closes connections that send messages MongoDB 8 does not know any more.
var errUnsupportedOpCode = errors.New("message of an unsupported kind")

// serveFrame answers one message. An error ends the connection.
func (c *Conn) serveFrame(f *frame) error {
	m := &c.server.metrics
	m.Requests.Add(1)
	m.BytesIn.Add(int64(len(f.b)))
	m.ConnectionsActive.Add(1)
	defer m.ConnectionsActive.Add(-1)

	r := &c.req
	r.reset()
	h, err := wire.ParseHeader(f.b)
	if err != nil {
		return err
	}
	body := f.b
	if h.OpCode == wire.OpCompressed {
		if err := c.decompress(f); err != nil {
			return err
		}
		body = f.b
		if h, err = wire.ParseHeader(body); err != nil {
			return err
		}
	}
	r.Size = len(body)
	if trace := c.server.cfg.Trace; trace != nil {
		trace(c, body, false)
	}
	switch h.OpCode {
	case wire.OpMsg:
		err = r.parseMsg(body)
	case wire.OpQuery:
		err = r.parseQuery(body)
	default:
		return fmt.Errorf("%w: %s", errUnsupportedOpCode, h.OpCode)
	}
	if err != nil && mongoerr.As(err) == nil {
		return err
	}
	return c.run(f, err)
}

// run calls the handler, unless parsing has failed already, and sends the reply. The memory of the request is given back
// before that: a client that has its reply may rely on the room.
func (c *Conn) run(f *frame, err error) error {
	r, w := &c.req, &c.reply
	w.begin()
	defer w.release()
	if err == nil {
		c.watch.start()
		err = invoke(c.ctx, c.server.cfg.Handler, r, w)
		c.watch.stop()
	}
	if errors.Is(err, ErrHangUp) {
		return err
	}
	if err != nil {
		c.logFailure(err)
		w.fail(err)
	}
	c.release(f)
	if !r.WantsReply() {
		return nil
	}
	return c.write(r, w.finish(0))
}

// logFailure logs errors that are ours.
func (c *Conn) logFailure(err error) {
	if mongoerr.As(err) != nil || c.ctx.Err() != nil {
		return
	}
	var p *panicError
	if errors.As(err, &p) {
		c.server.metrics.HandlerPanics.Add(1)
		c.log.error("command panicked", "command", c.req.Command, "panic", p.value, "stack", string(p.stack))
		return
	}
	c.log.error("command failed", "command", c.req.Command, "error", err)
}

// panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// invoke calls h and turns a panic into an error.
func invoke(ctx context.Context, h Handler, r *Request, w *Reply) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return h.Handle(ctx, r, w)
}

// decompress replaces a compressed message by the original.
func (c *Conn) decompress(f *frame) error {
	var z wire.Compressed
	if err := z.Parse(f.b); err != nil {
		return err
	}
	if z.Compressor != wire.CompressorNone && !slices.Contains(c.server.cfg.Compressors, z.Compressor) {
		return &wire.Error{Code: int32(mongoerr.ProtocolError), Fatal: true,
			Message: "message is compressed with " + z.Compressor.String() + ", which the server does not offer"}
	}
	c.req.Compressor = z.Compressor
	size := wire.HeaderLen + z.Size
	if !c.server.admit(size) {
		// Whether the client waits for an answer is written inside the message, which there is no room to unpack. An
		// answer nobody waits for would be taken for that to the next request; so the connection is closed, which
		// drivers take as a reason to retry too.
		c.server.metrics.RequestsRefused.Add(1)
		return errNotAdmitted
	}
	f.admitted += size
	out := wire.NewBuffer(size)
	b, err := z.Decompress(out.B)
	out.B = b
	if f.large != nil {
		f.large.Release()
	}
	f.large = out
	f.b = b
	return err
}

// errOverloaded answers requests that were not admitted.
var errOverloaded = mongoerr.New(mongoerr.IngressRequestRateLimitExceeded,
	"too many bytes of requests in flight, try again later").WithLabels(mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable)

// refuse answers a message that was not admitted, of which head is the start.
func (c *Conn) refuse(head []byte) error {
	c.server.metrics.Requests.Add(1)
	c.req.reset()
	h, err := wire.ParseHeader(head)
	if err != nil {
		return err
	}
	c.req.OpCode, c.req.ID = h.OpCode, h.RequestID
	switch h.OpCode {
	case wire.OpMsg:
		c.req.flags = flagsOf(head)
	case wire.OpQuery:
	default:
		// See decompress: there is no telling whether the client waits for an answer.
		return errNotAdmitted
	}
	return c.run(&frame{}, errOverloaded)
}

// write sends a finished reply.
func (c *Conn) write(r *Request, frame []byte) error {
	if trace := c.server.cfg.Trace; trace != nil {
		trace(c, frame, true)
	}
	if r.Compressor != wire.CompressorNone && !neverCompressed[r.Command] {
		packed := wire.NewBuffer(len(frame))
		defer packed.Release()
		var err error
		if packed.B, err = wire.AppendCompressed(packed.B, frame, r.Compressor); err != nil {
			return err
		}
		if len(packed.B) < len(frame) {
			frame = packed.B
		}
	}
	// Setting a deadline costs; one that has at least three quarters of the timeout left is as good.
	now, timeout := time.Now(), c.server.cfg.WriteTimeout
	if c.writeUntil.Sub(now) < timeout-timeout/4 {
		c.writeUntil = now.Add(timeout)
		if err := c.nc.SetWriteDeadline(c.writeUntil); err != nil {
			return err
		}
	}
	n, err := c.nc.Write(frame)
	c.server.metrics.BytesOut.Add(int64(n))
	return err
}
