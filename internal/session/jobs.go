package session

import (
	"sync/atomic"
	"time"
)

// jobs counts the passes that look for what has expired.
type jobs struct {
	passes, lastEnded            atomic.Int64
	lastStart, lastTook          atomic.Int64 // milliseconds
	recordPasses, recordsRemoved atomic.Int64
}

func (j *jobs) done(started time.Time, took time.Duration, ended int) {
	j.passes.Add(1)
	j.lastEnded.Store(int64(ended))
	j.lastStart.Store(started.UnixMilli())
	j.lastTook.Store(took.Milliseconds())
}

// JobCounts describe the passes that look for expired sessions, and for the records of sessions of an earlier process.
type JobCounts struct {
	// Passes over the sessions since the start; the last one began at LastStart (zero for none), took LastTook and ended
	// LastEnded sessions.
	Passes    int64
	LastStart time.Time
	LastTook  time.Duration
	LastEnded int64
	// RecordPasses are those over the records, of which the last removed RecordsRemoved.
	RecordPasses, RecordsRemoved int64
}

// JobCounts returns the numbers as they are now.
func (r *Registry) JobCounts() JobCounts {
	j := &r.jobs
	c := JobCounts{
		Passes: j.passes.Load(), LastTook: time.Duration(j.lastTook.Load()) * time.Millisecond, LastEnded: j.lastEnded.Load(),
		RecordPasses: j.recordPasses.Load(), RecordsRemoved: j.recordsRemoved.Load(),
	}
	if ms := j.lastStart.Load(); ms != 0 {
		c.LastStart = time.UnixMilli(ms)
	}
	return c
}
