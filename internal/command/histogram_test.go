package command

import "testing"

func TestHistogramBuckets(t *testing.T) {
	last := int64(-1)
	for b := range histogramBuckets {
		low := lowerBound(b)
		if low <= last {
			t.Fatalf("bucket %d begins at %d, not above %d", b, low, last)
		}
		if got := bucketOf(low); got != b {
			t.Errorf("latency %d is in bucket %d, want %d", low, got, b)
		}
		if b > 0 {
			if got := bucketOf(low - 1); got != b-1 {
				t.Errorf("latency %d is in bucket %d, want %d", low-1, got, b-1)
			}
		}
		last = low
	}
	for _, c := range []struct {
		micros int64
		want   int64
	}{{0, 0}, {1, 0}, {3, 2}, {2500, 2048}, {3072, 3072}, {5000, 4096}, {6144, 6144}} {
		if got := lowerBound(bucketOf(c.micros)); got != c.want {
			t.Errorf("latency %d is in the bucket from %d, want %d", c.micros, got, c.want)
		}
	}
}
