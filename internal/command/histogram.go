package command

import (
	"math/bits"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
)

// latencyClasses are the classes of operations whose latency $collStats tells.
var latencyClasses = [...]string{"reads", "writes", "commands", "transactions"}

const (
	classRead = iota
	classWrite
	classCommand
)

// latencyClass is the class of a command.
func latencyClass(cmd *Command) int {
	switch {
	case cmd.Retryable:
		return classWrite
	case cmd.ReadConcern || cmd.Name == "getMore":
		return classRead
	}
	return classCommand
}

// A histogram's buckets begin at 0, at powers of two up to 2048 microseconds, and from there on at half steps, too.
const (
	histogramBuckets = 64
	halfStepsFrom    = 11 // the bucket that begins at 2048
)

// histogram counts operations by the time they took.
type histogram struct {
	latency
	buckets [histogramBuckets]atomic.Int64
}

// bucketOf is the bucket of a latency.
func bucketOf(micros int64) int {
	if micros < 2 {
		return 0
	}
	exp := bits.Len64(uint64(micros)) - 1
	if exp < halfStepsFrom {
		return exp
	}
	b := halfStepsFrom + 2*(exp-halfStepsFrom)
	if micros >= 3<<(exp-1) {
		b++
	}
	return min(b, histogramBuckets-1)
}

// lowerBound is the least latency of a bucket.
func lowerBound(b int) int64 {
	half := b - halfStepsFrom
	switch {
	case b == 0:
		return 0
	case half <= 0:
		return 1 << b
	case half%2 == 0:
		return 1 << (halfStepsFrom + half/2)
	}
	return 3 << (halfStepsFrom - 1 + half/2)
}

func (h *histogram) add(micros int64) {
	h.ops.Add(1)
	h.micros.Add(micros)
	h.buckets[bucketOf(micros)].Add(1)
}

// latencyStats is the latencyStats of $collStats.
func (cs *Commands) latencyStats(ns database.Namespace, histograms bool) bsonval.Doc {
	cs.usages.mu.RLock()
	x := cs.usages.byNS[ns]
	cs.usages.mu.RUnlock()
	if x == nil {
		x = &usage{}
	}
	b := bsonval.NewBuilder()
	for i, name := range latencyClasses {
		h := &x.classes[i]
		b.StartDoc(name)
		if histograms {
			b.StartArray("histogram")
			for j := range h.buckets {
				if n := h.buckets[j].Load(); n > 0 {
					b.StartDoc("").Int64("micros", lowerBound(j)).Int64("count", n).End()
				}
			}
			b.End()
		}
		b.Int64("latency", h.micros.Load()).Int64("ops", h.ops.Load()).Int64("queryableEncryptionLatencyMicros", 0).End()
	}
	return b.Build()
}
