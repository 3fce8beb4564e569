package uuid

import (
	"bytes"
	"testing"
)

func TestNew(t *testing.T) {
	var ones, zeros [16]byte // bits that were set, and those that were not, in some of many
	for range 1000 {
		id := New()
		if id[6]>>4 != 4 || id[8]>>6 != 2 {
			t.Fatalf("%x is no UUID of version 4", id)
		}
		for i, b := range id {
			ones[i] |= b
			zeros[i] |= ^b
		}
	}
	for i := range ones {
		if random := ones[i] & zeros[i]; random != 0xff && i != 6 && i != 8 {
			t.Errorf("byte %d: only the bits %08b are random", i, random)
		}
	}
}

func TestMark(t *testing.T) {
	for _, b := range []byte{0, 0xff} {
		id := [16]byte(bytes.Repeat([]byte{b}, 16))
		Mark(&id)
		want := [16]byte(bytes.Repeat([]byte{b}, 16))
		want[6], want[8] = 0x40|b&0x0f, 0x80|b&0x3f
		if id != want {
			t.Errorf("%x, want %x", id, want)
		}
	}
}
