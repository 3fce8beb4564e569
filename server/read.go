package server

import (
	"crypto/tls"
	"errors"
	"io"
	"time"

	"github.com/archelon-db/archelon/wire"
)

const (
	// firstReadSize and growFactor are how the memory for a large message grows, and is admitted, as its bytes arrive.
	firstReadSize = 16 << 10
	growFactor    = 4

	// discardSize is the buffer for messages that are read to be thrown away.
	discardSize = 4 << 10

	// peekLen is how much of a refused message is looked at: the header and the flags.
	peekLen = wire.HeaderLen + 4
)

// errNotAdmitted is returned by readFrame for a message that was thrown away, see Config.MaxRequestBytes.
var errNotAdmitted = errors.New("request not admitted")

// errCloseRequested ends a connection in order.
var errCloseRequested = errors.New("connection closed on request")

// frame is a message as received, and the memory it lives in.
type frame struct {
	b []byte
	// large is the memory of a message that does not fit the connection's own, else nil.
	large *wire.Buffer
	// admitted is what has to be given back to Metrics.RequestBytesInFlight.
	admitted int
}

// release gives back the memory of the message. The request must not point there any more: that would keep the memory
// of a large message as long as the connection is idle.
func (c *Conn) release(f *frame) {
	if f.large != nil {
		c.req.Body, c.req.msg = nil, wire.Msg{}
		f.large.Release()
	}
	if f.admitted > 0 {
		c.server.metrics.RequestBytesInFlight.Add(-int64(f.admitted))
	}
	*f = frame{}
}

// read reads the bytes that follow those in head: first the one the watcher may have taken.
func (c *Conn) read(b []byte) (int, error) {
	if c.watch.peeked {
		c.watch.peeked = false
		b[0] = c.watch.one[0]
		return 1, nil
	}
	return c.nc.Read(b)
}

// tailReader is the connection as a reader, for the part of a message that goes straight to its own buffer.
type tailReader struct{ c *Conn }

func (t tailReader) Read(b []byte) (int, error) { return t.c.read(b) }

// readFrame reads the next message. The connection is busy when it returns without an error. On errNotAdmitted the
// frame has the header and, for an OP_MSG, the flags of the message, and the message has been consumed.
func (c *Conn) readFrame() (frame, error) {
	if c.headStart == c.headEnd {
		c.headStart, c.headEnd = 0, 0
		if err := c.awaitFirstByte(); err != nil {
			return frame{}, err
		}
	} else if !c.state.CompareAndSwap(stateIdle, stateBusy) {
		return frame{}, errCloseRequested
	}
	if c.headEnd-c.headStart < wire.HeaderLen {
		if err := c.readHead(wire.HeaderLen); err != nil {
			return frame{}, err
		}
	}
	h, err := wire.ParseHeader(c.head[c.headStart:c.headEnd])
	if err != nil {
		return frame{}, err
	}
	n := int(h.Length)
	if n > headBufferSize {
		return c.readLarge(n)
	}
	if c.headEnd-c.headStart < n {
		if err := c.readHead(n); err != nil {
			return frame{}, err
		}
	}
	f := frame{b: c.head[c.headStart : c.headStart+n : c.headStart+n]}
	c.headStart += n
	return f, nil
}

// awaitFirstByte waits, idle, for the begin of a message.
func (c *Conn) awaitFirstByte() error {
	if idle := c.server.cfg.IdleTimeout; idle > 0 {
		// Setting a deadline costs; one that is at most an eighth short of the timeout is as good.
		now := time.Now()
		if c.idleUntil.Sub(now) < idle-idle/8 {
			c.idleUntil = now.Add(idle)
			if err := c.nc.SetReadDeadline(c.idleUntil); err != nil {
				return err
			}
		}
	}
	n, err := c.read(c.head[:])
	c.headEnd = n
	if n == 0 && err != nil {
		return err
	}
	if !c.state.CompareAndSwap(stateIdle, stateBusy) {
		return errCloseRequested
	}
	return nil
}

// readHead reads until head has n bytes, with the deadline for a message that has begun.
func (c *Conn) readHead(n int) error {
	if c.headStart > 0 {
		copy(c.head[:], c.head[c.headStart:c.headEnd])
		c.headStart, c.headEnd = 0, c.headEnd-c.headStart
	}
	if err := c.beginDeadline(); err != nil {
		return err
	}
	for c.headEnd < n {
		m, err := c.read(c.head[c.headEnd:])
		c.headEnd += m
		if err != nil && c.headEnd < n {
			return unexpected(err)
		}
	}
	return c.endDeadline()
}

// readLarge reads a message of n bytes that does not fit head.
func (c *Conn) readLarge(n int) (frame, error) {
	if err := c.beginDeadline(); err != nil {
		return frame{}, err
	}
	have := c.headEnd - c.headStart
	f := frame{large: wire.NewBuffer(firstReadSize)}
	f.large.B = append(f.large.B, c.head[c.headStart:c.headEnd]...)
	c.headStart, c.headEnd = 0, 0
	for step := firstReadSize; have < n; step *= growFactor {
		want := min(n, step)
		if !c.server.admit(want - f.admitted) {
			return c.discard(f, n)
		}
		f.admitted = want
		if err := f.large.Fill(tailReader{c}, want); err != nil {
			c.release(&f)
			return frame{}, unexpected(err)
		}
		have = want
	}
	f.b = f.large.B
	return f, c.endDeadline()
}

// discard reads the rest of a message of n bytes that was not admitted and throws it away.
func (c *Conn) discard(f frame, n int) (frame, error) {
	c.server.metrics.RequestsRefused.Add(1)
	if len(f.large.B) < peekLen {
		if err := f.large.Fill(tailReader{c}, peekLen); err != nil {
			c.release(&f)
			return frame{}, unexpected(err)
		}
	}
	have := len(f.large.B)
	// The start of the message goes back to head, which is empty now, so that it can be answered.
	copy(c.head[:], f.large.B[:peekLen])
	c.release(&f)
	c.server.metrics.BytesIn.Add(int64(n))
	trash := wire.NewBuffer(discardSize)
	defer trash.Release()
	for have < n {
		m, err := c.read(trash.B[:min(n-have, cap(trash.B))])
		have += m
		if err != nil && have < n {
			return frame{}, unexpected(err)
		}
	}
	if err := c.endDeadline(); err != nil {
		return frame{}, err
	}
	return frame{b: c.head[:peekLen]}, errNotAdmitted
}

// beginDeadline starts the time a message has to arrive in full.
func (c *Conn) beginDeadline() error {
	return c.nc.SetReadDeadline(time.Now().Add(c.server.cfg.ReadTimeout))
}

func (c *Conn) endDeadline() error {
	c.idleUntil = time.Time{}
	return c.nc.SetReadDeadline(time.Time{})
}

// handshake does the TLS handshake, if any.
func (c *Conn) handshake() error {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := t.SetDeadline(time.Now().Add(c.server.cfg.ReadTimeout)); err != nil {
		return err
	}
	if err := t.HandshakeContext(c.ctx); err != nil {
		return err
	}
	return t.SetDeadline(time.Time{})
}

// unexpected is err, but the end of the stream within a message is io.ErrUnexpectedEOF.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
