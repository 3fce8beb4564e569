package pebblestore

import (
	"fmt"
	"testing"
)

func TestCacheKeepsASetFull(t *testing.T) {
	c := recordCache{limit: 1 << 20}
	// All of these belong into one set; the victim of the last is told by higher bits.
	hash := func(i int) uint64 { return 5*lockShards*cacheWays + uint64(i)<<32 }
	key := make([]byte, recordKeyLen)
	for i := range cacheWays {
		c.put(hash(i), key, fmt.Append(nil, "record ", i), 1)
	}
	for i := range cacheWays {
		if s := c.find(hash(i)); s == nil || string(s.value) != fmt.Sprint("record ", i) {
			t.Errorf("record %d of a set of %d is not there", i, cacheWays)
		}
	}

	c.put(hash(cacheWays), key, []byte("one more"), 2)
	left := 0
	for i := range cacheWays {
		if c.find(hash(i)) != nil {
			left++
		}
	}
	if s := c.find(hash(cacheWays)); s == nil || left != cacheWays-1 {
		t.Errorf("one record more took the place of %d others", cacheWays-left)
	}
	want := 0
	for i := range c.slots {
		want += len(c.slots[i].value)
	}
	if c.bytes != want {
		t.Errorf("%d bytes counted, %d there", c.bytes, want)
	}
}
