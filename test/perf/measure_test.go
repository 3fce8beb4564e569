package perf

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	rounds    = flag.Int("perf.rounds", 7, "alternating rounds of each comparison")
	roundTime = flag.Duration("perf.round", time.Second, "time of each side in a round")
	scanDocs  = flag.Int("perf.docs", 100_000, "documents of the collection that is read")
	largeDocs = flag.Int("perf.large", 1_000_000, "documents of the large collection")
)

// line is a row of the report.
type line struct {
	what             string
	ours, bare, unit string
	ratio, promise   float64
	atMost           bool // the promise is an upper bound
	note             bool // measured, but nothing is promised
}

func (l *line) ok() bool {
	if l.atMost {
		return l.ratio <= l.promise
	}
	return l.ratio >= l.promise
}

// report collects rows and prints them when the test is over.
type report struct {
	mu    sync.Mutex // guards lines
	lines []line
}

func newReport(t *testing.T) *report {
	r := &report{}
	t.Cleanup(func() { t.Log("\n" + r.String()) })
	return r
}

func (r *report) add(t *testing.T, l line) {
	t.Helper()
	r.mu.Lock()
	r.lines = append(r.lines, l)
	r.mu.Unlock()
	if !l.note && !l.ok() {
		t.Errorf("%s: %.2f, promised %.2f", l.what, l.ratio, l.promise)
	}
}

func (r *report) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "| %-46s | %12s | %12s | %6s | %7s | %-3s |\n", "what", "ours", "bare", "ratio", "promise", "ok")
	fmt.Fprintf(&b, "|%s|%s:|%s:|%s:|%s:|%s|\n", strings.Repeat("-", 48), strings.Repeat("-", 13), strings.Repeat("-", 13),
		strings.Repeat("-", 7), strings.Repeat("-", 8), strings.Repeat("-", 5))
	for _, l := range r.lines {
		promise, ok := fmt.Sprintf("≥ %.2f", l.promise), "yes"
		if l.atMost {
			promise = fmt.Sprintf("≤ %.2f", l.promise)
		}
		if !l.ok() {
			ok = "NO"
		}
		if l.note {
			promise, ok = "–", "–"
		}
		fmt.Fprintf(&b, "| %-46s | %12s | %12s | %6.2f | %7s | %-3s |\n", l.what, l.ours+" "+l.unit, l.bare+" "+l.unit, l.ratio, promise, ok)
	}
	return b.String()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// duel lets two sides run in alternating rounds, after a warm-up, and returns
// the medians of their rates and of the rounds' ratios a/b.
func duel(t *testing.T, a, b *side) (rateA, rateB, ratio float64) {
	t.Helper()
	a.run(t, *roundTime)
	b.run(t, *roundTime)
	var as, bs, rs []float64
	for i := range *rounds {
		var x, y float64
		if i%2 == 0 {
			x, y = a.run(t, *roundTime), b.run(t, *roundTime)
		} else {
			y, x = b.run(t, *roundTime), a.run(t, *roundTime)
		}
		as, bs, rs = append(as, x), append(bs, y), append(rs, x/y)
	}
	t.Logf("rounds' ratios: %.2f", rs)
	return median(as), median(bs), median(rs)
}

// compare is duel with a row of the report.
func (r *report) compare(t *testing.T, what string, ours, bare *side, promise float64) {
	t.Helper()
	x, y, ratio := duel(t, ours, bare)
	r.add(t, line{what: what, ours: count(x), bare: count(y), unit: "/s", ratio: ratio, promise: promise, note: promise == 0})
}

// count formats a rate.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}
