package service

import (
	"context"

	"github.com/archelon-db/archelon/internal/running"
)

// opContext is the context of one call: that of its connection, which killOp, maxTimeMS and the end of the service can end
// as well. It knows the call.
type opContext struct {
	running.Context
	call *Call
}

var _ context.Context = (*opContext)(nil)

// Value implements context.Context.
func (c *opContext) Value(key any) any {
	if key == (callKey{}) {
		return c.call
	}
	return c.Context.Value(key)
}

// release ends what waits on behalf of the context. The context ends with the call, for those who still hold it.
func (c *opContext) release() {
	c.Release()
	c.Kill(running.ErrInterrupted)
}
