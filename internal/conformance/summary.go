package conformance

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Result is how one selected case went.
type Result struct {
	Case    *Case
	Skipped bool   // its requirements do not fit the server
	Reason  string // why it failed; empty when it passed
	Kind    string // Reason without the values that differ from case to case
	Elapsed time.Duration
}

// Failed says whether the case ran and failed.
func (r *Result) Failed() bool { return !r.Skipped && r.Reason != "" }

// Summary is the outcome of a run.
type Summary struct {
	Results []Result
	Elapsed time.Duration
}

// Tally counts cases.
type Tally struct {
	Passed, Failed, Skipped int
}

// Total is the number of cases that ran.
func (t Tally) Total() int { return t.Passed + t.Failed }

func (t *Tally) add(r *Result) {
	switch {
	case r.Skipped:
		t.Skipped++
	case r.Failed():
		t.Failed++
	default:
		t.Passed++
	}
}

// Tally counts all results.
func (s *Summary) Tally() Tally {
	var t Tally
	for i := range s.Results {
		t.add(&s.Results[i])
	}
	return t
}

// Failures returns the ids of the failed cases, sorted.
func (s *Summary) Failures() []string {
	var ids []string
	for i := range s.Results {
		if s.Results[i].Failed() {
			ids = append(ids, s.Results[i].Case.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// WriteTable prints passed and total per area.
func (s *Summary) WriteTable(w io.Writer) {
	areas := map[string]*Tally{}
	var names []string
	for i := range s.Results {
		r := &s.Results[i]
		t := areas[r.Case.Area]
		if t == nil {
			t = &Tally{}
			areas[r.Case.Area] = t
			names = append(names, r.Case.Area)
		}
		t.add(r)
	}
	slices.Sort(names)
	fmt.Fprintf(w, "%-52s %7s %7s %8s %8s\n", "area", "passed", "total", "%", "skipped")
	for _, name := range names {
		writeTally(w, name, *areas[name])
	}
	all := s.Tally()
	writeTally(w, "all", all)
	fmt.Fprintf(w, "took %s\n", s.Elapsed.Round(time.Millisecond))
}

func writeTally(w io.Writer, name string, t Tally) {
	percent := 100.0
	if t.Total() > 0 {
		percent = 100 * float64(t.Passed) / float64(t.Total())
	}
	fmt.Fprintf(w, "%-52s %7d %7d %7.2f%% %8d\n", name, t.Passed, t.Total(), percent, t.Skipped)
}

// WriteFailures prints the id and the reason of every failed case.
func (s *Summary) WriteFailures(w io.Writer) {
	for i := range s.Results {
		if r := &s.Results[i]; r.Failed() {
			fmt.Fprintf(w, "FAIL %s\n     %s\n", r.Case.ID, r.Reason)
		}
	}
}

// WriteSlowest prints the n cases that took longest.
func (s *Summary) WriteSlowest(w io.Writer, n int) {
	order := slices.SortedFunc(slices.Values(s.Results), func(a, b Result) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	for _, r := range order[:min(n, len(order))] {
		fmt.Fprintf(w, "%10s  %s\n", r.Elapsed.Round(time.Millisecond), r.Case.ID)
	}
}

// counter counts names and can list them, most frequent first.
type counter map[string]int

func (c counter) ranked() []string {
	names := make([]string, 0, len(c))
	for name := range c {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(c[b], c[a]), cmp.Compare(a, b)) })
	return names
}

// WriteGroups prints the failures per test function with the most common reason of each, then the most common reasons
// over all: the two lists that say where work pays most.
func (s *Summary) WriteGroups(w io.Writer) {
	tests, totals, kinds := counter{}, counter{}, counter{}
	perTest := map[string]counter{}
	for i := range s.Results {
		r := &s.Results[i]
		if r.Skipped {
			continue
		}
		test := r.Case.Test()
		totals[test]++
		if !r.Failed() {
			continue
		}
		tests[test]++
		kinds[r.Kind]++
		if perTest[test] == nil {
			perTest[test] = counter{}
		}
		perTest[test][r.Kind]++
	}
	fmt.Fprintln(w, "failures by test:")
	for _, test := range tests.ranked() {
		common := perTest[test].ranked()[0]
		fmt.Fprintf(w, "%6d/%-6d %s\n              %d× %s\n", tests[test], totals[test], test, perTest[test][common], common)
	}
	fmt.Fprintln(w, "failures by reason:")
	ranked := kinds.ranked()
	for _, kind := range ranked[:min(60, len(ranked))] {
		fmt.Fprintf(w, "%6d  %s\n", kinds[kind], kind)
	}
}

var (
	quoted = regexp.MustCompile(`'[^']*[0-9_][^']*'|"[^"]*[0-9_][^"]*"`)
	unique = regexp.MustCompile(`\b(ft|c)_[0-9a-f]{6,}\b`)
	digits = regexp.MustCompile(`[0-9]+`)
)

// digest takes out of a message what differs from case to case, so that equal problems count together.
func digest(message string) string {
	m := unique.ReplaceAllString(message, "$1")
	m = quoted.ReplaceAllString(m, "'…'")
	m = digits.ReplaceAllString(m, "#")
	if i := strings.IndexAny(m, "{\n"); i > 0 {
		m = m[:i] + "…"
	}
	if len(m) > 110 {
		m = strings.ToValidUTF8(m[:110], "") + "…"
	}
	return m
}
