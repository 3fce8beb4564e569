package copier

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/progress"
)

// reporter counts and tells how far the copy is.
type reporter struct {
	*progress.Printer

	mu       sync.Mutex // guards the fields below
	phase    string
	since    time.Time // the phase's begin
	docs     int64     // copied in this run
	bytes    int64
	before   int64 // copied in earlier runs
	total    int64 // as the source has counted
	changes  int64
	atBegin  int64 // changes at the phase's begin
	lag      time.Duration
	lagKnown bool
}

func newReporter(w io.Writer) *reporter {
	r := &reporter{since: time.Now()}
	r.Printer = progress.Start(w, r.line)
	return r
}

// begin starts a phase. all are the collections of a phase that copies.
func (r *reporter) begin(phase string, all []*collection) {
	r.enter(phase, all)
	r.Print(r.line())
}

func (r *reporter) enter(phase string, all []*collection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase, r.since, r.atBegin, r.lagKnown = phase, time.Now(), r.changes, false
	for _, c := range all {
		r.total += c.docs
		for _, s := range c.ranges {
			r.before += s.docs
		}
	}
}

// line is how far the phase is.
func (r *reporter) line() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	elapsed := max(time.Since(r.since).Seconds(), 0.001)
	if r.phase == "copying" {
		have := r.before + r.docs
		line := fmt.Sprintf("copying: %s documents", progress.Grouped(have))
		switch {
		case r.before == 0:
			line += ", " + bytesText(r.bytes)
		case r.docs > 0:
			line += fmt.Sprintf(", of which %s, %s, in this run", progress.Grouped(r.docs), bytesText(r.bytes))
		}
		if r.docs > 0 {
			line += fmt.Sprintf(", %s/s, %s/s", progress.Grouped(int64(float64(r.docs)/elapsed)), bytesText(int64(float64(r.bytes)/elapsed)))
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
		line += fmt.Sprintf(", %s/s", progress.Grouped(int64(float64(r.changes-r.atBegin)/elapsed)))
	}
	if r.lagKnown {
		line += fmt.Sprintf(", %s behind", r.lag)
	}
	return line
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
		counted(res.Collections, "collection", "collections"), progress.Grouped(res.Documents), counted(res.Indexes, "index", "indexes"),
		counted(res.Views, "view", "views"), counted(int(res.Changes), "change", "changes"))
	r.Print(line)
	switch {
	case errors.Is(err, ErrDifferent):
		r.Print(fmt.Sprintf("source and target differ in %s", counted(res.Differences, "place", "places")))
	case err == nil && res.CutOver:
		r.Print("cut over: the target has everything that the source had when you asked; applications can use it now")
	case err == nil:
		r.Print("the target has everything that the source had a moment ago; run the same command again to bring later changes over")
	}
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
	return progress.Grouped(int64(n)) + " " + many
}
