package perf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// Who is compared in TestPostgres: the engines, each behind the binary; the library over
// PostgreSQL; and what is written by hand, straight to PostgreSQL or through a relay.
const (
	byMemory     = "memory"
	byPebble     = "pebble"
	byPostgres   = "postgres"
	byLibrary    = "library"
	byLeast      = "least"
	byLogged     = "logged"
	bySame       = "same"
	relayedLeast = "relayed least"
	relayedSame  = "relayed same"
)

// crowd are clients that work at the same time.
type crowd struct {
	name string
	ops  []func() (int, error)
	cpu  func() time.Duration // of the servers that work for them; nil for none but PostgreSQL
}

// newCrowd lets clients do one and the same thing.
func newCrowd[C any](name string, clients []C, op func(C) (int, error)) crowd {
	s := crowd{name: name}
	for _, c := range clients {
		s.ops = append(s.ops, func() (int, error) { return op(c) })
	}
	return s
}

// used is the processor time that was used for them so far.
func (s *crowd) used() time.Duration {
	if s.cpu == nil {
		return 0
	}
	return s.cpu()
}

// run lets the clients work for a while.
func (s *crowd) run(t *testing.T, d time.Duration) (total int, took time.Duration) {
	t.Helper()
	counts, errs := make([]int, len(s.ops)), make([]error, len(s.ops))
	start := time.Now()
	var wg sync.WaitGroup
	for i, op := range s.ops {
		wg.Go(func() {
			for time.Since(start) < d && errs[i] == nil {
				n, err := op()
				counts[i], errs[i] = counts[i]+n, err
			}
		})
	}
	wg.Wait()
	took = time.Since(start)
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	for _, n := range counts {
		total += n
	}
	return total, took
}

// measured is what the rounds of a crowd came to: operations a second, and the processor
// time of each, its server's and PostgreSQL's, in microseconds.
type measured struct{ rates, own, postgres []float64 }

// alternate lets crowds run in turns, after a warm-up. postgres is the processor time that
// PostgreSQL has used so far.
func alternate(sides []crowd, run func(*crowd) (int, time.Duration), postgres func() time.Duration) map[string]*measured {
	all := map[string]*measured{}
	for round := range 4 {
		for i := range sides {
			s := &sides[i]
			own, server := s.used(), postgres()
			n, took := run(s)
			if round == 0 {
				all[s.name] = &measured{}
				continue
			}
			each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(max(n, 1)) }
			m := all[s.name]
			m.rates = append(m.rates, float64(n)/took.Seconds())
			m.own, m.postgres = append(m.own, each(s.used()-own)), append(m.postgres, each(postgres()-server))
		}
	}
	return all
}

// ratio is the median of the rounds' ratios of two crowds.
func (m *measured) ratio(to *measured) float64 {
	var all []float64
	for i := range m.rates {
		all = append(all, m.rates[i]/to.rates[i])
	}
	return median(all)
}

// pgTable is the report of TestPostgres: the rates, and the ratios of PostgreSQL's engine to
// what is written by hand.
type pgTable struct{ rates, ratios [][]string }

var (
	rateColumns = []string{byMemory, byPebble, byPostgres, byLibrary, byLeast, byLogged, bySame, relayedLeast, relayedSame}

	// ratioColumns are pairs: the second one is 1.
	ratioColumns = [][2]string{
		{byLibrary, byLeast}, {byLibrary, byLogged}, {byLibrary, bySame},
		{byPostgres, byLeast}, {byPostgres, byLogged}, {byPostgres, bySame}, {byPostgres, relayedLeast}, {byPostgres, relayedSame},
	}
)

// add adds a row to both.
func (p *pgTable) add(what string, all map[string]*measured) {
	rates, ratios := []string{what}, []string{what}
	for _, name := range rateColumns {
		cell := ""
		if m := all[name]; m != nil {
			cell = count(median(m.rates))
		}
		rates = append(rates, cell)
	}
	for _, pair := range ratioColumns {
		cell := ""
		if m, to := all[pair[0]], all[pair[1]]; m != nil && to != nil {
			cell = fmt.Sprintf("%.2f", m.ratio(to))
		}
		ratios = append(ratios, cell)
	}
	ours := all[byPostgres]
	cpu := fmt.Sprintf("%.1f (%.1f), %.1f", median(ours.own)+median(ours.postgres), median(ours.postgres), median(all[byLeast].postgres))
	if m := all[bySame]; m != nil {
		cpu += fmt.Sprintf(", %.1f", median(m.postgres))
	}
	p.rates, p.ratios = append(p.rates, append(rates, cpu)), append(p.ratios, ratios)
}

// String is the tables, for Markdown.
func (p *pgTable) String() string {
	rates := slices.Concat([]string{"a second"}, rateColumns, []string{"CPU µs: postgres (PostgreSQL's of that); PostgreSQL's of least, same"})
	ratios := []string{"ratio"}
	for _, pair := range ratioColumns {
		ratios = append(ratios, pair[0]+" / "+pair[1])
	}
	return "\n" + markdown(rates, p.rates) + "\n" + markdown(ratios, p.ratios)
}

// markdown is a table whose first column is text.
func markdown(head []string, rows [][]string) string {
	widths := make([]int, len(head))
	for _, r := range slices.Concat([][]string{head}, rows) {
		for i, cell := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		fmt.Fprintf(&b, "| %-*s |", widths[0], cells[0])
		for i, cell := range cells[1:] {
			fmt.Fprintf(&b, " %*s |", widths[i+1], cell)
		}
		b.WriteByte('\n')
	}
	line(head)
	b.WriteString("|---|" + strings.Repeat("---:|", len(head)-1) + "\n")
	for _, r := range rows {
		line(r)
	}
	return b.String()
}
