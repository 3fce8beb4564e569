package loadgen

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets whose width is at most 1/32 of their value. The zero value is empty.
type histogram struct {
	counts [2048]int64
	n      int64
	sum    time.Duration
	max    time.Duration
}

const subBits = 5

// bucket of a duration: exact below 32 ns, then 32 buckets per power of two.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 1<<subBits {
		return int(v)
	}
	exp := bits.Len64(v) - 1 - subBits
	return (exp+1)<<subBits + int(v>>exp)&(1<<subBits-1)
}

// upper is the largest duration of a bucket.
func upper(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i)
	}
	exp := i>>subBits - 1
	return time.Duration((uint64(i&(1<<subBits-1))+1<<subBits+1)<<exp - 1)
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// quantile returns a duration that the share q of all is not longer than.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(q * float64(h.n))
	seen := int64(0)
	for i, c := range h.counts {
		seen += c
		if c > 0 && (seen > rank || seen == h.n) {
			return min(upper(i), h.max)
		}
	}
	return 0
}

func (h *histogram) mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}
