package pebblestore

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestOverlayModel compares an overlay with a map of strings, of which it keeps a
// copy per op.
func TestOverlayModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := newOverlay()
		versions := []map[string]string{{}} // after each op; "" is deleted
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				key := rapid.StringN(0, 2, -1).Draw(rt, "key")
				value := rapid.SampledFrom([]string{"", "x", "yy"}).Draw(rt, "value")
				m := maps.Clone(versions[len(versions)-1])
				m[key] = value
				versions = append(versions, m)
				if value == "" {
					o.write(opDelete, []byte(key), nil, false)
				} else {
					o.write(opSet, []byte(key), []byte(value), false)
				}
			},
			"cut": func(rt *rapid.T) {
				n := rapid.IntRange(0, len(o.ops)).Draw(rt, "mark")
				o.cut(n, nil)
				versions = versions[:n+1]
			},
			"reset": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "rarely") == 0 {
					o.reset()
					versions = versions[:1]
				}
			},
			"compare": func(rt *rapid.T) {
				limit := rapid.IntRange(0, len(o.ops)).Draw(rt, "limit")
				compareOverlay(rt, o, versions[limit], int32(limit))
			},
		})
		compareOverlay(rt, o, versions[len(o.ops)], int32(len(o.ops)))
	})
}

func compareOverlay(rt *rapid.T, o *overlay, want map[string]string, limit int32) {
	keys := slices.Sorted(maps.Keys(want))
	var forward, backward []string
	last := int32(0)
	for n := o.next(0); n != 0; n = o.next(n) {
		last = n
		op := o.visible(n, limit)
		if op < 0 {
			continue
		}
		key := string(o.keyOf(n))
		forward = append(forward, key)
		if got := string(o.valueOf(op)); got != want[key] || (o.ops[op].kind == opDelete) != (got == "") {
			rt.Fatalf("%q: got %q, want %q", key, got, want[key])
		}
		if o.lookupAt([]byte(key), limit) != op {
			rt.Fatalf("lookup of %q differs", key)
		}
	}
	for n := last; n != 0; n = o.prev(n) {
		if o.visible(n, limit) >= 0 {
			backward = append(backward, string(o.keyOf(n)))
		}
	}
	slices.Reverse(backward)
	if !slices.Equal(forward, keys) || !slices.Equal(backward, keys) {
		rt.Fatalf("forward %q, backward %q, want %q", forward, backward, keys)
	}
	probe := rapid.StringN(0, 2, -1).Draw(rt, "probe")
	if n := o.find([]byte(probe)); n != 0 && bytes.Compare(o.keyOf(n), []byte(probe)) < 0 {
		rt.Fatalf("find %q gave %q", probe, o.keyOf(n))
	}
	if n := o.seekLT([]byte(probe)); n != 0 && bytes.Compare(o.keyOf(n), []byte(probe)) >= 0 {
		rt.Fatalf("seekLT %q gave %q", probe, o.keyOf(n))
	}
}

func TestLockTableIsEmptyAtRest(t *testing.T) {
	s := open(t, Config{Memory: true})
	l := &ledger{}
	if err := l.continueTo(s, 200); err != nil {
		t.Fatal(err)
	}
	for i := range s.locks.shards {
		if sh := &s.locks.shards[i]; len(sh.entries)+len(sh.retired)-sh.next+len(sh.waiting) != 0 {
			t.Fatalf("shard %d: %d entries, %d retired, %d waiting", i, len(sh.entries), len(sh.retired)-sh.next, len(sh.waiting))
		}
	}
}
