package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// How often the line of progress is printed: on a terminal, and where each one stays.
const (
	liveInterval = time.Second / 2
	interval     = 5 * time.Second
)

// Printer prints the line of progress from time to time, and other lines when it is told to.
type Printer struct {
	line func() string
	live bool // w is a terminal: the line of progress is rewritten in place
	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex // guards the fields below
	w    io.Writer
	last string // the last line of progress
}

// Start begins to print what line returns to w; nil prints nothing. line is called by a goroutine of the printer, which
// Close ends.
func Start(w io.Writer, line func() string) *Printer {
	every := interval
	live := isTerminal(w)
	if live {
		every = liveInterval
	}
	return start(w, live, every, line)
}

func start(w io.Writer, live bool, every time.Duration, line func() string) *Printer {
	if w == nil {
		w = io.Discard
	}
	p := &Printer{line: line, live: live, stop: make(chan struct{}), done: make(chan struct{}), w: w}
	go p.tick(every)
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *Printer) tick(every time.Duration) {
	defer close(p.done)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.progress(p.line())
		}
	}
}

// progress prints a line of progress. Where lines stay, one that says nothing new is left out.
func (p *Printer) progress(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.live:
		fmt.Fprintf(p.w, "\r%s\x1b[K", line)
	case line != p.last:
		fmt.Fprintln(p.w, line)
	}
	p.last = line
}

// Print prints a line that stays.
func (p *Printer) Print(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		line = "\r" + line + "\x1b[K"
	}
	fmt.Fprintln(p.w, line)
}

// Close ends the line of progress. Print may be called after it.
func (p *Printer) Close() {
	close(p.stop)
	<-p.done
}
