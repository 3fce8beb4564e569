package egress

import (
	"context"
	"sync"
	"time"

	"github.com/archelon-db/archelon/wire"
)

// Caller is the memory of somebody who runs very many operations one after the other, such as a gateway for one of its
// clients: operations that run with it, see Client.Call, cost next to no allocations. The zero value is ready for use. It
// is not safe for concurrent use.
type Caller struct {
	plan  plan
	req   RequestOnAny
	host  [1]Host
	meta  []byte
	reply *wire.Buffer // holds the last reply; nil if that was given back
	watch watch
	leave func() // watch.leave
}

// Release gives the memory of the last reply back. Its body must not be used afterwards.
func (k *Caller) Release() {
	if k.reply != nil {
		k.reply.Release()
		k.reply = nil
	}
}

// Close ends the use of the caller.
func (k *Caller) Close() {
	k.Release()
	k.watch.end()
}

// watch makes the command that a caller runs end with its context. Callers mostly run commands under the same context, so
// it is told once what to do at its end, and not for each command.
type watch struct {
	mu   sync.Mutex      // guards the fields below
	done <-chan struct{} // of the context that is watched
	stop func() bool
	// conn is the connection whose command is to end; nil between commands.
	conn  *Conn
	fired bool // conn was interrupted
}

// enter watches over the command that conn is about to run. Whoever calls it looks at the context afterwards: its end may
// have come before.
func (w *watch) enter(ctx context.Context, conn *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if done := ctx.Done(); done != w.done {
		if w.stop != nil {
			w.stop()
		}
		w.done = done
		w.stop = context.AfterFunc(ctx, func() { w.interrupt(done) })
	}
	w.conn, w.fired = conn, false
}

// interrupt makes the I/O of the command end, if it runs under the context that has ended.
func (w *watch) interrupt(done <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil || w.done != done {
		return
	}
	w.fired = true
	if err := w.conn.nc.SetDeadline(time.Unix(1, 0)); err != nil {
		w.conn.Close()
	}
}

// leave ends the watch over a command: what comes later cannot hit the next one.
func (w *watch) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fired {
		w.conn.deadline = true
	}
	w.conn = nil
}

// end stops watching.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		w.stop()
	}
	w.done, w.stop = nil, nil
}
