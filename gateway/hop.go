package gateway

import (
	"context"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/server"
)

// hop is the memory by which the commands of one client pass the gateway. It is kept with the client's connection, whose
// commands come one after the other, so that a command costs no allocations of its own.
type hop struct {
	call   call
	op     egress.Operation
	caller egress.Caller
	kept   bool // with the connection
	busy   bool
}

// hopKey is the key of a gateway's hop at a connection. One connection can lead to several gateways: mounts are such.
type hopKey struct{ g *Gateway }

// hopOf returns the hop of a connection, a new one for requests made in this process.
func (g *Gateway) hopOf(c *server.Conn) *hop {
	if c.RemoteAddr() == nil {
		return &hop{}
	}
	h, ok := c.Value(hopKey{g}).(*hop)
	if !ok {
		h = &hop{kept: true}
		c.SetValue(hopKey{g}, h)
		c.OnClose(h.caller.Close)
	}
	if h.busy { // a command that runs another one
		return &hop{}
	}
	return h
}

// begin parses a command. Whoever calls it calls end when the command has been answered.
func (h *hop) begin(req *server.Request) (*call, error) {
	h.busy = true
	h.call.hop = h
	return &h.call, h.call.parse(req)
}

// end forgets the command, and with it the bytes of its message.
func (h *hop) end() {
	h.caller.Release()
	h.call, h.op, h.busy = call{}, egress.Operation{}, false
}

// run runs the hop's operation. The reply is valid until the end of the hop, or the next run.
func (h *hop) run(ctx context.Context, u *upstream) egress.ResponseOnAny {
	if h.kept {
		return u.run(ctx, &h.op, &h.caller)
	}
	return u.run(ctx, &h.op, nil)
}
