package service

import (
	"sync/atomic"
	"time"
)

// counts are the counters of one command.
type counts struct {
	total, failed, panics, replayed atomic.Int64
	running                         atomic.Int64
	micros                          atomic.Int64 // sum over all finished calls
	documents                       atomic.Int64 // of streams
}

func (n *counts) finished(took time.Duration, err error) {
	n.running.Add(-1)
	n.total.Add(1)
	n.micros.Add(took.Microseconds())
	if err != nil {
		n.failed.Add(1)
	}
}

// running is the number of calls that run.
func (s *Service) running() (n int64) {
	for _, r := range s.table.rows() {
		n += r.counts.running.Load()
	}
	return n
}

// CommandMetrics are the numbers of a command.
type CommandMetrics struct {
	Name string
	// Total calls have finished, Failed of them with an error, Panics of those with a panic.
	Total, Failed, Panics int64
	// Running calls have not finished.
	Running int64
	// Replayed calls of a Once command got the result of an earlier one.
	Replayed int64
	// Documents were streamed.
	Documents int64
	// Time is the sum over all finished calls.
	Time time.Duration
}

// Metrics returns the numbers of all commands, sorted by name.
func (s *Service) Metrics() []CommandMetrics {
	var out []CommandMetrics
	for _, r := range s.sortedRows() {
		n := &r.counts
		out = append(out, CommandMetrics{
			Name: r.Name, Total: n.total.Load(), Failed: n.failed.Load(), Panics: n.panics.Load(), Running: n.running.Load(),
			Replayed: n.replayed.Load(), Documents: n.documents.Load(), Time: time.Duration(n.micros.Load()) * time.Microsecond,
		})
	}
	return out
}
