package server

import (
	"errors"
	"os"
	"time"
)

// watchDelay is how long a command runs before somebody watches whether its client is still there. Most commands are
// over by then and cost no goroutine.
const watchDelay = 20 * time.Millisecond

// longAgo is a deadline in the past: it makes a read return at once.
var longAgo = time.Unix(1, 0)

// watcher notices that the client goes away while a command runs.
//
// The connection's goroutine calls start before and stop after a command. If the timer fires in between, its goroutine
// reads one byte from the connection: an error means the client is gone, a byte is the begin of the next message and is
// kept for the reader. stop interrupts that read with a deadline in the past and waits for it, so that reader and
// watcher never read at the same time.
type watcher struct {
	c     *Conn
	timer *time.Timer
	// ended gets one value each time the timer's goroutine has finished.
	ended chan struct{}

	// The following is written by the timer's goroutine, and read by the connection's after it received from ended.

	peeked   bool // one holds a byte that the reader has not consumed
	one      [1]byte
	readOver bool // the connection has nothing more to read
}

func (w *watcher) init(c *Conn) {
	w.c = c
	w.ended = make(chan struct{}, 1)
}

func (w *watcher) start() {
	if w.timer == nil {
		w.timer = time.AfterFunc(watchDelay, w.run)
		return
	}
	w.timer.Reset(watchDelay)
}

func (w *watcher) stop() {
	if w.timer.Stop() {
		return
	}
	// The goroutine runs or is about to: with the deadline in the past its read cannot block either way.
	w.c.nc.SetReadDeadline(longAgo)
	<-w.ended
	w.c.nc.SetReadDeadline(time.Time{})
	w.c.idleUntil = time.Time{}
}

// run is the timer's goroutine.
func (w *watcher) run() {
	defer func() { w.ended <- struct{}{} }()
	if w.peeked || w.readOver {
		return
	}
	n, err := w.c.nc.Read(w.one[:])
	w.peeked = n == 1
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		w.readOver = true
		w.c.cancel(ErrClientGone)
	}
}
