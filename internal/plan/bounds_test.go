package plan

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/keystring"
)

// some are values near each other, of several types.
var some = []bsonval.Value{
	bsonval.MinKey, bsonval.Null, bsonval.Int32(0), bsonval.Int32(1), bsonval.Double(1.5), bsonval.Int32(2), bsonval.Int64(3),
	bsonval.String(""), bsonval.String("a"), bsonval.String("ab"), bsonval.String("b"), bsonval.Document(bsonval.EmptyDoc),
	bsonval.False, bsonval.True, bsonval.MaxKey,
}

func drawSet(t *rapid.T, b builder) Intervals {
	set := b.none()
	for range rapid.IntRange(1, 3).Draw(t, "parts") {
		v := rapid.SampledFrom(some).Draw(t, "v")
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0, 1:
			set = b.unite(set, b.equal(v))
		case 2:
			set = b.unite(set, b.less(v, rapid.Bool().Draw(t, "eq")))
		case 3:
			set = b.unite(set, b.greater(v, rapid.Bool().Draw(t, "eq")))
		case 4:
			set = b.unite(set, b.complement(b.equal(v)))
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "full") == 0 {
		return b.all()
	}
	return set
}

// has says whether a value is in a set, by comparing values.
func (s Intervals) has(v bsonval.Value) bool {
	for _, iv := range s.list {
		lo, hi := bsonval.Compare(v, iv.lo.v), bsonval.Compare(v, iv.hi.v)
		if (lo > 0 || lo == 0 && !iv.lo.after) && (hi < 0 || hi == 0 && iv.hi.after) {
			return true
		}
	}
	return false
}

// TestScanOfBounds walks over keys as package exec does and compares with those
// whose values are all in the sets.
func TestScanOfBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := builder{}
		x := &catalog.Index{}
		var bounds Bounds
		n := rapid.IntRange(1, 3).Draw(t, "fields")
		for range n {
			x.Fields = append(x.Fields, catalog.Field{Path: "f", Desc: rapid.Bool().Draw(t, "desc")})
		}
		for range rapid.IntRange(1, n).Draw(t, "bounded") {
			bounds.Fields = append(bounds.Fields, drawSet(t, b))
		}
		var keys, want [][]byte
		for range rapid.IntRange(0, 60).Draw(t, "keys") {
			var key []byte
			inside := true
			for i, f := range x.Fields {
				v := rapid.SampledFrom(some).Draw(t, "component")
				key = keystring.Append(key, v, f.Desc, nil)
				inside = inside && (i >= len(bounds.Fields) || bounds.Fields[i].has(v))
			}
			keys = append(keys, key)
			if inside {
				want = append(want, key)
			}
		}
		slices.SortFunc(keys, bytes.Compare)
		slices.SortFunc(want, bytes.Compare)
		for _, reverse := range []bool{false, true} {
			got, visited := walk(t, x, bounds, keys, reverse)
			if reverse {
				slices.Reverse(got)
			}
			if !slices.EqualFunc(got, want, bytes.Equal) {
				t.Fatalf("reverse %v: got %x\nwant %x", reverse, got, want)
			}
			if runs := bounds.Runs(x, 100); runs != nil {
				checkRuns(t, runs, keys, want)
			}
			if visited > len(keys)+len(got) {
				t.Fatalf("%d steps over %d keys", visited, len(keys))
			}
		}
	})
}

// walk returns the keys that a scan of the bounds accepts.
func walk(t *rapid.T, x *catalog.Index, bounds Bounds, sorted [][]byte, reverse bool) (got [][]byte, visited int) {
	lower, upper, exact, empty := bounds.Range(x)
	if empty {
		return nil, 0
	}
	var keys [][]byte
	for _, k := range sorted {
		if bytes.Compare(k, lower) >= 0 && bytes.Compare(k, upper) < 0 {
			keys = append(keys, k)
		}
	}
	if reverse {
		slices.Reverse(keys)
	}
	c := NewChecker(bounds, x, reverse)
	for i := 0; i < len(keys); {
		visited++
		v, target := c.Check(keys[i])
		if exact && v != Inside {
			t.Fatalf("exact bounds, but %x is outside", keys[i])
		}
		switch v {
		case Done:
			return got, visited
		case Inside:
			checkRun(t, c, keys[i:])
			got = append(got, keys[i])
			i++
		default:
			for i++; i < len(keys); i++ {
				d := bytes.Compare(keys[i], target)
				if d >= 0 && !reverse || d <= 0 && reverse {
					break
				}
			}
		}
	}
	return got, visited
}

// checkRun checks that keys from the first one to the end of its run are inside.
func checkRun(t *rapid.T, c *Checker, keys [][]byte) {
	end := c.RunEnd(nil, keys[0])
	ahead := func(key []byte) bool { return bytes.Compare(key, end) < 0 != c.reverse }
	if !ahead(keys[0]) {
		t.Fatalf("the run of %x ends at %x", keys[0], end)
	}
	for _, k := range keys {
		if v, _ := c.Check(k); ahead(k) && v != Inside {
			t.Fatalf("the run of %x ends at %x, but %x is outside", keys[0], end, k)
		}
	}
}

// checkRuns checks that ranges are in order and hold the keys that are wanted.
func checkRuns(t *rapid.T, runs []KeyRange, keys, want [][]byte) {
	var got [][]byte
	for i, r := range runs {
		if i > 0 && bytes.Compare(runs[i-1].Upper, r.Lower) > 0 || bytes.Compare(r.Lower, r.Upper) >= 0 {
			t.Fatalf("runs %x", runs)
		}
		for _, k := range keys {
			if bytes.Compare(k, r.Lower) >= 0 && bytes.Compare(k, r.Upper) < 0 {
				got = append(got, k)
			}
		}
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("runs %x hold %x\nwant %x", runs, got, want)
	}
}

// TestSets compares operations on sets with those on their values.
func TestSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := builder{}
		x, y := drawSet(t, b), drawSet(t, b)
		v := rapid.SampledFrom(some).Draw(t, "value")
		if got, want := b.unite(x, y).has(v), x.has(v) || y.has(v); got != want {
			t.Fatalf("union: %v", got)
		}
		if got, want := b.intersect(x, y).has(v), x.has(v) && y.has(v); got != want {
			t.Fatalf("intersection: %v", got)
		}
		if got, want := b.complement(x).has(v), !x.has(v); got != want {
			t.Fatalf("complement: %v", got)
		}
		if !b.intersect(x, b.complement(x)).IsEmpty() || !b.unite(x, b.complement(x)).IsFull() {
			t.Fatal("a set and its complement")
		}
		key := keystring.Append(nil, v, false, nil)
		in := false
		for _, sp := range x.spans(false) {
			in = in || bytes.Compare(sp.start, key) <= 0 && bytes.Compare(key, sp.end) < 0
		}
		if in != x.has(v) {
			t.Fatalf("spans: %v", in)
		}
	})
}
