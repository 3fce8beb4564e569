package copier

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

// reporter counts and prints progress. It owns a goroutine that prints every interval.
type reporter struct {
	w    io.Writer
	live bool // w is a terminal: the progress line is rewritten in place
	stop chan struct{}
	done chan struct{}

	mu        sync.Mutex // guards the fields below and w
	phase     string
	since     time.Time // the phase's begin
	docs      int64     // copied in this run
	bytes     int64
	before    int64 // copied in earlier runs
	total     int64 // as the source has counted
	changes   int64
	atBegin   int64 // changes at the phase's begin
	lag       time.Duration
	lagKnown  bool
	lastLines string
}

func newReporter(w io.Writer) *reporter {
	r := &reporter{w: orDiscard(w), stop: make(chan struct{}), done: make(chan struct{}), since: time.Now()}
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil {
			r.live = st.Mode()&os.ModeCharDevice != 0
		}
	}
	go r.tick()
	return r
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
			if line := r.line(); r.live {
				fmt.Fprintf(r.w, "\r%s\x1b[K", line)
			} else if line != r.lastLines {
				fmt.Fprintln(r.w, line)
				r.lastLines = line
			}
			r.mu.Unlock()
		}
	}
}

// begin starts a phase. all are the collections of a phase that copies.
func (r *reporter) begin(phase string, all []*collection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase, r.since, r.atBegin, r.lagKnown = phase, time.Now(), r.changes, false
	for _, c := range all {
		r.total += c.docs
		for _, s := range c.ranges {
			r.before += s.docs
		}
	}
	r.print(r.line())
}

// line needs mu.
func (r *reporter) line() string {
	elapsed := max(time.Since(r.since).Seconds(), 0.001)
	if r.phase == "copying" {
		have := r.before + r.docs
		line := fmt.Sprintf("copying: %s documents, %s", grouped(have), bytesText(r.bytes))
		if r.docs > 0 {
			line += fmt.Sprintf(", %s/s, %s/s", grouped(int64(float64(r.docs)/elapsed)), bytesText(int64(float64(r.bytes)/elapsed)))
		}
		if r.total > 0 && have > 0 {
			part := min(1, float64(have)/float64(r.total))
			line += fmt.Sprintf(", %.0f%%", 100*part)
			if r.docs > 0 {
				left := time.Duration(float64(max(0, r.total-have)) / float64(r.docs) * elapsed * float64(time.Second))
				line += fmt.Sprintf(", %s left", left.Round(time.Second))
			}
		}
		return line
	}
	line := r.phase
	if r.changes > 0 {
		line += fmt.Sprintf(": %s", counted(int(r.changes), "change", "changes"))
	}
	if r.changes > r.atBegin {
		line += fmt.Sprintf(", %s/s", grouped(int64(float64(r.changes-r.atBegin)/elapsed)))
	}
	if r.lagKnown {
		line += fmt.Sprintf(", %s behind", r.lag)
	}
	return line
}

// say prints a line.
func (r *reporter) say(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.print(line)
}

// print needs mu.
func (r *reporter) print(line string) {
	if r.live {
		line = "\r" + line + "\x1b[K"
	}
	fmt.Fprintln(r.w, line)
}

func (r *reporter) copied(docs, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.docs += docs
	r.bytes += bytes
}

func (r *reporter) copiedDocuments() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.docs
}

func (r *reporter) applied(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes += n
}

// behind notes how far a stream is from a time of the source, which tells seconds.
func (r *reporter) behind(passed, until uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lag, r.lagKnown = 0, passed > 0 && until > 0
	if passed < until {
		r.lag = time.Duration(until>>32-passed>>32) * time.Second
	}
}

// summary prints the outcome, and adds what only the reporter has counted.
func (r *reporter) summary(res *Result, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res.Bytes, res.Changes = r.bytes, r.changes
	line := fmt.Sprintf("%s, %s documents, %s, %s; %s brought over since",
		counted(res.Collections, "collection", "collections"), grouped(res.Documents), counted(res.Indexes, "index", "indexes"),
		counted(res.Views, "view", "views"), counted(int(res.Changes), "change", "changes"))
	r.print(line)
	switch {
	case errors.Is(err, ErrDifferent):
		r.print(fmt.Sprintf("source and target differ in %s", counted(res.Differences, "place", "places")))
	case err == nil && res.CutOver:
		r.print("cut over: the target has everything that the source had when you asked; applications can use it now")
	case err == nil:
		r.print("the target has everything that the source had a moment ago; run the same command again to bring later changes over")
	}
}

// close stops the progress line.
func (r *reporter) close() {
	close(r.stop)
	<-r.done
}

// grouped writes a number with commas between the thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", (n+1023)>>10)
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(int64(n)) + " " + many
}
