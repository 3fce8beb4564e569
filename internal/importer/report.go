package importer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

// reporter counts, prints progress and keeps the bad lines. It owns a goroutine that prints every interval.
type reporter struct {
	config  *Config
	in      *input
	w       io.Writer
	live    bool // w is a terminal: the progress line is rewritten in place
	started time.Time
	stop    chan struct{}
	done    chan struct{}

	mu     sync.Mutex // guards the fields below and w
	result Result
	file   *os.File
	errors *bufio.Writer
}

func newReporter(c *Config, in *input, w io.Writer) (*reporter, error) {
	if w == nil {
		w = io.Discard
	}
	r := &reporter{config: c, in: in, w: w, started: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil {
			r.live = st.Mode()&os.ModeCharDevice != 0
		}
	}
	if c.Errors != "" {
		f, err := os.Create(c.Errors)
		if err != nil {
			return nil, err
		}
		r.file, r.errors = f, bufio.NewWriter(f)
	}
	go r.tick()
	return r, nil
}

func (r *reporter) tick() {
	defer close(r.done)
	every := 5 * time.Second
	if r.live {
		every = time.Second / 2
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-t.C:
			r.mu.Lock()
			line := r.progressLine()
			if r.live {
				fmt.Fprintf(r.w, "\r%s\x1b[K", line)
			} else {
				fmt.Fprintln(r.w, line)
			}
			r.mu.Unlock()
		}
	}
}

// progressLine needs mu.
func (r *reporter) progressLine() string {
	elapsed := time.Since(r.started)
	loaded := r.result.Inserted + r.result.Replaced + r.result.AlreadyThere
	line := fmt.Sprintf("%s.%s: %s documents, %s/s", r.config.DB, r.config.Collection, grouped(loaded),
		grouped(int64(float64(loaded)/max(elapsed.Seconds(), 0.001))))
	read := r.in.read.Load()
	if r.in.size > 0 && read > 0 {
		part := min(1, float64(read)/float64(r.in.size))
		left := time.Duration(float64(elapsed) * (1 - part) / part)
		line += fmt.Sprintf(", %.0f%%, %s left", 100*part, left.Round(time.Second))
	}
	if r.result.Bad > 0 {
		line += fmt.Sprintf(", %s bad", grouped(r.result.Bad))
	}
	return line
}

// grouped writes a number with commas between the thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (r *reporter) found() {
	r.mu.Lock()
	r.result.Read++
	r.mu.Unlock()
}

func (r *reporter) stored(inserted, replaced, there int64) {
	r.mu.Lock()
	r.result.Inserted += inserted
	r.result.Replaced += replaced
	r.result.AlreadyThere += there
	r.mu.Unlock()
}

// bad counts a record that is not loaded, and prints the first ones; the error is about the errors file.
func (r *reporter) bad(line int64, reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Bad++
	if r.errors != nil {
		if _, err := fmt.Fprintf(r.errors, "%s:%d: %s\n", r.config.File, line, reason); err != nil {
			return err
		}
	}
	switch {
	case r.result.Bad <= keptBadLines:
		r.result.BadLines = append(r.result.BadLines, BadLine{line, reason})
		r.print(fmt.Sprintf("%s:%d: %s", r.config.File, line, reason))
	case r.result.Bad == keptBadLines+1 && r.errors == nil:
		r.print("more bad lines are only counted; --errors FILE keeps them all")
	}
	return nil
}

// print needs mu.
func (r *reporter) print(line string) {
	if r.live {
		line = "\r" + line + "\x1b[K"
	}
	fmt.Fprintln(r.w, line)
}

// close stops the progress line and prints the outcome.
func (r *reporter) close(err error) Result {
	close(r.stop)
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errors != nil {
		if werr := errors.Join(r.errors.Flush(), r.file.Close()); werr != nil {
			r.print("errors file: " + werr.Error())
		}
	}
	res := &r.result
	res.Elapsed = time.Since(r.started)
	res.Interrupted = errors.Is(err, ErrInterrupted)
	line := fmt.Sprintf("%s.%s: %s read, %s inserted", r.config.DB, r.config.Collection, grouped(res.Read), grouped(res.Inserted))
	if r.config.Upsert {
		line += fmt.Sprintf(", %s replaced", grouped(res.Replaced))
	}
	line += fmt.Sprintf(", %s already there, %s bad, in %s (%s/s)", grouped(res.AlreadyThere), grouped(res.Bad),
		res.Elapsed.Round(time.Millisecond), grouped(int64(float64(res.Inserted+res.Replaced)/max(res.Elapsed.Seconds(), 0.001))))
	r.print(line)
	return *res
}
