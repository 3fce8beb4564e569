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
	cpu              string
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
	fmt.Fprintf(&b, "| %-48s | %12s | %12s | %6s | %7s | %-3s | %-15s |\n", "what", "ours", "bare", "ratio", "promise", "ok", "CPU µs per unit")
	fmt.Fprintf(&b, "|%s|%s:|%s:|%s:|%s:|%s|%s|\n", strings.Repeat("-", 50), strings.Repeat("-", 13), strings.Repeat("-", 13),
		strings.Repeat("-", 7), strings.Repeat("-", 8), strings.Repeat("-", 5), strings.Repeat("-", 17))
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
		fmt.Fprintf(&b, "| %-48s | %12s | %12s | %6.2f | %7s | %-3s | %-15s |\n", l.what, l.ours+" "+l.unit, l.bare+" "+l.unit, l.ratio,
			promise, ok, l.cpu)
	}
	return b.String()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// duel lets two sides run in alternating rounds, after a warm-up, and returns
// the medians of their rates and processor times, and of the rounds' ratios a/b.
func duel(t *testing.T, a, b *side) (x, y medians, ratio float64) {
	t.Helper()
	a.run(t, *roundTime)
	b.run(t, *roundTime)
	var rs []float64
	for i := range *rounds {
		if i%2 == 0 {
			x.run(t, a)
			y.run(t, b)
		} else {
			y.run(t, b)
			x.run(t, a)
		}
		rs = append(rs, x.rates[i]/y.rates[i])
	}
	t.Logf("rounds' ratios: %.2f; server's CPU per unit: %.1f µs, %.1f µs", rs, x.cpu(), y.cpu())
	return x, y, median(rs)
}

// medians are the results of one side's rounds.
type medians struct{ rates, cpus []float64 }

func (m *medians) run(t *testing.T, s *side) {
	rate, cpu := s.run(t, *roundTime)
	m.rates, m.cpus = append(m.rates, rate), append(m.cpus, cpu)
}

func (m *medians) rate() float64 { return median(m.rates) }
func (m *medians) cpu() float64  { return median(m.cpus) }

// compare is duel with a row of the report.
func (r *report) compare(t *testing.T, what string, ours, bare *side, promise float64) {
	t.Helper()
	x, y, ratio := duel(t, ours, bare)
	r.add(t, line{
		what: what, ours: count(x.rate()), bare: count(y.rate()), unit: "/s", ratio: ratio, promise: promise, note: promise == 0,
		cpu: fmt.Sprintf("%.2f / %.2f", x.cpu(), y.cpu()),
	})
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
