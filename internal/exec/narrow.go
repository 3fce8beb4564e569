package exec

import (
	"bytes"
	"math"

	"github.com/archelon-db/archelon/internal/storage"
)

// An engine that sends documents can leave out those that an index scan would fetch
// for nothing (storage.Narrower). The statement for that is another one and each
// document costs the engine more, so most scans, which end after a few entries, do
// without: only if two thirds of a scan's first documents could have been left out is
// the engine told about the others.
const (
	// sampleFrom is the first entry whose document is looked at, sampleDocs how many are:
	// the last one is the last of the first fetch (pgstore's firstRows).
	sampleFrom = 9
	sampleDocs = 24

	// sampleEvery is after how many further entries that is tried again.
	sampleEvery = 1024

	// leastLikely is how many records a collection scan with a filter expects at least
	// when it is known how many are wanted: some of those that come do not match.
	leastLikely = 8
)

// sample is what a scan has seen so far of the documents of its entries.
type sample struct {
	docs, left int64
	next       int64 // works at which the next one begins
}

// look adds the current entry's document to the sample, and tells the engine when
// that is worth it. Where the scan skips parts of the index, whose documents the engine
// must not read, that is so up to the next such part, and for long ways only.
func (s *Scan) look(matched bool) {
	x := &s.sample
	if s.narrowed && s.ahead(s.until) || s.Examine {
		return
	}
	if s.narrowed {
		s.narrowed, *x = false, sample{}
	}
	if s.Stats.Works < max(x.next, sampleFrom) {
		return
	}
	if s.contains == nil {
		if s.contains = s.Plan.Contains(); s.contains == nil {
			x.next = math.MaxInt64 // nothing is known
			return
		}
	}
	if x.docs == 0 && s.checker != nil {
		if s.until = s.checker.RunEnd(s.until[:0], s.lastKey); s.until == nil {
			return
		}
	}
	if !s.ahead(s.until) {
		*x = sample{next: s.Stats.Works + sampleEvery}
		return
	}
	if x.docs < sampleDocs {
		x.docs++
		if !matched && !storage.Contains(s.contains).In(s.entries.Doc()) {
			x.left++
		}
	}
	if x.docs < sampleDocs || s.counted() {
		return
	}
	if n, ok := s.entries.(storage.Narrower); ok && x.left*3 >= x.docs*2 {
		s.narrowed = true
		n.Narrow(s.contains, s.until, s.likely())
		return
	}
	*x = sample{next: s.Stats.Works + sampleEvery}
}

// ahead says whether a bound lies ahead of the scan; nil always does.
func (s *Scan) ahead(bound []byte) bool {
	return bound == nil || (bytes.Compare(s.lastKey, bound) < 0) != s.Plan.Reverse
}

// counted says whether the scan's steps are compared with those of other plans, or
// with what they were in another run, or are to be told: entries that are left out
// would be missing there.
func (s *Scan) counted() bool {
	for ; s != nil; s = s.parent {
		if s.Examine || s.replan != nil || s.late != nil && s.Stats.Works <= s.worst && s.Stats.Returned < trialResults {
			return true
		}
	}
	return false
}

// likely is how many records are still to come, as far as one can say.
func (s *Scan) likely() int64 {
	n := s.Likely - s.Stats.Returned
	switch {
	case n <= 0:
		return 0
	case s.Plan.Filter == nil && s.Plan.KeyFilter == nil:
		return n
	case !s.narrowed:
		return 0
	case s.Plan.Index == nil:
		return max(n, leastLikely)
	}
	return n // the sample says that many are left out
}
