package command

import (
	"sync/atomic"
	"time"
)

// stats are the counters of a server's commands.
type stats struct {
	unknown                                      atomic.Int64
	inserts, queries, updates, deletes, getMores atomic.Int64
	commands                                     atomic.Int64
	failed                                       atomic.Int64
	retriedCommands, retriedStatements           atomic.Int64
	reads, writes, others                        latency
	oplogGetMores                                latency
}

// latency counts operations and the time they took.
type latency struct{ ops, micros atomic.Int64 }

// since counts an operation that began at a time and is over.
func (l *latency) since(began time.Time) {
	l.ops.Add(1)
	l.micros.Add(time.Since(began).Microseconds())
}

// commandCounts are the counters of one command.
type commandCounts struct{ total, failed atomic.Int64 }

// count counts a command that has run.
func (s *stats) count(cmd *Command, took time.Duration, err error) {
	cmd.counts.total.Add(1)
	if err != nil {
		cmd.counts.failed.Add(1)
		s.failed.Add(1)
	}
	if !cmd.ownCounter {
		s.commands.Add(1)
	}
	l := &s.others
	switch {
	case cmd.Retryable:
		l = &s.writes
	case cmd.ReadConcern || cmd.Name == "getMore":
		l = &s.reads
	}
	l.ops.Add(1)
	l.micros.Add(took.Microseconds())
}

// retried counts the statements of a command that had been executed before.
func (s *stats) retried(statements int) {
	if statements > 0 {
		s.retriedCommands.Add(1)
		s.retriedStatements.Add(int64(statements))
	}
}
