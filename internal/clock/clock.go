package clock

import (
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// MaxDrift is how far ahead of the wall clock a time may be that a client
// brings: a year, MongoDB's maxAcceptableLogicalClockDriftSecs.
const MaxDrift = 365 * 24 * time.Hour

// Clock is a hybrid logical clock.
type Clock struct {
	last    atomic.Uint64 // the largest time seen or given out
	applied atomic.Uint64 // the time of the newest visible write; at most last
	now     func() time.Time
}

// New makes a clock that starts at the present second of a wall clock.
func New(now func() time.Time) *Clock {
	c := &Clock{now: now}
	start := seconds(now()) | 1
	c.last.Store(start)
	c.applied.Store(start)
	return c
}

// seconds is the upper half of a time.
func seconds(t time.Time) uint64 { return uint64(t.Unix()) << 32 }

// Now is the wall clock's time.
func (c *Clock) Now() time.Time { return c.now() }

// Time is the cluster time: at least everything that was seen.
func (c *Clock) Time() uint64 { return c.last.Load() }

// Applied is the time of the newest visible write, which replies carry as
// operationTime.
func (c *Clock) Applied() uint64 { return c.applied.Load() }

// Next gives out n consecutive new times and returns the first of them. n is
// positive.
func (c *Clock) Next(n int) uint64 { return c.NextAt(c.now(), n) }

// NextAt is Next for a caller that has just looked at the wall clock.
func (c *Clock) NextAt(now time.Time, n int) uint64 {
	wall := seconds(now)
	for {
		old := c.last.Load()
		first := max(old, wall) + 1
		if c.last.CompareAndSwap(old, first+uint64(n)-1) {
			return first
		}
	}
}

// SetApplied notes that a write with a time is visible, and with it all before
// it. Smaller times than those noted before change nothing.
func (c *Clock) SetApplied(t uint64) {
	raise(&c.last, t)
	raise(&c.applied, t)
}

// Advance takes over a time that was seen elsewhere. It refuses one that is
// further ahead of the wall clock than MaxDrift.
func (c *Clock) Advance(t uint64) error {
	if t <= c.last.Load() {
		return nil
	}
	if now := c.now(); int64(t>>32) > now.Add(MaxDrift).Unix() {
		return mongoerr.New(mongoerr.ClusterTimeFailsRateLimiter, "New cluster time, %d, is too far from this node's wall "+
			"clock time, %d.", t>>32, now.Unix())
	}
	raise(&c.last, t)
	return nil
}

// raise sets a value that only grows.
func raise(v *atomic.Uint64, to uint64) {
	for {
		old := v.Load()
		if to <= old || v.CompareAndSwap(old, to) {
			return
		}
	}
}
