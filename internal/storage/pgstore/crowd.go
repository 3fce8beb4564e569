package pgstore

import (
	"sync/atomic"
	"time"
)

// A commit that waits for the disk may hold its place in the order meanwhile: that is the
// fastest for one process, and the slowest for several that commit at the same time. Whether
// there are others is seen by the places: a commit that does not get the one it expected has
// been overtaken. Standbys are never waited for like that: nothing could be committed while
// there are none.

const (
	// crowdGap is how soon after each other two commits are overtaken if others are busy. A
	// process that only is there commits once a second.
	crowdGap = 300 * time.Millisecond

	// crowdTime is for how long others are taken to be busy after that.
	crowdTime = time.Second
)

// crowd knows whether others commit, too.
type crowd struct {
	overtaken, until atomic.Int64 // times in nanoseconds
}

// note takes note of a commit's place.
func (w *crowd) note(expected, got uint64) {
	if expected == got {
		return
	}
	now := time.Now().UnixNano()
	if now-w.overtaken.Swap(now) < int64(crowdGap) {
		w.until.Store(now + int64(crowdTime))
	}
}

// isThere says whether others commit.
func (w *crowd) isThere() bool { return time.Now().UnixNano() < w.until.Load() }

// isCalm says whether a commit may wait for the disk in its place.
func (s *Store) isCalm() bool { return !s.crowd.isThere() && !s.syncer.standbys.Load() }
