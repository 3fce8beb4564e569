package pebblestore

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// TestNewKeys compares what newKeys says with all keys ever put, for keys in
// several orders: it must never call a key new that is not, and mostly know those
// that increase, also from several sources at once.
func TestNewKeys(t *testing.T) {
	const n = 5 * keysInBits
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name string
		key  func(i int) int
		knew float64 // at least this part of the new keys
	}{
		{"Increasing", func(i int) int { return i }, 0.97},
		{"FromMany", func(i int) int { return i + rng.IntN(keysInBits/2) }, 0.8},
		{"Pairs", func(i int) int { return i / 2 }, 0.97},
		{"Decreasing", func(i int) int { return n - i }, 0},
		{"Random", func(int) int { return rng.IntN(3 * n) }, 0},
		{"Again", func(i int) int { return i % (keysInBits + 1000) }, 0.9},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, Config{Memory: true})
			k := &newKeys{known: true}
			there := map[int]bool{}
			knew, fresh := 0, 0
			for i := range n {
				x := c.key(i)
				key := benchKey(x)
				isNew, err := k.add(s.db, nil, key, s.locks.hash(key))
				if err != nil || isNew && there[x] {
					t.Fatalf("put %d: key %d is new: %v, %v", i, x, isNew, err)
				}
				if !there[x] {
					fresh++
				}
				if isNew {
					knew++
				}
				there[x] = true
			}
			t.Logf("knew %d of %d", knew, fresh)
			if float64(knew) < c.knew*float64(fresh) {
				t.Errorf("knew only %d of %d new keys", knew, fresh)
			}
		})
	}
}

// TestNewKeysAtOpen: the keys of an index that was there before are not new.
func TestNewKeysAtOpen(t *testing.T) {
	s := open(t, Config{Memory: true})
	r := &idRange{kind: prefixIndex, id: 5, unique: true}
	last := appendIndexKey(nil, r, benchKey(7), 0)
	if err := s.db.Set(last, nil, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]bool{6: false, 7: false, 8: true} {
		key := appendIndexKey(nil, r, benchKey(n), 0)
		k := &newKeys{}
		if got, err := k.add(s.db, r, key, s.locks.hash(key)); err != nil || got != want {
			t.Errorf("key %d is new: %v, %v", n, got, err)
		}
		if !bytes.Equal(k.floor, last) {
			t.Errorf("floor %x", k.floor)
		}
	}
}
