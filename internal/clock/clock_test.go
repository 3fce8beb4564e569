package clock

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// fixed is a wall clock that a test moves.
type fixed struct{ t time.Time }

func (f *fixed) now() time.Time { return f.t }

const second = uint64(1) << 32

func TestNext(t *testing.T) {
	wall := &fixed{time.Unix(100, 0)}
	c := New(wall.now)
	for i, step := range []struct {
		wall int64
		n    int
		want uint64
	}{
		{100, 1, 100*second | 2},
		{100, 3, 100*second | 3},
		{100, 1, 100*second | 6},
		{101, 1, 101*second | 1},
		{50, 2, 101*second | 2}, // the wall clock went back
		{101, 1, 101*second | 4},
		{102, 1, 102*second | 1},
	} {
		wall.t = time.Unix(step.wall, 0)
		if got := c.Next(step.n); got != step.want {
			t.Fatalf("step %d: %x, want %x", i, got, step.want)
		}
		if got := c.Time(); got != step.want+uint64(step.n)-1 {
			t.Fatalf("step %d: the time is %x", i, got)
		}
	}
	if got := c.Applied(); got != 100*second|1 {
		t.Fatalf("applied %x: giving out a time applies nothing", got)
	}
}

func TestApplied(t *testing.T) {
	wall := &fixed{time.Unix(100, 0)}
	c := New(wall.now)
	a := c.Next(2)
	c.SetApplied(a + 1)
	c.SetApplied(a)
	if c.Applied() != a+1 || c.Time() != a+1 {
		t.Fatalf("applied %x, time %x", c.Applied(), c.Time())
	}
	c.SetApplied(500 * second) // found in a store written when the wall clock was ahead
	if c.Time() != 500*second || c.Next(1) != 500*second|1 {
		t.Fatalf("time %x", c.Time())
	}
}

func TestAdvance(t *testing.T) {
	wall := &fixed{time.Unix(100, 0)}
	c := New(wall.now)
	limit := 100 + uint64(MaxDrift/time.Second)
	for _, step := range []struct {
		t    uint64
		want uint64
		ok   bool
	}{
		{7, 100*second | 1, true},
		{100*second | 9, 100*second | 9, true},
		{limit*second | 5, limit*second | 5, true},
		{(limit + 1) * second, limit*second | 5, false},
		{1<<63 | 1, limit*second | 5, false},
	} {
		err := c.Advance(step.t)
		if (err == nil) != step.ok || c.Time() != step.want {
			t.Fatalf("advance to %x: %v, time %x", step.t, err, c.Time())
		}
		var merr *mongoerr.Error
		if err != nil && (!errors.As(err, &merr) || merr.Code != mongoerr.ClusterTimeFailsRateLimiter) {
			t.Fatalf("got %v", err)
		}
	}
	if c.Applied() != 100*second|1 {
		t.Fatalf("applied %x", c.Applied())
	}
}

func TestConcurrent(t *testing.T) {
	c := New(time.Now)
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			last := uint64(0)
			for i := range 200 {
				n := 1 + (w+i)%3
				first := c.Next(n)
				if first <= last {
					t.Errorf("%x after %x", first, last)
				}
				last = first + uint64(n) - 1
				c.SetApplied(last)
				if a, now := c.Applied(), c.Time(); a < last || a > now {
					t.Errorf("applied %x, time %x, own %x", a, now, last)
				}
				mu.Lock()
				for x := first; x <= last; x++ {
					if seen[x] {
						t.Errorf("%x twice", x)
					}
					seen[x] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}
